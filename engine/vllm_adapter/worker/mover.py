"""`KvMover`: takes KV out of the model's cache, and puts it in.

Two ways, which a setting and the machine choose between. `LayerHookMover` goes layer by layer
through the layers' own writing of KV: it needs to know nothing of how a cache is laid out, and is
for CPUs. `StridedMover` reads and writes the cache of all layers at once, leaves what it can to the
device, and never waits for it.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from onlooker.engine.vllm_adapter.wire import SaveOp
from onlooker.engine.vllm_adapter.worker.arena import Segment
from onlooker.engine.vllm_adapter.worker.streams import DeviceEvent


@dataclass(frozen=True, slots=True)
class Piece:
    """A segment that is to be placed, or some tokens of it."""

    key: str
    segment: Segment
    position: int
    """The position at which the segment's first token would stand."""
    skip: int
    """How many of the first tokens are not placed."""
    rows: Sequence[int] | None = None
    """Which tokens of the segment there are to be placed, in this order; None: all."""

    @property
    def num_tokens(self) -> int:
        """How many tokens are placed."""
        there = self.segment.num_tokens if self.rows is None else len(self.rows)
        return there - self.skip

    @property
    def chosen(self) -> NDArray[np.int64]:
        """Which tokens of the segment are placed."""
        if self.rows is None:
            return np.arange(self.skip, self.segment.num_tokens)
        return np.asarray(self.rows[self.skip :], np.int64)


@dataclass(frozen=True, slots=True)
class SavedSegment:
    """A segment that is whole since this step."""

    op: SaveOp
    segment: Segment
    entries: torch.Tensor | None
    """What the index keeps of it, where the index lies; None where retrieval may not pick it."""
    stored_entries: torch.Tensor | None
    """The same for the store below, on the host."""
    written: DeviceEvent | None
    """The event after which the host can read the segment; None: it can already."""
    queries: torch.Tensor | None = None
    """The queries of its tokens without position, [layers, tokens, heads, head_dim]; None where
    they are not wanted or not known."""
    moved: Future[Segment] | None = None
    """What the segment will be in ordinary memory, where it stays in the ring until then. Whoever
    keeps the segment for long keeps this."""


class KvMover(Protocol):
    """Moves KV for one worker. All is called by the thread that runs steps, in the order of a step:
    `begin`, `load`, then for each layer `reach`, `written` and `queried`, then `save`."""

    def begin(self, saves: list[SaveOp]) -> None:
        """A step begins, at the end of which `saves` are to be taken."""
        ...

    def load(self, pieces: Sequence[Piece], slots: list[int]) -> None:
        """Put the tokens of `pieces`, one after the other, into `slots` of all layers."""
        ...

    def reach(self, index: int | None) -> None:
        """Layer `index` is about to read what is loaded; None: all layers are."""
        ...

    def written(self, index: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """Layer `index` has put this step's KV into its cache."""
        ...

    def queried(self, index: int, query: torch.Tensor) -> None:
        """Layer `index` is about to attend with these queries of this step."""
        ...

    def save(self, saves: list[SaveOp]) -> Iterable[SavedSegment]:
        """Take what this step computed; gives the segments that are whole now, each of which is put
        into the arena before the next is asked for. What cannot be kept is told in the log."""
        ...

    def forget(self, request_id: str) -> None:
        """Forget what there is of segments that a request has not saved whole."""
        ...
