"""A server under long use, while its Redis and its engine fail again and again.

The demo model, a journal, and a Redis as the only tier below RAM. Live streams and viewers come and
go; beside them, streams of which every acknowledged clip is known are asked about all the time, and
audited after each fault: what was promised to survive must be there, and the same question must get
the same answer. Each minute tells what all processes hold, what was lost, and the longest waits,
which are long where the engine was killed: it takes its time to start. Everything is on loopback
and a Unix socket. It ends by itself.

Not shown: many streams at once (`load`), long streams (`memory`), attacks (`attack`).
"""

import argparse
import asyncio
import itertools
import random
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx

from onlooker.benchmarks.load import draw_frames
from onlooker.benchmarks.lone_server import LoneServer
from onlooker.benchmarks.report import rows
from onlooker.benchmarks.soak.crowd import Crowd
from onlooker.benchmarks.soak.faults import FAULTS
from onlooker.benchmarks.soak.ledger import Ledger
from onlooker.benchmarks.soak.lone_redis import LoneRedis
from onlooker.benchmarks.soak.minutes import Minute, held_now, judged
from onlooker.clients.python.client import Client
from onlooker.clients.python.options import ClientOptions
from onlooker.core.clock import Clock, SystemClock

BOOT_S = 300.0
DEATH = "the engine is dead"
"""What the log says when the engine is killed."""
MINUTE_S = 60.0
CALM_S = 10.0
"""Between the end of one fault and the next."""
SETTLE_S = 180.0
"""How long the server may take to be well again after a fault."""
NOTICE_S = 3.0
"""How long it may take until the server's figures tell what it has seen of Redis."""
CHECK_EVERY_S = 1.0
PATIENCE_S = 90.0
"""How long the crowd waits for a reply: longer than the server lets it wait for an engine that is
being started."""
SPARE_S = 400.0
"""Beyond its minutes, in which the whole must have ended."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this scenario."""
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (soak) [30]")


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run a server for so many minutes.

    Raises:
        ConfigError: there is no redis-server.
        TimeoutError: it does not come to its end.
    """
    seconds = MINUTE_S * options.minutes
    pictures = await asyncio.to_thread(draw_frames, options.seed, 40, 2.0)
    async with asyncio.timeout(seconds + BOOT_S + SPARE_S):
        with tempfile.TemporaryDirectory(prefix="soak") as folder:
            async with LoneRedis() as redis:

                def settings(own: Path) -> Mapping[str, object]:
                    return _settings(own, redis.url)

                server = LoneServer(
                    Path(folder), settings=settings, boot_s=BOOT_S,
                    arguments=("--mode", "segments", "--model", options.model),
                )  # fmt: skip
                await server.start()
                try:
                    patient = ClientOptions(connect_timeout_s=PATIENCE_S)
                    async with Client(server.base, options=patient) as client:
                        course = _Course(server, redis, client, pictures, options.seed)
                        figures = await course.run(seconds)
                finally:
                    await server.stop()
                failures = server.failures(expected=DEATH)
                return {**figures, "outlived_sigterm": server.num_killed, "failures": failures}


def _settings(folder: Path, redis_url: str) -> Mapping[str, object]:
    return {
        "cache_store.redis.url": redis_url,
        "cache_store.redis.max_backoff_s": 5,
        "cache_store.journal.path": folder / "journal",
        "engine.memory.recent_clips": 4,
        "engine.memory.retrieved_clips": 3,
        "engine.vllm.max_model_len": 1024,
        "engine.restarts.max_restarts": 1000,
        "engine.restarts.max_backoff_s": 1,
        "streams.perception.gate_threshold": 0.0,
    }


class _Course:
    """The faults in turn, and what each minute tells."""

    def __init__(
        self,
        server: LoneServer,
        redis: LoneRedis,
        client: Client,
        pictures: list[bytes],
        seed: int,
    ) -> None:
        self._server, self._redis = server, redis
        self._clock: Clock = SystemClock()
        self._ledger = Ledger(client, pictures, self._clock, random.Random(seed))
        self._crowd = Crowd(client, pictures, self._clock, random.Random(seed + 1))
        self._faults: list[str] = []
        self._num_faults = self._num_stuck = 0
        self._minutes: list[Minute] = []
        self._is_ending = asyncio.Event()

    async def run(self, seconds: float) -> dict[str, Any]:
        """The figures; it takes a fault longer than `seconds` at most."""
        await self._ledger.grow()
        beside = [
            asyncio.create_task(work)
            for work in (self._crowd.run(), self._check(), self._note_minutes())
        ]
        faults = asyncio.create_task(self._befall())
        try:
            done, _ = await asyncio.wait(
                (*beside, faults), timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                task.result()  # what ended before its time has failed
            self._is_ending.set()
            await faults
            await self._note()
        finally:
            for task in (*beside, faults):
                task.cancel()
            await asyncio.gather(*beside, faults, return_exceptions=True)
        return {
            "minutes": [asdict(minute) for minute in self._minutes],
            "faults": self._num_faults,
            "never_well_again": self._num_stuck,
            "acknowledged": self._ledger.counts["acknowledged"],
            "lost": self._ledger.counts["lost"],
            "wrong_answers": self._ledger.counts["wrong"],
            "answers": dict(self._ledger.counts),
            "told": self._ledger.told,
            "growth": judged(self._minutes),
        }

    async def _befall(self) -> None:
        for fault in itertools.cycle(FAULTS):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_ending.wait(), CALM_S)
            if self._is_ending.is_set():
                return
            name = fault.__name__
            begun_s = self._clock.now_s()
            self._faults.append(name)
            self._num_faults += 1
            await fault(self._server, self._redis, self._clock)
            is_well = await self._well_again()
            took_s = self._clock.now_s() - begun_s
            print(f"  {name}: {'well' if is_well else 'NOT WELL'} after {took_s:.0f} s", flush=True)
            self._num_stuck += not is_well
            await self._ledger.audit()
            await self._ledger.grow()

    async def _well_again(self) -> bool:
        """Wait until the server is ready and relies on its Redis; whether it does in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                await self._clock.sleep(NOTICE_S)
                while not await self._redis.is_known():
                    await self._clock.sleep(1.0)
                await self._clock.sleep(NOTICE_S)
                while not await self._is_well():
                    await self._clock.sleep(1.0)
                return True
        return False

    async def _is_well(self) -> bool:
        return await self._server.is_ready() and await self._metric("onlooker_store_doubted") == 0.0

    async def _metric(self, name: str) -> float | None:
        """A metric of the server; None where it does not tell in time."""
        with suppress(httpx.TransportError):
            return await self._server.metric(name)
        return None

    async def _check(self) -> None:
        while True:
            await self._clock.sleep(CHECK_EVERY_S)
            await self._ledger.check()

    async def _note_minutes(self) -> None:
        while True:
            await self._clock.sleep(MINUTE_S)
            await self._note()

    async def _note(self) -> None:
        """Note what happened since the last time."""
        holdings, rss_bytes = held_now(self._server.pid)
        minute = Minute(
            minute=len(self._minutes) + 1,
            faults=tuple(self._faults),
            holdings=holdings,
            rss_bytes=rss_bytes,
            streams=await self._metric("onlooker_streams_active"),
            redis_keys=await self._redis.num_keys(),
            worst_ms={kind: round(1000 * worst_s) for kind, worst_s in self._crowd.worst_s.items()},
            crowd=dict(self._crowd.counts),
            ledger=dict(self._ledger.counts),
        )
        self._minutes.append(minute)
        self._faults.clear()
        self._crowd.restart()
        print(f"  {minute}", flush=True)


MIB = 1 << 20


def table(figures: dict[str, Any]) -> str:
    """The figures for people."""
    titles = ("minute", "MiB", "threads", "descriptors", "streams", "lost", "wrong",
              "worst frame ms", "worst question ms", "faults")  # fmt: skip
    lines = [
        (
            minute["minute"], minute["holdings"]["rss_bytes"] // MIB,
            minute["holdings"]["threads"], minute["holdings"]["descriptors"], minute["streams"],
            minute["ledger"].get("lost", 0), minute["ledger"].get("wrong", 0),
            minute["worst_ms"]["frame"], minute["worst_ms"]["question"],
            ", ".join(minute["faults"]),
        )
        for minute in figures["minutes"]
    ]  # fmt: skip
    growing = [name for name, found in figures["growth"].items() if found["grows"]]
    return "\n\n".join(
        (
            rows(titles, lines),
            f"{figures['faults']} faults, of which {figures['never_well_again']} were never got "
            f"over; {figures['acknowledged']} clips acknowledged, {figures['lost']} lost; "
            f"{figures['wrong_answers']} wrong answers (goal 0 of each)",
            f"grows: {', '.join(growing) or 'nothing'}",
            *figures["told"],
            *figures["failures"],
        )
    )
