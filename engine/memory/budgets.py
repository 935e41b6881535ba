"""`MemoryBudgets`: how much memory stream memory takes, where the settings leave it to the machine.

A GPU reads clips from memory of its host that is locked for it at the start, and ranks them by an
index that lies on the GPU, in what vLLM leaves there, and for older clips in locked memory, too. On
a CPU both take ordinary memory, as far as they are needed, beside the model itself.
"""

from dataclasses import dataclass

from onlooker.engine.memory.config import MemorySection

_GIB = 2**30
_MIB = 2**20

_USUAL_ARENA = 16 * _GIB
"""For a GPU on a host that has four times as much: some minutes of clips of the 8B model, which is
the windows of a hundred streams."""

_LARGEST_ARENA = 64 * _GIB
"""For a GPU on a host with eight times as much."""

_LARGEST_INDEX = 4 * _GIB
"""Sixteen hours of clips of the 8B model, at one a second."""

_USUAL_RING = 3 * _GIB // 4
"""More than the largest step of the 8B model saves, of 4096 tokens."""


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
    index_host_bytes: int = 0
    """Memory of the GPU's host for what the index has no room for there."""
    ring_bytes: int = 0
    """Memory of the host through which segments go for which the arena has no room."""

    saving_bytes: int = 0
    """Memory of the GPUs for what is made of new segments at once."""

    @classmethod
    def of(
        cls,
        settings: MemorySection,
        *,
        host_bytes: int,
        beside_bytes: int | None,
    ) -> "MemoryBudgets":
        """What `settings` say, or else what suits the machine."""
        if beside_bytes is None:
            arena = min(host_bytes // 8, _USUAL_ARENA)
            index = min(arena // 2, _LARGEST_INDEX)
        else:
            arena = max(min(host_bytes // 4, _USUAL_ARENA), min(host_bytes // 8, _LARGEST_ARENA))
            index = min(beside_bytes // 8, _LARGEST_INDEX)
        arena, index = _said(settings.arena_gib, arena), _said(settings.index_gib, index)
        index_host = ring = shelf = saving = 0
        if beside_bytes is not None:
            index_host = _said(settings.index_host_gib, min(4 * index, host_bytes // 16))
            ring = _said(settings.ring_gib, min(_USUAL_RING, host_bytes // 64))
            shelf = _said(settings.shelf_gib, 0)
            saving = settings.saving_mib * _MIB
        return cls(
            arena_bytes=arena,
            index_bytes=index,
            host_bytes=host_bytes,
            beside_bytes=beside_bytes,
            shelf_bytes=shelf,
            index_host_bytes=index_host,
            ring_bytes=ring,
            saving_bytes=saving,
        )

    @property
    def locked_bytes(self) -> int:
        """Memory of the host that is locked for the GPUs."""
        return self.arena_bytes + self.index_host_bytes + self.ring_bytes

    def faults(self) -> list[str]:
        """Why a GPU cannot start with this, each with what to do: it takes all of it at the
        start."""
        if self.beside_bytes is None:
            return []
        found = []
        if self.arena_bytes > self.host_bytes:
            found.append(
                f"engine.memory.arena_gib = {self.arena_bytes / _GIB:.3g} is more than the "
                f"{self.host_bytes / _GIB:.3g} GiB of memory that the server may use: lower it, or "
                "leave it out"
            )
        elif self.locked_bytes > self.host_bytes:
            found.append(
                f"engine.memory.index_host_gib = {self.index_host_bytes / _GIB:.3g}, ring_gib = "
                f"{self.ring_bytes / _GIB:.3g} and arena_gib = {self.arena_bytes / _GIB:.3g} are "
                f"more than the {self.host_bytes / _GIB:.3g} GiB of memory that the server may "
                "use: lower one, or leave it out"
            )
        if self.index_bytes > self.beside_bytes:
            found.append(
                f"engine.memory.index_gib = {self.index_bytes / _GIB:.3g} is more than the "
                f"{self.beside_bytes / _GIB:.3g} GiB that vLLM leaves of the GPU: lower it, or "
                "engine.vllm.gpu_memory_utilization"
            )
        elif self.index_bytes + self.shelf_bytes + self.saving_bytes > self.beside_bytes:
            found.append(
                f"engine.memory.shelf_gib = {self.shelf_bytes / _GIB:.3g}, saving_mib = "
                f"{self.saving_bytes // _MIB} and the index of {self.index_bytes / _GIB:.3g} "
                f"GiB are more than the {self.beside_bytes / _GIB:.3g} GiB that vLLM leaves of the "
                "GPU: lower one, or engine.vllm.gpu_memory_utilization"
            )
        return found


def _said(gib: float | None, otherwise: int) -> int:
    return otherwise if gib is None else int(gib * _GIB)
