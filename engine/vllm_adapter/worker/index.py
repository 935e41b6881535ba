"""The index: what retrieval compares, of every segment that it may pick.

Entries of one shape stand in one slab of memory, and where they stand is kept in order of the keys'
numbers: a question that asks among all clips ever seen costs a look at the ends of their run and
one gather a layer, nothing in Python for each clip. Slabs grow by half; the rows of segments that
are dropped are used again.

The segments of a long stream are also kept by likeness (see `clusters`) where the score allows it,
so that a question need not look at each.

On a device the entries lie in an `IndexRoom`, and nothing is kept by likeness.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from onlooker.engine.memory.key_runs import KeyParts, KeyRuns
from onlooker.engine.vllm_adapter.worker.clustered import ClusteredRows, NumberRuns
from onlooker.engine.vllm_adapter.worker.clusters import Clusters, Numbers, Vectors
from onlooker.engine.vllm_adapter.worker.device_slab import DeviceSlab
from onlooker.engine.vllm_adapter.worker.head_group import ALONE, HeadGroup
from onlooker.engine.vllm_adapter.worker.index_room import IndexRoom
from onlooker.engine.vllm_adapter.worker.scores import SCORES, RetrievalScore

_FIRST_ROWS = 64

_FIRST_ROWS_OF_SLAB = 8
"""Where clips are kept without some of their places there may be hundreds of shapes, and a slab for
each."""

_mean = SCORES["mean_key"].means

_GONE = -1

Places = NDArray[np.int64]
"""Where segments stand, [2, segments]: the number of a slab, and a row of it."""


class SegmentGroup(Protocol):
    """Some of the candidates of one retrieval: those whose entries have one shape."""

    @property
    def members(self) -> torch.Tensor:
        """Places of the group's members in the list of candidates, [members] int64."""
        ...

    @property
    def layers(self) -> Sequence[int]:
        """The layers of which there are entries."""
        ...

    def entries(self, layer: int) -> torch.Tensor:
        """Index entries of the members in one layer, [members, entries, kv_heads, width]."""
        ...

    def parts(self, score: RetrievalScore, layer: int, queries: torch.Tensor) -> torch.Tensor:
        """The members' scores in one layer, [members, parts], where the entries lie; see
        `RetrievalScore.parts`."""
        ...


class _Slab:
    """Rows of one shape on the host: [layers, capacity, entries, kv_heads, width]."""

    coarse_bytes = 0

    def __init__(self, like: torch.Tensor) -> None:
        self.data = _empty(like, _FIRST_ROWS_OF_SLAB)
        self._free = list(range(_FIRST_ROWS_OF_SLAB - 1, -1, -1))

    @property
    def num_bytes(self) -> int:
        return self.data.numel() * self.data.element_size()

    @property
    def row_bytes(self) -> int:
        """The most bytes of one more row, counting what is grown ahead."""
        return self.num_bytes // self.data.shape[1] * 3 // 2

    def add(self, entries: torch.Tensor) -> int:
        if not self._free:
            capacity = self.data.shape[1]
            more = capacity // 2
            grown = _empty(self.data[:, 0], capacity + more)
            grown[:, :capacity] = self.data
            self.data = grown
            self._free = list(range(capacity + more - 1, capacity - 1, -1))
        row = self._free.pop()
        self.data[:, row] = entries
        return row

    def discard(self, row: int) -> None:
        self._free.append(row)

    def group(
        self, members: NDArray[np.int64], rows: NDArray[np.int64], layers: Sequence[int] | None
    ) -> "_Group":
        """See `DeviceSlab.group`."""
        kept = range(len(self.data)) if layers is None else layers
        return _Group(torch.from_numpy(members), self.data, torch.from_numpy(rows), kept)


def _empty(like: torch.Tensor, capacity: int) -> torch.Tensor:
    # An ordinary tensor, also when a forward pass asks for it in inference mode: restoring a stream
    # writes here too, and is no forward pass.
    with torch.inference_mode(False):
        return torch.empty((like.shape[0], capacity, *like.shape[1:]), dtype=like.dtype)


@dataclass(frozen=True, slots=True)
class _Group:
    """See `SegmentGroup`."""

    members: torch.Tensor
    data: torch.Tensor
    """The slab's."""
    rows: torch.Tensor
    """Rows in which the members stand, [members] int64."""
    layers: Sequence[int]

    def entries(self, layer: int) -> torch.Tensor:
        return self.data[self.layers.index(layer)].index_select(0, self.rows)

    def parts(self, score: RetrievalScore, layer: int, queries: torch.Tensor) -> torch.Tensor:
        return score.parts(queries, self.entries(layer))


class _Ledger:
    """Where segments stand whose keys differ in their number only, by that number."""

    def __init__(self) -> None:
        self._numbers: NDArray[np.int64] = np.empty(_FIRST_ROWS, np.int64)
        self._places: Places = np.empty((2, _FIRST_ROWS), np.int64)
        self._size = 0
        self.num_known = 0
        """Number of segments that are known; the other entries are of dropped ones and go when room
        is needed."""

    def set(self, number: int, slab: int, row: int) -> None:
        """Note a segment that is not known yet."""
        at = self._at(number)
        if at == self._size or self._numbers[at] != number:
            if self._size == len(self._numbers):
                self._make_room()
                at = self._at(number)
            self._numbers[at + 1 : self._size + 1] = self._numbers[at : self._size]
            self._places[:, at + 1 : self._size + 1] = self._places[:, at : self._size]
            self._size += 1
        self._numbers[at] = number
        self._places[:, at] = slab, row
        self.num_known += 1

    def pop(self, number: int) -> tuple[int, int] | None:
        """Forget a segment; returns where it stood, None where it was not known."""
        at = self._at(number)
        if at == self._size or self._numbers[at] != number or self._places[1, at] == _GONE:
            return None
        slab, row = self._places[:, at].tolist()
        self._places[1, at] = _GONE
        self.num_known -= 1
        return slab, row

    def find(self, first: int, count: int) -> Places | None:
        """Where the `count` segments from number `first` on stand; None if any is not known."""
        if self.num_known < self._size:
            self._make_room()  # so that nothing gone is in the way of many later looks
        at = self._at(first)
        found = self._places[:, at : min(at + count, self._size)]
        if found.shape[1] < count or self._numbers[at + count - 1] != first + count - 1:
            return None
        return found

    def find_known(self, numbers: Numbers) -> tuple[Places, NDArray[np.bool_]]:
        """Where those of `numbers` stand that are known, and which are."""
        if not self._size:
            return np.empty((2, 0), np.int64), np.zeros(len(numbers), np.bool_)
        at = numbers - self._numbers[0]
        if self._numbers[self._size - 1] - self._numbers[0] >= self._size:  # there are gaps
            at = np.searchsorted(self._numbers[: self._size], numbers)
        at = np.clip(at, 0, self._size - 1)
        is_known = (self._numbers[at] == numbers) & (self._places[1, at] != _GONE)
        return self._places[:, at[is_known]], is_known

    def numbers(self) -> NDArray[np.int64]:
        """Numbers of all segments that are known, ascending."""
        return self._numbers[: self._size][self._places[1, : self._size] != _GONE]

    def _at(self, number: int) -> int:
        return int(np.searchsorted(self._numbers[: self._size], number))

    def _make_room(self) -> None:
        known = self._places[1, : self._size] != _GONE
        numbers, places = (
            self._numbers[: self._size][known],
            self._places[:, : self._size][:, known],
        )
        self._size = len(numbers)
        capacity = max(_FIRST_ROWS, self._size * 3 // 2)
        self._numbers = np.empty(capacity, np.int64)
        self._places = np.empty((2, capacity), np.int64)
        self._numbers[: self._size], self._places[:, : self._size] = numbers, places


@dataclass(frozen=True, slots=True)
class Likeness:
    """What of a long stream is kept by likeness."""

    layers: tuple[int, ...] | None = None
    """The layers whose vectors are looked at together; None: each layer by itself."""
    min_rows: int = 4096
    """Up to so many segments are compared one by one."""

    def views(self, num_layers: int) -> list[tuple[int, ...]]:
        """The layers that are looked at together, each time."""
        return [(layer,) for layer in range(num_layers)] if self.layers is None else [self.layers]


class Index:
    """What retrieval compares, see the module. It does not bound itself: whoever adds segments
    forgets others.

    Args:
        room: where the entries lie on a device; None: they lie on the host.
        likeness: what is kept by likeness; None: nothing. On the host only.
        layers: the layers of which there are entries, ascending; None: all.
        means: makes vectors, [segments, dims], of one layer's entries of segments, by which they
            are kept by likeness.
    """

    def __init__(
        self,
        room: IndexRoom | None = None,
        likeness: Likeness | None = None,
        layers: tuple[int, ...] | None = None,
        means: Callable[[torch.Tensor], torch.Tensor] = _mean,
    ) -> None:
        self.layers = layers
        self._means = means
        self._dims = 0
        """Of the vector of a segment in one layer."""
        self._num_layers = 0
        self.room = room
        self._likeness = likeness
        self._clustered: dict[tuple[str, int], dict[tuple[int, ...], ClusteredRows]] = {}
        """By the name of a ledger, and the layers that are looked at together."""
        self._slabs: list[_Slab | DeviceSlab] = []
        self._slab_of: dict[tuple[int, ...], int] = {}
        self._ledgers: dict[tuple[str, int], _Ledger] = {}
        """Ledgers by what the keys of their segments have in common: the stem, and how many digits
        follow."""

    def put(self, key: str, entries: torch.Tensor) -> None:
        """Know a segment by its `entries`, [layers, entries, kv_heads, head_dim]."""
        self.discard(key)
        shape = tuple(entries.shape)
        if (slab := self._slab_of.get(shape)) is None:
            slab = self._slab_of[shape] = len(self._slabs)
            self._slabs.append(
                _Slab(entries) if self.room is None else DeviceSlab(self.room, entries)
            )
        parts = KeyParts.of(key)
        name = (parts.stem, parts.num_digits)
        if name not in self._ledgers:
            self._ledgers[name] = _Ledger()
            self._clustered[name] = self._made_clustered(self._ledgers[name], entries)
        self._ledgers[name].set(parts.number, slab, self._slabs[slab].add(entries))
        for rows in self._clustered[name].values():
            rows.add(parts.number)

    def discard(self, key: str) -> bool:
        """Forget a segment; returns whether it was known."""
        parts = KeyParts.of(key)
        name = (parts.stem, parts.num_digits)
        if (ledger := self._ledgers.get(name)) is None:
            return False
        if (found := ledger.pop(parts.number)) is None:
            return False
        self._slabs[found[0]].discard(found[1])
        if not ledger.num_known:
            del self._ledgers[name], self._clustered[name]
            return True
        for rows in self._clustered[name].values():
            rows.discard()
        return True

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Which of `keys` are not known."""
        return [
            key
            for run in KeyRuns.of(keys).runs
            if self._find(*run) is None
            for key in KeyRuns([run])
            if key not in self
        ]

    def groups(self, keys: Iterable[str], heads: HeadGroup = ALONE) -> list[SegmentGroup]:
        """The segments of `keys`, all of which are known, in groups by the shape of their entries.

        Args:
            heads: the workers that rank the same segments now. They meet here where the index may
                lie on the host in part.
        """
        found = [self._find(first, count) for first, count in KeyRuns.of(keys).runs]
        known = [places for places in found if places is not None]
        assert len(known) == len(found), "whoever asks has made sure that all are known"
        if not known:
            return []
        slabs, rows = np.concatenate(known, axis=1)
        found_in = [(slab, np.flatnonzero(slabs == slab)) for slab in np.unique(slabs).tolist()]
        # In an order that is the same for all workers: slabs are numbered as they come.
        found_in.sort(key=lambda one: int(one[1][0]))
        older = self._older(found_in, rows, heads)
        groups: list[SegmentGroup] = []
        for number, members in found_in:
            slab = self._slabs[number]
            if isinstance(slab, _Slab):
                groups.append(slab.group(members, rows[members], self.layers))
            else:
                groups.append(
                    slab.group(members, rows[members], self.layers, older[members], heads)
                )
        return groups

    def _older(
        self,
        found_in: list[tuple[int, NDArray[np.int64]]],
        rows: NDArray[np.int64],
        heads: HeadGroup,
    ) -> NDArray[np.bool_]:
        """Which segments lie below for all workers, of those at `rows` of some slabs."""
        older = np.zeros(len(rows), np.bool_)
        if self.room is None or not self.room.budget.host_bytes:
            return older
        for number, members in found_in:
            slab = self._slabs[number]
            assert isinstance(slab, DeviceSlab), "all lie in one room"
            older[members] = slab.lies_below(rows[members])
        if heads.is_alone:  # to make a list of all clips takes milliseconds of a step
            return older
        return np.asarray(heads.all(older.tolist()), np.bool_)

    def clustered(
        self, keys: KeyRuns, layers: tuple[int, ...]
    ) -> tuple[ClusteredRows, NumberRuns] | None:
        """The rows among which `keys` can be searched in `layers`, and where they stand there; None
        where they are to be compared one by one."""
        if (named := NumberRuns.of(keys)) is None:
            return None
        name, runs = named
        rows = self._clustered.get(name, {}).get(layers)
        return (rows, runs) if rows is not None and rows.is_worth_it(len(runs)) else None

    @property
    def num_bytes(self) -> int:
        """Bytes that are held, free rows included."""
        clustered = (rows for views in self._clustered.values() for rows in views.values())
        by_likeness = sum(rows.num_bytes for rows in clustered)
        return by_likeness + sum(slab.num_bytes for slab in self._slabs)

    @property
    def max_row_bytes(self) -> int:
        """The most bytes that one more segment can take, counting what a slab grows ahead; 0 while
        empty."""
        return max((slab.row_bytes + self._likeness_bytes for slab in self._slabs), default=0)

    @property
    def max_coarse_bytes(self) -> int:
        """The most bytes that stay on a device of a segment whose entries went below; 0 where none
        do."""
        return max((slab.coarse_bytes for slab in self._slabs), default=0)

    @property
    def _likeness_bytes(self) -> int:
        """The most bytes that one more segment takes where it is kept by likeness."""
        views = [] if self._likeness is None else self._likeness.views(self._num_layers)
        return sum(Clusters.row_bytes(len(one) * self._dims) for one in views)

    def _made_clustered(
        self, ledger: _Ledger, entries: torch.Tensor
    ) -> dict[tuple[int, ...], ClusteredRows]:
        if self._likeness is None:
            return {}
        self._dims, self._num_layers = self._means(entries).shape[1], len(entries)
        return {
            layers: ClusteredRows(
                len(layers) * self._dims,
                partial(self._vectors, ledger, layers),
                min_rows=self._likeness.min_rows,
            )
            for layers in self._likeness.views(len(entries))
        }

    def _vectors(
        self, ledger: _Ledger, layers: tuple[int, ...], numbers: Numbers
    ) -> tuple[Vectors, NDArray[np.bool_]]:
        """The vectors of those of `numbers` that are known: the means of their entries, of all
        `layers` one after the other."""
        (slabs, rows), is_known = ledger.find_known(numbers)
        parts, members = [], []
        for slab in np.flatnonzero(np.bincount(slabs)).tolist():
            chosen = np.flatnonzero(slabs == slab)
            here = self._slabs[slab]
            assert isinstance(here, _Slab), "nothing is kept by likeness on a device"
            data, at = here.data, torch.from_numpy(rows[chosen])
            kept = layers if self.layers is None else map(self.layers.index, layers)
            found = [self._means(data[layer].index_select(0, at)) for layer in kept]
            parts.append(found[0] if len(found) == 1 else torch.cat(found, 1))
            members.append(chosen)
        if len(parts) == 1:
            return parts[0].numpy(), is_known
        vectors = np.empty((len(rows), len(layers) * self._dims), np.float32)
        for chosen, part in zip(members, parts, strict=True):
            vectors[chosen] = part.numpy()
        return vectors, is_known

    def _find(self, first: str, count: int) -> Places | None:
        parts = KeyParts.of(first)
        ledger = self._ledgers.get((parts.stem, parts.num_digits))
        return None if ledger is None else ledger.find(parts.number, count)

    def __iter__(self) -> Iterator[str]:
        for (stem, num_digits), ledger in self._ledgers.items():
            for number in ledger.numbers().tolist():
                yield KeyParts(stem, number, num_digits).text

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._find(key, 1) is not None

    def __len__(self) -> int:
        return sum(ledger.num_known for ledger in self._ledgers.values())
