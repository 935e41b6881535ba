"""What a call costs more at another door than its stream's owner's: two servers, one Redis.

Each kind of call is made at the owner and at the other server by turns, one at a time, so that what
else the machine does weighs on both alike. The scripted engine answers at once, so that nothing but
the way of the call is measured. Everything is on loopback and a Unix socket.

Not shown: calls at once, networks between servers, TLS, several machines.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from onlooker.benchmarks.load import draw_frames
from onlooker.benchmarks.lone_server import LoneServer
from onlooker.benchmarks.report import rows
from onlooker.benchmarks.soak.lone_redis import LoneRedis
from onlooker.core.clock import SystemClock

GOAL_MS = 2.0
WARM_CALLS = 20
STREAM = "door"
JPEG = {"content-type": "image/jpeg"}

Call = Callable[[], Awaitable[None]]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this scenario."""
    parser.add_argument("--calls", type=int, default=300, help="calls of each kind (relay) [300]")


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The figures."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="onlooker-relay-")))
        redis = await stack.enter_async_context(LoneRedis())
        for name in ("a", "b"):
            await asyncio.to_thread((folder / name).mkdir)
        doors = [await _door(stack, folder / name, name, redis.url) for name in ("a", "b")]
        (await doors[0].client.post("/v1/streams", json={"id": STREAM})).raise_for_status()
        frame = draw_frames(options.seed, 1, 1.0)[0]
        for door in doors:
            await door.connect(stack)
        calls: dict[str, list[Call]] = {
            "inspect a stream": [door.inspect for door in doors],
            "push a picture": [partial(door.push, frame) for door in doors],
            "ask": [door.ask for door in doors],
            "ping over WebSocket": [door.ping for door in doors],
        }
        return {
            "goal_ms": GOAL_MS,
            "calls": {name: await _compared(pair, options.calls) for name, pair in calls.items()},
        }


def table(figures: dict[str, Any]) -> str:
    """The figures for people."""
    titles = ("call", "direct p50 ms", "p95", "relayed p50 ms", "p95", "more at p50 ms")
    lines = [
        (
            name,
            *one["direct_ms"].values(),
            *one["relayed_ms"].values(),
            one["more_p50_ms"],
        )
        for name, one in figures["calls"].items()
    ]
    return rows(titles, lines)


class _Door:
    """One of the two servers, as its client has it."""

    def __init__(self, base: str, client: httpx.AsyncClient) -> None:
        self._base, self.client = base, client
        self._path = f"/v1/streams/{STREAM}"

    async def connect(self, stack: AsyncExitStack) -> None:
        url = f"ws{self._base.removeprefix('http')}/v1/realtime?stream={STREAM}"
        self._socket: ClientConnection = await stack.enter_async_context(connect(url, proxy=None))

    async def inspect(self) -> None:
        (await self.client.get(self._path)).raise_for_status()

    async def push(self, frame: bytes) -> None:
        reply = await self.client.post(f"{self._path}/frames", content=frame, headers=JPEG)
        reply.raise_for_status()

    async def ask(self) -> None:
        reply = await self.client.post(f"{self._path}/questions", json={"question": "what?"})
        reply.raise_for_status()

    async def ping(self) -> None:
        await self._socket.send('{"type": "ping"}')
        while json.loads(await self._socket.recv())["type"] != "pong":
            continue


async def _door(stack: AsyncExitStack, folder: Path, name: str, redis_url: str) -> _Door:
    server: LoneServer

    def settings(_: Path) -> dict[str, object]:
        return {
            "cache_store.redis.url": redis_url,
            "fleet.name": name,
            "fleet.url": server.base,
            "server.max_messages_per_s": 100_000,
        }

    server = LoneServer(folder, settings=settings, arguments=("--mode", "fake"))
    await server.start()
    stack.push_async_callback(server.stop)
    client = httpx.AsyncClient(base_url=server.base, trust_env=False, timeout=30.0)
    return _Door(server.base, await stack.enter_async_context(client))


async def _compared(pair: list[Call], num_calls: int) -> dict[str, Any]:
    clock = SystemClock()
    taken_ms: list[list[float]] = [[], []]
    for number in range(WARM_CALLS + num_calls):
        for call, taken in zip(pair, taken_ms, strict=True):
            began_s = clock.now_s()
            await call()
            if number >= WARM_CALLS:
                taken.append(1000 * (clock.now_s() - began_s))
            await asyncio.sleep(0)
    direct, relayed = (_quantiles(one) for one in taken_ms)
    more = round(relayed["p50"] - direct["p50"], 3)
    return {"direct_ms": direct, "relayed_ms": relayed, "more_p50_ms": more}


def _quantiles(values: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=20)
    return {"p50": round(statistics.median(values), 3), "p95": round(cuts[-1], 3)}
