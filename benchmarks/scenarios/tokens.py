"""Fewer tokens: what each method of token drop saves of a clip, and what it costs in answers.

Two things are measured, each method beside `off` in the same engine, clip by clip in turns.

Costs, with the demo model's weights at 384x288 pixels (192 vision tokens a clip; it was trained at
9, so nothing is asked): a webcam's scene (one thing moves in a still room), a busy one (half a
dozen move fast) and a crowded one (a dozen), drawn, with noise and JPEG. `tokens_ratio` is the
share of vision tokens that were computed, `encoder_ratio` of those that the vision tower encoded,
`kv_bytes_ratio` the bytes that are remembered beside those of `off`, `time_ratio` the median time
of a clip beside that of `off`. What stands by itself in a method's figures is the webcam's.

Answers, with the demo model as it is (9 vision tokens a clip): on held-out worlds, `accuracy` of
questions about now, asked while it watches, and about named seconds; `recall` of questions whose
evidence has to be found by content. `computed_ratio` is the share of these clips' tokens, text
included, that was computed. Methods that lose stay in the table.

Methods of compaction stand in the same tables: they compute all, and are about what stays of a clip
that has left the window; their `kv_bytes_ratio` is that of such a clip. With 192 places a quarter
of the tokens stays. Of the 15 tokens of the demo model's clip six are text: its text and a third
of its picture stay, or (`-text`) three tokens of the picture and no text.

Not shown: a real model, real video, a GPU. `+kept` encodes only the places that are computed.
"""

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from onlooker.benchmarks.drawn_scenes import DrawnScene
from onlooker.benchmarks.hour import BY_CONTENT, Hour, HourQuestion
from onlooker.benchmarks.report import rows
from onlooker.core.clock import SystemClock
from onlooker.core.ids import StreamId
from onlooker.core.media import Clip
from onlooker.core.metrics import Metrics
from onlooker.demo_model.questions import ask_view, correct
from onlooker.engine.care import Care
from onlooker.engine.config import EngineSection
from onlooker.engine.interface import AnswerDelta, Engine, Question
from onlooker.engine.memory.compaction import COMPACTIONS, CompactionSection
from onlooker.engine.memory.config import MemorySection
from onlooker.engine.memory.drops import DROPS
from onlooker.engine.memory.token_drop import TokenDropSection
from onlooker.engine.vllm_adapter.engine import make_engine
from onlooker.engine.vllm_adapter.gateway.model_folder import model_folder
from onlooker.engine.vllm_adapter.gateway.segment_engine import SegmentEngine

FIRST_SEED = 2_700_000
"""The first of the worlds on which neither the model was trained nor anything was tuned."""

WIDTH, HEIGHT = 384, 288
WARM_UP = 4
"""Clips of each stream that are not counted: the first is whole for every method."""

SCENES = ("webcam", "busy", "crowded")

COSTS = ("tokens_ratio", "encoder_ratio", "kv_bytes_ratio", "time_ratio")

NOW = ("now_color", "now_shape", "now_place", "now_digit", "now_exists")
ASK_EVERY = 8
"""Clips from one question about now to the next."""

Encoder = Literal["all", "kept"]

ALL: tuple[Encoder, ...] = ("all",)
_ENCODERS: dict[str, tuple[Encoder, ...]] = {
    "filled": ("all", "kept"),
    "shown_again": ("all", "kept"),
}
"""What of a clip is encoded in methods that are measured with more than `ALL`."""

BATCH = 8
"""Clips that are compacted at once."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clips", type=int, default=32, help="of each scene [32]")
    parser.add_argument("--worlds", type=int, default=2, help="held-out streams [2]")
    parser.add_argument("--world-clips", type=int, default=180, help="length of each [180]")
    parser.add_argument("--questions", type=int, default=50, help="about each at its end [50]")
    parser.add_argument(
        "--part", choices=("costs", "answers"), default=None, help="one part only [both]"
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=[*DROPS, *COMPACTIONS],
        default=[*DROPS, *COMPACTIONS],
        help="beside off [all]",
    )


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Costs and answers of every method."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for encoder in ("all", "kept"):
        drops = [
            name
            for name in DROPS
            if name in options.methods and encoder in _ENCODERS.get(name, ALL)
        ]
        compactions = [name for name in COMPACTIONS if name in options.methods]
        if options.part != "answers":
            # What is kept of a clip does not go by what the vision tower encodes.
            costly = [*drops, *compactions] if encoder == "all" else drops
            if costly:
                await _costs(options, found, ["off", *costly], encoder)
        if options.part != "costs" and drops + compactions:
            await _answers(options, found, ["off", *drops, *compactions], encoder)
    for row in found.values():
        row.update(row.get(SCENES[0], {}))
    return {
        "size": f"{WIDTH}x{HEIGHT}",
        "clips": options.clips,
        "worlds": options.worlds,
        "world_clips": options.world_clips,
        "methods": dict(found),
    }


def _name(method: str, encoder: Encoder) -> str:
    if encoder == "all" or method == "off":
        return method
    return f"{method}-text" if method in COMPACTIONS else f"{method}+kept"


def _care(method: str) -> Care:
    """The care with which a stream's clips are taken in."""
    return Care(
        token_drop=method if method in DROPS else "off",
        compaction=method if method in COMPACTIONS else "off",
    )


# ---- costs


@dataclass
class _Counted:
    """What one method cost on one scene."""

    times_s: list[float]
    num_computed: float = 0
    num_places: float = 0
    clip_bytes: float = 0
    """Bytes that are remembered of a clip."""


async def _costs(
    options: argparse.Namespace,
    found: dict[str, dict[str, Any]],
    methods: Sequence[str],
    encoder: Encoder,
) -> None:
    with tempfile.TemporaryDirectory(prefix="tokens") as name:
        folder = _sized(options.model, Path(name), WIDTH, HEIGHT)
        metrics = Metrics()
        async with _running(str(folder), encoder, metrics, "costs") as engine:
            for scene in SCENES:
                made = getattr(DrawnScene, scene)(options.seed, WIDTH, HEIGHT)
                clips = list(made.clips(StreamId("scene"), options.clips))
                counted = await _count(engine, metrics, clips, methods, f"{scene}-{encoder}")
                whole = counted["off"]
                for method, cost in counted.items():
                    row = found[_name(method, encoder)]
                    if method == "off" and scene in row:
                        continue
                    ratio = cost.num_computed / max(1, cost.num_places) if cost.num_places else 1.0
                    took, beside = map(statistics.median, (cost.times_s, whole.times_s))
                    row[scene] = {
                        "tokens_ratio": round(ratio, 3),
                        "encoder_ratio": round(ratio, 3) if encoder == "kept" else 1.0,
                        "kv_bytes_ratio": round(cost.clip_bytes / whole.clip_bytes, 3),
                        "time_ratio": round(took / beside, 3),
                        "clip_ms": round(1000 * took, 1),
                    }


async def _count(
    engine: SegmentEngine,
    metrics: Metrics,
    clips: Sequence[Clip],
    methods: Sequence[str],
    label: str,
) -> dict[str, _Counted]:
    """Show the same clips to a stream of each method, in turns."""
    counted = {method: _Counted([]) for method in methods}
    streams = {method: StreamId(f"{label}-{method}") for method in methods}
    for stream_id in streams.values():
        await engine.open_stream(stream_id)
    for number, clip in enumerate(clips):
        turns = [*methods[number % len(methods) :], *methods[: number % len(methods)]]
        for method in turns:
            before = _places(metrics)
            began_s = time.perf_counter()
            mine = Clip(streams[method], clip.clip_index, clip.frames)
            await engine.ingest(mine, _care(method))
            if number >= WARM_UP:
                cost = counted[method]
                cost.times_s.append(time.perf_counter() - began_s)
                computed, left_out = (a - b for a, b in zip(_places(metrics), before, strict=True))
                cost.num_computed += computed
                cost.num_places += computed + left_out
    await engine.compactor.settled()
    stock = await engine.take_stock({})
    whole = stock.remembered[streams["off"]] / len(clips)
    for method, stream_id in streams.items():
        held, num_whole = stock.remembered[stream_id], 0
        if method in COMPACTIONS:  # what is still recent is whole
            num_whole = len(clips) - (len(clips) - engine.compactor.behind) // BATCH * BATCH
        counted[method].clip_bytes = (held - num_whole * whole) / (len(clips) - num_whole)
        await engine.close_stream(stream_id)
    print(f"  {label}: {len(clips)} clips of {len(methods)} streams", flush=True)
    return counted


def _places(metrics: Metrics) -> tuple[float, float]:
    """Places that were computed, and left out, so far."""
    found = (
        metrics.registry.get_sample_value("onlooker_clip_places_total", {"kind": kind})
        for kind in ("computed", "left_out")
    )
    computed, left_out = (value or 0.0 for value in found)
    return computed, left_out


def _sized(model: str, folder: Path, width: int, height: int) -> Path:
    """The model's folder, with a profile that asks for pictures of another size."""
    source = model_folder(model)
    assert source is not None, "the model is a folder"
    num_pixels = 2 * width * height  # of both frames of a clip
    changes: dict[str, dict[str, Any]] = {
        "onlooker.json": {"frame_width": width, "frame_height": height},
        "video_preprocessor_config.json": {
            "size": {"longest_edge": num_pixels, "shortest_edge": num_pixels}
        },
    }
    for path in source.iterdir():
        if path.name in changes:
            told = json.loads(path.read_text()) | changes[path.name]
            (folder / path.name).write_text(json.dumps(told))
        else:
            (folder / path.name).symlink_to(path.resolve())
    return folder


# ---- answers


async def _answers(
    options: argparse.Namespace,
    found: dict[str, dict[str, Any]],
    methods: Sequence[str],
    encoder: Encoder,
) -> None:
    worlds = [
        Hour(FIRST_SEED + 100 * options.seed + number, options.world_clips)
        for number in range(options.worlds)
    ]
    marks: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    computed: dict[str, int] = dict.fromkeys(methods, 0)
    running = _running(options.model, encoder, Metrics(), "answers")
    async with running as engine, asyncio.TaskGroup() as group:
        for number, world in enumerate(worlds):
            asked = world.questions(options.questions)
            for method in methods:
                stream_id = StreamId(f"world-{number}-{method}")
                group.create_task(_watch(engine, stream_id, world, asked, method, marks, computed))
    whole_bytes = sum(marks["off"]["kv_bytes"])
    for method in methods:
        row = found[_name(method, encoder)]
        row.setdefault("computed_ratio", round(computed[method] / computed["off"], 3))
        if held := marks[method].pop("kv_bytes", None):
            row["demo_kv_bytes_ratio"] = round(sum(held) / whole_bytes, 3)
        for name, right in marks[method].items():
            row.setdefault(name, round(statistics.mean(right), 3))
            row.setdefault("questions", {}).setdefault(name, len(right))


async def _watch(
    engine: SegmentEngine,
    stream_id: StreamId,
    world: Hour,
    asked: Sequence[HourQuestion],
    method: str,
    marks: dict[str, dict[str, list[float]]],
    computed: dict[str, int],
) -> None:
    """Watch a world with one method and answer questions about it. `computed`: counts the tokens of
    clips that were computed, by method."""
    rng = random.Random(world.num_clips)
    await engine.open_stream(stream_id)
    info = engine.info
    for clip in world.clips(stream_id, info.frame_width, info.frame_height):
        result = await engine.ingest(clip, _care(method))
        computed[method] += result.num_tokens - result.num_cached_tokens
        if clip.clip_index % ASK_EVERY == ASK_EVERY - 1:
            seen = world.view.prefix(clip.clip_index + 1)
            family = NOW[clip.clip_index // ASK_EVERY % len(NOW)]
            quiz = ask_view(seen, rng, family)
            if quiz is not None:
                text = await _answer(engine, stream_id, quiz.text, clip.end_s)
                is_right = correct(quiz, text)
                marks[method]["now"].append(is_right)
                marks[method]["accuracy"].append(is_right)
    await engine.compactor.settled()
    if method in COMPACTIONS or method == "off":
        held = (await engine.take_stock({})).remembered[stream_id]
        marks[method]["kv_bytes"].append(held)
    for one in asked:
        text = await _answer(engine, stream_id, one.quiz.text, float(world.num_clips))
        is_right = correct(one.quiz, text)
        is_found = one.quiz.family in BY_CONTENT
        marks[method]["recall" if is_found else "at_time"].append(is_right)
        if not is_found:
            marks[method]["accuracy"].append(is_right)
    await engine.close_stream(stream_id)
    print(f"  {stream_id}: watched and asked", flush=True)


async def _answer(engine: Engine, stream_id: StreamId, text: str, asked_s: float) -> str:
    question = Question(text=text, stream_id=stream_id, asked_s=asked_s, max_tokens=12)
    said = ""
    async for event in engine.answer(question):
        if isinstance(event, AnswerDelta):
            said += event.text
    return said


@asynccontextmanager
async def _running(model: str, encoder: Encoder, metrics: Metrics, label: str) -> Any:
    """An engine in whose streams every method can be chosen; `encoder` goes for all of them."""
    is_small = label == "answers"
    compaction = CompactionSection(
        method="vsb",  # so that queries are kept; each stream chooses for itself
        keep_ratio=0.2 if is_small else 0.25,
        min_places=3,
        keeps_text=not is_small or encoder == "all",
        behind_clips=1,
        batch_clips=BATCH,
        max_load_ratio=1.0,
    )
    section = MemorySection(token_drop=TokenDropSection(encoder=encoder), compaction=compaction)
    settings = EngineSection(model=model, served_model_name="demo", mode="segments", memory=section)
    engine = make_engine(settings, SystemClock(), metrics, None)
    assert isinstance(engine, SegmentEngine)
    await engine.start(lambda line: print(f"  {label}: {line}", flush=True))
    try:
        yield engine
    finally:
        await engine.close()


# ---- figures


def table(figures: dict[str, Any]) -> str:
    """The figures as tables in plain text: one for each scene, and one of the answers."""
    methods: dict[str, dict[str, Any]] = figures["methods"]
    parts = []
    for scene in SCENES:
        lines = [
            (name, *(row[scene][cost] for cost in (*COSTS, "clip_ms")))
            for name, row in methods.items()
            if scene in row
        ]
        if lines:
            parts.append(rows((scene, *COSTS, "clip ms"), lines))
    answers = ("computed_ratio", "accuracy", "now", "at_time", "recall", "demo_kv_bytes_ratio")
    lines = [
        (name, *(row.get(one) for one in answers))
        for name, row in methods.items()
        if "accuracy" in row
    ]
    if lines:
        parts.append(rows(("answers", *answers), lines))
    return "\n\n".join(parts)
