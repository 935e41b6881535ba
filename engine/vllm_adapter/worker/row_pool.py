"""`RowPool`: rows of bytes of any sizes in one piece of memory, read by their numbers.

A row is a run of units of memory. Which rows are read only the device may know: it reads some part
of many rows in one operation, by the numbers of the units at which they begin.
"""

import torch

from onlooker.engine.memory.index_split import UNIT_BYTES
from onlooker.engine.vllm_adapter.worker.free_runs import FreeRuns


class RowPool:
    """See the module. `memory`: bytes, [units * UNIT_BYTES], as the device sees them."""

    def __init__(self, memory: torch.Tensor) -> None:
        self._memory = memory
        self._free = FreeRuns(0, self.num_units)

    @property
    def num_units(self) -> int:
        return len(self._memory) // UNIT_BYTES

    @property
    def num_bytes(self) -> int:
        """Bytes of the rows that are kept."""
        return (self.num_units - self._free.num_free) * UNIT_BYTES

    def put(self, row: torch.Tensor) -> int | None:
        """Keep a row, uint8 [bytes], whole units, where the memory is; returns the unit at which it
        begins, None where there is no room."""
        first = self._free.take(len(row) // UNIT_BYTES)
        if first is not None:
            self._memory[first * UNIT_BYTES : first * UNIT_BYTES + len(row)].copy_(row)
        return first

    def row(self, first: int, num_bytes: int) -> torch.Tensor:
        """A row, uint8 [bytes]."""
        return self._memory[first * UNIT_BYTES : first * UNIT_BYTES + num_bytes]

    def discard(self, first: int, num_bytes: int) -> None:
        """Forget a row."""
        self._free.let_go(first, num_bytes // UNIT_BYTES)

    def read(
        self, firsts: torch.Tensor, offset_bytes: int, count: int, dtype: torch.dtype
    ) -> torch.Tensor:
        """A part of some rows: `count` numbers from `offset_bytes` on, whole units. Gives [rows,
        count]. `firsts`: where the rows begin, int64 where the memory is."""
        numbers = self._memory.view(dtype)
        apart = UNIT_BYTES // dtype.itemsize
        skipped = offset_bytes // UNIT_BYTES
        last = self.num_units - skipped - -(-count // apart)
        return numbers.as_strided((last + 1, count), (apart, 1), skipped * apart).index_select(
            0, firsts
        )

    def grow(self, memory: torch.Tensor) -> None:
        """Have all lie in `memory`, which is larger, from now on."""
        size, more = self.num_units, len(memory) // UNIT_BYTES
        memory[: len(self._memory)].copy_(self._memory)
        self._memory = memory
        self._free.let_go(size, more - size)
