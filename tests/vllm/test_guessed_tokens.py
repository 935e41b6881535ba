"""Tokens that are guessed ahead change nothing but the time: not what is said, kept or found."""

import asyncio
import os
from pathlib import Path
from typing import Literal, get_args

import pytest

from onlooker import demo_model
from onlooker.core.clock import SystemClock
from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Frame
from onlooker.core.metrics import Metrics
from onlooker.engine.config import EngineSection, VllmSection
from onlooker.engine.interface import AnswerDelta, AnswerEnd, Engine, Question
from onlooker.engine.memory.config import MemorySection
from onlooker.engine.vllm_adapter.engine import make_engine

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

MODEL = os.environ.get("ONLOOKER_TEST_MODEL", str(Path(demo_model.__path__[0]) / "weights"))
STREAM = StreamId("guessing")
NUM_CLIPS = 14
QUESTIONS = (
    "What colour was the star at 3 seconds?",
    "Was there ever a red circle?",
    "When did the blue square appear? When did the blue square leave?",
)
Said = tuple[str, tuple[tuple[float, float], ...]]
"""What an answer says, and the spans of stream time that were brought back for it."""

Mode = Literal["segments", "resend"]


@pytest.mark.parametrize("mode", get_args(Mode))
def test_greedy_answers_are_the_same_with_and_without_guesses(mode: Mode) -> None:
    os.environ.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    plain, guessed = (asyncio.run(answered(mode, num_tokens)) for num_tokens in (0, 4))
    assert guessed == plain
    assert all(text for text, _ in guessed)
    if mode == "segments":
        assert any(spans for _, spans in guessed)


async def answered(mode: Mode, guessed_tokens: int) -> list[Said]:
    """The answers to all questions."""
    settings = EngineSection(
        model=MODEL,
        mode=mode,
        window_clips=8,
        memory=MemorySection(recent_clips=4, retrieved_clips=2),
        vllm=VllmSection(max_model_len=1024, guessed_tokens=guessed_tokens),
    )
    engine = make_engine(settings, SystemClock(), Metrics())
    await engine.start(lambda line: None)
    try:
        await engine.open_stream(STREAM)
        for index in range(NUM_CLIPS):
            await engine.ingest(make_clip(index))
        return list(await asyncio.gather(*(asked(engine, text) for text in QUESTIONS)))
    finally:
        await engine.close()


def make_clip(index: int) -> Clip:
    from tests.vllm.in_process import frames

    first, second = (
        Frame(2 * index + k, index + 0.5 * k, 0.0, pixels) for k, pixels in enumerate(frames(index))
    )
    return Clip(STREAM, index, (first, second))


async def asked(engine: Engine, text: str) -> Said:
    question = Question(text=text, stream_id=STREAM, asked_s=float(NUM_CLIPS), max_tokens=32)
    said = ""
    spans: tuple[tuple[float, float], ...] = ()
    async for event in engine.answer(question):
        if isinstance(event, AnswerDelta):
            said += event.text
        elif isinstance(event, AnswerEnd):
            spans = event.retrieved_spans_s
    return said, spans
