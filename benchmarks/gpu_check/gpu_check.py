"""`GpuCheck`: runs the parts in the order of what matters, each in a process and a time of its own.

A part that crashes, hangs or runs out of memory ends alone. Its figures are read while it runs and
written into the one file of the check every second, so that whatever ends the check leaves them.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onlooker.benchmarks.gpu_check.part_notes import read, write

_POLL_S = 1.0

_END_S = 5.0
"""How long a part that is asked to end may take for it."""


@dataclass(frozen=True, slots=True)
class CheckPart:
    """One part of the check."""

    name: str
    limit_s: float
    """What it may take; what earlier parts have left over comes on top."""


PARTS = (
    CheckPart("machine", 30),
    CheckPart("tests", 90),
    CheckPart("link", 30),
    CheckPart("movers", 60),
    CheckPart("served_2b", 220),
    CheckPart("served_8b", 280),
)
"""Eleven and a half minutes in all. First whether it is right, then what the wires and the kernels
give, then models, the smaller one first, as it starts sooner."""


MINUTES = 11.8


class GpuCheck:
    """See the module.

    Args:
        out: the file of JSON.
        command: what runs a part; the part's name and its file are added.
        minutes: the most that all parts take; their own limits go with it.
    """

    def __init__(self, out: Path, command: Sequence[str], *, minutes: float) -> None:
        self._out = out
        self._command = list(command)
        self._seconds = minutes * 60
        self._stretch = minutes / MINUTES
        self._found: dict[str, Any] = {}

    def run(self, parts: Sequence[CheckPart]) -> dict[str, Any]:
        """Run the parts; returns all that they found."""
        self._out.parent.mkdir(parents=True, exist_ok=True)
        ends_s = time.monotonic() + self._seconds - 2 * _END_S
        spare_s = 0.0
        for part in parts:
            limit_s = min(part.limit_s * self._stretch + spare_s, ends_s - time.monotonic())
            if limit_s <= 0:
                self._note(part, {"ended": "no time was left"})
                continue
            print(f"{part.name}: at most {limit_s:.0f} s", flush=True)
            part_began_s = time.monotonic()
            self._run_part(part, limit_s)
            spare_s = max(0.0, limit_s - (time.monotonic() - part_began_s))
        return self._found

    def _run_part(self, part: CheckPart, limit_s: float) -> None:
        told = self._out.with_name(f"{self._out.stem}.{part.name}.json")
        log = self._out.with_name(f"{self._out.stem}.{part.name}.log")
        told.unlink(missing_ok=True)
        ends_s = time.monotonic() + limit_s
        with log.open("wb") as words:
            process = subprocess.Popen(  # noqa: S603  # rejection: fixed arguments
                [*self._command, "--part", part.name, "--notes", str(told)],
                stdout=words,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                while (status := _status(process, _POLL_S)) is None:
                    self._note(part, read(told))
                    if time.monotonic() > ends_s:
                        break
            finally:
                _end(process)
        if status is None:
            ended = f"after its {limit_s:.0f} s"
        else:
            ended = "well" if status == 0 else f"with status {status}; see {log.name}"
        self._note(part, {**read(told), "ended": ended})
        told.unlink(missing_ok=True)
        print(f"{part.name}: ended {ended}", flush=True)

    def _note(self, part: CheckPart, found: dict[str, Any]) -> None:
        self._found[part.name] = found
        write(self._out, self._found)


def _status(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a part and all that it has started, which are in a session of their own."""
    for sign, wait_s in ((signal.SIGTERM, _END_S), (signal.SIGKILL, _END_S)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        if _status(process, wait_s) is not None and sign is signal.SIGKILL:
            return


def command(*, is_tiny: bool) -> list[str]:
    """What runs a part."""
    made = [sys.executable, "-m", "onlooker.benchmarks.gpu_check"]
    return [*made, "--tiny"] if is_tiny else made
