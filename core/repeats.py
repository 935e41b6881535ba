"""Log lines of one kind: so many are written a minute, the rest are counted.

A fault that comes back with every frame would fill a disk, and hide the line that matters.
"""

import copy
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from onlooker.core.clock import Clock, SystemClock

WINDOW_S = 60.0

MAX_KINDS = 500
"""Kinds of lines that are told apart; with one more, what the oldest held back is told."""

_MORE = "onlooker_more"


StartTimer = Callable[[float, Callable[[], None]], None]
"""Has something called once, after so many seconds, from any thread."""


def start_daemon_timer(after_s: float, action: Callable[[], None]) -> None:
    """A `StartTimer` that keeps no process alive."""
    timer = threading.Timer(after_s, action)
    timer.daemon = True
    timer.start()


@dataclass(slots=True)
class _Window:
    """What came of one kind since `began_s`."""

    began_s: float
    num_written: int = 0
    num_held: int = 0
    last: logging.LogRecord | None = None


class RepeatFilter(logging.Filter):
    """Lets the first lines of each kind in a minute pass to `handler`, whose filter it is. Those
    that follow are counted, and when the minute is over the last of them is written with how many
    there were. A kind is a logger, a level, a message without its values, and an error's type.
    Debugging lines all pass. Logging takes the handler's lock for lines, but not for filters, so
    there is one here.
    """

    def __init__(
        self,
        handler: logging.Handler,
        *,
        max_lines: int,
        clock: Clock | None = None,
        start_timer: StartTimer = start_daemon_timer,
    ) -> None:
        super().__init__()
        self._handler, self._max_lines = handler, max_lines
        self._clock = clock or SystemClock()
        self._set_timer = start_timer
        self._windows: dict[object, _Window] = {}
        self._lock = threading.Lock()
        self._is_timed = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        if record.levelno <= logging.DEBUG or num_more(record):
            return True
        now_s = self._clock.now_s()
        with self._lock:
            kind = _kind(record)
            due = self._close(kind, before_s=now_s - WINDOW_S)
            if kind not in self._windows and len(self._windows) >= MAX_KINDS:
                due += self._close(next(iter(self._windows)), before_s=now_s)
            window = self._windows.setdefault(kind, _Window(now_s))
            passes = window.num_written < self._max_lines
            if passes:
                window.num_written += 1
            else:
                window.num_held += 1
                window.last = record
                self._start_timer(window.began_s + WINDOW_S - now_s)
        self._write(due)
        return passes

    def tell(self, *, at_end: bool = False) -> None:
        """Write what the windows held back that are over; at the end of the process, all."""
        now_s = self._clock.now_s()
        before_s = now_s if at_end else now_s - WINDOW_S
        with self._lock:
            self._is_timed = False
            due = [
                line
                for kind in list(self._windows)
                for line in self._close(kind, before_s=before_s)
            ]
            holding = [window.began_s for window in self._windows.values() if window.num_held]
            if holding:
                self._start_timer(min(holding) + WINDOW_S - now_s)
        self._write(due)

    def _start_timer(self, after_s: float) -> None:
        if not self._is_timed:
            self._is_timed = True
            self._set_timer(max(0.1, after_s), self.tell)

    def _close(self, kind: object, *, before_s: float) -> list[logging.LogRecord]:
        """Forget a window that began before then; returns the line that tells what it held."""
        window = self._windows.get(kind)
        if window is None or window.began_s > before_s:
            return []
        del self._windows[kind]
        if window.last is None:
            return []
        line = copy.copy(window.last)
        line.exc_info = line.exc_text = None
        setattr(line, _MORE, window.num_held)
        return [line]

    def _write(self, lines: list[logging.LogRecord]) -> None:
        for line in lines:
            self._handler.handle(line)


def num_more(record: logging.LogRecord) -> int:
    """How many lines like this one were held back in the minute that it tells of."""
    return int(getattr(record, _MORE, 0))


def _kind(record: logging.LogRecord) -> object:
    error = record.exc_info[0] if record.exc_info else None
    return record.name, record.levelno, record.msg, error
