"""Prints what `make test` did as one table, from its stages and pytest's JUnit files."""

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def counts(junit: Path) -> str:
    """`12 passed, 1 failed` of one JUnit file; empty when there is none."""
    if not junit.exists():
        return ""
    suites = ElementTree.parse(junit).getroot().iter("testsuite")
    total = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for suite in suites:
        for name in total:
            total[name] += int(suite.get(name, 0))
    failed = total["failures"] + total["errors"]
    parts = [f"{total['tests'] - failed - total['skipped']} passed"]
    parts += [f"{failed} failed"] if failed else []
    parts += [f"{total['skipped']} skipped"] if total["skipped"] else []
    return ", ".join(parts)


def main(results: Path) -> None:
    total_s = 0
    for line in (results / "stages").read_text().splitlines():
        target, status, seconds = line.split()
        total_s += int(seconds)
        print(
            f"{status:5} {target:14} {seconds:>5} s  {counts(results / f'{target}.xml')}".rstrip()
        )
    print(f"{'':5} {'all':14} {total_s:>5} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
