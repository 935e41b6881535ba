"""What a whole engine has acknowledged survives a Redis that comes back empty, and then its own
death."""

import asyncio
import contextlib
import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from onlooker.cache_store.config import CacheStoreSection, JournalSection
from onlooker.cache_store.opening import open_journal
from onlooker.core.clock import SystemClock
from onlooker.core.errors import EngineRestarting
from onlooker.core.guarantee import Guarantee
from onlooker.core.metrics import Metrics
from onlooker.engine.interface import AnswerEnd
from onlooker.engine.vllm_adapter.engine import make_engine
from onlooker.server.config import Settings
from onlooker.server.wiring import make_hub
from onlooker.streams.journaling import JournalKeeper
from onlooker.streams.stream import Stream, StreamOptions
from tests.contract.redis_server import RedisServer
from tests.fakes.waiting import until
from tests.vllm.test_durability import DOOR, SETTINGS, answer, feed, kill_core, pictures

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.redis,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(900),  # three engines are started, one after the other
]

NUM_CLIPS = 10

Told = list[tuple[str, AnswerEnd]]


@dataclass
class Course:
    """What one server told."""

    guarantees: set[Guarantee | None] = field(default_factory=set)
    """Of the frames, as they were acknowledged."""
    before: Told = field(default_factory=list)
    """About each second, while all was well."""
    after: Told = field(default_factory=list)
    """The same once Redis had come back empty, was filled, and the engine had died."""
    num_lost: int = -1
    at_once: Told = field(default_factory=list)
    """The same once Redis had come back empty and the engine died in the same moment."""


@pytest.fixture(scope="module")
def course() -> Iterator[Course]:
    """One server, its engine's three lives, and the three of its Redis."""
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server on this machine; `make setup` installs one where it may")
    os.environ.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    with tempfile.TemporaryDirectory(prefix="ol") as folder:
        redis = RedisServer(Path(folder))
        redis.start()
        try:
            yield asyncio.run(play(Path(folder), redis))
        finally:
            redis.kill()
            gc.collect()  # vLLM leaves the contexts of its sockets to the collector, which warns


async def play(folder: Path, redis: RedisServer) -> Course:
    clock, metrics, settings = SystemClock(), Metrics(), Settings.model_validate(SETTINGS)
    section = JournalSection(path=folder / "journal")
    store = CacheStoreSection.model_validate(
        {
            "redis": {"url": redis.url, "min_backoff_s": 0.01, "max_backoff_s": 0.02},
            "journal": section,
        }
    )
    keeper = JournalKeeper(open_journal(section), settings=section, clock=clock, metrics=metrics)
    engine = make_engine(settings.engine, clock, metrics, store)
    hub = make_hub(settings, engine=engine, clock=clock, metrics=metrics, journal=keeper)
    await hub.start(lambda line: None)
    try:
        stream = await hub.open_stream(DOOR, StreamOptions(clock="virtual"))
        stream.claim_source("test")
        return await befall(stream, keeper, redis)
    finally:
        await hub.close(deadline_s=0.0)


async def befall(stream: Stream, keeper: JournalKeeper, redis: RedisServer) -> Course:
    course = Course(guarantees=set(await feed(stream, pictures(0, NUM_CLIPS))))
    course.before = await look_back(stream)
    await until(lambda: not keeper.waiting())  # Redis has all, and the journal has let go
    restart_empty(redis)
    await until(lambda: stream.status().guarantee is Guarantee.NONE)
    await until(lambda: stream.status().guarantee is Guarantee.PROCESS)
    kill_core()
    course.after = await look_back(stream)
    course.num_lost = stream.status().clips_lost
    restart_empty(redis)
    kill_core()
    course.at_once = await look_back(stream)
    return course


async def look_back(stream: Stream) -> Told:
    return [await told_of(stream, second) for second in range(NUM_CLIPS)]


async def told_of(stream: Stream, second: int) -> tuple[str, AnswerEnd]:
    """The answer, also where the engine dies while it is asked: then the question is asked again,
    as the error says."""
    while True:
        with contextlib.suppress(EngineRestarting):
            return await answer(stream, f"What was there at {second} seconds?")


def restart_empty(redis: RedisServer) -> None:
    redis.kill()
    redis.start()


def shown(told: tuple[str, AnswerEnd], second: int) -> bool:
    """Whether an answer rests on the clip of that second."""
    return any(start_s <= second < end_s for start_s, end_s in told[1].clip_spans_s)


def test_frames_are_acknowledged_as_surviving_the_process(course: Course) -> None:
    assert course.guarantees == {Guarantee.PROCESS}


def test_nothing_acknowledged_is_lost_when_redis_comes_back_empty_and_the_engine_dies(
    course: Course,
) -> None:
    assert course.num_lost == 0
    for second, (was, told) in enumerate(zip(course.before, course.after, strict=True)):
        assert shown(told, second)
        assert not told[1].memory_incomplete
        assert told[0] == was[0]


def test_where_the_engine_dies_before_redis_is_filled_what_is_gone_is_told(
    course: Course,
) -> None:
    gone = [told for second, told in enumerate(course.at_once) if not shown(told, second)]
    assert gone
    assert all(told[1].memory_incomplete for told in gone)
