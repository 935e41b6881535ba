"""Extra lessons for the video tokens: their time, what the clip before showed, what has changed.

Answers alone teach a model very slowly to compare a clip with the one before it, because nothing
gets better until attention to the clip before, the comparison and its use all work. These labels
teach the first two directly, at every token of every clip, through heads that are thrown away.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from onlooker.demo_model.table import SHAPES
from onlooker.demo_model.training.clips import CELLS, FIELDS, cell_of, frame_labels
from onlooker.demo_model.training.pool import Timeline
from onlooker.demo_model.training.vision import SIGN_CELL
from onlooker.demo_model.view import NEAR_S, differences
from onlooker.demo_model.world import COLOR_NAMES, Scene, World

Labels = NDArray[np.int64]
KINDS = ("none", "appear", "leave", "color", "start", "stop", "sign", "cut")
SIZES = (len(COLOR_NAMES) + 1, len(SHAPES) + 1, 11)
IGNORE = -100


def content_labels(scene: Scene) -> Labels:
    """int64[9, 3]: colour and shape of each cell (0: nothing), and the digit + 1 at the sign's."""
    flat = frame_labels(scene).astype(np.int64)
    fields = flat[: CELLS * len(FIELDS)].reshape(len(FIELDS), CELLS)
    labels = np.full((CELLS, 3), IGNORE, np.int64)
    labels[:, 0], labels[:, 1] = fields[0], fields[1]
    labels[labels == -1] = IGNORE
    labels[SIGN_CELL, 2] = flat[CELLS * len(FIELDS)]
    return labels


def change_labels(before: Scene, after: Scene) -> Labels:
    """int64[9]: which kind of change shows in each cell; all ignored where that is not clear."""
    labels = np.zeros(CELLS, np.int64)
    for change in differences(before, after):
        kind = KINDS.index(change.kind)
        if change.kind == "cut":
            labels[:] = kind
            continue
        if change.kind == "sign":
            labels[SIGN_CELL] = kind
            continue
        thing = change.after or change.before
        cell = cell_of(thing.x, thing.y) if thing else None
        if cell is None:
            return np.full(CELLS, IGNORE, np.int64)
        labels[cell] = kind
    return labels


def kind_bits(content: Labels) -> Labels:
    """int64[9, 3] -> int64[9]: a bit for the kind or digit in a cell; 0: nothing or unclear."""
    color, shape, digit = content.T
    thing = np.where((color > 0) & (shape > 0), (color - 1) * len(SHAPES) + shape - 1, -1)
    thing = np.where(digit > 0, len(COLOR_NAMES) * len(SHAPES) + digit - 1, thing)
    return np.where(thing >= 0, np.left_shift(1, np.maximum(thing, 0)), 0)


def fresh_labels(bits: Labels, reach: int) -> Labels:
    """int64[n, 9] kind bits -> 0 nothing there, 1 shown in the `reach` clips before, 2 new."""
    shown = np.bitwise_or.reduce(bits, axis=1)
    labels = np.zeros_like(bits)
    for at in range(len(bits)):
        earlier = shown[max(0, at - reach) : at]
        known = int(np.bitwise_or.reduce(earlier)) if len(earlier) else 0
        labels[at] = np.where(bits[at] == 0, 0, np.where(bits[at] & known, 1, 2))
    return labels


class Lessons:
    """Labels of every clip of the timelines, made when a timeline is first used."""

    def __init__(self) -> None:
        self._content: dict[int, Labels] = {}
        self._change: dict[int, Labels] = {}

    def content(self, timeline: Timeline, row: int) -> Labels:
        """int64[9, 3] of one clip; after `of` for its timeline."""
        found: Labels = self._content[timeline.start][row]
        return found

    def of(
        self, timeline: Timeline, rows: Labels, window: int | None
    ) -> tuple[Labels, Labels, Labels]:
        """For a context's clips: before int64[n, 9, 3], change int64[n, 9], fresh int64[n, 9]."""
        if timeline.start not in self._content:
            world = World(timeline.seed)
            scenes = [world.state_at(t) for t in timeline.seconds]
            content = np.stack([content_labels(scene) for scene in scenes])
            change = [np.full(CELLS, IGNORE, np.int64)]
            change += [change_labels(a, b) for a, b in pairwise(scenes)]
            self._content[timeline.start] = content
            self._change[timeline.start] = np.stack(change)
        content = self._content[timeline.start][rows]
        before = np.full((len(rows), CELLS, 3), IGNORE, np.int64)
        before[1:] = content[:-1]
        bits = np.stack([kind_bits(one) for one in content])
        fresh = fresh_labels(bits, len(rows) if window is None else window)
        changes = self._change[timeline.start][rows].copy()
        stamps = np.array(timeline.stamps)[rows]
        apart = np.ones(len(rows), np.bool_)
        apart[1:] = (np.diff(rows) != 1) | (np.diff(stamps) > NEAR_S)
        changes[apart] = IGNORE
        return before, changes, fresh


PLACE_CELLS = {"left": 3, "right": 5, "top": 1, "bottom": 7, "middle": 4}


def named_cells(text: str, content: Labels) -> NDArray[np.bool_]:
    """bool[9]: the cells of a clip (content int64[9, 3]) that a question's words fit.

    All cells when the words name nothing that is there.
    """
    every = np.ones(CELLS, np.bool_)
    named = text.lower()
    if "sign" in named:
        return np.arange(CELLS) == SIGN_CELL
    fits = every.copy()
    for at, names in ((0, COLOR_NAMES), (1, SHAPES)):
        said = [number for number, name in enumerate(names, 1) if name in named]
        if said:
            fits &= np.isin(content[:, at], said)
    places = [cell for place, cell in PLACE_CELLS.items() if place in named]
    if places:
        fits &= np.isin(np.arange(CELLS), places)
    return every if fits.all() or not fits.any() else fits


class ChangeHeads(nn.Module):
    """Throw-away read-outs of two layers' video tokens."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.RMSNorm(hidden), nn.RMSNorm(hidden)])
        self.before = nn.ModuleList([nn.Linear(hidden, size) for size in SIZES])
        self.change = nn.Linear(hidden, len(KINDS))
        self.fresh = nn.Linear(hidden, 3)
        self.stamp = nn.ModuleList([nn.Linear(hidden, size) for size in (10, 100, 100)])

    def forward(
        self, taps: list[Tensor], before: Tensor, change: Tensor, fresh: Tensor, stamps: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        """The sum of the losses, and shares of right labels where there is something to tell.

        taps float[B, clips, 9, H] of two layers, before int64[B, clips, 9, 3], change
        and fresh int64[B, clips, 9], stamps int64[B, clips, 3] (the whole tokens of a stamp).
        """
        early, late = (norm(tap.float()) for norm, tap in zip(self.norms, taps, strict=True))
        total = early.sum() * 0.0
        right: dict[str, float] = {}
        for at, head in enumerate(self.before):
            logits, want = head(early).flatten(0, -2), before[..., at].flatten()
            total = total + _loss(logits, want)
            right[f"before/{at}"] = _share(logits, want)
        for at, head in enumerate(self.stamp):
            logits = head(early).flatten(0, -2)
            want = stamps[..., None, at].expand(early.shape[:-1]).flatten()
            total = total + 0.5 * functional.cross_entropy(logits, want)
            right[f"stamp/{at}"] = (logits.argmax(-1) == want).float().mean().item()
        logits, want = self.fresh(late).flatten(0, -2), fresh.flatten()
        total = total + 2.0 * _loss(logits, want)
        right["fresh"] = _share(logits, want)
        logits, want = self.change(late).flatten(0, -2), change.flatten()
        right["change"] = _share(logits, want)
        return total + 3.0 * _loss(logits, want, nothing=0.05), right


def _loss(logits: Tensor, want: Tensor, nothing: float = 0.25) -> Tensor:
    """Cross-entropy in which "nothing" counts less; zero when nothing is labelled."""
    if not bool((want != IGNORE).any()):
        return logits.sum() * 0.0
    weight = torch.ones(logits.shape[-1], device=logits.device)
    weight[0] = nothing
    return functional.cross_entropy(logits, want, weight=weight, ignore_index=IGNORE)


def _share(logits: Tensor, want: Tensor) -> float:
    there = want > 0
    if not bool(there.any()):
        return float("nan")
    return (logits.argmax(-1) == want)[there].float().mean().item()
