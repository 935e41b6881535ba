"""What is looked at while servers run: are they ready, do they remember."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import httpx

from onlooker.clients.python import Client, RemoteStream
from onlooker.core.errors import OnlookerError
from onlooker.core.jpeg import encode_jpeg
from onlooker.demo_model.render import render
from onlooker.demo_model.world import World

NUM_SECONDS = 60
SIDE = 144
WORLD = World(5)
EVER = "Was there ever a {}?"
PROMETHEUS = "http://127.0.0.1:9090"


class CheckFailed(Exception):
    """The stack runs and does not do what it should."""


async def until(what: str, limit_s: float, look: Callable[[], Awaitable[bool]]) -> None:
    """Look every second until it is so.

    Raises:
        CheckFailed: it is not so after `limit_s`.
    """
    started_s = time.monotonic()
    while not await look():
        if time.monotonic() - started_s > limit_s:
            raise CheckFailed(f"{what}: not so after {limit_s:g} s")
        await asyncio.sleep(1)
    print(f"ok    {what} after {time.monotonic() - started_s:.0f} s", flush=True)


async def is_ready(client: Client) -> bool:
    """Whether the server takes questions; no answer at all means that it does not."""
    try:
        return await client.ready()
    except OnlookerError:
        return False


def seen_early() -> str:
    """Something that was to be seen in the first ten seconds of the world."""
    for second in range(10):
        for thing in WORLD.state_at(second + 0.5).objects:
            return " ".join(thing.kind)
    raise CheckFailed("the drawn world is empty for ten seconds")


async def show(stream: RemoteStream, start_s: int, end_s: int) -> None:
    """Show a stream a part of the drawn world, and wait until the model has seen it."""
    for second in range(start_s, end_s):
        for time_s in (second, second + 0.5):
            picture = encode_jpeg(render(WORLD.state_at(time_s), SIDE, SIDE))
            await stream.send_frame(picture, at_s=time_s)
    await stream.drain(timeout_s=600)


async def ask(client: Client, stream: str, question: str) -> str:
    """Ask about a stream; the answer rests on all of its memory.

    Raises:
        CheckFailed: some of the memory is missing.
    """
    reply = await client.ask(stream, question)
    if reply.onlooker.memory_incomplete:
        raise CheckFailed(f"'{question}' was answered without all of the memory")
    print(f"ok    {stream}: {question} {reply.answer}", flush=True)
    return reply.answer


async def scraped(http: httpx.AsyncClient, service: str) -> int:
    """How many servers of a service Prometheus scrapes, if it reaches all that it knows."""
    try:
        reply = (await http.get("/api/v1/targets")).json()
    except httpx.HTTPError:
        return 0
    active = reply["data"]["activeTargets"]
    targets = [target for target in active if target["labels"].get("service") == service]
    return len(targets) if all(target["health"] == "up" for target in targets) else 0
