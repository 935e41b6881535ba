"""The index: what retrieval compares, of every segment that it may pick.

Entries of one shape stand in one slab of memory, and where they stand is kept in order of the keys'
numbers: a question that asks among all clips ever seen costs a look at the ends of their run and
one gather a layer, nothing in Python for each clip. Slabs grow by half; the rows of segments that
are dropped are used again.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from onlooker.engine.memory.key_runs import KeyParts, KeyRuns

_FIRST_ROWS = 64

_GONE = -1

Places = NDArray[np.int64]
"""Where segments stand, [2, segments]: the number of a slab, and a row of it."""


class _Slab:
    """Rows of one shape: [layers, capacity, entries, kv_heads, head_dim]."""

    def __init__(self, like: torch.Tensor, device: torch.device) -> None:
        self._device = device
        self.data = _empty(like, _FIRST_ROWS, device)
        self._free = list(range(_FIRST_ROWS - 1, -1, -1))

    @property
    def num_bytes(self) -> int:
        return self.data.numel() * self.data.element_size()

    def add(self, entries: torch.Tensor) -> int:
        if not self._free:
            capacity = self.data.shape[1]
            more = capacity // 2
            grown = _empty(self.data[:, 0], capacity + more, self._device)
            grown[:, :capacity] = self.data
            self.data = grown
            self._free = list(range(capacity + more - 1, capacity - 1, -1))
        row = self._free.pop()
        self.data[:, row] = entries
        return row

    def discard(self, row: int) -> None:
        self._free.append(row)


def _empty(like: torch.Tensor, capacity: int, device: torch.device) -> torch.Tensor:
    # An ordinary tensor, also when a forward pass asks for it in inference mode: restoring a stream
    # writes here too, and is no forward pass.
    with torch.inference_mode(False):
        shape = (like.shape[0], capacity, *like.shape[1:])
        return torch.empty(shape, dtype=like.dtype, device=device)


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
        at = self._at(first)
        found = self._places[:, at : min(at + count, self._size)]
        if found.shape[1] < count or self._numbers[at + count - 1] != first + count - 1:
            return None
        return None if (found[1] == _GONE).any() else found

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
class Group:
    """Some of the candidates of one retrieval: those whose entries have one shape."""

    members: torch.Tensor
    """Places of the group's members in the list of candidates, [members] int64."""
    slab: _Slab
    rows: torch.Tensor
    """Rows of the slab in which the members stand, [members] int64."""

    def entries(self, layer: int) -> torch.Tensor:
        """Index entries of the members in one layer, [members, entries, kv_heads, head_dim]."""
        data = self.slab.data
        return data[layer].index_select(0, self.rows.to(data.device))


class Index:
    """What retrieval compares, see the module. It does not bound itself: whoever adds segments
    forgets others.

    Args:
        device: where the entries lie; None: on the host.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self._device = torch.device("cpu") if device is None else device
        self._slabs: list[_Slab] = []
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
            self._slabs.append(_Slab(entries, self._device))
        parts = KeyParts.of(key)
        ledger = self._ledgers.setdefault((parts.stem, parts.num_digits), _Ledger())
        ledger.set(parts.number, slab, self._slabs[slab].add(entries))

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
            del self._ledgers[name]
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

    def groups(self, keys: Iterable[str]) -> list[Group]:
        """The segments of `keys`, all of which are known, in groups by the shape of their
        entries."""
        found = [self._find(first, count) for first, count in KeyRuns.of(keys).runs]
        known = [places for places in found if places is not None]
        assert len(known) == len(found), "whoever asks has made sure that all are known"
        if not known:
            return []
        slabs, rows = np.concatenate(known, axis=1)
        groups = []
        for slab in np.flatnonzero(np.bincount(slabs)).tolist():
            members = np.flatnonzero(slabs == slab)
            groups.append(
                Group(torch.from_numpy(members), self._slabs[slab], torch.from_numpy(rows[members]))
            )
        return groups

    @property
    def num_bytes(self) -> int:
        """Bytes that are held, free rows included."""
        return sum(slab.num_bytes for slab in self._slabs)

    @property
    def max_row_bytes(self) -> int:
        """The most bytes that one more segment can take, counting what a slab grows ahead; 0 while
        empty."""
        sizes = [slab.num_bytes // slab.data.shape[1] for slab in self._slabs]
        return max(sizes, default=0) * 3 // 2

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
