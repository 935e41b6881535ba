"""`DeviceSlab`: the segments of an index on a device whose entries have one shape.

All are ranked by what lies on the device. Where more of them lie below than are compared one by
one, those are that are best by their coarse rows; the others count as worse than the worst of
these, by as much as their coarse rows say.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from onlooker.engine.vllm_adapter.worker.index_room import IndexRoom
from onlooker.engine.vllm_adapter.worker.row_places import NOWHERE, RowPlaces
from onlooker.engine.vllm_adapter.worker.row_pool import RowPool
from onlooker.engine.vllm_adapter.worker.scores import RetrievalScore, mean_query

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

    def group(
        self, members: NDArray[np.int64], rows: NDArray[np.int64], layers: Sequence[int] | None
    ) -> "DeviceGroup":
        """Some of the candidates of a retrieval, see `index.SegmentGroup`."""
        room, places = self._room, self._places
        whole, below = places.whole[rows], places.below[rows]
        is_below = whole == NOWHERE

        def up(numbers: NDArray[np.int64]) -> torch.Tensor:
            return room.streams.up(np.ascontiguousarray(numbers))

        older: _Below | None = None
        if is_below.any():
            firsts = up(below[is_below])
            older = _Below(up(np.flatnonzero(is_below)), firsts, up(places.coarse[rows[is_below]]))
        return DeviceGroup(
            torch.from_numpy(members),
            room,
            places,
            range(places.num_layers) if layers is None else layers,
            up(np.flatnonzero(~is_below)),
            up(whole[~is_below]),
            older,
        )


@dataclass(frozen=True, slots=True)
class _Below:
    """Those members of a group whose whole rows lie below; all on the device."""

    places: torch.Tensor
    """Their places in the group."""
    firsts: torch.Tensor
    """Where their whole rows begin."""
    coarse: torch.Tensor
    """Where their coarse rows begin."""


@dataclass(frozen=True, slots=True)
class DeviceGroup:
    """Some of the candidates of one retrieval, for one step."""

    members: torch.Tensor
    room: IndexRoom
    rows: RowPlaces
    layers: Sequence[int]
    here: torch.Tensor
    """Places in the group of those that lie on the device whole."""
    firsts: torch.Tensor
    """Where the rows of these begin."""
    below: _Below | None

    def entries(self, layer: int) -> torch.Tensor:
        """Index entries of the members in one layer, [members, entries, kv_heads, head_dim]."""
        at, pools = self.layers.index(layer), self.room.pools
        here = self._read(pools.whole, self.firsts, at)
        if self.below is None:
            return here
        found = here.new_empty((len(self.members), *here.shape[1:]))
        found.index_copy_(0, self.here, here)
        return found.index_copy_(
            0, self.below.places, self._read(pools.below, self.below.firsts, at)
        )

    def parts(self, score: RetrievalScore, layer: int, queries: torch.Tensor) -> torch.Tensor:
        """The members' scores in one layer, [members, parts]; where some lie below, [members, 1].

        `queries`: [question_tokens, heads, head_dim], anywhere.
        """
        at, pools = self.layers.index(layer), self.room.pools
        queries = queries.to(self.room.device)
        here = self._compared(pools.whole, self.firsts, at, score, queries)
        if self.below is None:
            return here
        older = self._older(self.below, at, score, queries)
        found = older.new_empty(len(self.members))
        if len(self.here):
            found.index_copy_(0, self.here, here.amax(1))
        return found.index_copy_(0, self.below.places, older)[:, None]

    def _older(
        self, below: _Below, at: int, score: RetrievalScore, queries: torch.Tensor
    ) -> torch.Tensor:
        """Scores of those that lie below."""
        pools, count = self.room.pools, self.room.budget.scan_rows
        if len(below.firsts) <= count:
            return self._compared(pools.below, below.firsts, at, score, queries).amax(1)
        coarse = self._coarse(below, at, queries)
        best = torch.topk(coarse, count)
        firsts = below.firsts.index_select(0, best.indices)
        whole = self._compared(pools.below, firsts, at, score, queries).amax(1)
        others = coarse + (whole.min() - best.values[-1])
        return others.index_copy(0, best.indices, whole)

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
            found.append(room.coarse.scores(read, query, at))
        return torch.cat(found)

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
