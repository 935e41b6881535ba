"""`Meter`: how far an import has come: a bar in a terminal, a line now and then without one."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, tzinfo
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from onlooker.clients.python.importing.feeding import ImportTally
from onlooker.core.clock import Clock

LINE_S = 10.0
"""How often a line is written where there is no terminal."""

REDRAW_S = 0.25


class Meter:
    """Shows a tally while the block runs."""

    def __init__(
        self,
        console: Console,
        tally: ImportTally,
        total_s: float,
        clock: Clock,
        zone: tzinfo | None,
    ) -> None:
        """`total_s`: recorded time in all, as far as it is known."""
        self._console, self._tally, self._total_s = console, tally, total_s
        self._clock, self._zone = clock, zone
        self._began_s = clock.now_s()
        self._task: asyncio.Task[None] | None = None
        self._progress = Progress(
            TextColumn("{task.fields[name]}"),
            BarColumn(),
            TextColumn("{task.fields[line]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            auto_refresh=False,
            disable=not console.is_terminal,
        )
        self._bar = self._progress.add_task("", total=total_s or None, name="", line="")

    def __enter__(self) -> Self:
        self._progress.start()
        self._task = asyncio.create_task(self._run(), name="meter")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
        self._progress.stop()

    def say(self, text: str, style: str) -> None:
        """Write a line beside the bar."""
        self._console.print(Text(text, style=style))

    def line(self) -> str:
        """The line: ``13:45:10  1 h 02 min of 3 h 10 min  41x``."""
        tally = self._tally
        parts = []
        if tally.at_wall_s is not None:
            at = datetime.fromtimestamp(tally.at_wall_s, UTC).astimezone(self._zone)
            parts.append(f"{at:%Y-%m-%d %H:%M:%S}")
        total = f" of {told_length(self._total_s)}" if self._total_s else ""
        parts.append(told_length(tally.filmed_s) + total)
        if (took_s := self._clock.now_s() - self._began_s) > 0:
            parts.append(f"{tally.filmed_s / took_s:.0f}x")
        return "  ".join(parts)

    async def _run(self) -> None:
        with suppress(asyncio.CancelledError):
            while True:
                await self._clock.sleep(REDRAW_S if self._console.is_terminal else LINE_S)
                name = self._tally.recording.name if self._tally.recording else ""
                if self._console.is_terminal:
                    self._progress.update(
                        self._bar, completed=self._tally.filmed_s, name=name, line=self.line()
                    )
                    self._progress.refresh()
                else:
                    self.say(f"  {self.line()}  {name}", "")


def told_length(length_s: float) -> str:
    """A length of time for people: ``12 s``, ``3 min 05 s``, ``1 h 02 min``."""
    seconds = round(length_s)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
