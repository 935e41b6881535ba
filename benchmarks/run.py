"""`python -m onlooker.benchmarks.run NAME`: runs one scenario and writes its results."""

import argparse
import asyncio
import importlib
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

from onlooker.benchmarks import scenarios
from onlooker.benchmarks.report import write
from onlooker.core.errors import OnlookerError

RESULTS = Path("benchmarks/results")


def names() -> list[str]:
    """All scenarios, by the name of their module."""
    return sorted(module.name for module in pkgutil.iter_modules(scenarios.__path__))


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status: 1 if it failed, 2 if there is no such scenario."""
    parser = argparse.ArgumentParser(prog="benchmark", description=__doc__)
    parser.add_argument("scenario", nargs="?", help="its name; none lists them")
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    parser.add_argument("--seed", type=int, default=1, help="of arrivals and worlds [1]")
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement [20]")
    parser.add_argument("--streams", default="1,4,16", help="numbers of streams [1,4,16]")
    parser.add_argument("--model", default="demo", help="folder or hub name [demo]")
    parser.add_argument(
        "--slowdown",
        type=float,
        default=1,
        help="seconds a frame, on a busy machine (proactive) [1]",
    )
    parser.add_argument(
        "--virtual", action="store_true", help="virtual clock: no latency, no losses (proactive)"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help=f"folder [{RESULTS}]")
    options, _ = parser.parse_known_args(arguments)
    if options.list or not options.scenario:
        for name in names():
            print(f"  {name:12} {_summary(_module(name))}")
        return 0
    if options.scenario not in names():
        print(f"there is no scenario '{options.scenario}'; there are: {', '.join(names())}")
        return 2
    module = _module(options.scenario)
    if hasattr(module, "add_options"):
        module.add_options(parser)
    options = parser.parse_args(arguments)
    print(f"{options.scenario}: {_summary(module)}", flush=True)
    try:
        figures = asyncio.run(module.measure(options))
    except OnlookerError as error:
        print(f"failed: {error.message}", file=sys.stderr)
        return 1
    path = write(options.out, options.scenario, figures, seed=options.seed)
    print(module.table(figures))
    print(f"written to {path}")
    return 0


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"onlooker.benchmarks.scenarios.{name}")


def _summary(module: ModuleType) -> str:
    return (module.__doc__ or "").strip().splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
