"""KV moved on a real GPU: the same as on a CPU, and without anybody waiting.

Everything runs without a GPU as well, on the CPU's own memory or on a device that is pretended, so
that these tests say something of the GPU when they fail there.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch

from onlooker.benchmarks.host.rig import (
    CLIP_TOKENS,
    NUM_CLIPS,
    NUM_INGESTED,
    NUM_LOADED,
    HostRig,
    StepCost,
)
from onlooker.benchmarks.host.shaped_layers import LayersShape
from onlooker.engine.vllm_adapter.worker.arena import Segment
from onlooker.engine.vllm_adapter.worker.streams import streams_of

SHAPE = LayersShape(
    name="small", num_layers=5, num_heads=4, num_kv_heads=2, head_dim=64, dtype=torch.float32
)
GPU = pytest.param(
    "cuda",
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    ],
)


@pytest.fixture(scope="module", params=["cpu", GPU])
def place(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


@pytest.fixture(scope="module")
def there(place: torch.device) -> Iterator[HostRig]:
    rig = HostRig(SHAPE, "strided", is_pretended=False, device=place)
    yield rig
    rig.close()


@pytest.fixture(scope="module")
def here() -> Iterator[HostRig]:
    rig = HostRig(SHAPE, "layers", is_pretended=False)
    yield rig
    rig.close()


def watched(place: torch.device, *, rows_here: int | None = None, has_room: bool = True) -> HostRig:
    """A rig on the GPU, or on a device that is pretended and counts who waits for it."""
    return HostRig(
        SHAPE,
        "strided",
        is_pretended=place.type == "cpu",
        device=place,
        rows_here=rows_here,
        has_room=has_room,
    )


@contextmanager
def without_waits(place: torch.device) -> Iterator[None]:
    """Whoever waits for the GPU meanwhile fails."""
    if place.type == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        if place.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")


def segments(rig: HostRig) -> list[Segment]:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    found = [rig.worker.arena.get(f"model/tenant/stream/0/clip/{i:010d}") for i in range(NUM_CLIPS)]
    return [segment for segment in found if segment is not None]


def test_clips_are_kept_as_on_a_cpu(there: HostRig, here: HostRig) -> None:
    kept, expected = segments(there), segments(here)
    assert len(kept) == len(expected) == NUM_CLIPS
    for mine, theirs in zip(kept, expected, strict=True):
        assert mine.run is not None, "in the pool that the device reaches"
        assert torch.equal(mine.keys, theirs.keys)
        assert torch.equal(mine.values, theirs.values)


def test_an_answer_chooses_and_places_what_it_does_on_a_cpu(there: HostRig, here: HostRig) -> None:
    mine, theirs = there.answer(2).report, here.answer(2).report
    assert mine.picked == theirs.picked
    num_blocks = 20 * CLIP_TOKENS // 16
    cache = there.layers.cache[:, :num_blocks].cpu()
    assert torch.allclose(cache, here.layers.cache[:, :num_blocks], atol=1e-4)


def test_nobody_waits_for_the_device_in_a_step(place: torch.device) -> None:
    rig = watched(place)
    steps: dict[str, Callable[[], StepCost]] = {
        "decode": rig.decode,
        "ingest": lambda: rig.ingest(range(4)),
        "load": rig.load,
    }
    found = {}
    for name, step in steps.items():
        step()  # what is made once is there
        with without_waits(place):
            found[name] = step().waits
    rig.close()
    assert found == {"decode": {}, "ingest": {}, "load": {}}


AGAIN = range(NUM_CLIPS - NUM_LOADED, NUM_CLIPS)
"""Clips that are seen again, so that the index entries of the others go to the host."""


def test_what_lies_of_the_index_on_the_host_is_chosen_as_on_a_cpu(place: torch.device) -> None:
    picked = []
    for device in (place, torch.device("cpu")):
        rig = HostRig(SHAPE, "strided", is_pretended=False, device=device, rows_here=NUM_LOADED)
        rig.ingest(AGAIN)
        (layers,) = rig.answer(1).report.picked.values()
        picked.append({(at, key) for at, keys in enumerate(layers) for key in keys})
        assert rig.worker.moves()["index_sunk"] >= NUM_INGESTED
        rig.close()
    # A coarse row that is rounded the other way may let another clip in.
    assert len(picked[0] & picked[1]) >= 0.9 * len(picked[1])


def test_nobody_waits_for_an_index_on_the_host_or_for_the_ring(place: torch.device) -> None:
    sinking, full = watched(place, rows_here=NUM_LOADED), watched(place, has_room=False)
    sinking.ingest(AGAIN)
    with without_waits(place):
        costs = [
            sinking.ingest(AGAIN),
            full.ingest(range(NUM_CLIPS, NUM_CLIPS + NUM_INGESTED)),
        ]
    assert [cost.waits for cost in costs] == [{}, {}]
    assert full.worker.moves()["unpooled"] == NUM_INGESTED
    sinking.close()
    full.close()


def test_pinned_memory_is_the_same_for_the_host_and_the_device(place: torch.device) -> None:
    streams = streams_of(place)
    host, seen = streams.pinned(64, 32, dtype=torch.float32)
    host.copy_(torch.arange(64.0)[:, None].expand(64, 32))
    picked = seen.index_select(0, torch.tensor([3, 60], device=place))
    assert picked.cpu()[:, 0].tolist() == [3.0, 60.0]

    def save() -> None:
        seen[:2].copy_(picked)

    streams.beside("save", save, reads=[picked]).wait()
    assert host[:2, 0].tolist() == [3.0, 60.0]
