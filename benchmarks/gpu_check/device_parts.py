"""The parts that need no model: which device it is, its link to the host, and how KV is moved."""

import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch

from onlooker.benchmarks.gpu_check.part_notes import PartNotes
from onlooker.benchmarks.host.rig import CLIP_TOKENS, NUM_INGESTED, NUM_LOADED, HostRig
from onlooker.benchmarks.host.shaped_layers import QWEN3_VL_2B, QWEN3_VL_8B, LayersShape
from onlooker.benchmarks.report import manifest
from onlooker.engine.sizing.chip import CHIPS, Chip
from onlooker.engine.vllm_adapter.worker.streams import streams_of

ROUNDS = 5

_WAITS = (
    "cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy",
    "aten::_local_scalar_dense", "aten::item",
)  # fmt: skip
"""What the profiler calls operations for which the processor waits."""

_TINY = LayersShape(name="tiny", num_layers=3, num_heads=4, num_kv_heads=2, head_dim=32)


def device() -> torch.device:
    """The GPU, or the host where there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def chip() -> Chip | None:
    """The data sheet of this GPU, if it is known."""
    if not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name().lower()
    return next((one for key, one in CHIPS.items() if key in name.replace(" ", "")), None)


def machine(notes: PartNotes) -> None:
    """What all of this was measured with."""
    notes.note(**manifest(seed=0))
    if torch.cuda.is_available():
        sheet = torch.cuda.get_device_properties(0)
        notes.note(
            gpu=sheet.name,
            gpu_memory_gb=round(sheet.total_memory / 1e9, 1),
            capability=f"{sheet.major}.{sheet.minor}",
            cuda=torch.version.cuda,
        )
    known = chip()
    notes.note(data_sheet=None if known is None else known.name)


def link(notes: PartNotes, *, is_tiny: bool) -> None:
    """Bytes a second to and from pinned memory: in one piece, and as segments are read, by the
    numbers of their tokens through the device's own view of it."""
    place, mib = device(), 4 if is_tiny else 512
    streams = streams_of(place)
    rows, width = mib * 128, 4096
    host, seen = streams.pinned(rows, width, dtype=torch.bfloat16)
    there = torch.empty(rows, width, dtype=torch.bfloat16, device=place)
    picked = torch.randperm(rows)[: rows // 2].to(place)
    size = host.numel() * host.element_size()

    def rate(work: Any, num_bytes: int) -> float:
        took = []
        for _ in range(ROUNDS):
            began_s = time.perf_counter()
            work()
            _settle(place)
            took.append(time.perf_counter() - began_s)
        return round(num_bytes / statistics.median(took) / 1e9, 2)

    notes.note(up_gb_s=rate(lambda: there.copy_(host, non_blocking=True), size))
    notes.note(down_gb_s=rate(lambda: host.copy_(there, non_blocking=True), size))
    notes.note(picked_up_gb_s=rate(lambda: seen.index_select(0, picked), size // 2))
    pageable = torch.empty(rows, width, dtype=torch.bfloat16)
    notes.note(pageable_up_gb_s=rate(lambda: there.copy_(pageable), size))


def movers(notes: PartNotes, *, is_tiny: bool) -> None:
    """Steps of a worker on layers of the true shapes, in milliseconds, and for what the processor
    waits in them, by the profiler."""
    shapes = [_TINY] if is_tiny else [QWEN3_VL_8B, QWEN3_VL_2B]
    for shape in shapes:
        rig = HostRig(shape, "strided", is_pretended=False, device=device())
        try:
            notes.note(**{shape.name: _steps(rig)})
        finally:
            rig.close()


def _steps(rig: HostRig) -> dict[str, Any]:
    clip_bytes = CLIP_TOKENS * rig.shape.token_bytes
    steps = {
        "decode": rig.decode,
        "ingest_16": lambda: rig.ingest(range(NUM_INGESTED)),
        "plain_16": lambda: rig.plain(NUM_INGESTED),
        "load_16": rig.load,
        "plain_1": lambda: rig.plain(0),
        "answer": lambda: rig.answer(1),
        "two_answers": lambda: rig.answer(2),
    }
    ms = {name: _median_ms(step) for name, step in steps.items()}
    save_ms = max(ms["ingest_16"] - ms["plain_16"], 1e-3)
    load_ms = max(ms["load_16"] - ms["plain_1"], 1e-3)
    idle = _waits(lambda: None)  # the profiler waits for the device by itself when it ends
    return {
        "ms": ms,
        "save_gb_s": round(NUM_INGESTED * clip_bytes / save_ms / 1e6, 2),
        "load_gb_s": round(NUM_LOADED * clip_bytes / load_ms / 1e6, 2),
        "waits": {
            name: dict(_waits(step) - idle)
            for name, step in steps.items()
            if not name.startswith("plain")
        },
    }


def _median_ms(step: Any) -> float:
    took = []
    for _ in range(ROUNDS):
        began_s = time.perf_counter()
        step()
        _settle(device())
        took.append(time.perf_counter() - began_s)
    return round(1e3 * statistics.median(took), 3)


def _waits(step: Callable[[], object]) -> Counter[str]:
    """Operations of one step for which the processor waits, by the profiler's names."""
    from torch.profiler import ProfilerActivity, profile

    kinds = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        kinds.append(ProfilerActivity.CUDA)
    with profile(activities=kinds) as profiler:
        step()
    found: Counter[str] = Counter()
    for event in profiler.key_averages():
        if event.key in _WAITS:
            found[event.key] += event.count
    return found


def _settle(place: torch.device) -> None:
    if place.type == "cuda":
        torch.cuda.synchronize(place)
