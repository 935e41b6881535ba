"""`Delays`: how long each frame and question of the honest tenant took, and what is still open."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from onlooker.scheduler.simulator.outcome import percentile

Kind = Literal["frame", "question"]
KINDS: tuple[Kind, ...] = ("frame", "question")


@dataclass(frozen=True, slots=True)
class Usual:
    """Seconds that one frame and one question take when nobody attacks."""

    frame: float
    question: float

    def of(self, kind: Kind) -> float:
        return self.frame if kind == "frame" else self.question


@dataclass(slots=True)
class Delays:
    """What was sent since `restart`; all instants are seconds of one clock."""

    open: dict[tuple[Kind, int], float] = field(default_factory=dict)
    """When each frame and question was sent that has no answer yet."""
    taken_s: dict[Kind, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    lost: dict[str, int] = field(default_factory=dict)
    """Frames that were dropped and questions that failed, by reason."""

    def restart(self) -> None:
        """Forget what is done. What is still open goes on to count from when it was sent."""
        self.taken_s = {kind: [] for kind in KINDS}
        self.lost = {}

    def sent(self, kind: Kind, number: int, *, at_s: float) -> None:
        self.open[kind, number] = at_s

    def answered(self, kind: Kind, number: int, *, at_s: float) -> None:
        """The frame was acknowledged, or the question's first word came. Counts once."""
        if (sent_s := self.open.pop((kind, number), None)) is not None:
            self.taken_s[kind].append(at_s - sent_s)

    def lose(self, reason: str) -> None:
        """Count a frame that was dropped or a question that failed."""
        self.lost[reason] = self.lost.get(reason, 0) + 1

    def give_up(self, *, at_s: float) -> None:
        """Count all that is open as taking until now, and as lost: their connection is gone."""
        for kind, number in list(self.open):
            self.answered(kind, number, at_s=at_s)
            self.lose("no_answer")

    def usual(self) -> Usual:
        """The median of each kind; 0 where there was none."""
        frame, question = (percentile(self.taken_s[kind], 0.5) or 0.0 for kind in KINDS)
        return Usual(frame, question)

    def worst_beyond_s(self, usual: Usual, *, at_s: float) -> float:
        """The longest that anything took beyond `usual`, what is still open at `at_s` included."""
        beyond = [0.0]
        for kind in KINDS:
            beyond += [taken_s - usual.of(kind) for taken_s in self.taken_s[kind]]
        beyond += [at_s - sent_s - usual.of(kind) for (kind, _), sent_s in self.open.items()]
        return max(beyond)

    def figures(self) -> Mapping[str, Mapping[str, float | None]]:
        """Milliseconds of each kind: median, 99th percentile and worst."""
        return {
            kind: {
                name: None if (taken := percentile(self.taken_s[kind], share)) is None
                else round(1000 * taken, 1)
                for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99), ("worst_ms", 1.0))
            }
            for kind in KINDS
        }  # fmt: skip
