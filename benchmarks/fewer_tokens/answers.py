"""What the demo model still answers with each method, on held-out worlds."""

import asyncio
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from onlooker.benchmarks.fewer_tokens.engines import (
    Encoder,
    Rows,
    care_of,
    row_name,
    running,
)
from onlooker.benchmarks.hour import BY_CONTENT, Hour, HourQuestion
from onlooker.core.ids import StreamId
from onlooker.demo_model.questions import ask_view, correct
from onlooker.engine.interface import AnswerDelta, Engine, Question
from onlooker.engine.memory.compaction import COMPACTIONS
from onlooker.engine.vllm_adapter.gateway.segment_engine import SegmentEngine

FIRST_SEED = 2_700_000
"""The first of the worlds on which neither the model was trained nor anything was tuned."""

NOW = ("now_color", "now_shape", "now_place", "now_digit", "now_exists")
ASK_EVERY = 8
"""Clips from one question about now to the next."""

KEEP_RATIO = 0.2
"""Of the 15 tokens of a clip, so that three places are left beside the text."""


@dataclass
class AnswerMarks:
    """What came of a method's streams."""

    now: list[bool] = field(default_factory=list)
    at_time: list[bool] = field(default_factory=list)
    recall: list[bool] = field(default_factory=list)
    num_computed: int = 0
    """Tokens of clips, text included."""
    num_bytes: int = 0
    """Of what is remembered at the end."""

    def row(self) -> dict[str, object]:
        """The shares of right answers, and of how many."""
        kinds = {
            "now": self.now,
            "at_time": self.at_time,
            "recall": self.recall,
            "accuracy": self.now + self.at_time,
        }
        shares = {name: round(statistics.mean(marks), 3) for name, marks in kinds.items() if marks}
        return {**shares, "questions": {name: len(marks) for name, marks in kinds.items()}}


@dataclass(frozen=True)
class Worlds:
    """Held-out worlds, and how many questions are asked about each at its end."""

    seed: int
    count: int
    num_clips: int
    num_questions: int

    def made(self) -> list[Hour]:
        first = FIRST_SEED + 100 * self.seed
        return [Hour(first + number, self.num_clips) for number in range(self.count)]


async def answers(model: str, worlds: Worlds, methods: Sequence[str], encoder: Encoder) -> Rows:
    """Watch the worlds with each method and ask about them; the first method is `off`."""
    marks = {method: AnswerMarks() for method in methods}
    keeps_text = encoder == "all"
    async with (
        running(
            model, "answers", encoder=encoder, keeps_text=keeps_text, keep_ratio=KEEP_RATIO
        ) as engine,
        asyncio.TaskGroup() as group,
    ):
        for number, world in enumerate(worlds.made()):
            asked = world.questions(worlds.num_questions)
            for method, mark in marks.items():
                stream_id = StreamId(f"world-{number}-{method}")
                group.create_task(_watch_and_ask(engine, stream_id, world, asked, method, mark))
    return {row_name(method, encoder): _row(method, marks) for method in methods}


def _row(method: str, marks: Mapping[str, AnswerMarks]) -> dict[str, object]:
    mine, whole = marks[method], marks["off"]
    row = {**mine.row(), "computed_ratio": round(mine.num_computed / whole.num_computed, 3)}
    if method in COMPACTIONS or method == "off":
        row["demo_kv_bytes_ratio"] = round(mine.num_bytes / whole.num_bytes, 3)
    return row


async def _watch_and_ask(
    engine: SegmentEngine,
    stream_id: StreamId,
    world: Hour,
    asked: Sequence[HourQuestion],
    method: str,
    marks: AnswerMarks,
) -> None:
    await watch(engine, stream_id, world, method, marks)
    await engine.compactor.settled()
    marks.num_bytes += (await engine.take_stock({})).remembered[stream_id]
    await ask(engine, stream_id, world, asked, marks)
    await engine.close_stream(stream_id)
    print(f"  {stream_id}: watched and asked", flush=True)


async def watch(
    engine: SegmentEngine, stream_id: StreamId, world: Hour, method: str, marks: AnswerMarks
) -> None:
    """Watch a world with one method, and answer questions about now meanwhile."""
    rng = random.Random(world.num_clips)
    await engine.open_stream(stream_id)
    info = engine.info
    for clip in world.clips(stream_id, info.frame_width, info.frame_height):
        result = await engine.ingest(clip, care_of(method))
        marks.num_computed += result.num_tokens - result.num_cached_tokens
        if clip.clip_index % ASK_EVERY == ASK_EVERY - 1:
            seen = world.view.prefix(clip.clip_index + 1)
            quiz = ask_view(seen, rng, NOW[clip.clip_index // ASK_EVERY % len(NOW)])
            if quiz is not None:
                text = await _answer(engine, stream_id, quiz.text, clip.end_s)
                marks.now.append(correct(quiz, text))


async def ask(
    engine: SegmentEngine,
    stream_id: StreamId,
    world: Hour,
    asked: Sequence[HourQuestion],
    marks: AnswerMarks,
) -> None:
    """Ask about what has been watched."""
    for one in asked:
        text = await _answer(engine, stream_id, one.quiz.text, float(world.num_clips))
        kind = marks.recall if one.quiz.family in BY_CONTENT else marks.at_time
        kind.append(correct(one.quiz, text))


async def _answer(engine: Engine, stream_id: StreamId, text: str, asked_s: float) -> str:
    question = Question(text=text, stream_id=stream_id, asked_s=asked_s, max_tokens=12)
    said = ""
    async for event in engine.answer(question):
        if isinstance(event, AnswerDelta):
            said += event.text
    return said
