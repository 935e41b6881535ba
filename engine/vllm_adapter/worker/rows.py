"""`StepRows`: which rows of a step's batch belong to which KV slots."""

import torch


class StepRows:
    """The slots of one step's tokens, as the layers tell them when they write."""

    def __init__(self) -> None:
        self._mapping: torch.Tensor | None = None
        self._order: torch.Tensor | None = None
        self._sorted: torch.Tensor | None = None

    def reset(self) -> None:
        """A new step begins."""
        self._mapping = self._order = self._sorted = None

    def note(self, slot_mapping: torch.Tensor) -> None:
        """Note the slot of each row, which is the same for all layers; -1 where a row is no
        token."""
        if self._mapping is None:
            self._mapping = slot_mapping

    def find(self, slots: list[int]) -> torch.Tensor:
        """The rows of `slots`, in their order."""
        assert self._mapping is not None
        wanted = torch.tensor(slots, dtype=self._mapping.dtype).to(self._mapping.device)
        rows, are_right = self.find_unchecked(wanted)
        assert bool(are_right.all()), "a slot of this step was not written"
        return rows

    def find_unchecked(self, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows of the slots `wanted`, which lie where the layers are, and whether each has been
        written: a tensor of truth values, so that nobody need wait for it."""
        mapping = self._mapping
        assert mapping is not None
        if self._order is None or self._sorted is None:
            self._sorted, self._order = torch.sort(mapping)
        found = torch.searchsorted(self._sorted, wanted.to(mapping.dtype))
        rows = self._order.index_select(0, found.clamp(max=len(mapping) - 1))
        return rows, mapping.index_select(0, rows) == wanted
