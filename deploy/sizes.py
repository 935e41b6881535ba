"""The longest files, functions and constructors, and the size of each room: where to look first.

A report and no limit: what has one responsibility may be long, and what has three may be short.

Run with ``python -m deploy.sizes`` in the root of the checkout, or as ``make sizes``.
"""

import argparse
import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

PACKAGES = (
    "core", "scheduler", "cache_store", "engine", "watches", "streams", "server", "clients",
    "demo_model", "benchmarks",
)  # fmt: skip

Sized = tuple[int, str]
"""How large, and what."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--top", type=int, default=12, help="how many of each (default: 12)")
    top = parser.parse_args().top
    trees = {path: ast.parse((ROOT / path).read_text()) for path in sorted(files())}
    lines = {path: len((ROOT / path).read_text().splitlines()) for path in trees}
    _show("Rooms, in lines", rooms(lines), None)
    _show("Longest files, in lines", [(size, str(path)) for path, size in lines.items()], top)
    _show("Longest functions, in lines", [s for p, t in trees.items() for s in bodies(p, t)], top)
    made = [s for path, tree in trees.items() for s in constructors(path, tree)]
    _show("Widest constructors, in parameters", made, top)


def files() -> Iterator[Path]:
    """Our Python files, relative to the root."""
    for package in PACKAGES:
        yield from (path.relative_to(ROOT) for path in (ROOT / package).rglob("*.py"))


def rooms(lines: dict[Path, int]) -> list[Sized]:
    """The lines and files of each folder, what lies below it not counted."""
    sizes: Counter[Path] = Counter()
    for path, size in lines.items():
        sizes[path.parent] += size
    counts = Counter(path.parent for path in lines)
    return [(size, f"{room}/ ({counts[room]} files)") for room, size in sizes.items()]


def bodies(path: Path, tree: ast.Module) -> Iterator[Sized]:
    """Each function with its lines, decorators and docstring included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            yield node.end_lineno - first + 1, f"{path}:{node.lineno} {node.name}"


def constructors(path: Path, tree: ast.Module) -> Iterator[Sized]:
    """Each class with the parts that it is handed: the parameters of its ``__init__``, or the
    fields without a default of a dataclass that changes."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        number = sum(_parameters(method) for method in node.body)
        if any(_changes(decorator) for decorator in node.decorator_list):
            number = sum(isinstance(f, ast.AnnAssign) and f.value is None for f in node.body)
        if number:
            yield number, f"{path}:{node.lineno} {node.name}"


def _parameters(method: ast.stmt) -> int:
    """Those of an ``__init__`` besides ``self``; 0 of anything else."""
    if not isinstance(method, ast.FunctionDef) or method.name != "__init__":
        return 0
    arguments = method.args
    return len(arguments.posonlyargs + arguments.args + arguments.kwonlyargs) - 1


def _changes(decorator: ast.expr) -> bool:
    """Whether it makes a dataclass that is not frozen."""
    return "dataclass" in ast.unparse(decorator) and "frozen=True" not in ast.unparse(decorator)


def _show(title: str, sized: list[Sized], top: int | None) -> None:
    print(f"{title}:")
    for size, what in sorted(sized, key=lambda pair: (-pair[0], pair[1]))[:top]:
        print(f"  {size:5}  {what}")
    print()


if __name__ == "__main__":
    main()
