"""`Spent`: processor time of a server, told apart by who spent it."""

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

    def since(self, before: "Spent") -> "Spent":
        """What was spent after `before`."""
        return Spent(
            self.loop_ms - before.loop_ms,
            self.threads_ms - before.threads_ms,
            self.decoding_ms - before.decoding_ms,
        )


def spent_by(pid: int) -> Spent:
    """What the server `pid` has spent so far, as the kernel counts it, to the nanosecond. Threads
    and processes that have ended count nothing: measure where none ends."""
    by_thread = {int(path.name): _on_cpu_ms(path) for path in _tasks(pid)}
    children = sum(
        _on_cpu_ms(task) for child in family_of(pid) if child != pid for task in _tasks(child)
    )
    loop_ms = by_thread.get(pid, 0.0)
    return Spent(loop_ms, sum(by_thread.values()) - loop_ms, children)


def _tasks(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/task").glob("*"))


def _on_cpu_ms(task: Path) -> float:
    try:
        return int((task / "schedstat").read_text().split()[0]) / 1e6
    except OSError:  # it has ended
        return 0.0
