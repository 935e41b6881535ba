"""An hour of the drawn world with rare things in it, and questions about them.

The world shows every colour of every shape within minutes, so that "was there ever a red star?"
would always be yes. Here some kinds of objects are *rare*: the seconds of the world that show one
are left out, but for a few runs of them that are put in at known times, one kind at a time; other
rare kinds never come. What a clip shows and when it is stamped are two things to the questions'
ground truth (`onlooker.demo_model.view`), so it stays exact.
"""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Frame
from onlooker.demo_model.answers import DrawnQuestion
from onlooker.demo_model.questions import ask_view
from onlooker.demo_model.render import render
from onlooker.demo_model.table import COLORS, SHAPES
from onlooker.demo_model.things import Kind
from onlooker.demo_model.view import DrawnClip as SeenClip
from onlooker.demo_model.view import View
from onlooker.demo_model.world import World

NUM_RARE = 10
MAX_RUN = 8
"""The greatest number of clips in a run of a rare kind."""

TIMED = ("at_time_color", "at_time_shape", "at_time_digit")
BY_CONTENT = ("ever", "when_appeared")
FAMILIES = (*TIMED, *BY_CONTENT)

MAX_EVIDENCE = MAX_RUN
_TRIES = 400


@dataclass(frozen=True, slots=True)
class HourQuestion:
    """A question, and the age of its newest evidence in seconds; None where it has no evidence, as
    when it asks for something that was never there."""

    quiz: DrawnQuestion
    age_s: float | None


class Hour:
    """One stream at a frame a second: each frame is a clip by itself, as the server makes them.

    Args:
        seed: seed of the world and of the montage.
        num_clips: length of the stream, which is also its length in seconds.
    """

    def __init__(self, seed: int, num_clips: int) -> None:
        self.num_clips = num_clips
        self._world = World(seed)
        self._random = random.Random(seed)
        kinds = list(itertools.product(COLORS, SHAPES))
        self._random.shuffle(kinds)
        self.rare = frozenset(kinds[:NUM_RARE])
        self._shown_s = self._montage()
        seen = [SeenClip(float(index), (time_s,)) for index, time_s in enumerate(self._shown_s)]
        self.view = View(self._world, seen)

    def clips(
        self, stream_id: StreamId, width: int, height: int, *, first: int = 0
    ) -> Iterator[Clip]:
        """The clips in order, from the one with index `first` on, in pictures of this size."""
        for index, time_s in enumerate(self._shown_s[first:], first):
            pixels = render(self._world.state_at(time_s), width, height)
            frame = Frame(index, float(index), 0.0, pixels)
            yield Clip(stream_id, index, (frame, frame))

    def questions(self, count: int) -> list[HourQuestion]:
        """About `count` questions, as many of each family; half of "was there ever" get a "no"."""
        found: list[HourQuestion] = []
        for index in range(count):
            family = FAMILIES[index % len(FAMILIES)]
            wants_no = family == "ever" and index // len(FAMILIES) % 2 == 1
            quiz = self._question(family, wants_no=wants_no)
            if quiz is not None:
                newest = max(quiz.evidence) if quiz.evidence else None
                age_s = None if newest is None else float(self.num_clips - 1 - newest)
                found.append(HourQuestion(quiz, age_s))
        return found

    def _question(self, family: str, *, wants_no: bool) -> DrawnQuestion | None:
        for _ in range(_TRIES):
            quiz = ask_view(self.view, self._random, family)
            if quiz is None or len(quiz.evidence) > MAX_EVIDENCE:
                continue
            if family == "ever" and (quiz.answer == "no") is not wants_no:
                continue
            return quiz
        return None

    def _montage(self) -> list[float]:
        """The second of the world that each clip shows."""
        plain: list[float] = []
        runs: dict[Kind, list[float]] = {}
        half = sorted(self.rare)[: NUM_RARE // 2]
        second = 0
        while len(plain) < self.num_clips or len(runs) < len(half):
            time_s, second = float(second), second + 1
            kinds = {o.kind for o in self._world.state_at(time_s).objects} & self.rare
            if not kinds:
                plain.append(time_s)
            elif len(kinds) == 1 and (kind := next(iter(kinds))) in half:
                run = runs.setdefault(kind, [])
                if not run or (time_s == run[-1] + 1 and len(run) < MAX_RUN):
                    run.append(time_s)
        shown = plain[: self.num_clips - sum(map(len, runs.values()))]
        share = len(shown) / len(runs)
        for number, run in sorted(enumerate(runs.values()), reverse=True):
            at = int(share * (number + self._random.random()))
            shown[at:at] = run
        return shown
