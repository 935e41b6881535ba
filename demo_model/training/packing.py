"""Packs contexts with their branches into the tensors of `language.forward`."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from onlooker.demo_model.answers import CANNOT_TELL
from onlooker.demo_model.dataset import (
    CLIP_POSITIONS,
    CLIP_TOKENS,
    STAMP_TOKENS,
    TURN_SUFFIX,
    VIDEO_TOKENS,
    Ids,
    Layout,
    context_positions,
    sink_text,
)
from onlooker.demo_model.training.changes import IGNORE, Labelled, Lessons, stacked
from onlooker.demo_model.training.contexts import COUNTED, NOTE_GAP, Branch, Context
from onlooker.demo_model.training.dropping import ShownPlaces
from onlooker.demo_model.training.language import Packed
from onlooker.demo_model.training.pointing import counted_tokens, named, pointed_tokens
from onlooker.demo_model.training.pool import Pool

Bools = NDArray[np.bool_]
NOWHERE = ("no", "never", CANNOT_TELL)
"""Answers for which there is nothing to look at: attention learns to rest on the sink instead."""


@dataclass
class _Tokens:
    """The tokens of a branch: earlier turns, question and answer; `notes` of them are notes."""

    ids: list[int]
    positions: list[int]
    targets: list[int]
    asks: list[bool]
    notes: int


def _branch_tokens(layout: Layout, branch: Branch, start: int, notes_end: int) -> _Tokens:
    """The tokens of a branch that begins at position `start`, after the last seen clip.

    Notes end right before position `notes_end`.
    """
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


class _ContextPart:
    """Ids, positions and mask of the computed contexts: B contexts of `size` tokens each."""

    def __init__(self, layout: Layout, contexts: list[Context], sink: tuple[int, ...]) -> None:
        batch, clips = len(contexts), len(contexts[0].rows)
        self.opening = len(sink)
        self.size = self.opening + clips * CLIP_TOKENS
        self.ids = np.zeros((batch, self.size), np.int64)
        self.positions = np.zeros((3, batch, self.size), np.int64)
        self.view_positions = np.zeros((3, batch, self.size), np.int64)
        self.clip_of = self._by_token(np.arange(clips))
        self.mask = np.zeros((batch, 1, self.size, self.size), np.bool_)
        self.mask[:] = np.tril(np.ones((self.size, self.size), np.bool_))
        self.place_of: list[Ids] = []
        """Per context int64[size]: the place of a token's clip among the viewed clips.

        It is -1 for the sink and the number of computed clips where the clip is not viewed.
        """
        self.hidden = np.zeros((batch, self.size), np.bool_)
        self.source = np.tile(np.arange(self.size), (batch, 1))
        for at, context in enumerate(contexts):
            stamps = context.stamps()
            self.ids[at] = [*sink, *(t for stamp in stamps for t in layout.clip(stamp))]
            places = np.full(clips, clips, np.int64)
            places[context.viewed] = np.arange(len(context.viewed))
            self.place_of.append(self._by_token(places))
            self.positions[:, at] = context_positions(self.opening, context.gap, np.arange(clips))
            places[places == clips] = 0
            self.view_positions[:, at] = context_positions(self.opening, context.gap, places)
            if context.window is not None:
                near = self.clip_of[:, None] - self.clip_of[None, :] <= context.window
                self.mask[at, 0] &= near | (self.clip_of < 0)[None, :]
            if context.shown is not None:
                self._leave_out(at, context.shown)

    def _leave_out(self, at: int, shown: ShownPlaces) -> None:
        """Hide the places that are not computed, or put there what they were when they were."""
        places = self.opening + np.arange(len(shown.kept))[:, None] * CLIP_TOKENS
        places = places + STAMP_TOKENS + 1 + np.arange(VIDEO_TOKENS)
        if shown.filled:
            self.source[at, places] = np.take_along_axis(places, shown.last(), axis=0)
            return
        self.hidden[at, places] = ~shown.kept
        self.mask[at, 0] &= ~self.hidden[at]

    def token(self, clip: int, token: int) -> int:
        """The index of a clip's video token, or of the last one of its ten, in the context."""
        return self.opening + clip * CLIP_TOKENS + STAMP_TOKENS + 1 + token

    def _by_token(self, values: Ids) -> Ids:
        """int64[size]: -1 for tokens of the sink, the value of its clip for every other token."""
        return np.concatenate([np.full(self.opening, -1), np.repeat(values, CLIP_TOKENS)])


class _BranchPart:
    """Ids, positions, masks and targets of all branches, side by side per context."""

    def __init__(self, layout: Layout, contexts: list[Context], part: _ContextPart) -> None:
        tokens = [self._tokens(layout, context, part.opening) for context in contexts]
        batch, width = len(contexts), max(sum(len(t.ids) for t in row) for row in tokens)
        self.size = part.size
        self.separators = [*layout.encode(","), *layout.encode(" and"), layout.end]
        self.ids = np.full((batch, width), layout.pad, np.int64)
        self.positions = np.zeros((batch, width), np.int64)
        self.mask = np.zeros((batch, 1, width, part.size), np.bool_)
        self.targets = np.full((batch, width), -100, np.int64)
        self.question_of = np.full((batch, width), -1, np.int64)
        self.branch_of = np.full((batch, width), -1, np.int64)
        self.pointing = np.full((batch, width), -1, np.int64)
        """int64[B, Q]: the row of `pointed` by which a token goes; -1 for padding."""
        self.asked: list[tuple[int, Context, Branch]] = []
        for at, context in enumerate(contexts):
            cursor = 0
            for branch, one in zip(context.branches, tokens[at], strict=True):
                self._place(at, cursor, one, part.place_of[at], branch.seen)
                self.mask[at, 0, cursor : cursor + len(one.ids)] &= ~part.hidden[at]
                self.asked.append((at, context, branch))
                cursor += len(one.ids)
            self.mask[at, 0, cursor:, 0] = True

    @staticmethod
    def _tokens(layout: Layout, context: Context, opening: int) -> list[_Tokens]:
        first = opening + context.gap
        return [
            _branch_tokens(layout, branch, first + branch.seen * CLIP_POSITIONS, first)
            for branch in context.branches
        ]

    def _place(self, at: int, cursor: int, one: _Tokens, place_of: Ids, seen: int) -> None:
        """Write one branch into its columns; notes see the sink alone."""
        here = slice(cursor, cursor + len(one.ids))
        number = len(self.asked)
        self.ids[at, here] = one.ids
        self.positions[at, here] = one.positions
        self.targets[at, here] = one.targets
        self.question_of[at, here] = np.where(one.asks, number, -1)
        self.branch_of[at, here] = number
        self.pointing[at, here] = number
        self.mask[at, 0, here] = place_of < seen
        self.mask[at, 0, cursor : cursor + one.notes] = place_of < 0

    def pointed(self, part: _ContextPart, lessons: Lessons) -> Bools:
        """bool[rows, C]: the tokens of evidence clips that show what a question names.

        There is a row for each question and then, for lists, one for each object. `pointing` is
        changed so that the words that name an object go by its row.
        """
        found = np.zeros((len(self.asked), self.size), np.bool_)
        for number, (_, context, branch) in enumerate(self.asked):
            counts = branch.question.family in COUNTED
            look = counted_tokens if counts else pointed_tokens
            if counts:  # a token that is always there: its share of attention tells the count
                found[number, 0] = True
            elif branch.question.answer in NOWHERE and not branch.question.evidence:
                found[number, : part.opening] = True
            narrated = branch.question.family == "narrate"  # the newest clip knows the one before
            for evidence in branch.question.evidence[-1 if narrated else 0 :]:
                if evidence >= len(context.viewed):
                    continue  # the branch is a probe for clips that it does not see
                clip, tokens = look(context, branch, evidence, lessons)
                for token in np.nonzero(tokens)[0]:
                    found[number, part.token(clip_of_place(context, clip, token), token)] = True
        return np.concatenate([found, *self._listed(part, lessons)])

    def evenly(self, rows: int) -> Bools:
        """bool[rows]: the rows of `pointed` that belong to questions that count."""
        counts = [branch.question.family in COUNTED for _, _, branch in self.asked]
        return np.array(counts + [False] * (rows - len(counts)), np.bool_)

    def _listed(self, part: _ContextPart, lessons: Lessons) -> list[Bools]:
        """bool[1, C] for each object of each list: the cells that show it."""
        rows: list[Bools] = []
        for number, (at, context, branch) in enumerate(self.asked):
            if branch.question.family != "now_list":
                continue
            clip = int(context.viewed[branch.seen - 1])
            columns = np.nonzero((self.branch_of[at] == number) & (self.targets[at] >= 0))[0]
            objects = re.split(", | and ", branch.question.answer)
            of = self.list_places(self.targets[at, columns])
            for place, words in enumerate(objects):
                cells = named(context, clip, words, lessons)
                if cells is None or not cells.any():
                    continue
                row = np.zeros((1, self.size), np.bool_)
                for cell in np.nonzero(cells)[0]:
                    row[0, part.token(clip_of_place(context, clip, cell), cell)] = True
                self.pointing[at, columns[of == place]] = len(self.asked) + len(rows)
                rows.append(row)
        return rows

    def list_places(self, answer: Ids) -> Ids:
        """int64[n]: which object each token of a listing answer names; -1 for separators."""
        parts = np.isin(answer, self.separators)
        return np.where(parts, -1, np.cumsum(parts))

    def evidence(self, batch: int, clips: int) -> tuple[Bools, Bools]:
        """Evidence and candidates, both bool[questions, clips of all contexts] (see `Packed`)."""
        found = np.zeros((len(self.asked), batch * clips), np.bool_)
        candidates = np.zeros_like(found)
        for number, (at, context, branch) in enumerate(self.asked):
            evidence = [i for i in branch.question.evidence if i < len(context.viewed)]
            candidates[number, at * clips + context.viewed[: branch.seen]] = True
            found[number, at * clips + context.viewed[evidence]] = True
        return found, candidates


def clip_of_place(context: Context, clip: int, token: int) -> int:
    """The clip in which to look for what a clip shows at a place (or with its last token).

    It is the clip itself unless the place is missing there: then, the last one that shows it.
    """
    shown = context.shown
    if shown is None or shown.filled or token >= VIDEO_TOKENS:
        return clip
    return int(shown.last()[clip, token])


def lesson_of(context: Context, branch: Branch) -> str:
    """What is taught with a question beside its family: a conversation, or what is left out."""
    turns = len(branch.question.history)
    if turns > (branch.question.family == "follow_up"):
        return f"turns_{turns}"
    if context.shown is None:
        return ""
    return "filled" if context.shown.filled else "dropped"


def without_hidden(labels: Labelled, context: Context) -> Labelled:
    """The labels of a context's clips, ignored at places that are not computed."""
    if context.shown is None:
        return labels
    missing = ~context.shown.kept[None]
    kept = {name: labels_of.copy() for name, labels_of in vars(labels).items()}
    for name in ("before", "change", "fresh", "gone"):
        kept[name][missing] = IGNORE
    return Labelled(**kept)


def pack(
    layout: Layout,
    contexts: list[Context],
    pool: Pool,
    system: str | None,
    lessons: Lessons | None = None,
) -> Packed:
    """Pack contexts, which must have equally many computed clips, under one sink."""
    lessons = Lessons() if lessons is None else lessons
    part = _ContextPart(layout, contexts, layout.encode(sink_text(system)))
    branches = _BranchPart(layout, contexts, part)
    evidence, candidates = branches.evidence(len(contexts), len(contexts[0].rows))
    picked = np.concatenate([context.timeline.start + context.rows for context in contexts])
    moved = bool((part.view_positions != part.positions).any())
    masked = any(c.window is not None or c.shown is not None for c in contexts)
    filled = any(c.shown is not None and c.shown.filled for c in contexts)
    taught = [without_hidden(lessons.of(c.timeline, c.rows, c.window), c) for c in contexts]
    pointed = branches.pointed(part, lessons)
    return Packed(
        context_ids=torch.from_numpy(part.ids),
        merged=torch.from_numpy(pool.merged[picked]).float().flatten(0, 1),
        deep=torch.from_numpy(pool.deep[picked]).float().flatten(0, 1),
        context_positions=torch.from_numpy(part.positions),
        view_positions=torch.from_numpy(part.view_positions) if moved else None,
        context_mask=torch.from_numpy(part.mask) if masked else None,
        branch_ids=torch.from_numpy(branches.ids),
        branch_positions=torch.from_numpy(branches.positions).expand(3, -1, -1),
        branch_mask=torch.from_numpy(branches.mask),
        targets=torch.from_numpy(branches.targets),
        question_of=torch.from_numpy(branches.question_of),
        evidence=torch.from_numpy(evidence),
        candidates=torch.from_numpy(candidates),
        pointed=torch.from_numpy(pointed),
        evenly=torch.from_numpy(branches.evenly(len(pointed))),
        pointed_by=torch.from_numpy(branches.pointing),
        clip_of=torch.from_numpy(part.clip_of),
        family=[branch.question.family for _, _, branch in branches.asked],
        branch_of=torch.from_numpy(branches.branch_of),
        labels=stacked(taught).tensors(torch.device("cpu")),
        stamps=torch.tensor([[stamp_parts(s) for s in c.stamps()] for c in contexts]),
        hidden=torch.from_numpy(part.hidden) if part.hidden.any() else None,
        source=torch.from_numpy(part.source) if filled else None,
        lesson=[lesson_of(context, branch) for _, context, branch in branches.asked],
    )


def stamp_parts(seconds: float) -> tuple[int, int, int]:
    """Ten thousands, hundreds and seconds of a stamp, as its tokens have them."""
    whole = int(f"{seconds:.1f}"[:-2]) % 100_000
    return whole // 10_000, whole // 100 % 100, whole % 100
