"""Both engines serve a Qwen2.5-VL, processes and all, and say the same about the same clips."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onlooker.core.clock import SystemClock
from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Frame
from onlooker.core.metrics import Metrics
from onlooker.engine.config import EngineSection, VllmSection
from onlooker.engine.interface import AnswerDelta, AnswerEnd, Engine, Question
from onlooker.engine.memory.config import MemorySection
from onlooker.engine.vllm_adapter.engine import make_engine

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

RECENT, RETRIEVED = 6, 2
CLIP_TOKENS = 15
"""Four of the stamp, the two around the pictures, and nine of those."""


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """One event loop for all tests of this file: the engines' tasks live on it."""
    os.environ.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def engines(runner: asyncio.Runner, qwen2_5_folder: Path) -> Iterator[dict[str, Engine]]:
    engines: dict[str, Engine] = {}
    for mode in ("segments", "resend"):
        settings = EngineSection(
            model=str(qwen2_5_folder),
            mode=mode,
            window_clips=RECENT + RETRIEVED,
            memory=MemorySection(recent_clips=RECENT, retrieved_clips=RETRIEVED),
            vllm=VllmSection(max_model_len=1024),
        )
        engines[mode] = make_engine(settings, SystemClock(), Metrics())
        runner.run(engines[mode].start(lambda line: None))
    yield engines
    for engine in engines.values():
        runner.run(engine.close())


def make_clip(index: int) -> Clip:
    from tests.vllm.in_process import frames

    first, second = (
        Frame(2 * index + k, index + 0.5 * k, 0.0, pixels) for k, pixels in enumerate(frames(index))
    )
    return Clip(StreamId("s"), index, (first, second))


async def _asked(engine: Engine, num_clips: int, text: str) -> tuple[str, AnswerEnd]:
    """What the engine says about a new stream of so many clips."""
    await engine.open_stream(StreamId("s"))
    for index in range(num_clips):
        await engine.ingest(make_clip(index))
    asked = Question(text=text, stream_id=StreamId("s"), asked_s=1e6, max_tokens=12)
    events: list[Any] = [event async for event in engine.answer(asked)]
    await engine.close_stream(StreamId("s"))
    return "".join(e.text for e in events if isinstance(e, AnswerDelta)), events[-1]


def test_a_clip_costs_the_same_in_both_modes(engines: dict[str, Engine]) -> None:
    assert [engine.info.tokens_per_clip for engine in engines.values()] == [CLIP_TOKENS] * 2


def test_both_modes_see_the_same_prompt_and_say_the_same(
    engines: dict[str, Engine], runner: asyncio.Runner
) -> None:
    segments, resend = (
        runner.run(_asked(engine, RECENT, "How many objects are there?"))
        for engine in engines.values()
    )
    assert segments[1].num_prompt_tokens == resend[1].num_prompt_tokens
    assert segments[0] == resend[0]
    assert segments[0]


def test_a_named_second_is_found_again_when_it_left_the_window(
    engines: dict[str, Engine], runner: asyncio.Runner
) -> None:
    answered = _asked(engines["segments"], 3 * RECENT, "What was there at 3 seconds?")
    _, end = runner.run(answered)
    assert end.clip_spans_s == ((3.0, 4.0),)
    assert not end.memory_incomplete


def test_what_left_the_window_is_chosen_by_content(
    engines: dict[str, Engine], runner: asyncio.Runner
) -> None:
    answered = _asked(engines["segments"], 3 * RECENT, "Was there ever a red circle?")
    _, end = runner.run(answered)
    assert end.retrieved_spans_s
    assert all(end_s < 2 * RECENT for _, end_s in end.retrieved_spans_s)
