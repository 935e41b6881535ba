"""Does a stream that runs for long stay as quick and as small? Segments beside resend.

Shown, first: time to the first token of an answer on streams of 1, 10 and 60 minutes that live in
one engine and are asked in turns, so that whatever else the machine does meets all of them alike;
as CPU time (of all processes, of an answer of one token) and as elapsed time. `ttft_growth` is the
CPU time at the longest over that at the shortest (goal 1.15), `ttft_growth_elapsed` the medians of
elapsed time likewise. Second: one stream of `--hours` on small budgets (arena, RAM, disk), at a
frame a second on a virtual clock: bytes in the arena, the stores and the index, resident memory of
the gateway's and vLLM's processes over stream time, and CPU time a clip at the end over that at the
beginning (`ms_per_clip_growth`, goal 1.10; both from when the window is full). Resend is measured
in the first part, with its own window, which holds as many clips as segments mode shows. Third: a
day and a week (`--long`), whose index is lengthened (`onlooker.benchmarks.lengthening`), asked in
turns with a minute and an hour that are likewise: `long` has the time to the first token, the
growth against the minute (goals 1.10 at 24 hours, 1.3 at 7 days), bytes of the index a clip, how
many vectors were compared a clip of the stream, and the share of the best clips by a comparison
with all that was found (`recall`, goal 0.99).

Not shown: whether answers are right (scenario `recall`); many streams at once; a GPU.
"""

import argparse
import asyncio
import statistics
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from onlooker.benchmarks.cpu import CpuMeter
from onlooker.benchmarks.footprint import Footprint
from onlooker.benchmarks.lengthening import LengtheningEngine
from onlooker.benchmarks.report import rows
from onlooker.benchmarks.showing import ShownStream
from onlooker.cache_store.config import MIB, CacheStoreSection, DiskSection, RamSection
from onlooker.core.clock import SystemClock
from onlooker.core.metrics import Metrics
from onlooker.engine.config import EngineSection
from onlooker.engine.interface import AnswerDelta, Engine, Question
from onlooker.engine.memory import config as memory
from onlooker.engine.vllm_adapter.engine import make_engine

MINUTES = (1, 10, 60)
LONG_HOURS = (24, 168)
QUESTION = "Was there ever a red star?"
"""A question that names no time, so that retrieval ranks all clips."""

QUESTIONS = tuple(
    f"Was there ever a {color} {shape}?"
    for color in ("red", "green", "blue", "yellow")
    for shape in ("star", "circle", "square", "triangle")
)
"""Questions by which recall is told."""

SMALL_ARENA_GIB = 16 / 1024
SMALL_RAM_BYTES = 32 * MIB
SMALL_DISK_BYTES = 64 * MIB
SHARE = 0.1
"""The share of the stream, at its end and at its beginning, whose costs a clip are compared."""

Mode = Literal["segments", "resend"]
MODES: tuple[Mode, ...] = ("segments", "resend")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--hours", type=float, default=1.0, help="of the long stream [1]; 0: none")
    parser.add_argument("--minutes", default=",".join(map(str, MINUTES)), help="of the others")
    parser.add_argument("--asks", type=int, default=20, help="questions to each of them [20]")
    parser.add_argument("--long", default=",".join(map(str, LONG_HOURS)),
                        help="hours with a lengthened index [24,168]")  # fmt: skip
    parser.add_argument("--plot", type=Path, default=None, help="a PNG of TTFT by stream length")


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run both parts, one vLLM at a time."""
    figures: dict[str, Any] = {}
    minutes = [int(number) for number in options.minutes.split(",")] if options.minutes else []
    if minutes:
        ttft = {mode: await _measure_ttft(mode, minutes, options) for mode in MODES}
        figures["ttft"] = ttft
        for name, figure in (("ttft_growth", "cpu_ms"), ("ttft_growth_elapsed", "elapsed_ms")):
            figures[name] = {
                mode: round(found[str(minutes[-1])][figure] / found[str(minutes[0])][figure], 3)
                for mode, found in ttft.items()
            }
        if options.plot is not None:
            plot(figures, options.plot)
    if options.long:
        hours = [float(number) for number in options.long.split(",")]
        figures["long"] = await _measure_lengthened([1 / 60, 1.0, *hours], options)
    if options.hours:
        figures |= await _measure_long(options)
    return figures


# ---- time to first token by length


async def _measure_ttft(
    mode: Mode, minutes: list[int], options: argparse.Namespace
) -> dict[str, Any]:
    engine = make_engine(
        EngineSection(model=options.model, mode=mode), SystemClock(), Metrics(),
        CacheStoreSection() if mode == "segments" else None,
    )  # fmt: skip
    found: dict[str, list[tuple[float, float]]] = {str(number): [] for number in minutes}
    with CpuMeter() as meter:
        await engine.start(lambda line: print(f"  {mode}: {line}", flush=True))
        try:
            streams = {str(number): ShownStream(engine, number) for number in minutes}
            for stream in streams.values():
                await engine.open_stream(stream.id)
            await asyncio.gather(*(streams[str(n)].show(60 * n) for n in minutes))
            print(f"  {mode}: asking", flush=True)
            for index in range(options.asks + 1):
                for length, stream in streams.items():
                    await meter.begin(settle=False)
                    elapsed_s = await _ask(engine, stream)
                    cost = await meter.end()
                    if index:  # the first question only warms up
                        found[length].append((elapsed_s, cost.cpu_s))
        finally:
            await engine.close()
    return {
        length: {
            "elapsed_ms": 1000 * statistics.median(elapsed for elapsed, _ in taken),
            "cpu_ms": 1000 * statistics.median(cpu for _, cpu in taken),
        }
        for length, taken in found.items()
    }


async def _ask(engine: Engine, stream: ShownStream, text: str = QUESTION) -> float:
    """Ask one question; returns the seconds to its first token, which is the only one."""
    clock = SystemClock()
    question = Question(
        text=text, stream_id=stream.id, asked_s=float(stream.num_shown), max_tokens=1
    )
    begun_s = clock.now_s()
    first_s = begun_s
    async for event in engine.answer(question):
        if isinstance(event, AnswerDelta):
            first_s = clock.now_s()
    return (first_s if first_s > begun_s else clock.now_s()) - begun_s


def plot(figures: dict[str, Any], path: Path) -> None:
    """Plot the CPU time to the first token over the length of the stream."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.5, 3.4))
    for mode, found in figures["ttft"].items():
        lengths = [f"{length} min" for length in found]
        axes.plot(lengths, [f["cpu_ms"] for f in found.values()], marker="o", label=mode)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("length of the stream")
    axes.set_ylabel("CPU ms to the first token")
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


# ---- streams whose index is lengthened


async def _measure_lengthened(hours: list[float], options: argparse.Namespace) -> dict[str, Any]:
    settings = EngineSection(
        model=options.model,
        memory=memory.MemorySection(index_gib=64, arena_gib=8),
    )
    found: dict[float, list[tuple[float, float]]] = {number: [] for number in hours}
    ranked: dict[float, list[tuple[float, int]]] = {number: [] for number in hours}
    index_bytes: dict[float, int] = {}
    with CpuMeter() as meter:
        engine = LengtheningEngine(settings, SystemClock(), Metrics(), CacheStoreSection())
        await engine.start(lambda line: print(f"  lengthened: {line}", flush=True))
        try:
            streams = {number: ShownStream(engine, options.seed + 1) for number in hours}
            held = 0
            for number, stream in streams.items():
                await engine.open_stream(stream.id)
                await stream.show(60)
                num_bytes = await engine.lengthen(stream.id, int(3600 * number), options.seed)
                index_bytes[number], held = num_bytes - held, num_bytes
                stream.num_shown = int(3600 * number)
                print(f"  lengthened: {stream.num_shown} clips", flush=True)
            for index in range(options.asks + 1):
                for number, stream in streams.items():
                    await meter.begin(settle=False)
                    elapsed_s = await _ask(engine, stream)
                    cost = await meter.end()
                    if index:  # the first question only warms up
                        found[number].append((elapsed_s, cost.cpu_s))
            await engine.watch_ranking()
            for number, stream in streams.items():
                for text in QUESTIONS:
                    await _ask(engine, stream, text)
                    ranked[number].append(await engine.last_ranking())
        finally:
            await engine.close()
    rows = {
        f"{number:.3g}": {
            "clips": int(3600 * number),
            "elapsed_ms": 1000 * statistics.median(elapsed for elapsed, _ in found[number]),
            "cpu_ms": 1000 * statistics.median(cpu for _, cpu in found[number]),
            "index_bytes_per_clip": index_bytes[number] / (3600 * number),
            "compared_per_clip": statistics.mean(
                compared / (3600 * number) if compared else 1.0 for _, compared in ranked[number]
            ),
            "recall": statistics.mean(recall for recall, _ in ranked[number]),
        }
        for number in hours
    }
    first = next(iter(rows.values()))
    for row in rows.values():
        row["growth"] = round(row["cpu_ms"] / first["cpu_ms"], 3)
        row["growth_elapsed"] = round(row["elapsed_ms"] / first["elapsed_ms"], 3)
    return rows


# ---- one long stream


@dataclass(frozen=True, slots=True)
class MemorySample:
    """The state of the engine after some hours of the stream."""

    hour: float
    cpu_ms_per_clip: float
    """CPU time a clip since the sample before."""
    device_bytes: int
    rss_bytes: int
    """Resident memory of the gateway's process and of vLLM's."""
    stored_bytes: dict[str, int]
    index_rows: int


async def _measure_long(options: argparse.Namespace) -> dict[str, Any]:
    num_clips = int(3600 * options.hours)
    step = max(60, num_clips // 40)
    samples: list[MemorySample] = []
    with tempfile.TemporaryDirectory(prefix="memory") as folder, CpuMeter() as meter:
        engine = _small_engine(options.model, Path(folder))
        await engine.start(lambda line: print(f"  long: {line}", flush=True))
        footprint = Footprint(engine)
        try:
            stream = ShownStream(engine, options.seed)
            await engine.open_stream(stream.id)
            while stream.num_shown < num_clips:
                await meter.begin()
                await stream.show(step)
                cost = await meter.end()
                state = await footprint.read(meter.pids())
                hour = stream.num_shown / 3600
                samples.append(MemorySample(hour, 1000 * cost.cpu_s / step, **asdict(state)))
                print(f"  long: {samples[-1]}", flush=True)
        finally:
            await engine.close()
    return {"hours": options.hours, **_growth(samples)}


def _small_engine(model: str, folder: Path) -> Engine:
    settings = EngineSection(
        model=model, mode="segments", memory=memory.MemorySection(arena_gib=SMALL_ARENA_GIB)
    )
    store = CacheStoreSection(
        memory=RamSection(budget_bytes=SMALL_RAM_BYTES),
        disk=DiskSection(path=folder, budget_bytes=SMALL_DISK_BYTES, sync=False),
    )
    return make_engine(settings, SystemClock(), Metrics(), store)


def _growth(samples: list[MemorySample]) -> dict[str, Any]:
    part = max(1, int(SHARE * len(samples)))
    first, last = samples[1 : 1 + part] or samples, samples[-part:]
    late = samples[len(samples) // 2 :]  # by then every budget is reached

    def mean(chosen: list[MemorySample]) -> float:
        return float(statistics.mean([sample.cpu_ms_per_clip for sample in chosen]))

    def spread(name: str) -> float:
        values = [getattr(sample, name) for sample in late]
        return round(float(max(values) / max(1, min(values))), 4)

    return {
        "ms_per_clip_growth": round(mean(last) / mean(first), 3),
        "device_bytes_growth": spread("device_bytes"),
        "rss_bytes_growth": spread("rss_bytes"),
        "index_rows_growth": spread("index_rows"),
        "device_bytes": {f"{sample.hour:.2f}": sample.device_bytes for sample in samples},
        "rss_bytes": {f"{sample.hour:.2f}": sample.rss_bytes for sample in samples},
        "samples": [asdict(sample) for sample in samples],
    }


def table(figures: dict[str, Any]) -> str:
    """The figures as tables in plain text."""
    parts = []
    if "ttft" in figures:
        lines = [
            (mode, length, found["cpu_ms"], found["elapsed_ms"])
            for mode, lengths in figures["ttft"].items()
            for length, found in lengths.items()
        ]
        parts.append(rows(("mode", "minutes", "TTFT CPU ms", "TTFT elapsed ms"), lines))
        parts.append(
            "Growth of TTFT from the shortest to the longest (goal 1.15): "
            f"CPU {figures['ttft_growth']}, elapsed {figures['ttft_growth_elapsed']}"
        )
    if "long" in figures:
        titles = ("hours", "TTFT CPU ms", "growth", "elapsed ms", "growth", "compared", "recall")
        names = ("cpu_ms", "growth", "elapsed_ms", "growth_elapsed", "compared_per_clip", "recall")
        long = [
            (hours, *(found[name] for name in names)) for hours, found in figures["long"].items()
        ]
        parts.append(rows(titles, long))
    if "samples" in figures:
        samples = figures["samples"]
        shown = samples[:: max(1, len(samples) // 12)]
        titles = ("hour", "CPU ms/clip", "arena MiB", "RSS MiB", "RAM MiB", "disk MiB", "index")
        states = [
            (
                round(s["hour"], 2),
                s["cpu_ms_per_clip"],
                s["device_bytes"] / MIB,
                s["rss_bytes"] / MIB,
                s["stored_bytes"].get("memory", 0) / MIB,
                s["stored_bytes"].get("disk", 0) / MIB,
                s["index_rows"],
            )
            for s in shown
        ]
        parts.append(rows(titles, states))
        parts.append(
            f"CPU time a clip, end over beginning (goal 1.10): {figures['ms_per_clip_growth']}; "
            "largest over smallest in the second half: "
            f"arena {figures['device_bytes_growth']}, RSS {figures['rss_bytes_growth']}, "
            f"index {figures['index_rows_growth']}"
        )
    return "\n\n".join(parts)
