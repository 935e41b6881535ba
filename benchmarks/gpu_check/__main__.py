"""`python -m onlooker.benchmarks.gpu_check`: see `make gpu-check` and docs/gpu.md."""

import argparse
import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

from onlooker.benchmarks.gpu_check.gpu_check import MINUTES, PARTS, GpuCheck, command
from onlooker.benchmarks.gpu_check.part_notes import PartNotes

_OUT = Path("benchmarks/results/gpu_check.json")


def main(arguments: list[str] | None = None) -> int:
    """Run the check, or one part of it; returns its exit status: 1 if a part did not end well."""
    parser = argparse.ArgumentParser(prog="gpu-check", description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="tiny shapes, for a CPU")
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"in all [{MINUTES}]")
    parser.add_argument("--only", default="", help="parts, with commas between them")
    parser.add_argument("--out", type=Path, default=_OUT, help=f"file [{_OUT}]")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--notes", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.part is not None:
        return _run_part(options.part, PartNotes(options.notes), is_tiny=options.tiny)
    wanted = [name for name in options.only.split(",") if name]
    names = [part.name for part in PARTS]
    if strange := [name for name in wanted if name not in names]:
        print(f"there is no part {', '.join(strange)}; there are: {', '.join(names)}")
        return 2
    parts = [part for part in PARTS if not wanted or part.name in wanted]
    check = GpuCheck(options.out, command(is_tiny=options.tiny), minutes=options.minutes)
    found = check.run(parts)
    print(f"written to {options.out}")
    return int(any(figures.get("ended") != "well" for figures in found.values()))


def _run_part(name: str, notes: PartNotes, *, is_tiny: bool) -> int:
    """Run one part in this process."""
    from onlooker.benchmarks.gpu_check import device_parts, served_parts
    from onlooker.benchmarks.gpu_check.dummy_model import REAL, TINY

    if name == "tests":
        return _run_tests(notes)
    if name == "machine":
        device_parts.machine(notes)
    elif name == "link":
        device_parts.link(notes, is_tiny=is_tiny)
    elif name == "movers":
        device_parts.movers(notes, is_tiny=is_tiny)
    else:
        model = (TINY if is_tiny else REAL)[name.removeprefix("served_")]
        asyncio.run(served_parts.measure(notes, model, is_tiny=is_tiny))
    return 0


def _run_tests(notes: PartNotes) -> int:
    """The tests that need a GPU; none run where there is none."""
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests/gpu", "-p", "no:cacheprovider"],
        capture_output=True,
        text=True,
        check=False,
    )
    lines: list[Any] = ran.stdout.strip().splitlines()
    notes.note(said=lines[-1:], failed=[line for line in lines if line.startswith("FAILED")])
    print(ran.stdout, ran.stderr, flush=True)
    return ran.returncode


if __name__ == "__main__":
    raise SystemExit(main())
