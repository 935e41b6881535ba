"""Times that a real model names and cannot have read are mended in its answers, and told."""

import asyncio
import os
from typing import Any, Literal

import pytest

from onlooker.core.clock import SystemClock
from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Frame
from onlooker.core.metrics import Metrics
from onlooker.demo_model.render import render
from onlooker.demo_model.world import Scene, World
from onlooker.engine.config import EngineSection, VllmSection
from onlooker.engine.interface import AnswerEnd, Engine
from onlooker.engine.memory.config import MemorySection
from onlooker.engine.memory.said_times import UnsettledTime
from onlooker.engine.sampling import Sampling
from onlooker.engine.vllm_adapter.engine import make_engine
from onlooker.engine.vllm_adapter.gateway.segment_engine import SegmentEngine
from tests.vllm.test_engines import MODEL, ask, question

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

STAMPS_S = [100 * second + 7 * second for second in range(5, 17)]
"""No two of them end alike."""
UNSURE = 1.5
"""A temperature at which the model names times that it cannot have read."""


WORLD = World(1_210_500)


def shown(index: int) -> Scene:
    """What the clip of an index shows: each another scene."""
    return WORLD.state_at(40.0 * index)


async def watch(engine: Engine) -> None:
    stream = StreamId("times")
    await engine.open_stream(stream)
    for index, at_s in enumerate(STAMPS_S):
        pixels = render(shown(index), engine.info.frame_width, engine.info.frame_height)
        frame = Frame(index, float(at_s), 0.0, pixels)
        await engine.ingest(Clip(stream, index, (frame, frame)))


async def answers(engine: Engine) -> list[tuple[str, AnswerEnd]]:
    asked = [
        question(
            "times", "When did a red star appear?", asked_s=1800.0,
            sampling=Sampling(temperature=UNSURE, seed=seed),
        )
        for seed in range(24)
    ]  # fmt: skip
    return [await ask(engine, one) for one in asked]


async def finds(engine: Engine) -> list[bool]:
    """For each thing that a single clip shows, whether that is found to be the clip of which an
    answer told that it came."""
    if not isinstance(engine, SegmentEngine):
        return []
    memory = engine._streams[StreamId("times")]
    kinds = [{thing.kind for thing in shown(index).objects} for index in range(len(STAMPS_S))]
    found = []
    for kind in sorted(set().union(*kinds)):
        places = [index for index, there in enumerate(kinds) if kind in there]
        if len(places) == 1:
            asked = question("times", f"When did a {' '.join(kind)} appear?", asked_s=1800.0)
            at_s = await engine._parts.time_finder.find(
                asked, UnsettledTime(9999.0, "At "), memory.recent(len(memory))
            )
            found.append(at_s == STAMPS_S[places[0]])
    assert len(found) > 4
    return found


def turn_off(engine: Any) -> None:
    settings = engine._settings
    memory = settings.memory.model_copy(update={"mend_times": False})
    engine._settings = settings.model_copy(update={"memory": memory})


def in_view(end: AnswerEnd) -> list[int]:
    return [at_s for at_s in STAMPS_S if any(a <= at_s <= b for a, b in end.clip_spans_s)]


@pytest.mark.parametrize("mode", ["segments", "resend"])
def test_what_no_clip_in_view_bears_is_mended(mode: Literal["segments", "resend"]) -> None:
    async def scenario() -> None:
        settings = EngineSection(
            model=MODEL,
            mode=mode,
            window_clips=8,
            memory=MemorySection(recent_clips=4, retrieved_clips=4),
            vllm=VllmSection(max_model_len=1024),
        )
        metrics = Metrics()
        engine = make_engine(settings, SystemClock(), metrics)
        await engine.start(lambda line: None)
        try:
            await watch(engine)
            mended = await answers(engine)
            found = await finds(engine)
            turn_off(engine)
            written = await answers(engine)
        finally:
            await engine.close()
        assert sum(found) >= len(found) - 1
        told = [misread for _, end in mended for misread in end.misread_times]
        assert told, "the model is to misread some"
        for (text, end), (as_written, free) in zip(mended, written, strict=True):
            assert free.misread_times == ()
            view = in_view(end)
            for one in end.misread_times:
                assert all(abs(one.said_s - at_s) > 1 for at_s in view)
                if mode == "segments":
                    assert one.told_s in view, "the clips were looked at one by one"
                else:
                    alike = [at_s for at_s in view if at_s % 100 == int(one.said_s) % 100]
                    assert one.told_s == (alike[0] if alike else None)
                if one.told_s is not None:
                    said, put = f"{int(one.said_s)} sec", f"{int(one.told_s)} sec"
                    assert said in as_written
                    as_written = as_written.replace(said, put, 1)
            assert text == as_written
        value = metrics.registry.get_sample_value
        counted = [
            value("onlooker_answer_times_total", {"reading": reading}) or 0
            for reading in ("mended", "unseen")
        ]
        num_mended = sum(one.told_s is not None for one in told)
        assert counted == [num_mended, len(told) - num_mended]

    os.environ.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    asyncio.run(scenario())
