"""Draws contexts with many questions each, and packs them for `language.forward`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onlooker.demo_model.answers import CANNOT_TELL, DrawnQuestion, spoken_time
from onlooker.demo_model.dataset import (
    Ids,
)
from onlooker.demo_model.phrases import SYSTEM_PROMPTS
from onlooker.demo_model.questions import ask_view
from onlooker.demo_model.questions import branches as ask_branches
from onlooker.demo_model.training.dropping import ShownPlaces, draw_shown, looks
from onlooker.demo_model.training.pool import DrawnTimeline, Pool
from onlooker.demo_model.training.talk import with_turns
from onlooker.demo_model.view import DrawnClip, View
from onlooker.demo_model.world import World

UNSEEN_SHARE = 0.025
"""The share of the questions that is about a second that no clip shows."""
UNSEEN_FAMILIES = (
    "at_time_color",
    "at_time_shape",
    "at_time_place",
    "at_time_digit",
    "at_time_count",
)
WINDOWED = 0.35
"""The share of the contexts without gaps that is computed under a sliding window."""
SPARSE_FROM, RETRIEVED_FROM = 0.55, 0.62
"""Where, in random draws up to 1, those contexts begin that are seen with random clips left out,
and those that are seen with what retrieval would leave."""
COUNTED = ("how_many_times", "how_many_so_far")
"""Families of questions that need all clips, whatever their evidence."""
Bools = NDArray[np.bool_]
ENDS_IN_CHANGE = 0.5
"""The share of the contexts of clips from far apart that end where something changes."""
AT_THE_END = ("narrate", "check")
"""Families that such a context is asked about its newest clip."""
NOTE_GAP = 40
"""The number of positions that are free between sink and clips for notes of earlier turns."""


@dataclass
class Branch:
    """A question about the first `seen` viewed clips."""

    seen: int
    question: DrawnQuestion
    as_notes: bool = False
    """Whether the question's history stands before the clips instead of after them."""


@dataclass
class Context:
    """One stretch of a timeline, how it is computed and how it is looked at."""

    timeline: DrawnTimeline
    rows: Ids
    """int64[computed clips]: which clips of the timeline are computed, in order."""
    window: int | None
    """How many of the clips before it a clip sees when it is computed; None: all."""
    viewed: Ids
    """int64[viewed clips]: the indices of the computed clips that the questions see, in order."""
    gap: int
    branches: list[Branch]
    shift: int = 0
    """Seconds added to every stamp, so that one timeline teaches all hours of the day."""
    shown: ShownPlaces | None = None
    """Which places of the computed clips are computed; None: all."""

    def stamps(self) -> list[float]:
        """The stamps of the computed clips, in seconds, shifted."""
        return [self.timeline.stamps[i] + self.shift for i in self.rows]

    def clips(self) -> list[DrawnClip]:
        """The viewed clips, with shifted stamps."""
        clips = self.timeline.clips()
        picked = [clips[self.rows[i]] for i in self.viewed]
        return [DrawnClip(clip.t_s + self.shift, clip.frame_times) for clip in picked]


class Drawer:
    """Draws contexts from a pool."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._looks: dict[int, Ids] = {}
        self._changing: dict[int, Ids] = {}

    def looks(self, timeline: DrawnTimeline) -> Ids:
        """int64[clips, 9]: see `dropping.looks`; made when a timeline is first used."""
        if timeline.start not in self._looks:
            self._looks[timeline.start] = looks(timeline)
        return self._looks[timeline.start]

    def changing(self, timeline: DrawnTimeline) -> Ids:
        """int64[n]: the rows of the clips in which something changes; made when first used."""
        if timeline.start not in self._changing:
            view = View(World(timeline.seed), timeline.clips())
            rows = [i for i in range(1, len(view)) if view.near(i) and view.events(i)]
            self._changing[timeline.start] = np.array(rows, np.int64)
        return self._changing[timeline.start]

    def context(
        self,
        rng: np.random.Generator,
        clips: int,
        branches: int,
        families: Sequence[str] | None = None,
        gathered: bool = False,
    ) -> Context:
        """A context of `clips` computed clips with about `branches` questions at most.

        In a quarter of the contexts clips are left out before anything is computed, and in all
        that are `gathered`. Of the others, many are computed whole and then seen in part, and some
        are computed under a window.
        """
        timeline = self.pool.timelines[int(rng.integers(len(self.pool.timelines)))]
        mode = 0.0 if gathered else rng.random()
        window: int | None = None
        if mode < 0.25 and clips >= 4:
            ends = self.changing(timeline) if gathered else np.zeros(0, np.int64)
            rows = self._thinned(rng, len(timeline), clips, 10 if gathered else 4, ends)
        else:
            start = int(rng.integers(0, len(timeline) - clips + 1))
            rows = np.arange(start, start + clips)
            if rng.random() < WINDOWED:
                window = int(rng.choice((2, 4, 8, 16)))
        retrieves = mode > RETRIEVED_FROM and clips >= 12
        thins = not retrieves and mode > SPARSE_FROM and clips >= 12
        gap = NOTE_GAP if rng.random() < 0.3 else 0
        shift = draw_shift(rng, timeline.stamps[-1])
        viewed = self._sparse(rng, clips) if thins else np.arange(clips)
        partly = retrieves or thins
        shown = draw_shown(rng, self.looks(timeline)[rows], window, must_fill=partly)
        context = Context(timeline, rows, window, viewed, gap, [], shift, shown)
        view = View(World(timeline.seed), context.clips())
        told = asked = ask_branches(view, rng, branches * (2 if retrieves else 1), families)
        if retrieves:  # twice as many are asked, as half are about an earlier moment and dropped
            context.viewed, asked = retrieved(rng, clips, asked)
            view = View(World(timeline.seed), context.clips())
            told = [(0, question) for _, question in told]
        if gathered:
            last = [ask_view(view, rng, family) for family in AT_THE_END]
            asked = asked + [(len(view), question) for question in last if question is not None]
        asked = asked + [(len(context.viewed), q) for q in unseen_moments(view, rng, branches)]
        asked = with_turns(rng, asked, told)
        for seen, question in asked:
            notes = bool(gap) and bool(question.history) and rng.random() < 0.7
            context.branches.append(Branch(seen, question, notes))
        context.branches.sort(key=lambda branch: branch.seen)  # keeps attention's calls short
        return context

    @staticmethod
    def _thinned(
        rng: np.random.Generator, available: int, clips: int, stretch: int, ends: Ids
    ) -> Ids:
        """int64[clips]: rows of the newest few clips in a row, and of random ones before them.

        Where there are rows `ends` (far enough from the first), it often ends at one of them.
        """
        span = int(rng.integers(clips, min(available, clips * stretch) + 1))
        start = int(rng.integers(0, available - span + 1))
        ends = ends[ends >= clips]
        if len(ends) and rng.random() < ENDS_IN_CHANGE:
            end = int(rng.choice(ends))
            span = int(rng.integers(clips, min(end + 1, clips * stretch) + 1))
            start = end + 1 - span
        recent = min(draw_recent(rng, clips), clips - 1)
        old = rng.choice(span - recent, clips - recent, replace=False)
        picked = np.concatenate([np.sort(old), np.arange(span - recent, span)])
        return np.asarray(start + picked, np.int64)

    @staticmethod
    def _sparse(rng: np.random.Generator, clips: int) -> Ids:
        recent = min(draw_recent(rng, clips), clips - 4)
        old = int(rng.integers(3, min(24, clips - recent) + 1))
        picked = rng.choice(clips - recent, old, replace=False)
        return np.concatenate([np.sort(picked), np.arange(clips - recent, clips)], dtype=np.int64)


def draw_recent(rng: np.random.Generator, clips: int) -> int:
    """A random number of clips that end a context with gaps in a row: a few, or any part of it."""
    return int(rng.integers(2, 9) if rng.random() < 0.5 else rng.integers(2, clips))


def retrieved(
    rng: np.random.Generator, clips: int, asked: Sequence[tuple[int, DrawnQuestion]]
) -> tuple[Ids, list[tuple[int, DrawnQuestion]]]:
    """What retrieval leaves of `clips` clips: evidence, some others, and the newest in a row.

    The questions (as `questions.branches` draws them) are true of all clips, also where the viewed
    ones alone do not show it: that a clip shows something for the first time is in its keys and
    values. Returns int64[viewed clips], the indices of the viewed clips in order, and those of the
    questions asked at the end whose evidence is among them, as (number of viewed clips, question).
    """
    last = [question for seen, question in asked if seen == clips]
    recent, share = min(draw_recent(rng, clips), clips - 4), rng.uniform(0.05, 0.7)
    chosen = np.zeros(clips, np.bool_)
    chosen[clips - recent :] = True
    chosen[rng.choice(clips - recent, int(rng.integers(0, 5)))] = True
    for question in last:
        if len(question.evidence) <= 2 and rng.random() < share:
            chosen[list(question.evidence)] = True
    place = np.cumsum(chosen) - 1
    viewed = np.nonzero(chosen)[0].astype(np.int64)
    kept = []
    for question in last:
        there = [i for i in question.evidence if chosen[i]]
        whole = len(there) == len(question.evidence) and question.family not in COUNTED
        if whole or (question.family == "ever" and there):
            moved = tuple(int(place[i]) for i in there)
            kept.append((len(viewed), replace(question, evidence=moved)))
    return viewed, kept


def unseen_moments(view: View, rng: np.random.Generator, branches: int) -> list[DrawnQuestion]:
    """Now and then a question about a second that no clip shows, with the only honest answer."""
    if rng.random() > UNSEEN_SHARE * branches:
        return []
    moved = view.prefix(len(view))
    away = float(rng.choice((-1, 1)) * np.exp(rng.uniform(np.log(3.0), np.log(5_000.0))))
    moved.stamps = tuple(min(max(stamp + away, 0.0), 99_000.0) for stamp in view.stamps)
    family = str(rng.choice(UNSEEN_FAMILIES))
    question = ask_view(moved, rng, family)
    if question is None:
        return []
    named = spoken_time(question.text)
    near = named is None or any(abs(stamp - named) < 2.5 for stamp in view.stamps)
    if near or question.history:
        return []
    return [DrawnQuestion("unseen_moment", question.text, CANNOT_TELL)]


def draw_shift(rng: np.random.Generator, last: float) -> int:
    """A random shift of stamps in seconds: 0, up to ten hours, or up to the largest stamp."""
    pick = rng.random()
    most = 0 if pick < 0.3 else 36_000 if pick < 0.7 else 99_000
    most = max(0, min(most, int(99_990 - last)))
    return int(rng.integers(0, most + 1))


def draw_system(rng: np.random.Generator) -> str | None:
    """A random system prompt: mostly the usual one, sometimes the other or none."""
    pick = rng.random()
    return SYSTEM_PROMPTS[0] if pick < 0.8 else SYSTEM_PROMPTS[1] if pick < 0.9 else None
