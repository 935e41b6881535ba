"""`DeviceSlab`: the segments of an index on a device whose entries have one shape.

All are ranked by what lies on the device. Where more of them lie below than are compared one by
one, those are that are best by their coarse rows; the others count as worse than the worst of
these, by as much as their coarse rows say.

Where the heads of a model are split over several workers, these rank by the heads of all, and so
they agree beforehand on whose coarse rows count: of segments that lie below for each of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from onlooker.engine.vllm_adapter.worker.head_group import ALONE, HeadGroup
from onlooker.engine.vllm_adapter.worker.index_room import IndexRoom
from onlooker.engine.vllm_adapter.worker.row_places import NOWHERE, RowPlaces
from onlooker.engine.vllm_adapter.worker.row_pool import RowPool
from onlooker.engine.vllm_adapter.worker.scores import RetrievalScore, mean_query, of_best_part

_AT_ONCE_BYTES = 64 << 20
"""Rows of one layer that are read at once, so that what they are copied to stays small."""


class DeviceSlab:
    """See the module. `like`: entries of the shape."""

    def __init__(self, room: IndexRoom, like: torch.Tensor) -> None:
        self._room = room
        self._places = RowPlaces(like, room.head_dim)

    @property
    def num_bytes(self) -> int:
        return self._places.num_bytes

    @property
    def row_bytes(self) -> int:
        """Bytes of one more row."""
        return self._places.row_bytes

    @property
    def coarse_bytes(self) -> int:
        """Bytes that stay on the device of a row that went below; 0 where none does."""
        return self._places.coarse_bytes if self._room.budget.host_bytes else 0

    def add(self, entries: torch.Tensor) -> int:
        return self._room.put(self._places, entries)

    def discard(self, row: int) -> None:
        self._room.discard(self._places, row)

    def lies_below(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of `rows` do not lie on the device whole."""
        return self._places.whole[rows] == NOWHERE

    def group(
        self,
        members: NDArray[np.int64],
        rows: NDArray[np.int64],
        layers: Sequence[int] | None,
        older: NDArray[np.bool_] | None = None,
        heads: HeadGroup = ALONE,
    ) -> "DeviceGroup":
        """Some of the candidates of a retrieval, see `index.SegmentGroup`.

        Args:
            older: which of them may be ranked by their coarse rows; none where this is not said.
            heads: the workers that rank the same candidates in the same step.
        """
        room, places = self._room, self._places
        whole, below = places.whole[rows], places.below[rows]
        is_below = whole == NOWHERE
        is_older = np.zeros_like(is_below) if older is None else is_below & older
        is_stray = is_below & ~is_older

        def up(numbers: NDArray[np.int64]) -> torch.Tensor:
            return room.streams.up(np.ascontiguousarray(numbers))

        def up_order(*parts: NDArray[np.bool_]) -> torch.Tensor | None:
            order = np.argsort(np.concatenate([np.flatnonzero(one) for one in parts]))
            return None if (order == np.arange(len(order))).all() else up(order)

        return DeviceGroup(
            torch.from_numpy(members),
            room,
            places,
            range(places.num_layers) if layers is None else layers,
            heads,
            up(whole[~is_below]),
            up(below[is_stray]) if is_stray.any() else None,
            up_order((~is_below)[~is_older], is_stray[~is_older]),
            _Below(up(below[is_older]), up(places.coarse[rows[is_older]]))
            if is_older.any()
            else None,
            up_order(~is_older, is_older),
        )


@dataclass(frozen=True, slots=True)
class _Below:
    """Those members of a group that are ranked by their coarse rows first; all on the device."""

    firsts: torch.Tensor
    """Where their whole rows begin, below."""
    coarse: torch.Tensor
    """Where their coarse rows begin."""


@dataclass(frozen=True, slots=True)
class DeviceGroup:
    """Some of the candidates of one retrieval, for one step."""

    members: torch.Tensor
    room: IndexRoom
    rows: RowPlaces
    layers: Sequence[int]
    heads: HeadGroup
    firsts: torch.Tensor
    """Where the rows begin of those that lie on the device whole."""
    strays: torch.Tensor | None
    """Where those begin that lie below and are compared whole all the same, since they lie on the
    device of a worker with other heads."""
    exact_order: torch.Tensor | None
    """Where each of those and of the strays stands, of the ones and then the others; None where
    they stand in that order."""
    below: _Below | None
    order: torch.Tensor | None
    """Where each member stands, of those that are compared whole and then those below; None where
    they stand in that order."""

    def entries(self, layer: int) -> torch.Tensor:
        """Index entries of the members in one layer, [members, entries, kv_heads, head_dim]."""
        at, pools = self.layers.index(layer), self.room.pools
        here = self._read(pools.whole, self.firsts, at)
        if self.strays is not None:
            strays = self._read(pools.below, self.strays, at)
            here = _in_order(here, strays, self.exact_order)
        if self.below is None:
            return here
        return _in_order(here, self._read(pools.below, self.below.firsts, at), self.order)

    def parts(self, score: RetrievalScore, layer: int, queries: torch.Tensor) -> torch.Tensor:
        """The members' scores in one layer, [members, parts]. Where some are ranked by their coarse
        rows: by the heads of all workers, [members, 1].

        `queries`: [question_tokens, heads, head_dim], anywhere.
        """
        at, pools = self.layers.index(layer), self.room.pools
        queries = queries.to(self.room.device)
        here = self._compared(pools.whole, self.firsts, at, score, queries)
        if self.strays is not None:
            strays = self._compared(pools.below, self.strays, at, score, queries)
            here = _in_order(here, strays, self.exact_order)
        if self.below is None:
            return here
        older = self._older(self.below, at, score, queries)
        if not len(here):
            return older[:, None]
        return _in_order(of_best_part(self.heads.mean(here)), older, self.order)[:, None]

    def _older(
        self, below: _Below, at: int, score: RetrievalScore, queries: torch.Tensor
    ) -> torch.Tensor:
        """Scores of those that lie below."""
        pools, count = self.room.pools, self.room.budget.scan_rows
        if len(below.firsts) <= count:
            return self._best(pools.below, below.firsts, at, score, queries)
        coarse = self.heads.mean(self._coarse(below, at, queries))
        best = torch.topk(coarse, count)
        firsts = below.firsts.index_select(0, best.indices)
        whole = self._best(pools.below, firsts, at, score, queries)
        others = coarse + (whole.min() - best.values[-1])
        return others.index_copy(0, best.indices, whole)

    def _best(
        self,
        pool: RowPool,
        firsts: torch.Tensor,
        at: int,
        score: RetrievalScore,
        queries: torch.Tensor,
    ) -> torch.Tensor:
        """Scores of rows by the heads of all workers, [rows]."""
        return of_best_part(self.heads.mean(self._compared(pool, firsts, at, score, queries)))

    def _coarse(self, below: _Below, at: int, queries: torch.Tensor) -> torch.Tensor:
        rows, room = self.rows, self.room
        assert room.coarse is not None, "a row went below"
        query = mean_query(queries, rows.kv_heads)
        width = rows.coarse_bytes // rows.num_layers
        used = rows.kv_heads * (room.head_dim // 2 + 4)
        found = []
        # A row takes eight times as much while it is compared.
        for some in below.coarse.split(max(1, _AT_ONCE_BYTES // (8 * width))):
            read = room.pools.coarse.read(some, at * width, used, torch.uint8)
            found.append(room.coarse.scores(read, query))
        return torch.cat(found) if found[1:] else found[0]

    def _compared(
        self,
        pool: RowPool,
        firsts: torch.Tensor,
        at: int,
        score: RetrievalScore,
        queries: torch.Tensor,
    ) -> torch.Tensor:
        """Scores by whole rows, [rows, parts]."""
        some = firsts.split(max(1, _AT_ONCE_BYTES // self.rows.layer_bytes))
        if len(firsts) and len(some) == 1:
            return score.parts(queries, self._read(pool, firsts, at))
        found = [score.parts(queries, self._read(pool, one, at)) for one in some if len(one)]
        return torch.cat(found) if found else queries.new_empty((0, 1), dtype=torch.float32)

    def _read(self, pool: RowPool, firsts: torch.Tensor, at: int) -> torch.Tensor:
        rows = self.rows
        read = pool.read(firsts, at * rows.layer_bytes, rows.count, rows.dtype)
        return read.view(-1, rows.num_entries, rows.kv_heads, rows.width)


def _in_order(some: torch.Tensor, others: torch.Tensor, order: torch.Tensor | None) -> torch.Tensor:
    """The first ones and then the others, brought into an order."""
    both = torch.cat([some, others])
    return both if order is None else both.index_select(0, order)
