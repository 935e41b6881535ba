"""`Spent`: processor time of a server, told apart by who spent it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onlooker.benchmarks.processes import family_of


@dataclass(frozen=True, slots=True)
class Spent:
    """Milliseconds of processor time since the processes began."""

    loop_ms: float
    """Of the server's first thread, which runs the event loop."""
    threads_ms: float
    """Of the server's other threads."""
    decoding_ms: float
    """Of the processes under the server."""

    @property
    def total_ms(self) -> float:
        return self.loop_ms + self.threads_ms + self.decoding_ms

    @classmethod
    def of_all(cls, each: Sequence["Spent"]) -> "Spent":
        """What several have spent together."""
        return cls(
            sum(one.loop_ms for one in each),
            sum(one.threads_ms for one in each),
            sum(one.decoding_ms for one in each),
        )

    def since(self, before: "Spent") -> "Spent":
        """What was spent after `before`."""
        return Spent(
            self.loop_ms - before.loop_ms,
            self.threads_ms - before.threads_ms,
            self.decoding_ms - before.decoding_ms,
        )


def spent_by(pid: int) -> Spent:
    """What the server `pid` has spent so far, as the kernel counts it: to the nanosecond, but for
    decoder processes that have ended, of which their parent knows hundredths of a second. Threads
    that have ended count nothing."""
    by_thread = {int(path.name): _on_cpu_ms(path) for path in _tasks(pid)}
    children = sum(
        _of_ended_ms(child) + sum(_on_cpu_ms(task) for task in _tasks(child))
        for child in family_of(pid)
        if child != pid
    )
    loop_ms = by_thread.get(pid, 0.0)
    return Spent(loop_ms, sum(by_thread.values()) - loop_ms, children)


def machine_busy_s() -> float:
    """Seconds of processor time that all programs of the machine have spent so far."""
    ticks = [int(one) for one in _text(Path("/proc/stat")).split(maxsplit=8)[1:8]]
    user, nice, system, _idle, _waiting, *interrupts = ticks
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def gateways_of(pid: int) -> list[int]:
    """The processes of a server that run an event loop: itself, or the gateways that it has
    started."""
    started = [int(child) for task in _tasks(pid) for child in _text(task / "children").split()]
    gateways = [one for one in started if "spawn_main" in _text(Path(f"/proc/{one}/cmdline"))]
    return gateways or [pid]


def _tasks(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/task").glob("*"))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has ended
        return ""


def _on_cpu_ms(task: Path) -> float:
    try:
        return int((task / "schedstat").read_text().split()[0]) / 1e6
    except OSError:  # it has ended
        return 0.0


def _of_ended_ms(pid: int) -> float:
    """What the children of `pid` had spent that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return 1000 * (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
