"""A process that was started, as a test plays it."""

import os
from multiprocessing import Pipe
from multiprocessing.connection import Connection


class ChildProcess:
    """What `multiprocessing` gives of a process; `end` ends it. `theirs` is its end of the pipe."""

    def __init__(self, *, pid: int = 1, obeys: bool = True) -> None:
        """`obeys`: whether it ends when it is told to."""
        self.pid = pid
        self.exitcode: int | None = None
        self.signals: list[str] = []
        self._obeys = obeys
        self.sentinel, self._alive = os.pipe()
        self.ours, self.theirs = Pipe()

    @property
    def started(self) -> tuple["ChildProcess", Connection]:
        return self, self.ours

    def end(self, exitcode: int = 0) -> None:
        if self.exitcode is None:
            self.exitcode = exitcode
            self.theirs.close()
            os.close(self._alive)

    def terminate(self) -> None:
        self.signals.append("terminate")
        if self._obeys:
            self.end(0)

    def kill(self) -> None:
        self.signals.append("kill")
        self.end(-9)

    def join(self, timeout: float | None = None) -> None:
        assert self.exitcode is not None
        os.close(self.sentinel)
