"""Prints requirements out of pyproject.toml, one per line, for pip's --requirement.

`requirements.py cpu --group dev` gives the base set, the extra and the group; installing that
before the project keeps an image layer that changes only when the requirements do.
"""

import argparse
import json
import re
import tomllib
from pathlib import Path
from typing import Any

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
NO_EXTRA = "none"


def select(
    pyproject: dict[str, Any], extra: str, groups: list[str], also: list[str] | None = None
) -> list[str]:
    """Base requirements, then those of the extra and of the extras in `also`, then those of the
    dependency groups.

    Raises:
        SystemExit: an extra or group that pyproject.toml does not have.
    """
    project = pyproject["project"]
    chosen: list[str] = list(project["dependencies"])
    for name in (extra, *(also or ())):
        if name != NO_EXTRA:
            chosen += _named(project.get("optional-dependencies", {}), name, "extra")
    for group in groups:
        chosen += _named(pyproject.get("dependency-groups", {}), group, "dependency group")
    return chosen


def _named(table: dict[str, list[str]], name: str, kind: str) -> list[str]:
    if name not in table:
        raise SystemExit(f"pyproject.toml has no {kind} '{name}'; it has {', '.join(table)}")
    return list(table[name])


def only(requirements: list[str], name: str) -> list[str]:
    """The requirements of one package, `[]` when there is none."""
    return [line for line in requirements if re.split(r"[^A-Za-z0-9._-]", line)[0] == name]


def fingerprint(pyproject: dict[str, Any]) -> str:
    """All of pyproject.toml that an installation depends on; settings of checkers are not."""
    parts = {
        "build-system": pyproject["build-system"],
        "project": pyproject["project"],
        "groups": pyproject.get("dependency-groups", {}),
        "hatch": pyproject.get("tool", {}).get("hatch", {}),
    }
    return json.dumps(parts, sort_keys=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("extra", nargs="?", default=NO_EXTRA, help="cpu, gpu or none")
    parser.add_argument("--group", action="append", default=[], help="a dependency group as well")
    parser.add_argument("--also", action="append", default=[], help="another extra, as webrtc")
    parser.add_argument("--only", metavar="PACKAGE", help="only the lines of this package")
    parser.add_argument("--fingerprint", action="store_true")
    options = parser.parse_args()
    pyproject = tomllib.loads(PYPROJECT.read_text())
    if options.fingerprint:
        print(fingerprint(pyproject))
        return
    lines = select(pyproject, options.extra, options.group, options.also)
    print("\n".join(only(lines, options.only) if options.only else lines))


if __name__ == "__main__":
    main()
