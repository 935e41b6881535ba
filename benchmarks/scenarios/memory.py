"""What is still known of long ago: segments mode beside resend, by the age of the evidence.

Shown: right answers to questions of the drawn world about one past second ("what colour was the
star at 12 seconds?"), by how many clips ago that was, and the tokens computed for each clip and
answer. Both modes see as many clips at once as the demo model answers well about.

Not shown: questions that name no time, whose evidence has to be found by content; load; a GPU.
"""

import argparse
from collections import defaultdict
from typing import Any, Literal

import numpy as np

from onlooker.benchmarks.measured import MeasuredEngine, Work
from onlooker.benchmarks.report import rows
from onlooker.core.clock import SystemClock
from onlooker.core.ids import ResponseId, StreamId, new_id
from onlooker.core.media import Clip, Frame
from onlooker.core.metrics import Metrics
from onlooker.demo_model.answers import Question as Quiz
from onlooker.demo_model.questions import ask, correct
from onlooker.demo_model.render import render
from onlooker.demo_model.view import Clip as SeenClip
from onlooker.demo_model.world import World
from onlooker.engine.config import EngineSection
from onlooker.engine.interface import AnswerDelta, Engine, Question
from onlooker.engine.vllm_adapter.engine import make_engine

NUM_CLIPS = 80
AGES = ((0, 7), (8, 15), (16, 31), (32, 79))
"""Clips since the evidence, as (first, last)."""
FAMILIES = ("at_time_color", "at_time_shape", "at_time_digit")
QUESTIONS_PER_STREAM = 40
FIRST_SEED = 1_500_000
"""Worlds that the model was not trained on."""

Mode = Literal["resend", "segments"]
MODES: tuple[Mode, ...] = ("resend", "segments")


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run both modes on the same worlds and questions; one vLLM at a time."""
    modes = {mode: await _measure_mode(mode, options) for mode in MODES}
    return {"num_clips": NUM_CLIPS, "families": FAMILIES, "modes": modes}


async def _measure_mode(mode: Mode, options: argparse.Namespace) -> dict[str, Any]:
    clock = SystemClock()
    settings = EngineSection(model=options.model, mode=mode)
    engine = MeasuredEngine(make_engine(settings, clock, Metrics()), clock)
    await engine.start(lambda line: print(f"  {mode}: {line}", flush=True))
    marks: dict[str, list[bool]] = defaultdict(list)
    work = Work()
    try:
        for number in range(max(1, int(options.seconds / 10))):
            await _watch_and_ask(engine, FIRST_SEED + options.seed * 100 + number, marks)
            print(f"  {mode}: {_shares(marks)}", flush=True)
        work = engine.take()
    finally:
        await engine.close()
    clips, answers = max(1, len(work.ingest_s)), max(1, len(work.answer_s))
    return {
        "accuracy": _shares(marks),
        "n": {age: len(found) for age, found in marks.items()},
        "tokens_per_clip": (work.ingest_tokens - work.ingest_cached_tokens) / clips,
        "tokens_per_answer": (work.answer_tokens - work.answer_cached_tokens) / answers,
    }


async def _watch_and_ask(engine: Engine, seed: int, marks: dict[str, list[bool]]) -> None:
    """Show one world, then ask about all of its past."""
    stream_id = StreamId(f"world-{seed}")
    world, info = World(seed), engine.info
    await engine.open_stream(stream_id)
    seen = []
    for index in range(NUM_CLIPS):
        frames = tuple(
            Frame(
                2 * index + half, index + half / 2, 0.0,
                render(world.state_at(index + half / 2), info.frame_width, info.frame_height),
            )
            for half in (0, 1)
        )  # fmt: skip
        await engine.ingest(Clip(stream_id, index, (frames[0], frames[1])))
        seen.append(SeenClip(index + 0.25, (float(index), index + 0.5)))
    rng = np.random.default_rng(seed)
    for _ in range(QUESTIONS_PER_STREAM):
        quiz = ask(world, seen, NUM_CLIPS - 0.5, rng, str(rng.choice(FAMILIES)))
        if quiz is not None and quiz.evidence:
            age = NUM_CLIPS - 1 - max(quiz.evidence)
            marks[_bucket(age)].append(correct(quiz, await _answer(engine, stream_id, quiz)))
    await engine.close_stream(stream_id)


async def _answer(engine: Engine, stream_id: StreamId, quiz: Quiz) -> str:
    question = Question(
        stream_id, ResponseId(new_id("resp")), quiz.text, float(NUM_CLIPS), max_tokens=16
    )
    events = [event async for event in engine.answer(question)]
    return "".join(event.text for event in events if isinstance(event, AnswerDelta))


def _bucket(age: int) -> str:
    first, last = next(span for span in AGES if span[0] <= age <= span[1])
    return f"{first}-{last}"


def _shares(marks: dict[str, list[bool]]) -> dict[str, float]:
    names = [f"{first}-{last}" for first, last in AGES]
    return {name: round(float(np.mean(marks[name])), 3) for name in names if marks.get(name)}


def table(figures: dict[str, Any]) -> str:
    """The figures for people."""
    names = [f"{first}-{last}" for first, last in AGES]
    titles = ("mode", *(f"{name} clips ago" for name in names), "tokens/clip", "tokens/answer")
    return rows(
        titles,
        [
            (
                mode,
                *(found["accuracy"].get(name) for name in names),
                found["tokens_per_clip"],
                found["tokens_per_answer"],
            )
            for mode, found in figures["modes"].items()
        ],
    )
