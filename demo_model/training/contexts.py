"""Draws contexts with many questions each, and packs them for `language.forward`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from onlooker.demo_model.answers import CANNOT_TELL, Question, spoken_time
from onlooker.demo_model.dataset import (
    CLIP_POSITIONS,
    CLIP_TOKENS,
    TURN_SUFFIX,
    Ids,
    Layout,
    context_positions,
    sink_text,
)
from onlooker.demo_model.phrases import SYSTEM_PROMPTS
from onlooker.demo_model.questions import ask_view
from onlooker.demo_model.questions import branches as ask_branches
from onlooker.demo_model.training.changes import Lessons
from onlooker.demo_model.training.language import Packed
from onlooker.demo_model.training.pool import Pool, Timeline
from onlooker.demo_model.view import Clip, View
from onlooker.demo_model.world import World

UNSEEN_SHARE = 0.025
"""Of the questions: those about a second that no clip shows."""
UNSEEN_FAMILIES = (
    "at_time_color",
    "at_time_shape",
    "at_time_place",
    "at_time_digit",
    "at_time_count",
)
Bools = NDArray[np.bool_]
NOTE_GAP = 40
"""Positions kept free between sink and clips where notes of earlier turns may stand."""


@dataclass
class Branch:
    """A question about the first `seen` viewed clips."""

    seen: int
    question: Question
    as_notes: bool = False
    """Whether its history stands before the clips instead of after them."""


@dataclass
class Context:
    """One stretch of a timeline, how it is computed and how it is looked at."""

    timeline: Timeline
    rows: Ids
    """Which clips of the timeline are computed, in order."""
    window: int | None
    """How many clips before it a clip sees when it is computed; None: all."""
    viewed: Ids
    """Which of the computed clips (by index) the questions see, in order."""
    gap: int
    branches: list[Branch]
    shift: int = 0
    """Seconds added to every stamp, so that one timeline teaches all hours of the day."""

    def stamps(self) -> list[float]:
        """Of the computed clips."""
        return [self.timeline.stamps[i] + self.shift for i in self.rows]

    def clips(self) -> list[Clip]:
        """The viewed clips."""
        clips = self.timeline.clips()
        picked = [clips[self.rows[i]] for i in self.viewed]
        return [Clip(clip.t_s + self.shift, clip.frame_times) for clip in picked]


class Drawer:
    """Draws contexts from a pool."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def context(
        self,
        rng: np.random.Generator,
        clips: int,
        branches: int,
        families: Sequence[str] | None = None,
    ) -> Context:
        """A context of so many computed clips with up to so many questions.

        A quarter leave clips out before anything is computed; of the others, some are computed
        whole and then seen in part. Half of those without gaps are computed under a window.
        """
        timeline = self.pool.timelines[int(rng.integers(len(self.pool.timelines)))]
        mode = rng.random()
        window: int | None = None
        if mode < 0.25 and clips >= 4:
            rows = self._thinned(rng, len(timeline), clips)
        else:
            start = int(rng.integers(0, len(timeline) - clips + 1))
            rows = np.arange(start, start + clips)
            if rng.random() < 0.5:
                window = int(rng.choice((2, 4, 8, 16)))
        viewed = self._sparse(rng, clips) if mode > 0.8 and clips >= 12 else np.arange(clips)
        gap = NOTE_GAP if rng.random() < 0.3 else 0
        shift = draw_shift(rng, timeline.stamps[-1])
        context = Context(timeline, rows, window, viewed, gap, [], shift)
        view = View(World(timeline.seed), context.clips())
        asked = ask_branches(view, rng, branches, families)
        asked += [(len(viewed), q) for q in unseen_moments(view, rng, branches)]
        for seen, question in asked:
            notes = bool(gap) and bool(question.history) and rng.random() < 0.7
            context.branches.append(Branch(seen, question, notes))
        return context

    @staticmethod
    def _thinned(rng: np.random.Generator, available: int, clips: int) -> Ids:
        """The newest few in a row, and others at random from before."""
        span = int(rng.integers(clips, min(available, clips * 4) + 1))
        start = int(rng.integers(0, available - span + 1))
        recent = min(int(rng.integers(2, 9)), clips - 1)
        old = rng.choice(span - recent, clips - recent, replace=False)
        picked = np.concatenate([np.sort(old), np.arange(span - recent, span)])
        return np.asarray(start + picked, np.int64)

    @staticmethod
    def _sparse(rng: np.random.Generator, clips: int) -> Ids:
        recent = min(int(rng.integers(2, 9)), clips - 4)
        old = int(rng.integers(3, min(24, clips - recent) + 1))
        picked = rng.choice(clips - recent, old, replace=False)
        return np.concatenate([np.sort(picked), np.arange(clips - recent, clips)], dtype=np.int64)


@dataclass
class _Tokens:
    """A branch as tokens."""

    ids: list[int]
    positions: list[int]
    targets: list[int]
    asks: list[bool]
    notes: int


def _branch_tokens(layout: Layout, branch: Branch, start: int, notes_end: int) -> _Tokens:
    """`start`: the position after the last seen clip; notes end right before `notes_end`."""
    history = [layout.turn(q, a) for q, a in branch.question.history]
    again = layout.encode(TURN_SUFFIX)[1:]
    earlier: list[int] = []
    for turn in history:
        earlier += [*turn.question, *turn.answer, *again]
    turn = layout.turn(branch.question.text, branch.question.answer)
    current = [*turn.question, *turn.answer[:-1]]
    ids = earlier + current
    if branch.as_notes and len(earlier) <= NOTE_GAP:
        before = list(range(notes_end - len(earlier), notes_end))
        positions = before + list(range(start, start + len(current)))
        notes = len(earlier)
    else:
        positions = list(range(start, start + len(ids)))
        notes = 0
    skip = len(earlier) + len(turn.question) - 1
    targets = [-100] * skip + list(turn.answer)
    asks = [False] * len(earlier) + [True] * len(turn.question)
    asks += [False] * (len(ids) - len(asks))
    return _Tokens(ids, positions, targets, asks, notes)


def pack(
    layout: Layout,
    contexts: list[Context],
    pool: Pool,
    system: str | None,
    lessons: Lessons | None = None,
) -> Packed:
    """Contexts of equally many computed clips under one sink."""
    sink = list(layout.encode(sink_text(system)))
    opening, batch = len(sink), len(contexts)
    lessons = Lessons() if lessons is None else lessons
    clips = len(contexts[0].rows)
    size = opening + clips * CLIP_TOKENS
    tokens = [
        [
            _branch_tokens(
                layout,
                branch,
                opening + context.gap + branch.seen * CLIP_POSITIONS,
                opening + context.gap,
            )
            for branch in context.branches
        ]
        for context in contexts
    ]
    width = max(sum(len(t.ids) for t in row) for row in tokens)
    clip_of = np.repeat(np.arange(clips), CLIP_TOKENS)
    clip_of = np.concatenate([np.full(opening, -1), clip_of])

    context_ids = np.zeros((batch, size), np.int64)
    positions = np.zeros((3, batch, size), np.int64)
    view_positions = np.zeros((3, batch, size), np.int64)
    context_mask = np.ones((batch, 1, size, size), np.bool_)
    branch_ids = np.full((batch, width), layout.pad, np.int64)
    branch_positions = np.zeros((batch, width), np.int64)
    branch_mask = np.zeros((batch, 1, width, size + width), np.bool_)
    targets = np.full((batch, width), -100, np.int64)
    question_of = np.full((batch, width), -1, np.int64)
    branch_of = np.full((batch, width), -1, np.int64)
    families: list[str] = []
    evidence: list[tuple[int, Context, Branch]] = []
    causal = np.tril(np.ones((size, size), np.bool_))
    rows: list[Ids] = []
    lessons_taught = [lessons.of(context.timeline, context.rows) for context in contexts]
    for at, context in enumerate(contexts):
        rows.append(context.timeline.start + context.rows)
        context_ids[at] = sink + [t for stamp in context.stamps() for t in layout.clip(stamp)]
        positions[:, at] = context_positions(opening, context.gap, np.arange(clips))
        places = np.zeros(clips, np.int64)
        places[context.viewed] = np.arange(len(context.viewed))
        view_positions[:, at] = context_positions(opening, context.gap, places)
        mask = causal
        if context.window is not None:
            near = clip_of[:, None] - clip_of[None, :] <= context.window
            mask = causal & (near | (clip_of < 0)[None, :])
        context_mask[at, 0] = mask
        shown = np.full(clips, clips, np.int64)
        shown[context.viewed] = np.arange(len(context.viewed))
        place_of = np.concatenate([np.full(opening, -1), np.repeat(shown, CLIP_TOKENS)])
        cursor = 0
        for branch, part in zip(context.branches, tokens[at], strict=True):
            stop = cursor + len(part.ids)
            number = len(families)
            branch_ids[at, cursor:stop] = part.ids
            branch_positions[at, cursor:stop] = part.positions
            targets[at, cursor:stop] = part.targets
            question_of[at, cursor:stop] = np.where(part.asks, number, -1)
            branch_of[at, cursor:stop] = number
            seen = place_of < branch.seen
            branch_mask[at, 0, cursor:stop, :size] = seen
            branch_mask[at, 0, cursor : cursor + part.notes, :size] = place_of < 0
            inner = np.tril(np.ones((stop - cursor, stop - cursor), np.bool_))
            branch_mask[at, 0, cursor:stop, size + cursor : size + stop] = inner
            families.append(branch.question.family)
            evidence.append((at, context, branch))
            cursor = stop
        branch_mask[at, 0, cursor:, 0] = True
    found = np.zeros((len(families), batch * clips), np.bool_)
    candidates = np.zeros_like(found)
    for number, (at, context, branch) in enumerate(evidence):
        candidates[number, at * clips + context.viewed[: branch.seen]] = True
        found[number, at * clips + context.viewed[list(branch.question.evidence)]] = True
    picked = np.concatenate(rows)
    moved = bool((view_positions != positions).any())
    windowed = any(context.window is not None for context in contexts)
    return Packed(
        context_ids=torch.from_numpy(context_ids),
        merged=torch.from_numpy(pool.merged[picked]).float().flatten(0, 1),
        deep=torch.from_numpy(pool.deep[picked]).float().flatten(0, 1),
        context_positions=torch.from_numpy(positions),
        view_positions=torch.from_numpy(view_positions) if moved else None,
        context_mask=torch.from_numpy(context_mask) if windowed else None,
        branch_ids=torch.from_numpy(branch_ids),
        branch_positions=torch.from_numpy(branch_positions).expand(3, -1, -1),
        branch_mask=torch.from_numpy(branch_mask),
        targets=torch.from_numpy(targets),
        question_of=torch.from_numpy(question_of),
        evidence=torch.from_numpy(found),
        candidates=torch.from_numpy(candidates),
        clip_of=torch.from_numpy(clip_of),
        family=families,
        branch_of=torch.from_numpy(branch_of),
        before=torch.from_numpy(np.stack([before for before, _ in lessons_taught])),
        change=torch.from_numpy(np.stack([change for _, change in lessons_taught])),
        stamps=torch.tensor([[stamp_parts(s) for s in c.stamps()] for c in contexts]),
    )


def unseen_moments(view: View, rng: np.random.Generator, branches: int) -> list[Question]:
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
    return [Question("unseen_moment", question.text, CANNOT_TELL)]


def stamp_parts(seconds: float) -> tuple[int, int, int]:
    """Ten thousands, hundreds and seconds of a stamp, as its tokens have them."""
    whole = int(f"{seconds:.1f}"[:-2]) % 100_000
    return whole // 10_000, whole // 100 % 100, whole % 100


def draw_shift(rng: np.random.Generator, last: float) -> int:
    """None, up to ten hours or up to the longest time that a stamp can name."""
    pick = rng.random()
    most = 0 if pick < 0.3 else 36_000 if pick < 0.7 else 99_000
    most = max(0, min(most, int(99_990 - last)))
    return int(rng.integers(0, most + 1))


def draw_system(rng: np.random.Generator) -> str | None:
    """Mostly the usual system prompt, sometimes the other or none."""
    pick = rng.random()
    return SYSTEM_PROMPTS[0] if pick < 0.8 else SYSTEM_PROMPTS[1] if pick < 0.9 else None
