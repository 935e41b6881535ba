"""`IndexRoom`: the memory of an index on a device, in a bound.

The newest segments' rows lie on the device whole. When that is full the oldest go *below*: to
memory of the host that the device reaches. Of those a coarse row stays on the device (see
`CoarseRows`), so that all can be ranked by what is there, and few have to be read from below.
Nobody waits for any of it: all is done in the main queue, in order.
"""

import logging
from collections import OrderedDict
from dataclasses import dataclass

import torch

from onlooker.engine.memory.index_split import UNIT_BYTES, IndexSplit
from onlooker.engine.vllm_adapter.worker.coarse_rows import CoarseRows
from onlooker.engine.vllm_adapter.worker.row_places import NOWHERE, RowPlaces
from onlooker.engine.vllm_adapter.worker.row_pool import RowPool
from onlooker.engine.vllm_adapter.worker.scores import RetrievalScore
from onlooker.engine.vllm_adapter.worker.streams import DeviceStreams

_log = logging.getLogger("onlooker.engine.vllm")

_FIRST_ROWS = 64
"""Room for so many rows is made at first where there is no bound."""

_NUM_CENTERED = 64
"""The oldest rows, whose mean is the center of all coarse ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexBudget:
    """How much memory an index may take; see `IndexSplit`."""

    device_bytes: int | None = None
    """None: as much as it needs."""
    host_bytes: int = 0
    scan_rows: int = 4096
    """The most rows from below that a question compares whole."""


UNBOUNDED = IndexBudget()
"""All lies on the device."""


@dataclass(frozen=True, slots=True)
class IndexPools:
    """The parts of the memory."""

    whole: RowPool
    """The newest rows, on the device."""
    coarse: RowPool
    """Coarse rows of the others, on the device."""
    below: RowPool
    """The others."""
    is_bounded: bool


class IndexRoom:
    """See the module. All is called by the thread that runs steps.

    Args:
        score: the score whose entries are kept.
        kv_heads, head_dim: of the keys that they are made of.
    """

    def __init__(
        self,
        device: torch.device,
        streams: DeviceStreams,
        budget: IndexBudget,
        *,
        score: RetrievalScore,
        kv_heads: int,
        head_dim: int,
    ) -> None:
        self.device = device
        self.streams = streams
        self.budget = budget
        self.kv_heads, self.head_dim = kv_heads, head_dim
        self._score = score
        self.num_sunk = 0
        """Rows that went below, since the start."""
        self.num_over = 0
        """How often the device had to give more than the budget."""
        self.coarse: CoarseRows | None = None
        """None before the first row went below."""
        self._pools: IndexPools | None = None
        self._whole: OrderedDict[tuple[RowPlaces, int], None] = OrderedDict()
        """The rows that lie on the device whole, the oldest first."""

    @property
    def pools(self) -> IndexPools:
        """The memory; there has been a row."""
        assert self._pools is not None
        return self._pools

    def put(self, places: RowPlaces, entries: torch.Tensor) -> int:
        """Keep a segment's entries; the oldest make room. Returns the row's number."""
        if self._pools is None:
            self._pools = self._opened(places)
        data = places.packed(entries, self.device)
        while (first := self.pools.whole.put(data)) is None:
            if not self._sink_oldest():
                self._grow(len(data))
        row = places.add()
        places.whole[row] = first
        self._whole[places, row] = None
        return row

    def discard(self, places: RowPlaces, row: int) -> None:
        """Forget a row."""
        whole, coarse, below = (
            int(one[row]) for one in (places.whole, places.coarse, places.below)
        )
        if whole != NOWHERE:
            self.pools.whole.discard(whole, places.row_bytes)
            del self._whole[places, row]
        else:
            self.pools.coarse.discard(coarse, places.coarse_bytes)
            self.pools.below.discard(below, places.row_bytes)
        places.discard(row)

    def _sink_oldest(self) -> bool:
        """Have the row that came first go below; returns whether there was room."""
        pools = self.pools
        if not pools.below.num_units or not self._whole:
            return False
        places, row = next(iter(self._whole))
        data = self._row(places, row)
        below = pools.below.put(data)
        if below is None:
            return False
        coarse = pools.coarse.put(self._coarse_row(places, data))
        if coarse is None:
            pools.below.discard(below, places.row_bytes)
            return False
        pools.whole.discard(int(places.whole[row]), places.row_bytes)
        del self._whole[places, row]
        places.whole[row], places.coarse[row], places.below[row] = NOWHERE, coarse, below
        self.num_sunk += 1
        return True

    def _coarse_row(self, places: RowPlaces, data: torch.Tensor) -> torch.Tensor:
        if self.coarse is None:
            oldest = [row for one, row in self._whole if one is places][:_NUM_CENTERED]
            means = [self._means(places, self._row(places, row)) for row in oldest]
            self.coarse = CoarseRows(torch.stack(means).mean(0), self.kv_heads)
        return places.packed_coarse(self.coarse.made(self._means(places, data)))

    def _means(self, places: RowPlaces, data: torch.Tensor) -> torch.Tensor:
        """The mean keys of one segment, [layers, kv_heads * head_dim]."""
        # Layers take the place of segments here: a mean is made of each entry by itself.
        return self._score.means(places.entries(data), self.head_dim)

    def _row(self, places: RowPlaces, row: int) -> torch.Tensor:
        return self.pools.whole.row(int(places.whole[row]), places.row_bytes)

    def _opened(self, places: RowPlaces) -> IndexPools:
        """The memory, by the size of the first row."""
        if self.budget.device_bytes is None:
            empty = RowPool(self._memory(0))
            whole = RowPool(self._memory(_FIRST_ROWS * places.row_bytes))
            return IndexPools(whole, empty, empty, is_bounded=False)
        split = IndexSplit(
            row_bytes=places.row_bytes,
            coarse_bytes=places.coarse_bytes,
            device_bytes=self.budget.device_bytes,
            host_bytes=self.budget.host_bytes,
        )
        return IndexPools(
            RowPool(self._memory(max(1, split.max_whole) * places.row_bytes)),
            RowPool(self._memory(split.max_below * places.coarse_bytes)),
            RowPool(self._pinned(split.max_below * places.row_bytes)),
            is_bounded=True,
        )

    def _pinned(self, num_bytes: int) -> torch.Tensor:
        if not num_bytes:  # nothing cannot be locked in place
            return self._memory(0)
        with torch.inference_mode(False):
            return self.streams.pinned(num_bytes, dtype=torch.uint8)[1]

    def _memory(self, num_bytes: int) -> torch.Tensor:
        # An ordinary tensor, also when a forward pass asks for it in inference mode: restoring a
        # stream writes here too, and is no forward pass.
        with torch.inference_mode(False):
            return torch.empty(num_bytes, dtype=torch.uint8, device=self.device)

    def _grow(self, least_bytes: int) -> None:
        """Take more of the device: by a half where there is no bound, else by no more than it
        takes."""
        whole, is_bounded = self.pools.whole, self.pools.is_bounded
        more = whole.num_units // (16 if is_bounded else 2) * UNIT_BYTES
        whole.grow(self._memory(whole.num_units * UNIT_BYTES + max(least_bytes, more)))
        self.num_over += is_bounded
        if self.num_over == 1 and is_bounded:
            _log.warning(
                "the index takes more of the device than it was to (memory.index_gib): clips "
                "differ in size, or more is remembered than it has room for"
            )
