"""The parts with a whole engine: `ingest`, `load`, `memory` and `tiers`, with one start of it."""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onlooker.benchmarks.cpu import CpuMeter
from onlooker.benchmarks.gpu_check import device_parts
from onlooker.benchmarks.gpu_check.dummy_model import DummyModel
from onlooker.benchmarks.gpu_check.part_notes import PartNotes
from onlooker.benchmarks.showing import ShownStream
from onlooker.cache_store.config import CacheStoreSection, DiskSection, RamSection
from onlooker.core.clock import SystemClock
from onlooker.core.metrics import Metrics
from onlooker.engine.config import EngineSection, VllmSection
from onlooker.engine.interface import AnswerDelta, AnswerEnd, Engine, Question
from onlooker.engine.vllm_adapter.engine import make_engine
from onlooker.engine.vllm_adapter.wire import flush_segments
from onlooker.scheduler.simulator.outcome import percentile

RIVAL_TOKENS_S = 40_000
"""Vision tokens a second that NVIDIA tells of its RT-VLM on one H100."""

TARGET_MS = 200.0
"""What 95 of 100 clips, and first words of answers, take at most."""

RAM_BYTES = 256 << 20
"""Room of the RAM tier, so that clips of long ago come from the disk."""


@dataclass(frozen=True, slots=True)
class CheckSizes:
    """How much is measured."""

    streams: tuple[int, ...] = (1, 16, 64)
    clips: int = 12
    """Clips of each stream, as fast as the engine takes them."""
    most_streams: int = 512
    load_s: float = 6.0
    """Seconds of each number of streams that show a clip a second."""
    remembered: int = 256
    """Clips of the stream that is asked about."""
    questions: int = 8


TINY = CheckSizes(streams=(1, 2), clips=3, most_streams=2, load_s=2.0, remembered=40, questions=2)


async def measure(notes: PartNotes, model: DummyModel, *, is_tiny: bool) -> None:
    """All parts, one after the other."""
    sizes = TINY if is_tiny else CheckSizes()
    with tempfile.TemporaryDirectory(prefix="gpu-check") as folder, CpuMeter() as meter:
        engine = _engine(model.write(Path(folder) / "model"), Path(folder), is_tiny=is_tiny)
        began_s = time.monotonic()
        await engine.start(lambda line: notes.note(start=line))
        notes.note(model=model.name, start_s=round(time.monotonic() - began_s, 1))
        try:
            notes.note(ingest=await _ingest(engine, model, sizes, meter))
            await _load(notes, engine, sizes)
            stream = ShownStream(engine, 1)
            await engine.open_stream(stream.id)
            await stream.show(sizes.remembered)
            notes.note(memory=await _memory(engine, stream, sizes))
            notes.note(tiers=await _tiers(engine, stream, sizes))
        finally:
            await engine.close()


def _engine(model: Path, folder: Path, *, is_tiny: bool) -> Any:
    vllm = VllmSection(load_format="dummy", dtype="auto" if is_tiny else "bfloat16")
    store = CacheStoreSection(
        memory=RamSection(budget_bytes=RAM_BYTES), disk=DiskSection(path=folder / "segments")
    )
    settings = EngineSection(model=str(model), mode="segments", vllm=vllm)
    return make_engine(settings, SystemClock(), Metrics(), store)


async def _ingest(
    engine: Engine, model: DummyModel, sizes: CheckSizes, meter: CpuMeter
) -> dict[str, Any]:
    """Frames a second as fast as they are taken, and where the time goes."""
    found: dict[str, Any] = {}
    for count in sizes.streams:
        streams = [ShownStream(engine, number) for number in range(count)]
        for stream in streams:
            await engine.open_stream(stream.id)
        await asyncio.gather(*(stream.show(2) for stream in streams))
        await meter.begin()
        await asyncio.gather(*(stream.show(sizes.clips) for stream in streams))
        cost = await meter.end()
        clips_s = count * sizes.clips / cost.elapsed_s
        tokens_s = clips_s * model.seen_tokens
        found[str(count)] = {
            "frames_s": round(2 * clips_s, 1),
            "vision_tokens_s": round(tokens_s),
            "of_chip_limit": _share_of_chip(model, clips_s),
            "of_rival": round(tokens_s / RIVAL_TOKENS_S, 3),
            "stages_ms_a_clip": {
                name: round(1e3 * spent_s / (count * sizes.clips), 3)
                for name, spent_s in cost.stages_s.items()
            },
            "gateway_cpu_ms_a_clip": round(1e3 * cost.gateway_s / (count * sizes.clips), 3),
        }
        for stream in streams:
            await engine.close_stream(stream.id)
    return found


def _share_of_chip(model: DummyModel, clips_s: float) -> float | None:
    """Which share of the operations that the data sheet names were of use."""
    chip = device_parts.chip()
    if chip is None:
        return None
    vision = model.shape.vision
    patches = model.seen_tokens * vision.merge**2
    tower = 2 * vision.parameters * patches + 4 * vision.layers * vision.hidden * patches**2
    flops = tower + 2 * model.shape.active_parameters * model.seen_tokens
    return round(clips_s * flops / (chip.tflops * 1e12), 4)


async def _load(notes: PartNotes, engine: Engine, sizes: CheckSizes) -> None:
    """How many streams of a clip a second keep 95 of 100 clips, and of first words, in time."""
    found: dict[str, Any] = {"target_ms": TARGET_MS, "streams_in_time": 0, "steps": {}}
    count = 1
    while count <= sizes.most_streams:
        step = await _at_rate(engine, count, sizes.load_s)
        found["steps"][str(count)] = step
        is_in_time = step["clip_p95_ms"] < TARGET_MS and step["first_word_p95_ms"] < TARGET_MS
        if is_in_time:
            found["streams_in_time"] = count
        notes.note(load=found)
        if not is_in_time:
            break
        count *= 2


async def _at_rate(engine: Engine, count: int, seconds: float) -> dict[str, Any]:
    """`count` streams show a clip a second each, whether or not the last one is done, and one
    question a second is asked."""
    streams = [ShownStream(engine, number) for number in range(count)]
    for stream in streams:
        await engine.open_stream(stream.id)
    await asyncio.gather(*(stream.show(1) for stream in streams))
    took_ms: list[float] = []
    first_ms: list[float] = []

    async def show(stream: ShownStream, wait_s: float, due: int) -> None:
        await asyncio.sleep(wait_s)
        for second in range(due):
            began_s = time.monotonic()
            await stream.show(1)
            took_ms.append(1e3 * (time.monotonic() - began_s))
            await asyncio.sleep(max(0.0, wait_s + second + 1 - (time.monotonic() - start_s)))

    async def ask(second: int) -> None:
        await asyncio.sleep(second + 0.5)
        asked = await _ask(engine, streams[second % count], "What is there now?")
        first_ms.append(asked[0])

    start_s = time.monotonic()
    shows = [show(one, place / count, int(seconds)) for place, one in enumerate(streams)]
    await asyncio.gather(*shows, *(ask(second) for second in range(int(seconds))))
    for stream in streams:
        await engine.close_stream(stream.id)
    return {
        "clip_p50_ms": _p(took_ms, 0.5),
        "clip_p95_ms": _p(took_ms, 0.95),
        "first_word_p95_ms": _p(first_ms, 0.95),
    }


async def _memory(engine: Engine, stream: ShownStream, sizes: CheckSizes) -> dict[str, Any]:
    """First words of answers that choose among all that is remembered."""
    asked = [
        await _ask(engine, stream, "Was there ever a red circle?") for _ in range(sizes.questions)
    ]
    first = [ms for ms, _ in asked]
    return {
        "clips": sizes.remembered,
        "first_word_p50_ms": _p(first, 0.5),
        "first_word_p95_ms": _p(first, 0.95),
        "fetched_bytes": dict(asked[-1][1].fetched_bytes),
    }


async def _tiers(engine: Any, stream: ShownStream, sizes: CheckSizes) -> dict[str, Any]:
    """First words of answers about clips that lie in RAM or on disk, after a stream was opened
    again."""
    await engine.runner.ask_workers(flush_segments(30.0))
    await engine.close_stream(stream.id, forget=False)
    began_s = time.monotonic()
    await engine.open_stream(stream.id)
    opened_ms = 1e3 * (time.monotonic() - began_s)
    first: list[float] = []
    fetched: dict[str, int] = {}
    for number in range(sizes.questions):
        second = number * sizes.remembered // sizes.questions
        ms, end = await _ask(engine, stream, f"What was there at {second} seconds?")
        first.append(ms)
        for tier, count in end.fetched_bytes.items():
            fetched[tier] = fetched.get(tier, 0) + count
    return {
        "open_ms": round(opened_ms, 1),
        "first_word_p50_ms": _p(first, 0.5),
        "first_word_max_ms": _p(first, 1.0),
        "fetched_bytes": fetched,
    }


async def _ask(engine: Engine, stream: ShownStream, text: str) -> tuple[float, AnswerEnd]:
    """Milliseconds to the first word of an answer, and its end."""
    question = Question(
        text=text, stream_id=stream.id, asked_s=stream.num_shown + 1.0, max_tokens=16
    )
    began_s, first_ms = time.monotonic(), 0.0
    async for event in engine.answer(question):
        if isinstance(event, AnswerDelta) and not first_ms:
            first_ms = 1e3 * (time.monotonic() - began_s)
        if isinstance(event, AnswerEnd):
            return first_ms or 1e3 * (time.monotonic() - began_s), event
    raise AssertionError("an answer had no end")


def _p(values: Sequence[float], share: float) -> float:
    found = percentile(values, share)
    return 0.0 if found is None else round(found, 1)
