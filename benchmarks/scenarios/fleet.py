"""How many streams are at their targets on 1, 2 and 4 servers, with an engine that only sleeps.

Each server's engine takes 40 ms for a clip, one at a time, so that 25 clips a second fill it; each
stream brings one. All servers are given 20 streams apiece through one of them, which has to spread
them by what the others say of their room. At its target is a stream that is less than two seconds
behind, at full quality, and of which nothing was dropped.

Not shown: a model. The engines sleep, and all gateways share this machine's cores, so the figures
say that nothing in a fleet is shared that grows with it, and not what a GPU does.
"""

import argparse
import asyncio
import itertools
import tempfile
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import httpx

from onlooker.benchmarks.fleet.inspector import AUTH
from onlooker.benchmarks.fleet.member import KEY, FleetMember
from onlooker.benchmarks.load import draw_frames
from onlooker.benchmarks.report import rows
from onlooker.benchmarks.soak.lone_redis import LoneRedis
from onlooker.clients.python.client import Client
from onlooker.core.clock import Clock, SystemClock
from onlooker.core.errors import OnlookerError

NUMBERS = (1, 2, 4)
EACH = 20
"""Streams for each server: 0.8 of what its engine can do."""
OPEN_EVERY_S = 0.2
NOTICE_S = 0.5
MAX_LAG_S = 2.0
GOAL = 0.9


def add_options(parser: argparse.ArgumentParser) -> None:
    """It has none of its own."""


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The figures."""
    pictures = await asyncio.to_thread(draw_frames, options.seed, 40, 1.0)
    found = [await _measured(number, pictures, options.seconds) for number in NUMBERS]
    one = found[0]["at_target"]
    for figures in found:
        figures["of_linear"] = round(figures["at_target"] / max(1, one * figures["servers"]), 3)
    return {"goal": GOAL, "fleets": found}


async def _measured(number: int, pictures: list[bytes], seconds: float) -> dict[str, Any]:
    clock: Clock = SystemClock()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="onlooker-fleet-")))
        redis = await stack.enter_async_context(LoneRedis())
        members = [_member(f"s{index}", folder, redis.url) for index in range(number)]
        for member in members:
            stack.push_async_callback(member.kill)
            await member.start()
        client = await stack.enter_async_context(Client(members[0].base, KEY))
        await clock.sleep(2 * NOTICE_S)
        feeding = []
        for index in range(number * EACH):
            feeding.append(asyncio.create_task(_feed(client, f"s{index}", pictures, clock)))
            await clock.sleep(OPEN_EVERY_S)
        try:
            await clock.sleep(seconds)
            shown = [one for member in members for one in await _streams(member)]
        finally:
            for task in feeding:
                task.cancel()
            await asyncio.gather(*feeding, return_exceptions=True)
    at_target = [one for one in shown if _is_at_target(one)]
    return {
        "servers": number,
        "offered": number * EACH,
        "open": len(shown),
        "at_target": len(at_target),
        "worst_lag_s": max((one["lag_s"] or 0.0 for one in shown), default=0.0),
        "lowered": sum(one["quality_level"] > 0 for one in shown),
    }


def _member(name: str, folder: Path, redis_url: str) -> FleetMember:
    settings = {
        "cache_store.redis.url": redis_url,
        "fleet.notice_s": NOTICE_S,
        "fleet.margin": 0.1,
        "streams.perception.gate_threshold": 0.0,
    }
    command = ("onlooker.benchmarks.fleet.serve", "costed")
    return FleetMember(name, folder, command=command, settings=settings)


async def _feed(client: Client, name: str, pictures: list[bytes], clock: Clock) -> None:
    with suppress(OnlookerError):
        async with client.stream(name) as stream:
            for picture in itertools.cycle(pictures):
                await stream.send_frame(picture)
                await clock.sleep(1.0)


async def _streams(member: FleetMember) -> list[dict[str, Any]]:
    async with httpx.AsyncClient(headers=AUTH, trust_env=False, timeout=30.0) as client:
        reply = await client.get(f"{member.base}/v1/streams?limit=100")
        found: list[dict[str, Any]] = reply.raise_for_status().json()["data"]
        return found


def _is_at_target(stream: dict[str, Any]) -> bool:
    lag_s = stream["lag_s"]
    is_whole = not sum(stream["totals"]["dropped"].values())
    return lag_s is not None and lag_s < MAX_LAG_S and is_whole and not stream["quality_level"]


def table(figures: dict[str, Any]) -> str:
    """The figures for people."""
    titles = ("servers", "streams offered", "open", "at their targets", "worst lag s", "of linear")
    names = ("servers", "offered", "open", "at_target", "worst_lag_s", "of_linear")
    lines = [tuple(one[name] for name in names) for one in figures["fleets"]]
    return f"{rows(titles, lines)}\n\ngoal: {figures['goal']:g} of linear"
