"""What watches of a drawn world should have said, and how well what they said fits.

One frame a second is shown; what a frame does not show is no event. A watch's event belongs to the
frame in which it first shows; its time is that of the change in the world before that frame.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from onlooker.demo_model.changes import narrate
from onlooker.demo_model.phrases import a
from onlooker.demo_model.things import Kind, name
from onlooker.demo_model.view import DrawnClip, View, differences
from onlooker.demo_model.world import World

TOLERANCE = 1
"""How many frames late an alert still counts as its event's; it then has that latency."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A watch and its true events.

    `events` maps the index of the frame that first shows an event to the time of the change, in
    seconds of the world.
    """

    sort: str
    condition: str
    question: str
    """The condition as a question, for polling."""
    events: dict[int, float]
    ambiguous: frozenset[int] = frozenset()
    """Frames of which it is a matter of words whether it happened (an object that was repainted
    into the kind that is watched for)."""


@dataclass(slots=True)
class AlertMarks:
    """How alerts fit their events: counts, and latencies in seconds."""

    hits: int = 0
    misses: int = 0
    false: int = 0
    latency_s: list[float] = field(default_factory=list)
    delays_s: list[float | None] = field(default_factory=list)
    """For every event, how long after the frame that shows it the alert came; None: never."""

    @property
    def recall(self) -> float:
        return self.hits / max(1, self.hits + self.misses)

    @property
    def precision(self) -> float:
        return self.hits / max(1, self.hits + self.false)

    def add(self, other: "AlertMarks") -> None:
        """Add another watch's marks to these."""
        self.hits += other.hits
        self.misses += other.misses
        self.false += other.false
        self.latency_s += other.latency_s
        self.delays_s += other.delays_s


class Shown:
    """The frames of one world, one a second from `start_s` on."""

    def __init__(self, seed: int, *, num_frames: int, start_s: float) -> None:
        self.world = World(seed)
        self.times = [start_s + index for index in range(num_frames)]
        self.view = View(self.world, [DrawnClip(t, (t, t)) for t in self.times])

    def watches(self, rng: random.Random) -> list[Standing]:
        """Watches for two kinds of objects that appear, for the sign and for the scene."""
        kinds = [self._kind(kind) for kind in self._kinds_that_come()]
        chosen = rng.sample(kinds, min(2, len(kinds)))
        sign = self._standing("sign", "the sign changes", "Has the sign just changed?")
        cut = self._standing("cut", "the scene changes", "Has the scene just changed?")
        return [*chosen, sign, cut]

    def comments(self) -> tuple[set[int], set[int]]:
        """The indices of frames with a change to be told, and of quiet ones; unclear ones are in
        neither."""
        changed: set[int] = set()
        quiet: set[int] = set()
        for index in range(1, len(self.times)):
            question = narrate(self.view.prefix(index + 1), random.Random(0))
            if question is not None:
                (changed if self.view.events(index) else quiet).add(index)
        return changed, quiet

    def _kinds_that_come(self) -> list[Kind]:
        first = {o.kind for o in self.view.last(0).objects}
        found: list[Kind] = []
        for index in range(1, len(self.times)):
            before = {o.kind for o in self.view.last(index - 1).objects}
            painted = self._painted(index)
            for kind in sorted({o.kind for o in self.view.last(index).objects} - before - painted):
                if kind not in first and kind not in found:
                    found.append(kind)
        return found

    def _painted(self, index: int) -> set[Kind]:
        found = differences(self.view.last(index - 1), self.view.last(index))
        return {o.kind for d in found if d.kind == "color" for o in (d.before, d.after) if o}

    def _kind(self, kind: Kind) -> Standing:
        events, ambiguous = {}, set()
        for index in range(1, len(self.times)):
            before, after = self.view.last(index - 1), self.view.last(index)
            if kind in {o.kind for o in after.objects} - {o.kind for o in before.objects}:
                if kind in self._painted(index):
                    ambiguous |= {index, index + 1}
                else:
                    events[index] = self._change_s(index, kind)
        text = a(name(kind))
        condition, question = f"tell me when {text} appears", f"Is there {text}?"
        return Standing("appears", condition, question, events, frozenset(ambiguous))

    def _standing(self, sort: str, condition: str, question: str) -> Standing:
        events = {}
        for index in range(1, len(self.times)):
            before, after = self.view.last(index - 1), self.view.last(index)
            is_new = before.index != after.index if sort == "cut" else before.sign != after.sign
            if is_new:
                events[index] = self._change_s(index, sort)
        return Standing(sort, condition, question, events)

    def _change_s(self, index: int, what: Kind | str) -> float:
        """The time of an event: the last change of sort `what` before the frame, or the cut."""
        changes = self.world.events(self.times[index - 1] + 1e-6, self.times[index] + 1e-6)
        for change in reversed(changes):
            is_kind = change.after is not None and change.after.kind == what
            if is_kind or change.kind in (what, "cut"):
                return change.t
        return self.times[index]


def mark(
    watch: Standing, alerts: Sequence[tuple[int, float]], times: Sequence[float]
) -> AlertMarks:
    """Match alerts, as (frame index, stream time at which it was told), to events.

    Each event takes the first alert of its frame or the next; every other alert is a false one.
    """
    marks, left = AlertMarks(), sorted(alerts)
    for index, event_s in sorted(watch.events.items()):
        found = next((a for a in left if index <= a[0] <= index + TOLERANCE), None)
        if found is None:
            marks.misses += 1
            marks.delays_s.append(None)
            continue
        left.remove(found)
        marks.hits += 1
        marks.latency_s.append(found[1] - event_s)
        marks.delays_s.append(found[1] - times[index])
    marks.false = sum(index not in watch.ambiguous for index, _ in left)
    return marks


# ---- published scores ----

REPLY_SPAN_S = 5.0
OMEGA = 0.5
SILENT_SHARE = 0.25
"""What silence is worth, as a share of a right reply."""


def pauc(delay_s: float | None) -> float:
    """One event's score (0-1) after ProactiveVideoQA, for replies that are right or missing.

    It is the area under the quality of what was said so far, over the time in which a reply may
    come: that of silence until the reply counts, and then that of a right one. A reply counts as if
    it had come in `OMEGA` less of its delay. See `onlooker.benchmarks.adapters.pauc`; the judge
    here is the truth itself.
    """
    if delay_s is None or delay_s > REPLY_SPAN_S:
        return SILENT_SHARE
    share = (1 - OMEGA) * max(0.0, delay_s) / REPLY_SPAN_S
    return SILENT_SHARE * share + (1 - share)


def right_in_time(event: int, spoke: Sequence[int], *, asked: int) -> bool:
    """StreamingBench's proactive rule: the first yes in (asked, event + 4] is within 2 s of it."""
    first = next((index for index in sorted(spoke) if asked < index <= event + 4), None)
    return first is not None and abs(first - event) <= 2
