"""Extra lessons for a clip's tokens: times, what the clip before showed, what is new or gone.

Answers alone teach a model very slowly to compare a clip with the one before it, because nothing
gets better until attention to the clip before, the comparison and its use all work. These labels
teach the first two directly, at every token of every clip, through heads that are thrown away.

What is new or gone is what makes "first" and "last" findable: attention looks for a token that says
"a red circle, for the first time", or "a red circle was here and is nowhere now", instead of
comparing the times of all clips with red circles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from onlooker.demo_model.table import SHAPES
from onlooker.demo_model.training.clips import CELLS, FIELDS, cell_of, frame_labels
from onlooker.demo_model.training.pool import DrawnTimeline
from onlooker.demo_model.training.vision import SIGN_CELL
from onlooker.demo_model.view import NEAR_S, differences
from onlooker.demo_model.world import COLOR_NAMES, Scene, World

Labels = NDArray[np.int64]
KINDS = ("none", "appear", "leave", "color", "start", "stop", "sign", "cut")
SIZES = (len(COLOR_NAMES) + 1, len(SHAPES) + 1, 11)
IGNORE = -100
GONE = 2
COMING_OR_GOING = 6.0
"""How many times a label counts in the clip in which a thing comes in or is gone. That is about one
in ten of the clips that show it, and the only one in which the label is hard to tell."""


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


def cell_bits(content: Labels) -> Labels:
    """int64[9, 3] -> int64[9, 3]: bits for kind or digit, colour, and shape of what a cell shows.

    The bits are 0 where a cell shows nothing, or it is unclear what.
    """
    color, shape, digit = np.maximum(content, 0).T
    kind = np.where((color > 0) & (shape > 0), (color - 1) * len(SHAPES) + shape, 0)
    kind = np.where(digit > 0, len(COLOR_NAMES) * len(SHAPES) + digit, kind)
    bits: Labels = np.left_shift(1, np.stack([kind, color, shape], 1)) & ~1
    return bits


def shown_bits(scenes: Sequence[Scene]) -> Labels:
    """int64[3]: the bits (see `cell_bits`) of everything that these frames show, wherever it is."""
    bits = np.zeros(3, np.int64)
    for scene in scenes:
        for thing in scene.objects:
            color, shape = COLOR_NAMES.index(thing.color), SHAPES.index(thing.shape)
            bits |= np.left_shift(1, np.array((color * len(SHAPES) + shape, color, shape)) + 1)
        if scene.sign is not None:
            bits[0] |= 1 << (len(COLOR_NAMES) * len(SHAPES) + scene.sign + 1)
    return bits


def fresh_labels(bits: Labels, shown: Labels, reach: int) -> Labels:
    """int64[n, 9, 3]: whether what a cell shows is new, for each of `n` clips.

    0: the cell shows nothing; 1: the `reach` clips before showed it; 2: it is new. The arguments
    are the bits of the cells, int64[n, 9, 3], and of the whole clips, int64[n, 3].
    """
    labels = np.zeros_like(bits)
    for at in range(len(bits)):
        known = np.bitwise_or.reduce(shown[max(0, at - reach) : at], axis=0, initial=0)
        labels[at] = np.where(bits[at] == 0, 0, np.where(bits[at] & known, 1, 2))
    return labels


def entering(bits: Labels, shown: Labels) -> Labels:
    """int64[n, 9, 3]: 1 where a cell shows what the clip before showed nowhere; 0 in the first."""
    enters = np.zeros_like(bits)
    enters[1:] = (bits[1:] != 0) & (bits[1:] & shown[:-1, None] == 0)
    return enters


def gone_labels(bits: Labels, shown: Labels) -> Labels:
    """int64[n, 9, 3]: what became of what the cell showed one clip ago.

    0: it showed nothing; 1: the clip still shows it, wherever; 2: it is gone.
    """
    labels = np.zeros_like(bits)
    was, now = bits[:-1], shown[1:, None]
    labels[1:] = np.where(was == 0, 0, np.where(was & now, 1, GONE))
    return labels


@dataclass(frozen=True)
class Labelled:
    """The labels of the clips of B contexts."""

    before: Labels
    """[B, clips, 9, 3]: colour, shape and digit that the clip before showed in the cell."""
    change: Labels
    """[B, clips, 9]: what changed in a cell since the clip before."""
    fresh: Labels
    """[B, clips, 9, 3]: whether the kind, colour or shape in a cell is new (see `fresh_labels`)."""
    enters: Labels
    """[B, clips, 9, 3]: 1 where the clip before showed nowhere what the cell shows."""
    gone: Labels
    """[B, clips, 9, 3]: whether what was there one clip ago is gone (see `gone_labels`)."""
    count: Labels
    """[B, clips]: how many objects the clip shows; its last token is asked for that."""

    def tensors(self, device: torch.device) -> dict[str, Tensor]:
        return {name: torch.from_numpy(value).to(device) for name, value in vars(self).items()}


class Lessons:
    """Labels of every clip of the timelines, made when a timeline is first used."""

    def __init__(self) -> None:
        self._content: dict[int, Labels] = {}
        self._change: dict[int, Labels] = {}
        self._shown: dict[int, Labels] = {}
        self._count: dict[int, Labels] = {}

    def content(self, timeline: DrawnTimeline, row: int) -> Labels:
        """int64[9, 3]: the content labels of one clip; call `of` for its timeline before."""
        found: Labels = self._content[timeline.start][row]
        return found

    def occupied(self, timeline: DrawnTimeline, row: int) -> NDArray[np.bool_]:
        """bool[9]: the cells where one clip shows an object; call `of` for its timeline before."""
        found: NDArray[np.bool_] = self.content(timeline, row)[:, 0] > 0
        return found

    def changed(self, timeline: DrawnTimeline, row: int) -> NDArray[np.bool_]:
        """bool[9]: the cells changed since the clip before; call `of` for its timeline before."""
        found: NDArray[np.bool_] = self._change[timeline.start][row] > 0
        return found

    def shown(self, timeline: DrawnTimeline, rows: Labels) -> Labels:
        """int64[3]: the bits of all that these clips show; call `of` for their timeline before."""
        found: Labels = np.bitwise_or.reduce(self._shown[timeline.start][rows], axis=0, initial=0)
        return found

    def _watch(self, timeline: DrawnTimeline) -> None:
        world = World(timeline.seed)
        scenes = [world.state_at(t) for t in timeline.seconds]
        firsts = [world.state_at(t) for t in timeline.firsts]
        change = [np.full(CELLS, IGNORE, np.int64)]
        change += [change_labels(a, b) for a, b in pairwise(scenes)]
        both = list(zip(firsts, scenes, strict=True))
        counts = [(len(a.objects), len(b.objects)) for a, b in both]
        self._content[timeline.start] = np.stack([content_labels(scene) for scene in scenes])
        self._change[timeline.start] = np.stack(change)
        self._shown[timeline.start] = np.stack([shown_bits(pair) for pair in both])
        self._count[timeline.start] = np.array([a if a == b else IGNORE for a, b in counts])

    def of(self, timeline: DrawnTimeline, rows: Labels, window: int | None) -> Labelled:
        """The labels of a context's clips, with a batch axis of one."""
        if timeline.start not in self._content:
            self._watch(timeline)
        content = self._content[timeline.start][rows]
        before = np.full((len(rows), CELLS, 3), IGNORE, np.int64)
        before[1:] = content[:-1]
        bits = np.stack([cell_bits(one) for one in content])
        shown = self._shown[timeline.start][rows]
        fresh = fresh_labels(bits, shown, len(rows) if window is None else window)
        changes = self._change[timeline.start][rows].copy()
        stamps = np.array(timeline.stamps)[rows]
        apart = np.ones(len(rows), np.bool_)
        apart[1:] = (np.diff(rows) != 1) | (np.diff(stamps) > NEAR_S)
        changes[apart] = IGNORE
        count = self._count[timeline.start][rows]
        enters = entering(bits, shown)
        found = (before, changes, fresh, enters, gone_labels(bits, shown), count)
        return Labelled(*(labels[None] for labels in found))


def stacked(parts: Sequence[Labelled]) -> Labelled:
    """The labels of several contexts as one batch."""
    return Labelled(*(np.concatenate(labels) for labels in zip(*map(_fields, parts), strict=True)))


def _fields(labels: Labelled) -> tuple[Labels, ...]:
    return tuple(vars(labels).values())


PLACE_CELLS = {"left": 3, "right": 5, "top": 1, "bottom": 7, "middle": 4}


def named_cells(text: str, content: Labels) -> NDArray[np.bool_] | None:
    """bool[9]: the cells of a clip (content int64[9, 3]) that a question's words fit.

    None when the words name nothing; all False when what they name is not there.
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
    return None if fits.all() else fits


class ChangeHeads(nn.Module):
    """Read-outs of the video tokens of two layers, thrown away after training."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.RMSNorm(hidden), nn.RMSNorm(hidden)])
        self.before = nn.ModuleList([nn.Linear(hidden, size) for size in SIZES])
        self.change = nn.Linear(hidden, len(KINDS))
        self.count = nn.Linear(hidden, 4)
        self.fresh = nn.ModuleList([nn.Linear(hidden, 3) for _ in range(3)])
        self.gone = nn.ModuleList([nn.Linear(hidden, 3) for _ in range(3)])
        self.stamp = nn.ModuleList([nn.Linear(hidden, size) for size in (10, 100, 100)])
        self.earlier = nn.ModuleList([nn.Linear(hidden, size) for size in (10, 100, 100)])

    def forward(
        self, taps: list[Tensor], labels: dict[str, Tensor], stamps: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        """The sum of the losses, and the shares of right labels where there is something to tell.

        taps float[B, clips, 10, H] of two layers: the video tokens and the clip's last token;
        labels as in `Labelled`, stamps int64[B, clips, 3] (the whole tokens of a stamp).
        """
        early, late = (norm(tap.float()) for norm, tap in zip(self.norms, taps, strict=True))
        count = self.count(early[:, :, CELLS]).flatten(0, -2)
        early, late = early[:, :, :CELLS], late[:, :, :CELLS]
        total = _loss(count, labels["count"].flatten(), nothing=1.0)
        right = {"count": _share(count, labels["count"].flatten())}
        for at, head in enumerate(self.before):
            logits, want = head(early).flatten(0, -2), labels["before"][..., at].flatten()
            total = total + _loss(logits, want)
            right[f"before/{at}"] = _share(logits, want)
        earlier = torch.full_like(stamps, IGNORE)
        earlier[:, 1:] = stamps[:, :-1]
        for name, held, heads, given in (
            ("stamp", early, self.stamp, stamps),
            ("earlier", late, self.earlier, earlier),
        ):
            for at, head in enumerate(heads):
                want = given[..., None, at].expand(held.shape[:-1]).flatten()
                logits = head(held).flatten(0, -2)
                total = total + _loss(logits, want, nothing=1.0)
                right[f"{name}/{at}"] = _share(logits, want)
        for name, rare, heads, hard in (
            ("fresh", "enters", self.fresh, labels["enters"] == 1),
            ("gone", "leaves", self.gone, labels["gone"] == GONE),
        ):
            for at, head in enumerate(heads):
                logits, want = head(late).flatten(0, -2), labels[name][..., at].flatten()
                most = hard[..., at].flatten()
                total = total + _loss(logits, want, times=1.0 + (COMING_OR_GOING - 1.0) * most)
                right[f"{name}/{at}"] = _share(logits, want)
                right[f"{rare}/{at}"] = _share(logits, want * most)
        logits, want = self.change(late).flatten(0, -2), labels["change"].flatten()
        right["change"] = _share(logits, want)
        return total + 3.0 * _loss(logits, want, nothing=0.05), right


def _loss(
    logits: Tensor, want: Tensor, nothing: float = 0.25, times: Tensor | float = 1.0
) -> Tensor:
    """Cross-entropy in which "nothing" counts less; zero when nothing is labelled.

    times is how many times each label counts: float[n], or one number for all.
    """
    if not bool((want != IGNORE).any()):
        return logits.sum() * 0.0
    weight = torch.ones(logits.shape[-1], device=logits.device)
    weight[0] = nothing
    losses = functional.cross_entropy(
        logits, want, weight=weight, ignore_index=IGNORE, reduction="none"
    )
    counts = torch.where(want == IGNORE, 0.0, weight[want.clamp(min=0)]) * times
    return (losses * times).sum() / counts.sum().clamp(min=1e-6)


def _share(logits: Tensor, want: Tensor) -> float:
    there = want > 0
    if not bool(there.any()):
        return float("nan")
    return (logits.argmax(-1) == want)[there].float().mean().item()
