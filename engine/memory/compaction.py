"""Compaction: what stays of a clip's keys and values when it has left the recent window.

A clip is computed whole, as ever; later only some of its tokens stay. Each method is a plug-in
under its name (`COMPACTIONS`). It says what it wants to know of a clip, which the workers measure,
and then which tokens stay, or which are put together. Nothing of a question is known by then.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from onlooker.core.protocol.base import CompactionName
from onlooker.core.settings import Section
from onlooker.engine.memory.clip_tokens import ClipTokens

Measure = Literal["nothing", "value_norm", "attention", "likeness"]
"""What the workers measure of a clip. ``value_norm``: how large each token's values are, beside
those of the clip's other tokens. ``attention``: how much of their attention the newest clip's last
tokens give to each token. ``likeness``: how much alike two tokens are, for pairs of them."""

Pairs = list[tuple[int, int]]
"""Rows of two tokens each."""

Blend = tuple[int, list[int]]
"""A token that is left: the row where it stands, and the rows of which it is the mean; these are
the one row where it stays as it was."""

_ROOM = 2
"""Tokens that one bucket of `Vsb` holds."""

_MOST_ALIKE = 2.0
"""The most tokens that `Merge` puts together, as a multiple of how many fall on one that is
left."""


class CompactionSection(Section):
    """What stays of clips that have left the recent window. Clips are computed whole as ever;
    this is about what is remembered of them."""

    method: CompactionName = "off"
    """``off``: all. ``value_norm``: the tokens with the largest values (after InfiniPot-V).
    ``vsb``: the tokens to which the newest clip attends most, spread over the picture (after
    LiveVLM). ``merge``: neighbours in the picture that are most alike become one, their mean.
    ``carriers``: tokens that follow each other become one, their mean (after VideoScan, whose model
    is trained for it). What is left out is gone for good: measure your model first (``make bench
    SCENARIO=tokens``)."""

    keep_ratio: float = Field(default=0.25, gt=0, le=1)
    """The share of a clip's tokens that stays, at most. 1: all of them, unchanged."""

    min_places: int = Field(default=4, ge=1, le=4096)
    """At least so many tokens of each picture stay, where it has so many."""

    keeps_text: bool = True
    """Whether the text around a picture stays whole, which tells when it was. Without it a clip of
    few tokens can get smaller, but a question about when something was may find no answer."""

    behind_clips: int | None = Field(default=None, ge=1, le=1_000_000)
    """So many of the newest clips stay as they are. None: twice the recent window. At least the
    recent window, whatever is set."""

    batch_clips: int = Field(default=8, ge=1, le=512)
    """The most clips of a stream that are compacted at once; so many are held in memory beside the
    store meanwhile. The others wait where they are stored."""

    max_load_ratio: float = Field(default=0.9, gt=0, le=1)
    """While the engine's load is above this, compaction is put off, which
    ``onlooker_compaction_clips_total{outcome="put_off"}`` counts. 1: never."""


@dataclass(frozen=True, slots=True)
class ClipShape:
    """The tokens of a clip, as compaction sees them."""

    num_tokens: int
    picture: NDArray[np.int64]
    """Rows of the tokens that stand for places of the picture, ascending."""
    places: NDArray[np.int64]
    """The places, numbered along the rows of the picture."""
    num_columns: int
    """Places side by side in a row of the picture."""

    @classmethod
    def of(cls, clip: ClipTokens, merge: int) -> "ClipShape":
        """The shape of a clip. `merge`: see `RotaryLayout.merge`."""
        picture = clip.picture_rows
        places = np.arange(len(picture)) if clip.kept is None else clip.kept
        return cls(len(clip.token_ids), picture, places, clip.grid[2] // merge)

    @property
    def text(self) -> list[int]:
        """Rows of the tokens around the picture."""
        found: list[int] = np.delete(np.arange(self.num_tokens), self.picture).tolist()
        return found

    def neighbours(self) -> Pairs:
        """The rows of places that lie beside each other or one below the other."""
        row_of = dict(zip(self.places.tolist(), self.picture.tolist(), strict=True))
        found = []
        for place, row in row_of.items():
            if (place + 1) % self.num_columns and place + 1 in row_of:
                found.append((row, row_of[place + 1]))
            if place + self.num_columns in row_of:
                found.append((row, row_of[place + self.num_columns]))
        return found


class Compaction(Protocol):
    """A method. Stateless."""

    measure: Measure

    def pairs(self, shape: ClipShape) -> Pairs:
        """The pairs of tokens whose likeness is measured; none where that is not wanted."""
        ...

    def left(
        self, shape: ClipShape, rows: NDArray[np.int64], measured: Sequence[float], count: int
    ) -> list[Blend]:
        """What becomes of `rows`: at most `count` tokens.

        Args:
            rows: rows of tokens among which to choose, more than `count`.
            measured: of each token of the clip, or of each of `pairs`.
        """
        ...


class _Chosen:
    """A method that keeps some tokens as they are."""

    measure: Measure

    def pairs(self, shape: ClipShape) -> Pairs:
        return []


class ValueNorm(_Chosen):
    """The tokens with the largest values, after InfiniPot-V (Kim et al., 2025): what has large
    values adds much to whatever attends to it. There each layer and head keeps tokens of its own;
    here all keep the same ones, so that a token stands at one place."""

    measure: Measure = "value_norm"

    def left(
        self, shape: ClipShape, rows: NDArray[np.int64], measured: Sequence[float], count: int
    ) -> list[Blend]:
        best = np.argsort(-np.asarray(measured)[rows], kind="stable")[:count]
        return _alone(rows[best])


class Vsb(_Chosen):
    """LiveVLM's vision sink bucketing (Ning et al., 2025): tokens are taken in the order of the
    attention that the newest vision tokens pay them, while the bucket of their place has room."""

    measure: Measure = "attention"

    def left(
        self, shape: ClipShape, rows: NDArray[np.int64], measured: Sequence[float], count: int
    ) -> list[Blend]:
        num_buckets = -(-count // _ROOM)
        room = [_ROOM] * num_buckets
        taken: list[int] = []
        for at in np.argsort(-np.asarray(measured)[rows], kind="stable").tolist():
            bucket = at * num_buckets // len(rows)
            if room[bucket] and len(taken) < count:
                room[bucket] -= 1
                taken.append(at)
        return _alone(rows[taken])


class Carriers(_Chosen):
    """The mean of tokens that follow each other, where the last of them stood, after VideoScan's
    one token a frame (Li et al., 2025). There the mean is computed by the model, which is trained
    for it; here it is that of keys and values, so that any model can be asked to bear it."""

    measure: Measure = "nothing"

    def left(
        self, shape: ClipShape, rows: NDArray[np.int64], measured: Sequence[float], count: int
    ) -> list[Blend]:
        return [(int(part[-1]), part.tolist()) for part in np.array_split(rows, count)]


class Merge:
    """Neighbours that are alike become one, their mean: the most alike first. No token stands for
    more than twice as many as the others on average, so that nothing swallows the picture."""

    measure: Measure = "likeness"

    def pairs(self, shape: ClipShape) -> Pairs:
        return shape.neighbours()

    def left(
        self, shape: ClipShape, rows: NDArray[np.int64], measured: Sequence[float], count: int
    ) -> list[Blend]:
        chosen = set(rows.tolist())
        pairs = [pair for pair in self.pairs(shape) if chosen.issuperset(pair)]
        known = dict(zip(self.pairs(shape), measured, strict=True))
        pairs.sort(key=lambda pair: -known[pair])
        # Rows that follow each other are joined last: so any number of tokens can be reached.
        pairs += list(zip(rows.tolist(), rows[1:].tolist(), strict=False))
        group = {row: [row] for row in chosen}
        num_left = len(rows)
        for most in (math.ceil(_MOST_ALIKE * len(rows) / count), len(rows)):
            for one, other in pairs:
                if num_left == count:
                    break
                mine, theirs = group[one], group[other]
                if mine is not theirs and len(mine) + len(theirs) <= most:
                    mine += theirs
                    group.update(dict.fromkeys(theirs, mine))
                    num_left -= 1
        groups = {id(members): sorted(members) for members in group.values()}
        return [(members[len(members) // 2], members) for members in groups.values()]


COMPACTIONS: Mapping[str, Compaction] = {
    "value_norm": ValueNorm(),
    "vsb": Vsb(),
    "carriers": Carriers(),
    "merge": Merge(),
}
"""The methods, by name. What is not here compacts nothing."""


def left_of(
    method: Compaction, shape: ClipShape, measured: Sequence[float], settings: CompactionSection
) -> list[Blend]:
    """What is left of a clip, in the order of its tokens."""
    total = int(settings.keep_ratio * shape.num_tokens + 1e-9)
    text = shape.text if settings.keeps_text else []
    num_places = len(shape.picture)
    count = min(num_places, max(settings.min_places, total - len(text)))
    if settings.keep_ratio == 1:
        text, count = shape.text, num_places
    found = _alone(np.asarray(text, np.int64))
    if count == num_places:
        found += _alone(shape.picture)
    else:
        found += method.left(shape, shape.picture, measured, count)
    return sorted(found)


def _alone(rows: NDArray[np.int64]) -> list[Blend]:
    return [(row, [row]) for row in rows.tolist()]
