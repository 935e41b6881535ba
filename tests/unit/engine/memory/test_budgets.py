"""How much memory is taken where nobody says how much."""

import pytest

from onlooker.engine.memory.budgets import MemoryBudgets
from onlooker.engine.memory.config import MemorySection

GIB = 2**30


def taken(host_gib: float, beside_gib: float | None, **said: float) -> tuple[float, float]:
    """Arena and index, in GiB."""
    found = MemoryBudgets.of(
        MemorySection.model_validate(said),
        host_bytes=int(host_gib * GIB),
        beside_bytes=None if beside_gib is None else int(beside_gib * GIB),
    )
    return found.arena_bytes / GIB, found.index_bytes / GIB


@pytest.mark.parametrize(
    ("host_gib", "arena_gib"), [(16, 4), (64, 16), (128, 16), (256, 32), (512, 64), (2048, 64)]
)
def test_a_gpus_host_gives_what_it_can_spare(host_gib: float, arena_gib: float) -> None:
    assert taken(host_gib, 12) == (arena_gib, 1.5)


def test_the_index_takes_some_of_what_vllm_leaves_of_the_gpu() -> None:
    assert taken(128, 3.2)[1] == pytest.approx(0.4)
    assert taken(128, 100)[1] == 4


@pytest.mark.parametrize(
    ("host_gib", "arena_gib", "index_gib"), [(4, 0.5, 0.25), (32, 4, 2), (64, 8, 4), (999, 16, 4)]
)
def test_a_cpu_needs_memory_for_the_model_too(
    host_gib: float, arena_gib: float, index_gib: float
) -> None:
    assert taken(host_gib, None) == (arena_gib, index_gib)


def test_what_is_said_is_taken() -> None:
    assert taken(1, None, arena_gib=5, index_gib=0.5) == (5, 0.5)
    assert taken(1, 1, arena_gib=0.25) == (0.25, 0.125)


def faults(beside_gib: float | None, **said: float) -> list[str]:
    settings = MemorySection.model_validate(said)
    beside_bytes = None if beside_gib is None else int(beside_gib * GIB)
    return MemoryBudgets.of(settings, host_bytes=8 * GIB, beside_bytes=beside_bytes).faults()


def test_a_gpu_cannot_lock_more_than_there_is_nor_rank_by_more_than_vllm_leaves() -> None:
    assert faults(3) == []
    (arena,) = faults(3, arena_gib=9)
    assert "arena_gib = 9 is more than the 8 GiB" in arena
    (index,) = faults(3, index_gib=4)
    assert "index_gib = 4 is more than the 3 GiB" in index
    assert faults(None, arena_gib=9, index_gib=4) == [], "a CPU takes memory as it is needed"


def test_a_shelf_has_to_fit_beside_the_index() -> None:
    settings = MemorySection(index_gib=2, shelf_gib=8)
    roomy = MemoryBudgets.of(settings, host_bytes=256 * GIB, beside_bytes=12 * GIB)
    assert (roomy.shelf_bytes, roomy.faults()) == (8 * GIB, [])
    (fault,) = MemoryBudgets.of(settings, host_bytes=256 * GIB, beside_bytes=9 * GIB).faults()
    assert "engine.memory.shelf_gib = 8, saving_mib = 256 and the index of 2 GiB" in fault
    assert MemoryBudgets.of(settings, host_bytes=GIB, beside_bytes=None).shelf_bytes == 0


def test_what_is_made_of_new_segments_has_to_fit_beside_the_index_too() -> None:
    assert faults(3, index_gib=2, saving_mib=1024) == []
    (fault,) = faults(3, index_gib=2, saving_mib=1025)
    assert "saving_mib = 1025 and the index of 2 GiB" in fault
    assert faults(None, index_gib=2, saving_mib=1025) == [], "a CPU makes them layer by layer"


def locked(host_gib: float, **said: object) -> tuple[float, float]:
    """The index's part on the host and the ring, in GiB, beside a GPU that vLLM leaves 20 of."""
    found = MemoryBudgets.of(
        MemorySection.model_validate(said),
        host_bytes=int(host_gib * GIB),
        beside_bytes=20 * GIB,
    )
    return found.index_host_bytes / GIB, found.ring_bytes / GIB


def test_a_gpus_host_gives_less_for_older_entries_and_for_the_ring_than_for_clips() -> None:
    assert locked(256) == (10, 0.75), "four times the 2.5 GiB of the GPU"
    assert locked(32) == (2, 0.5)
    assert locked(256, index_host_gib=0, ring_gib=2) == (0, 2)


def test_all_that_is_locked_has_to_fit_the_host() -> None:
    (fault,) = faults(3, arena_gib=4, index_host_gib=4, ring_gib=1)
    assert "index_host_gib = 4, ring_gib = 1 and arena_gib = 4 are more than the 8 GiB" in fault
    found = MemoryBudgets.of(MemorySection(), host_bytes=4 * GIB, beside_bytes=None)
    assert found.locked_bytes == found.arena_bytes, "a CPU locks nothing beside"
