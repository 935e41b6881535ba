"""What the processor does for stream memory in a step: waits for a GPU, arithmetic, bytes a second.

Shown, with the shapes of Qwen3-VL 2B and 8B and random KV, without a model: how often the
processor waits for the device in a step (`syncs`, of the 8B), what it computes itself for each clip
(`host_ms_per_clip_8b`), and how fast clips are saved and loaded (of the 8B). Steps: `decode`;
`ingest_16` takes 16 clips of 80 tokens; `answer` loads 16 clips and has its question choose 4 more
in each layer; `two_answers` are two of those. Of the way of now also `ingest_16_by_ring`, where the
pool has no room for what is saved; `ingest_16_sinking` and `answer_below`, where the index entries
of older clips go to the host, and the question chooses among those. The device is pretended: its
tensors lie in ordinary memory, and a mode counts what a GPU would make the processor wait for (see
`benchmarks/host/pretended_device.py`). `before` is KV moved layer by layer, as on a CPU.

Not shown: how long a GPU takes, and how fast KV crosses to it; GB/s are those of this machine's
memory on one thread, of the work for the memory alone. A model of another shape moves as its bytes
a token say.
"""

import argparse
import asyncio
import gc
import statistics
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from onlooker.benchmarks.report import rows

if TYPE_CHECKING:
    from onlooker.benchmarks.host.rig import HostRig, StepCost
    from onlooker.benchmarks.host.shaped_layers import LayersShape
    from onlooker.engine.vllm_adapter.wire import Mover

ROUNDS = 5
"""How often each time is measured. Of processor time the least counts, since whatever else runs
only adds to it; of speeds the median."""


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure both shapes, one rig at a time."""
    now = await asyncio.to_thread(_figures, "strided")
    return {**now, "before": await asyncio.to_thread(_figures, "layers")}


def _figures(mover: "Mover") -> dict[str, Any]:
    from onlooker.benchmarks.host.shaped_layers import QWEN3_VL_2B, QWEN3_VL_8B

    figures: dict[str, Any] = {}
    for size, shape in (("2b", QWEN3_VL_2B), ("8b", QWEN3_VL_8B)):
        counted = _count(shape, mover)
        print(f"  {mover}, {shape.name}: {counted}", flush=True)
        figures[f"host_ms_per_clip_{size}"] = counted.pop("host_ms_per_clip")
        if size == "8b":
            figures |= counted
    return figures | _speeds(QWEN3_VL_8B, mover)


def _count(shape: "LayersShape", mover: "Mover") -> dict[str, Any]:
    """Waits and launches of each step, and milliseconds that the host computes for each clip."""
    from onlooker.benchmarks.host.rig import NUM_INGESTED, HostRig

    rig = HostRig(shape, mover, is_pretended=True)
    try:
        steps = {
            "decode": rig.decode(),
            "ingest_16": rig.ingest(range(NUM_INGESTED)),
            "answer": rig.answer(1),
            "two_answers": rig.answer(2),
        }
        ingests_s = [rig.ingest(range(NUM_INGESTED)).host_s for _ in range(ROUNDS)]
        plain_s = [rig.plain(NUM_INGESTED).host_s for _ in range(ROUNDS)]
    finally:
        _end(rig)
    if mover == "strided":
        steps |= _full(shape)
    spent_s = max(0.0, min(ingests_s) - min(plain_s))
    return {
        "syncs": {name: cost.num_waits for name, cost in steps.items()},
        "syncs_by_operation": {name: cost.waits for name, cost in steps.items()},
        "launches": {name: cost.launches for name, cost in steps.items()},
        "host_ms_per_clip": round(1000 * spent_s / NUM_INGESTED, 3),
        "host_ms": {name: round(1000 * cost.host_s, 1) for name, cost in steps.items()},
    }


def _full(shape: "LayersShape") -> "dict[str, StepCost]":
    """Steps of a worker that has no room left: in the pool, and for the index on the device."""
    from onlooker.benchmarks.host.rig import NUM_CLIPS, NUM_INGESTED, NUM_LOADED, HostRig

    steps = {}
    rig = HostRig(shape, "strided", is_pretended=True, has_room=False)
    try:
        steps["ingest_16_by_ring"] = rig.ingest(range(NUM_CLIPS, NUM_CLIPS + NUM_INGESTED))
    finally:
        _end(rig)
    rig = HostRig(shape, "strided", is_pretended=True, rows_here=NUM_INGESTED)
    try:
        steps["ingest_16_sinking"] = rig.ingest(range(NUM_CLIPS - NUM_LOADED, NUM_CLIPS))
        steps["answer_below"] = rig.answer(1)
    finally:
        _end(rig)
    return steps


def _speeds(shape: "LayersShape", mover: "Mover") -> dict[str, float]:
    """GB/s of KV that is saved and loaded on the host."""
    from onlooker.benchmarks.host.rig import CLIP_TOKENS, NUM_INGESTED, HostRig

    rig = HostRig(shape, mover, is_pretended=False)
    num_bytes = NUM_INGESTED * CLIP_TOKENS * shape.token_bytes
    found = {}
    try:
        steps: list[tuple[str, Callable[[], StepCost], int]] = [
            ("save", lambda: rig.ingest(range(NUM_INGESTED)), NUM_INGESTED),
            ("load", rig.load, 0),
        ]
        for name, step, num_clips in steps:
            spent_s = statistics.median(step().elapsed_s for _ in range(ROUNDS))
            plain_s = statistics.median(rig.plain(num_clips).elapsed_s for _ in range(ROUNDS))
            found[f"{name}_gb_s"] = round(num_bytes / max(1e-9, spent_s - plain_s) / 1e9, 3)
    finally:
        _end(rig)
    return found


def _end(rig: "HostRig") -> None:
    rig.close()
    gc.collect()


def table(figures: dict[str, Any]) -> str:
    """The figures as tables in plain text."""
    sides = {"now": figures, "before": figures["before"]}
    steps = list(figures["syncs"])
    counts = [
        (what, side, *(found[what].get(step, "") for step in steps))
        for what in ("syncs", "launches")
        for side, found in sides.items()
    ]
    names = ("host_ms_per_clip_2b", "host_ms_per_clip_8b", "save_gb_s", "load_gb_s")
    return "\n\n".join(
        (
            rows(("of a step (8B)", "", *steps), counts),
            rows(
                ("", *names), [(side, *(found[n] for n in names)) for side, found in sides.items()]
            ),
        )
    )
