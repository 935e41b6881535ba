"""`MemoryBudgets`: how much memory stream memory takes, where the settings leave it to the machine.

A GPU reads clips from memory of its host that is locked for it at the start, and ranks them by an
index that lies on the GPU, in what vLLM leaves there. On a CPU both take ordinary memory, as far as
they are needed, beside the model itself.
"""

from dataclasses import dataclass

from onlooker.engine.memory.config import MemorySection

_GIB = 2**30

_USUAL_ARENA = 16 * _GIB
"""For a GPU on a host that has four times as much: some minutes of clips of the 8B model, which is
the windows of a hundred streams."""

_LARGEST_ARENA = 64 * _GIB
"""For a GPU on a host with eight times as much."""

_LARGEST_INDEX = 4 * _GIB
"""Sixteen hours of clips of the 8B model, at one a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBudgets:
    """For all workers together."""

    arena_bytes: int
    """For segments that are held ready."""
    index_bytes: int
    """For the index of all clips."""
    host_bytes: int
    """Memory that the server may use."""
    beside_bytes: int | None
    """Memory of the GPUs that vLLM does not take; None: there is no GPU."""
    shelf_bytes: int = 0
    """For the newest segments on the GPUs themselves."""

    @classmethod
    def of(
        cls, settings: MemorySection, *, host_bytes: int, beside_bytes: int | None
    ) -> "MemoryBudgets":
        """What `settings` say, or else what suits the machine."""
        if beside_bytes is None:
            arena = min(host_bytes // 8, _USUAL_ARENA)
            index = min(arena // 2, _LARGEST_INDEX)
        else:
            arena = max(min(host_bytes // 4, _USUAL_ARENA), min(host_bytes // 8, _LARGEST_ARENA))
            index = min(beside_bytes // 8, _LARGEST_INDEX)
        if settings.arena_gib is not None:
            arena = int(settings.arena_gib * _GIB)
        if settings.index_gib is not None:
            index = int(settings.index_gib * _GIB)
        return cls(
            arena_bytes=arena, index_bytes=index, host_bytes=host_bytes, beside_bytes=beside_bytes,
            shelf_bytes=0 if beside_bytes is None else int(settings.shelf_gib * _GIB),
        )  # fmt: skip

    def faults(self) -> list[str]:
        """Why a GPU cannot start with this, each with what to do: it takes the arena at the start,
        and the index as it grows."""
        if self.beside_bytes is None:
            return []
        found = []
        if self.arena_bytes > self.host_bytes:
            found.append(
                f"engine.memory.arena_gib = {self.arena_bytes / _GIB:.3g} is more than the "
                f"{self.host_bytes / _GIB:.3g} GiB of memory that the server may use: lower it, or "
                "leave it out"
            )
        if self.index_bytes > self.beside_bytes:
            found.append(
                f"engine.memory.index_gib = {self.index_bytes / _GIB:.3g} is more than the "
                f"{self.beside_bytes / _GIB:.3g} GiB that vLLM leaves of the GPU: lower it, or "
                "engine.vllm.gpu_memory_utilization"
            )
        elif self.index_bytes + self.shelf_bytes > self.beside_bytes:
            found.append(
                f"engine.memory.shelf_gib = {self.shelf_bytes / _GIB:.3g} and the index of "
                f"{self.index_bytes / _GIB:.3g} GiB are more than the "
                f"{self.beside_bytes / _GIB:.3g} GiB that vLLM leaves of the GPU: lower it, or "
                "engine.vllm.gpu_memory_utilization"
            )
        return found
