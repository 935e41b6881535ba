"""Attacks with JSON: many unknown fields, much of it, deep nests, and bodies without a key."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import httpx

from onlooker.benchmarks.attacks import bombs
from onlooker.benchmarks.attacks.tally import AttackTally
from onlooker.benchmarks.attacks.target import HUNG_UP, NOT_LET_IN, AttackTarget

MANY_BYTES = 250_000
MOST_BYTES = 12_000_000
KEYLESS_BYTES = 20_000_000
NUM_AT_ONCE = 2
JSON = {"content-type": "application/json"}


async def unknown_fields_http(target: AttackTarget, tally: AttackTally) -> None:
    """250 kB of unknown fields to `POST /v1/streams`."""
    await _post(target, tally, bombs.unknown_fields(MANY_BYTES).encode())


async def unknown_fields_realtime(target: AttackTarget, tally: AttackTally) -> None:
    """250 kB of unknown fields as a client event."""
    await _say(target, tally, bombs.unknown_fields(MANY_BYTES, type="session.update"))


async def large_json(target: AttackTarget, tally: AttackTally) -> None:
    """12 MB of unknown fields over HTTP, and as much of it as one message may have otherwise."""
    body = bombs.unknown_fields(MOST_BYTES, type="session.update")
    await asyncio.gather(
        _post(target, tally, body.encode()),
        _say(target, tally, bombs.unknown_fields(8_000_000, type="session.update")),
    )


async def deep_json(target: AttackTarget, tally: AttackTally) -> None:
    """A hundred thousand containers inside each other, over both doors."""
    nest = '{"type": "session.update", "session": {"instructions": ' + bombs.deep_nest() + "}}"
    await asyncio.gather(
        _post(target, tally, ('{"metadata": ' + bombs.deep_nest() + "}").encode()),
        _say(target, tally, nest),
    )


async def keyless_body(target: AttackTarget, tally: AttackTally) -> None:
    """Bodies of 20 MB from somebody without a key."""
    body = b"[" + b"0," * (KEYLESS_BYTES // 2) + b"0]"
    await _post(target, tally, body, with_key=False)


async def _post(
    target: AttackTarget, tally: AttackTally, body: bytes, *, with_key: bool = True
) -> None:
    async with target.http(with_key=with_key) as client:

        async def post() -> None:
            try:
                reply = await client.post("/v1/streams", content=body, headers=JSON)
                tally.refusal(reply.status_code)
            except (httpx.WriteError, httpx.RemoteProtocolError, httpx.ReadError):
                tally.held["hung up"] += 1  # without taking the rest of the body

        await _again(target, tally, post)


async def _say(target: AttackTarget, tally: AttackTally, text: str) -> None:
    async def say() -> None:
        with suppress(*NOT_LET_IN):
            async with target.realtime() as link:
                with suppress(*HUNG_UP):
                    await link.send(text)
                answer = await link.until("error", "session.updated")
                if answer is None:
                    tally.close(link.close_code)
                    tally.held[f"close {link.close_code}"] += 1
                elif answer["type"] == "error":
                    tally.error(answer)
                else:
                    tally.gave_way[answer["type"]] += 1

    await _again(target, tally, say)


async def _again(
    target: AttackTarget, tally: AttackTally, act: Callable[[], Awaitable[None]]
) -> None:
    """Do `act` over and over for the attack's time, `NUM_AT_ONCE` at a time."""

    async def one() -> None:
        while True:
            await act()

    with suppress(TimeoutError):
        async with asyncio.timeout(target.seconds):
            await asyncio.gather(*(one() for _ in range(NUM_AT_ONCE)))
    if not +tally.held:
        tally.gave_way["no answer"] += 1
