"""A whole engine whose Redis goes away, hangs, is full or comes back empty: its answers never rest
on wrong KV, say what they miss, and go on."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from onlooker.cache_store.config import CacheStoreSection
from onlooker.core.clock import SystemClock
from onlooker.core.metrics import Metrics
from onlooker.engine.config import EngineSection
from onlooker.engine.interface import AnswerEnd
from onlooker.engine.vllm_adapter.engine import make_engine
from onlooker.engine.vllm_adapter.wire import flush_segments, stored_lives
from onlooker.streams.stock import StockTaker
from tests.contract.redis_server import RedisServer
from tests.vllm.test_engines import MODEL, ask, make_clip, open_with_clips, question

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.redis,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(900),
]

NUM_CLIPS = 10
NUM_FILLING = 32
"""Clips that fill RAM, so that those of the other streams are in Redis alone."""
FAULTS = ("hung", "full", "down", "emptied")
TIMEOUT_S = 1.0

Told = tuple[str, AnswerEnd]


@dataclass
class Life:
    """What the engine answered about one stream."""

    before: list[Told] = field(default_factory=list)
    """About each of its seconds, while all is well."""
    after: list[Told] = field(default_factory=list)
    """The same questions with the fault there."""
    by_content: list[Told] = field(default_factory=list)
    """With the fault there too, to a question that names no time."""
    now: list[Told] = field(default_factory=list)
    """About a clip that was shown with the fault there."""
    counted: dict[str, float] = field(default_factory=dict)
    """What befell segments in Redis meanwhile, by the metrics."""
    is_healthy: bool = False


class Scenario:
    """One engine on a Redis of its own."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.metrics = Metrics()
        self.lives: dict[str, Life] = {}
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
                "redis": {
                    "url": server.url, "timeout_s": TIMEOUT_S, "connect_timeout_s": TIMEOUT_S,
                    "min_backoff_s": 0.01, "max_backoff_s": 0.02,
                },
                "write_out": {"retry_s": 0.01, "max_attempts": 1},
            }
        )  # fmt: skip
        self.engine: Any = make_engine(settings, SystemClock(), self.metrics, store)
        taking: Any = self.engine
        self._stock = StockTaker(taking, None, clock=SystemClock(), metrics=self.metrics)

    async def remember(self, *streams: str) -> None:
        """Show streams to the engine, until their clips are in Redis alone."""
        for name in streams:
            await open_with_clips(self.engine, name, NUM_CLIPS)
            self.lives[name] = Life(before=await self.look_back(name))
        await open_with_clips(self.engine, f"filling-before-{streams[0]}", NUM_FILLING)
        assert (await self.engine.runner.ask_workers(flush_segments(60.0))) == [True]

    async def meet(self, name: str) -> None:
        """Ask about one of them while the fault is there, and watch on."""
        life, before = self.lives[name], await self.counts()
        life.after = await self.look_back(name)
        life.by_content = [await self.ask(name, "Was there ever a red circle?")]
        await self.engine.ingest(make_clip(name, NUM_CLIPS))
        life.now = [await self.ask(name, f"What was there at {NUM_CLIPS} seconds?")]
        after = await self.counts()
        life.counted = {event: after[event] - before[event] for event in after}
        life.is_healthy = self.engine.healthy()

    async def look_back(self, name: str) -> list[Told]:
        return [await self.ask(name, f"What was there at {i} seconds?") for i in range(NUM_CLIPS)]

    async def ask(self, name: str, text: str) -> Told:
        return await ask(self.engine, question(name, text))

    async def counts(self) -> dict[str, float]:
        await self._stock.take()
        value = self.metrics.registry.get_sample_value
        found = {
            event: value("onlooker_store_events_total", {"tier": "redis", "event": event}) or 0.0
            for event in ("misses", "read_errors", "write_errors", "failed")
        }
        found["incomplete"] = value("onlooker_answers_memory_incomplete_total") or 0.0
        return found

    async def reached(self) -> None:
        """Wait until the engine's worker finds Redis again, which it left alone for a while."""
        is_reached = False
        while not is_reached:
            ask = self.engine.runner.ask_workers
            (found,) = await ask(stored_lives("m/t/none/", is_first=True))
            while found is None:
                (found,) = await ask(stored_lives("m/t/none/", is_first=False))
            is_reached = found.is_complete

    def shrink(self) -> None:
        """From now on Redis has room for three quarters of what it holds; some clips of "full" are
        the last that it gives up."""
        with self.server.client() as client:
            client.touch(*(key for key in client.scan_iter("*/full/*") if key[-1:] in b"258"))
            client.config_set("maxmemory-policy", "allkeys-lru")
            used = int(client.info("memory")["used_memory"])
            held = sum(int(client.memory_usage(key) or 0) for key in client.scan_iter())
            client.config_set("maxmemory", used - held // 4)

    def grow(self) -> int:
        """All the room again; returns how many keys were evicted for the want of it."""
        with self.server.client() as client:
            client.config_set("maxmemory", 0)
            return int(client.info("stats")["evicted_keys"])

    async def play(self) -> int:
        await self.engine.start(lambda line: None)
        try:
            await self.remember("hung", "full")
            self.server.hang()
            try:
                await self.meet("hung")
            finally:
                self.server.go_on()
            await self.reached()
            self.shrink()
            await self.meet("full")
            num_evicted = self.grow()
            await self.remember("down", "emptied")
            self.server.kill()
            await self.meet("down")
            self.server.start()  # empty
            await self.reached()
            await self.meet("emptied")
            return num_evicted
        finally:
            await self.engine.close()


@pytest.fixture(scope="module")
def played() -> Scenario:
    """One engine after all faults, one after the other."""
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server on this machine; `make setup` installs one where it may")
    os.environ.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    with tempfile.TemporaryDirectory(prefix="ol") as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            scenario = Scenario(server)
            assert asyncio.run(scenario.play()) > 0, "Redis evicted nothing"
        finally:
            server.kill()
    return scenario


def shown(told: Told, second: int) -> bool:
    """Whether an answer rests on the clip of that second."""
    return any(start_s <= second < end_s for start_s, end_s in told[1].clip_spans_s)


def missed(life: Life) -> Sequence[int]:
    return [second for second, told in enumerate(life.after) if not shown(told, second)]


@pytest.mark.parametrize("fault", FAULTS)
def test_before_the_fault_every_clip_is_remembered(played: Scenario, fault: str) -> None:
    for second, told in enumerate(played.lives[fault].before):
        assert shown(told, second)
        assert not told[1].memory_incomplete


@pytest.mark.parametrize("fault", FAULTS)
def test_an_answer_rests_on_the_true_clip_or_says_that_it_is_gone(
    played: Scenario, fault: str
) -> None:
    life = played.lives[fault]
    assert missed(life)
    for second, (was, told) in enumerate(zip(life.before, life.after, strict=True)):
        if shown(told, second):
            assert told[0] == was[0]
            assert told[1].clip_spans_s == was[1].clip_spans_s
        else:
            assert told[1].memory_incomplete


def test_what_a_full_redis_kept_is_still_found(played: Scenario) -> None:
    assert len(missed(played.lives["full"])) < NUM_CLIPS


@pytest.mark.parametrize("fault", ["hung", "down", "emptied"])
def test_without_redis_nothing_is_found_that_was_there_alone(played: Scenario, fault: str) -> None:
    assert len(missed(played.lives[fault])) > NUM_CLIPS // 2


@pytest.mark.parametrize("fault", FAULTS)
def test_by_content_only_what_is_left_is_found(played: Scenario, fault: str) -> None:
    ((_, end),) = played.lives[fault].by_content
    assert end.memory_incomplete
    gone = missed(played.lives[fault])
    assert not [second for second in gone if shown(("", end), second)]


@pytest.mark.parametrize("fault", FAULTS)
def test_the_engine_watches_and_answers_on(played: Scenario, fault: str) -> None:
    life = played.lives[fault]
    assert life.is_healthy
    ((_, end),) = life.now
    assert end.clip_spans_s == ((NUM_CLIPS, NUM_CLIPS + 0.5),)


@pytest.mark.parametrize(
    ("fault", "event"),
    [("hung", "read_errors"), ("full", "misses"), ("down", "read_errors"), ("emptied", "misses")],
)
def test_the_metrics_count_it(played: Scenario, fault: str, event: str) -> None:
    life = played.lives[fault]
    assert life.counted[event] >= len(missed(life))
    assert life.counted["incomplete"] >= len(missed(life))
