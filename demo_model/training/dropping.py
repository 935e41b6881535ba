"""Clips of which not every place is computed: contexts as a stream leaves them that drops tokens.

A place that shows what it showed when it was last computed is left out, and every place is
computed again in turn. Either it is missing then, or the clip is made whole from the keys and
values that the place had when it was last computed (a *filled* clip).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onlooker.demo_model.training.clips import CELLS
from onlooker.demo_model.training.pool import DrawnTimeline
from onlooker.demo_model.training.vision import SIGN_CELL
from onlooker.demo_model.world import Scene, World

Bools = NDArray[np.bool_]
Indices = NDArray[np.int64]

DROPPED = 0.35
"""The share of the contexts in which places are left out, where that is possible."""
FILLED = 0.5
"""The share of those whose clips are filled."""
TURNS = (2, 3, 4, 6, 8)
"""After how many clips every place has been shown again, whatever it shows."""


@dataclass(frozen=True)
class ShownPlaces:
    """Which places of the clips of a context are computed."""

    kept: Bools
    """bool[clips, 9]: the places that are computed."""
    filled: bool
    """Whether the others stand in the context all the same, as they were when last computed."""

    def last(self) -> Indices:
        """int64[clips, 9]: the clip in which each place was last computed, itself included."""
        at = np.where(self.kept, np.arange(len(self.kept))[:, None], 0)
        return np.maximum.accumulate(at, axis=0)


def looks(timeline: DrawnTimeline) -> Indices:
    """int64[clips, 9]: numbers for what each place looks like; alike where nothing is changed."""
    world = World(timeline.seed)
    known: dict[Hashable, int] = {}
    rows = []
    for first, second in zip(timeline.firsts, timeline.seconds, strict=True):
        frames = [_cells(world.state_at(t)) for t in (first, second)]
        pairs = zip(*frames, strict=True)
        rows.append([known.setdefault(pair, len(known)) for pair in pairs])
    return np.array(rows, np.int64)


def _cells(scene: Scene) -> list[Hashable]:
    """For each place, what of this scene lies in it, to a fiftieth of the frame."""
    cells: list[list[Hashable]] = [[scene.index] for _ in range(CELLS)]
    cells[SIGN_CELL].append(scene.sign)
    for thing in scene.objects:
        look = (thing.ident, thing.color, round(thing.x * 50), round(thing.y * 50))
        for cell in range(CELLS):
            row, column = divmod(cell, 3)
            near_x = column / 3 - thing.radius < thing.x < (column + 1) / 3 + thing.radius
            near_y = row / 3 - thing.radius < thing.y < (row + 1) / 3 + thing.radius
            if near_x and near_y:
                cells[cell].append(look)
    return [tuple(cell) for cell in cells]


def shown_again(looks: Indices, turn: int, order: Sequence[int]) -> Bools:
    """bool[clips, 9]: the places to compute of clips that look like this (int64[clips, 9]).

    The first clip is whole. After it a place is computed where it looks other than when it was last
    computed, and in turn: all of them in every `turn` clips, by their place in `order`.
    """
    kept = np.ones(looks.shape, np.bool_)
    last = looks[0].copy()
    for at in range(1, len(looks)):
        due = (at + np.asarray(order)) % turn == 0
        kept[at] = due | (looks[at] != last)
        last[kept[at]] = looks[at][kept[at]]
    return kept


def draw_shown(
    rng: np.random.Generator, looks: Indices, window: int | None, *, must_fill: bool
) -> ShownPlaces | None:
    """Now and then, which places of clips that look like this are computed; None: all.

    Where `must_fill`, places that are not computed are filled.
    """
    if len(looks) < 2 or rng.random() > DROPPED:
        return None
    most = len(looks) if window is None else window
    turn = int(rng.choice([turn for turn in TURNS if turn <= max(most, 2)]))
    kept = shown_again(looks, turn, rng.permutation(CELLS).tolist())
    return ShownPlaces(kept, must_fill or rng.random() < FILLED)
