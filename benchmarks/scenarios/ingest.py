"""What a clip costs at a window of 1024 tokens: segments, resend, recomputing, and the bare model.

Shown: CPU time (gateway and engine core together) and elapsed time a clip once the window is full,
on 1, 4, 16 and 64 streams that each hand in the next clip as soon as the last is done; the tokens
that were computed; and where the time of segments mode goes. Beside it in the same run:
`recompute`, the stock engine with a window that slides by one clip, so that its prefix cache finds
no more than the system prompt; `resend`, the same with a window that drops half of itself at a time
(both on 16 streams at most: 64 take half an hour); `bare`, Hugging Face's forward pass over the
clip's own tokens and pictures with its context's KV at hand, as many clips at once as there are
streams, in turns with segments, so that what else the machine does slows both. `overhead_ratio` is
the CPU time of segments over bare; `overhead_ratio_elapsed` the elapsed time of segments over the
CPU time of bare. CPU time does not hold what vLLM's processes spend on waiting for each other
("spin", told beside it).

Not shown: decoding video and the network (clips are handed to the engine as pixels); answers; a
GPU, where launching and computing overlap. On more than one model thread the stages show the
calling thread only.
"""

import argparse
import asyncio
import os
import statistics
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, Literal

from onlooker.benchmarks.cpu import Cost, CpuMeter
from onlooker.benchmarks.report import processor, rows
from onlooker.benchmarks.showing import ShownStream
from onlooker.core.clock import SystemClock
from onlooker.core.metrics import Metrics
from onlooker.engine.config import EngineSection, VllmSection
from onlooker.engine.interface import Engine, IngestResult
from onlooker.engine.memory.config import MemorySection
from onlooker.engine.vllm_adapter.engine import make_engine
from onlooker.engine.vllm_adapter.gateway.model_folder import find_model

if TYPE_CHECKING:
    from onlooker.benchmarks.stopwatch import Stopwatch
    from onlooker.demo_model.bare import BareClips

WINDOW_TOKENS = 1024
Mode = Literal["segments", "resend", "recompute"]
ROUNDS: dict[Mode, int] = {"segments": 24, "recompute": 4, "resend": 0}
"""How many clips of each stream are measured; 0: one whole stride, of which one clip pays for all
that leave the window."""
MOST_RIVALS = 16
"""The most streams on which the whole context is computed for every clip."""
TURNS = 4
"""How often segments and the bare model take turns."""
BARE_PASSES = 3
"""Passes of the bare model in each turn."""


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run every mode at every number of streams; one vLLM at a time."""
    counts = [int(number) for number in options.streams.split(",")]
    tokens_per_clip = await _tokens_per_clip(options.model)
    window = max(2, WINDOW_TOKENS // tokens_per_clip)
    figures: dict[str, Any] = {
        "window_tokens": WINDOW_TOKENS, "window_clips": window,
        "tokens_per_clip": tokens_per_clip, "processor": processor(), "modes": {},
    }  # fmt: skip
    bare = _Bare(options.model, window * tokens_per_clip, tokens_per_clip)
    for mode in ROUNDS:
        rivals = [count for count in counts if mode == "segments" or count <= MOST_RIVALS]
        if rivals:
            figures["modes"][mode] = await _measure_mode(
                mode, window, rivals, options.model, bare if mode == "segments" else None
            )
    figures["modes"]["bare"] = bare.found
    figures |= _ratios(figures["modes"])
    return figures


def add_options(parser: argparse.ArgumentParser) -> None:
    """Have 64 streams among the numbers that are measured."""
    parser.set_defaults(streams="1,4,16,64")


async def _tokens_per_clip(model: str) -> int:
    """The number of tokens of a clip, as the running model says."""
    engine = _engine("resend", 2, model)
    await engine.start(lambda line: None)
    await engine.close()
    return engine.info.tokens_per_clip


def _engine(mode: Mode, window: int, model: str) -> Engine:
    settings = EngineSection(
        model=model,
        mode="segments" if mode == "segments" else "resend",
        window_clips=window,
        stride_clips=1 if mode == "recompute" else None,
        memory=MemorySection(recent_clips=window),
        vllm=VllmSection(),
    )
    return make_engine(settings, SystemClock(), Metrics())


async def _measure_mode(
    mode: Mode, window: int, counts: list[int], model: str, bare: "_Bare | None"
) -> dict[str, Any]:
    """What `mode` costs on each number of streams. `bare`: what is measured in turns with it."""
    engine = _engine(mode, window, model)
    found: dict[str, Any] = {}
    with CpuMeter() as meter:
        await engine.start(lambda line: print(f"  {mode}: {line}", flush=True))
        watch = _watch_gateway(engine)
        try:
            for count in counts:
                streams = [ShownStream(engine, number) for number in range(count)]
                for stream in streams:
                    await engine.open_stream(stream.id)
                await asyncio.gather(*(stream.show(window + 1) for stream in streams))
                watch.take()
                turns = 1 if bare is None else TURNS
                rounds = (ROUNDS[mode] or window // 2) // turns
                costs, results = [], []
                for _ in range(turns):
                    if bare is not None:
                        await asyncio.to_thread(bare.measure, count)
                    await meter.begin()
                    shown = await asyncio.gather(*(stream.show(rounds) for stream in streams))
                    costs.append(await meter.end())
                    results += [result for of_stream in shown for result in of_stream]
                cost = reduce(add, costs)
                found[str(count)] = _figures(cost, watch.take(), results)
                for stream in streams:
                    await engine.close_stream(stream.id)
                print(f"  {mode}, {count} streams: {found[str(count)]}", flush=True)
        finally:
            await engine.close()
    return found


def _watch_gateway(engine: Engine) -> "Stopwatch":
    from onlooker.benchmarks.stopwatch import Stopwatch, gateway_places
    from onlooker.engine.vllm_adapter.gateway.segment_engine import SegmentEngine

    watch = Stopwatch()
    if isinstance(engine, SegmentEngine):
        watch.watch(gateway_places(engine.runner.llm))
    return watch


def _figures(cost: Cost, gateway: dict[str, float], results: list[IngestResult]) -> dict[str, Any]:
    clips = len(results)
    computed = sum(result.num_tokens - result.num_cached_tokens for result in results)
    stages = {f"gateway: {name}": spent_s for name, spent_s in gateway.items()}
    stages["gateway: rest"] = cost.gateway_s - sum(gateway.values())
    stages |= cost.stages_s
    return {
        "clips": clips,
        "ms_per_clip": 1000 * cost.elapsed_s / clips,
        "cpu_ms_per_clip": 1000 * cost.cpu_s / clips,
        "gateway_cpu_ms_per_clip": 1000 * cost.gateway_s / clips,
        "core_cpu_ms_per_clip": 1000 * cost.core_s / clips,
        "spin_ms_per_clip": 1000 * cost.spin_s / clips,
        "computed_tokens_per_clip": computed / clips,
        "prompt_tokens_per_clip": sum(result.num_tokens for result in results) / clips,
        "stages_ms": {name: round(1000 * spent / clips, 3) for name, spent in stages.items()},
    }


class _Bare:
    """The bare model, measured a few passes at a time."""

    def __init__(self, name: str, context_tokens: int, clip_tokens: int) -> None:
        self.found: dict[str, Any] = {}
        """What a clip costs, by the number of streams."""
        self._name = name
        self._context_tokens = context_tokens
        self._clip_tokens = clip_tokens
        self._count = 0
        self._spent_s: list[float] = []

    def measure(self, count: int) -> None:
        """Compute `count` clips at once, a few times."""
        if count != self._count:
            self._count, self._spent_s, self._clips = count, [], self._prepared(count)
        self._spent_s += self._clips.time(BARE_PASSES)
        self.found[str(count)] = {
            "cpu_ms_per_clip": 1000 * statistics.mean(self._spent_s) / count,
            "computed_tokens_per_clip": self._clip_tokens,
        }

    def _prepared(self, count: int) -> "BareClips":
        from onlooker.demo_model.bare import BareModel

        threads = len(os.environ["VLLM_CPU_OMP_THREADS_BIND"].split(","))
        model = find_model(self._name, served_name=None)
        return BareModel(model.source, threads=threads).prepare(
            batch=count,
            context_tokens=self._context_tokens,
            clip_tokens=self._clip_tokens,
            frame_size=(model.profile.frame_width, model.profile.frame_height),
        )


def _ratios(modes: dict[str, Any]) -> dict[str, Any]:
    def ratio(over: str, under: str, name: str = "cpu_ms_per_clip") -> dict[str, float]:
        return {
            count: round(modes[over][count][name] / modes[under][count]["cpu_ms_per_clip"], 3)
            for count in modes.get(over, {})
            if count in modes[under]
        }

    return {
        "overhead_ratio": ratio("segments", "bare"),
        "overhead_ratio_elapsed": ratio("segments", "bare", "ms_per_clip"),
        "recompute_ratio": ratio("recompute", "segments"),
        "resend_ratio": ratio("resend", "segments"),
    }


def table(figures: dict[str, Any]) -> str:
    """The figures as tables in plain text."""
    modes = figures["modes"]
    titles = ("mode", "streams", "CPU ms/clip", "elapsed ms/clip", "gateway CPU", "core CPU",
              "computed tokens", "prompt tokens")  # fmt: skip
    names = ("cpu_ms_per_clip", "ms_per_clip", "gateway_cpu_ms_per_clip", "core_cpu_ms_per_clip",
             "computed_tokens_per_clip", "prompt_tokens_per_clip")  # fmt: skip
    lines = [
        (mode, count, *(found.get(name) for name in names))
        for mode, counts in modes.items()
        for count, found in counts.items()
    ]
    counts = list(modes["segments"])
    heads = [f"{count} streams" for count in counts]
    stage_tables = [
        f"Where {mode} spends its CPU time, ms a clip:\n"
        + rows(
            ("stage", *heads),
            [
                (name, *(found[count]["stages_ms"].get(name) if count in found else None
                         for count in counts))
                for name in next(iter(found.values()))["stages_ms"]
            ],
        )
        for mode, found in modes.items()
        if mode != "bare"
    ]  # fmt: skip
    ratio_lines = [
        (name, *(figures[name].get(count) for count in counts))
        for name in ("overhead_ratio", "overhead_ratio_elapsed", "recompute_ratio", "resend_ratio")
    ]
    return "\n\n".join(
        (
            f"On {figures['processor']}:\n" + rows(titles, lines),
            *stage_tables,
            "Ratios (overhead: segments / bare, goal 1.4 at 16 streams and 1.25 at 64; recompute "
            "and resend: how much dearer than segments, goal 4 for recompute):\n"
            + rows(("ratio", *heads), ratio_lines),
        )
    )
