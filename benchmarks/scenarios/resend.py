"""Resend mode on 1, 4 and 16 live streams, beside the same without its stride and with segments.

Shown: milliseconds of engine time a clip, answer TTFT, how much of each prompt the prefix cache
held and how far behind the video the model is. Baselines in the same run: a window that slides by
one clip (so that the cache is missed once it is full), and segments mode. The window is short (8
clips), so that it is full for most of the run.

Not shown: answer quality; a GPU; networks (frames are handed to the hub in the same process, on the
cores that the model uses too).
"""

import argparse
from typing import Any, Literal

from onlooker.benchmarks.load import Load, LoadOutcome, run
from onlooker.benchmarks.measured import MeasuredEngine, MeasuredWork
from onlooker.benchmarks.report import rows
from onlooker.core.clock import SystemClock
from onlooker.core.metrics import Metrics
from onlooker.engine.config import EngineSection
from onlooker.engine.memory.config import MemorySection
from onlooker.engine.vllm_adapter.engine import make_engine
from onlooker.scheduler.config import SchedulerSection
from onlooker.scheduler.simulator.outcome import percentile
from onlooker.server.config import Settings
from onlooker.server.wiring import make_hub

WINDOW = 8
MODES: dict[str, tuple[Literal["resend", "segments"], int]] = {
    "resend": ("resend", WINDOW // 2),
    "resend_sliding": ("resend", 1),
    "segments": ("segments", WINDOW // 2),
}
"""By name, the engine's mode and how many clips leave a full window at once (in resend mode)."""


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run every mode at every number of streams; one vLLM at a time."""
    figures: dict[str, Any] = {"window_clips": WINDOW, "modes": {}}
    counts = [int(number) for number in options.streams.split(",")]
    for name, (mode, stride) in MODES.items():
        figures["modes"][name] = await _measure_mode(name, mode, stride, counts, options)
    figures["ratio_to_sliding"] = {
        str(count): _ratios(figures["modes"], str(count)) for count in counts
    }
    return figures


async def _measure_mode(
    name: str,
    mode: Literal["resend", "segments"],
    stride: int,
    counts: list[int],
    options: argparse.Namespace,
) -> dict[str, Any]:
    clock, metrics = SystemClock(), Metrics()
    settings = Settings(
        engine=EngineSection(
            model=options.model, mode=mode, window_clips=WINDOW,
            stride_clips=stride if mode == "resend" else None,
            memory=MemorySection(recent_clips=WINDOW),
        ),
        scheduler=SchedulerSection(policy="fcfs"),
    )  # fmt: skip
    engine = MeasuredEngine(make_engine(settings.engine, clock, metrics), clock)
    hub = make_hub(settings, engine=engine, clock=clock, metrics=metrics)
    await hub.start(lambda line: print(f"  {name}: {line}", flush=True))
    found: dict[str, Any] = {}
    try:
        for count in counts:
            engine.take()
            load = Load(num_streams=count, seconds=options.seconds, seed=options.seed)
            outcome = await run(hub, load, clock)
            found[str(count)] = _figures(engine.take(), outcome)
            print(f"  {name}, {count} streams: {found[str(count)]}", flush=True)
    finally:
        await hub.close()
    return found


def _figures(work: MeasuredWork, outcome: LoadOutcome) -> dict[str, Any]:
    cached, tokens = work.ingest_cached_tokens, work.ingest_tokens
    return {
        "clips": outcome.clips,
        "frames": {
            "received": outcome.received,
            "kept": outcome.kept,
            "skipped": outcome.skipped,
            "dropped": outcome.dropped,
        },
        "ms_per_clip": 1000 * work.busy_s / max(1, len(work.ingest_s)),
        "ingest_ms": _spread(work.ingest_s, 1000),
        "computed_tokens_per_clip": (tokens - cached) / max(1, len(work.ingest_s)),
        "prefix_cache_hit_ratio": cached / max(1, tokens),
        "answer_cache_hit_ratio": work.answer_cached_tokens / max(1, work.answer_tokens),
        "ttft_ms": _spread(work.ttft_s, 1000),
        "frame_lag_s": _spread(outcome.lag_s, 1),
        "questions": {
            "asked": outcome.asked,
            "answered": outcome.answered,
            "refused": outcome.refused,
        },
    }


def _spread(values: list[float], scale: float) -> dict[str, float | None]:
    found = {name: percentile(values, share) for name, share in (("p50", 0.5), ("p95", 0.95))}
    return {name: None if v is None else round(v * scale, 4) for name, v in found.items()}


def _ratios(modes: dict[str, Any], count: str) -> dict[str, float]:
    """How many times as much as each mode the sliding baseline needs for a clip; more is better."""
    base = modes["resend_sliding"][count]
    return {
        f"{name}_{figure}": round(base[figure] / max(1e-9, modes[name][count][figure]), 3)
        for name in ("resend", "segments")
        for figure in ("ms_per_clip", "computed_tokens_per_clip")
    }


def table(figures: dict[str, Any]) -> str:
    """The figures as tables in plain text."""
    titles = ("mode", "streams", "ms/clip", "tokens/clip", "cache hit", "TTFT p50 ms",
              "TTFT p95", "lag p50 s", "lag p95", "dropped")  # fmt: skip
    lines = [
        (
            name,
            count,
            f["ms_per_clip"],
            f["computed_tokens_per_clip"],
            f["prefix_cache_hit_ratio"],
            f["ttft_ms"]["p50"],
            f["ttft_ms"]["p95"],
            f["frame_lag_s"]["p50"],
            f["frame_lag_s"]["p95"],
            f["frames"]["dropped"],
        )
        for name, counts in figures["modes"].items()
        for count, f in counts.items()
    ]
    return rows(titles, lines)
