"""A `CapacityPlan` as people read it, and as programs do."""

import math
from typing import Any

from onlooker.engine.sizing.capacity_plan import HELD, TARGET_LOAD, CapacityPlan

_GIB = 2**30 / 1e9


def lines(plan: CapacityPlan, model: str) -> list[str]:
    """The arithmetic, a line a step."""
    shape, demand, chip = plan.shape, plan.demand, plan.chip
    budgets = demand.budgets
    clips_at_once = demand.recent_clips + demand.retrieved_clips
    return [
        f"{model}: {shape.parameters / 1e9:.2f} billion parameters, {plan.weights_gb:.1f} GB in "
        f"bfloat16; {plan.token_bytes / 1024:.0f} KiB of keys and values a token",
        f"a clip of two frames of {demand.frame_width}x{demand.frame_height}: {plan.seen_tokens} "
        f"tokens seen, about {plan.clip_tokens} in all, {_mb(plan.clip_bytes)}; held ready "
        f"{_mb(plan.held_bytes)} ({HELD:g} times), in the index {plan.index_bytes / 1e3:.0f} kB",
        f"on {_number(demand.gpus)} {chip.name} ({chip.memory_gb:.0f} GB, of which "
        f"{demand.share_of_memory:.0%}): "
        f"{max(0.0, plan.kv_gb):.1f} GB for contexts; one of {clips_at_once} clips is "
        f"{plan.context_tokens} tokens, {plan.context_gb:.2f} GB: {plan.contexts_at_once} at once. "
        "Streams that are idle take none",
        f"time: {plan.clip_s * 1e3:.1f} ms a clip, {plan.question_s * 1e3:.0f} ms a question and "
        f"its answer, at {demand.efficiency:.0%} of the data sheet; {plan.link_gb_s:.2f} of "
        f"{demand.gpus * chip.link_gb_s:.0f} GB/s to and from the host",
        *_each(plan),
        f"load of {demand.streams} streams with {demand.clips_per_s:g} clips a second and "
        f"{demand.questions_per_min:g} questions a minute each: {plan.load:.2f}; at most "
        f"{plan.max_streams} streams at {TARGET_LOAD:g}",
        f"memory of {demand.hours:g} h each: {plan.num_clips:,.0f} clips, "
        f"{_gb(plan.stored_gb)} raw (about a half with codec int8, a fourth with int4, a fifth "
        "with cachegen)",
        f"the server takes {budgets.arena_bytes / 2**30:.3g} GiB of its host for {plan.held_clips} "
        f"clips that are held ready, and {budgets.index_bytes / 2**30:.3g} GiB of the GPU for an "
        f"index of {plan.index.max_rows:,} clips{_below(plan)}",
        "settings that follow, where that is not enough:",
        *(f"  {name} = {value}" for name, value in settings(plan).items()),
    ]


def _below(plan: CapacityPlan) -> str:
    """What of the index lies on the host."""
    index = plan.index
    if not index.max_below:
        return ""
    taken_gib = index.max_below * index.row_bytes / 2**30
    return (
        f": the newest {index.max_whole:,} lie there whole, of {index.max_below:,} older ones "
        f"{index.coarse_bytes / 1e3:.0f} kB each, and the rest in {taken_gib:.3g} GiB of the host"
    )


def _each(plan: CapacityPlan) -> list[str]:
    """What one of several GPUs has of it."""
    gpus, copies = plan.demand.gpus, plan.token_copies
    if gpus == 1:
        return []
    budgets = plan.demand.budgets
    return [
        f"each of the {gpus}: {plan.weights_gb / gpus:.1f} GB of weights, "
        f"{_mb(plan.clip_bytes * copies / gpus)} of a clip, {plan.context_gb * copies / gpus:.2f} "
        f"GB of a context; its worker has {budgets.arena_bytes / gpus / 2**30:.3g} GiB for clips "
        f"that are held ready and {budgets.index_bytes / gpus / 2**30:.3g} GiB for its index"
    ]


def _number(gpus: int) -> str:
    return "one" if gpus == 1 else f"{gpus} x"


def settings(plan: CapacityPlan) -> dict[str, float]:
    """What to set, by the settings' names."""
    return {
        "engine.memory.arena_gib": _up(plan.windows_gb / _GIB),
        "engine.memory.index_gib": _up(plan.index_device_gb / _GIB),
        "engine.memory.index_host_gib": _up(plan.index_host_gb / _GIB),
        "cache_store.disk.budget_bytes": int(_up(plan.stored_gb / _GIB) * 2**30),
        "streams.max_streams": max(plan.demand.streams, 1),
    }


def figures(plan: CapacityPlan, model: str) -> dict[str, Any]:
    """The same for programs."""
    return {
        "model": model,
        "gpu": plan.chip.name,
        "gpus": plan.demand.gpus,
        "weights_gb_each": plan.weights_gb / plan.demand.gpus,
        "clip_bytes_each": int(plan.clip_bytes * plan.token_copies / plan.demand.gpus),
        "parameters": plan.shape.parameters,
        "weights_gb": plan.weights_gb,
        "token_bytes": plan.token_bytes,
        "clip_tokens": plan.clip_tokens,
        "clip_bytes": plan.clip_bytes,
        "held_bytes": plan.held_bytes,
        "index_bytes": plan.index_bytes,
        "context_tokens": plan.context_tokens,
        "contexts_at_once": plan.contexts_at_once,
        "clip_ms": plan.clip_s * 1e3,
        "question_ms": plan.question_s * 1e3,
        "link_gb_s": plan.link_gb_s,
        "load": plan.load,
        "max_streams": plan.max_streams,
        "stored_gb": plan.stored_gb,
        "index_gb": plan.index_gb,
        "held_clips": plan.held_clips,
        "arena_bytes": plan.demand.budgets.arena_bytes,
        "index_budget_bytes": plan.demand.budgets.index_bytes,
        "index_host_budget_bytes": plan.demand.budgets.index_host_bytes,
        "indexed_clips": plan.index.max_rows,
        "settings": settings(plan),
        "faults": list(plan.faults()),
    }


def _up(gib: float) -> float:
    """Rounded up to a whole number from 1 on, else to a tenth."""
    return float(math.ceil(gib)) if gib > 1 else math.ceil(gib * 10) / 10


def _mb(num_bytes: float) -> str:
    return f"{num_bytes / 1e6:.3g} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e3:.3g} kB"


def _gb(gigabytes: float) -> str:
    return f"{gigabytes / 1e3:.3g} TB" if gigabytes >= 1e3 else f"{gigabytes:.3g} GB"
