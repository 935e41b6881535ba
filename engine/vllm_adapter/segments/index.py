"""The index: what retrieval compares, of every segment that it may pick.

Entries of one shape stand in one slab of memory, so that a question costs one gather a layer, not
one small tensor for each clip ever seen. Slabs grow by half; what is dropped is used again.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

_FIRST_ROWS = 64


class _Slab:
    """Rows of one shape: [layers, capacity, entries, kv_heads, head_dim]."""

    def __init__(self, like: torch.Tensor) -> None:
        self.data = _empty(like, _FIRST_ROWS)
        self._free = list(range(_FIRST_ROWS - 1, -1, -1))

    @property
    def num_bytes(self) -> int:
        return self.data.numel() * self.data.element_size()

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


def _empty(like: torch.Tensor, capacity: int) -> torch.Tensor:
    # An ordinary tensor also when a forward pass asks for it: restoring a stream, which is none,
    # writes here too.
    with torch.inference_mode(False):
        return like.new_empty((like.shape[0], capacity, *like.shape[1:]))


@dataclass(frozen=True, slots=True)
class Group:
    """Some of the candidates of one retrieval: those whose entries have one shape."""

    members: torch.Tensor
    """int64: their places in the list of candidates."""
    slab: _Slab
    rows: torch.Tensor
    """int64: where they stand."""

    def entries(self, layer: int) -> torch.Tensor:
        """[members, entries, kv_heads, head_dim]."""
        return self.slab.data[layer].index_select(0, self.rows)


class Index:
    """See the module. Not bounded by itself: whoever adds segments forgets others."""

    def __init__(self) -> None:
        self._slabs: dict[tuple[int, ...], _Slab] = {}
        self._rows: dict[str, tuple[_Slab, int]] = {}

    def put(self, key: str, entries: torch.Tensor) -> None:
        """Know a segment by its `entries`, [layers, entries, kv_heads, head_dim]."""
        self.discard(key)
        shape = tuple(entries.shape)
        if (slab := self._slabs.get(shape)) is None:
            slab = self._slabs[shape] = _Slab(entries)
        self._rows[key] = (slab, slab.add(entries))

    def discard(self, key: str) -> bool:
        """Forget a segment; returns whether it was known."""
        found = self._rows.pop(key, None)
        if found is not None:
            found[0].discard(found[1])
        return found is not None

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Which of `keys` are not known."""
        return [key for key in keys if key not in self._rows]

    def groups(self, keys: Sequence[str]) -> list[Group]:
        """All `keys`, which are known, by the shape of their entries."""
        found: dict[int, tuple[_Slab, list[int], list[int]]] = {}
        for place, key in enumerate(keys):
            slab, row = self._rows[key]
            _, members, rows = found.setdefault(id(slab), (slab, [], []))
            members.append(place)
            rows.append(row)
        return [
            Group(torch.tensor(members), slab, torch.tensor(rows))
            for slab, members, rows in found.values()
        ]

    @property
    def num_bytes(self) -> int:
        """Held, free rows included."""
        return sum(slab.num_bytes for slab in self._slabs.values())

    @property
    def max_row_bytes(self) -> int:
        """The most that one more segment can take, counting what grows ahead; 0 while empty."""
        sizes = [slab.num_bytes // slab.data.shape[1] for slab in self._slabs.values()]
        return max(sizes, default=0) * 3 // 2

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __len__(self) -> int:
        return len(self._rows)
