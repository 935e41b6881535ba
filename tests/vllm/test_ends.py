"""A server with a real engine ends in time, although the Redis that it writes to is dead."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from onlooker.clients.python.client import Client
from onlooker.core.clock import SystemClock
from onlooker.streams.perception.stills import encode_png
from tests.contract.redis_server import RedisServer
from tests.vllm.in_process import frames
from tests.vllm.real_server import RealServer

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.redis,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(600),
]

DRAIN_S, CLOSE_S = 5.0, 5.0
SLACK_S = 2.0
"""From the end of a process until it is seen, on a busy machine."""


@asynccontextmanager
async def watched(**settings: object) -> AsyncIterator[tuple[RealServer, RedisServer]]:
    """A server whose stream has clips that wait to be written to a Redis that hangs."""
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server on this machine; `make setup` installs one where it may")
    os.environ.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    with tempfile.TemporaryDirectory(prefix="ol") as folder:
        redis = RedisServer(Path(folder))
        redis.start()
        server = RealServer(
            {
                "cache_store.redis.url": redis.url,
                "cache_store.redis.timeout_s": 60,  # as long as may be, and longer than the end
                "cache_store.redis.connect_timeout_s": 60,
                "cache_store.journal.path": Path(folder) / "journal",
                "server.drain_s": DRAIN_S,
                "server.close_s": CLOSE_S,
                **settings,
            }
        )
        await server.start()
        try:
            async with Client(server.base) as client:
                await client.create_stream("door", clock="virtual")
                await show(client, 0)
                redis.hang()
                await show(client, 1)
            yield server, redis
        finally:
            await server.kill()
            redis.kill()


async def show(client: Client, index: int) -> None:
    """One clip more."""
    for half, pixels in enumerate(frames(index)):
        await client.push_frame("door", encode_png(pixels), at_s=index + 0.5 * half)


async def seconds_to_end(server: RealServer) -> float:
    clock = SystemClock()
    begun_s = clock.now_s()
    server.terminate()
    await server.process.wait()
    return clock.now_s() - begun_s


@pytest.mark.parametrize("how", ["hung", "gone"])
def test_a_dead_redis_does_not_hold_the_end(how: str) -> None:
    async def scenario() -> float:
        async with watched() as (server, redis):
            if how == "gone":
                redis.kill()
            return await seconds_to_end(server)

    assert asyncio.run(scenario()) < DRAIN_S + CLOSE_S + SLACK_S


def test_a_second_signal_ends_it_at_once() -> None:
    async def scenario() -> float:
        patient = {"server.drain_s": 600, "server.close_s": 600}
        async with watched(**patient) as (server, _), Client(server.base) as client:
            server.terminate()
            while await client.ready():
                pass  # two signals that come together would be one
            return await seconds_to_end(server)

    assert asyncio.run(scenario()) < 1.0 + SLACK_S
