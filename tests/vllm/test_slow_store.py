"""A whole engine whose Redis does not answer for a while: who needs nothing of it goes on."""

import asyncio
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from onlooker.cache_store.config import CacheStoreSection
from onlooker.core.clock import SystemClock
from onlooker.core.ids import StreamId
from onlooker.core.metrics import Metrics
from onlooker.engine.config import EngineSection
from onlooker.engine.interface import AnswerEnd, IngestResult, Stock
from onlooker.engine.vllm_adapter.engine import make_engine
from onlooker.engine.vllm_adapter.wire import flush_segments
from tests.contract.redis_server import RedisServer
from tests.fakes.slow_redis import SlowRedis, slow_redis
from tests.fakes.waiting import limited
from tests.vllm.test_engines import MODEL, ask, make_clip, open_with_clips, question

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.redis,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(600),
]

NUM_CLIPS = 10
NUM_FILLING = 32
"""Clips that fill RAM, so that those of the other stream are in Redis alone."""
NUM_SHOWN = 8
"""Clips that another stream shows while nothing comes from Redis."""


@dataclass
class Seen:
    """What became of everybody while nothing came from Redis, and after that."""

    shown: list[IngestResult]
    by_time: AnswerEnd
    by_content: AnswerEnd
    was_waiting: list[bool]
    """Whether the questions and the opening of a stream still waited then."""
    stock: Stock


async def play(way: SlowRedis) -> Seen:
    settings = EngineSection.model_validate(
        {
            "model": MODEL,
            "mode": "segments",
            # One context, of five clips, is held ready and a dozen clips lie in RAM.
            "memory": {"recent_clips": 2, "retrieved_clips": 3, "arena_gib": 0.0006},
            "vllm": {"max_model_len": 1024},
        }
    )
    store = CacheStoreSection.model_validate(
        {
            "memory": {"budget_bytes": 1 << 20, "policy": "lru"},
            # It is waited for as long as a setting may say.
            "redis": {"url": way.url, "timeout_s": 60.0},
        }
    )
    engine: Any = make_engine(settings, SystemClock(), Metrics(), store)
    await engine.start(lambda line: None)
    try:
        await open_with_clips(engine, "asked", NUM_CLIPS)
        await open_with_clips(engine, "filling", NUM_FILLING)
        await open_with_clips(engine, "shown", 2)
        assert (await engine.runner.ask_workers(flush_segments(60.0))) == [True]
        way.is_open.clear()
        waiting = [
            asyncio.create_task(ask(engine, question("asked", "What was there at 1 seconds?"))),
            asyncio.create_task(ask(engine, question("asked", "Was there ever a red circle?"))),
            asyncio.create_task(engine.open_stream(StreamId("opened"))),
        ]
        async with limited("frames to be ingested"):
            shown = [await engine.ingest(make_clip("shown", 2 + i)) for i in range(NUM_SHOWN)]
        was_waiting = [not task.done() for task in waiting]
        way.is_open.set()
        (_, by_time), (_, by_content), _ = await asyncio.gather(*waiting)
        return Seen(shown, by_time, by_content, was_waiting, await engine.take_stock({}))
    finally:
        way.is_open.set()
        await engine.close()


@pytest.fixture(scope="module")
def seen() -> Seen:
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server on this machine; `make setup` installs one where it may")
    os.environ.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    with tempfile.TemporaryDirectory(prefix="ol") as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            with slow_redis(server.socket, Path(folder)) as way:
                return asyncio.run(play(way))
        finally:
            server.kill()


def test_frames_are_ingested_while_others_wait_for_the_store(seen: Seen) -> None:
    assert seen.was_waiting == [True, True, True]
    assert len(seen.shown) == NUM_SHOWN


def test_those_who_waited_get_all_that_they_asked_for(seen: Seen) -> None:
    assert not seen.by_time.memory_incomplete
    assert any(start_s <= 1 < end_s for start_s, end_s in seen.by_time.clip_spans_s)
    assert not seen.by_content.memory_incomplete
    spans = seen.by_content.clip_spans_s
    shown = [i for i in range(NUM_CLIPS) if any(start <= i < end for start, end in spans)]
    assert len(shown) == 5, "two recent clips and three older ones"


def test_an_answer_says_that_it_waited_for_the_store(seen: Seen) -> None:
    assert seen.by_time.fetched_bytes["redis"] > 0


def test_no_step_read_from_the_store(seen: Seen) -> None:
    assert seen.stock.moves["read_in_step"] == 0
