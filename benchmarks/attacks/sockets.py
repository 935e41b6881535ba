"""Attacks with sockets: idle ones, floods of pings, and heads that are too long."""

import asyncio
import base64
from contextlib import suppress

from onlooker.benchmarks.attacks.tally import AttackTally
from onlooker.benchmarks.attacks.target import ANSWER_S, AttackTarget

NUM_IDLE = 800
HEAD_BYTES = 200_000
PING = b"\x89\x80\0\0\0\0"
"""An empty ping with a mask, as a client sends it."""
PONG = b"\x8a\x00"
MAX_PONGS_PER_S = 1_000
"""Twice what one connection may send in messages."""
HEALTH = ("/healthz", "/readyz", "/v1/models")


async def idle_sockets(target: AttackTarget, tally: AttackTally) -> None:
    """800 sockets that say nothing; health must stay 200, also for who comes after them."""
    opened = await asyncio.gather(*(target.raw() for _ in range(NUM_IDLE)), return_exceptions=True)
    held = [pair for pair in opened if not isinstance(pair, BaseException)]
    tally.noted["sockets"] += len(held)
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(target.seconds):
                while True:
                    await _ask_health(target, tally)
                    await asyncio.sleep(0.2)
    finally:
        for _, writer in held:
            writer.close()


async def ping_flood(target: AttackTarget, tally: AttackTally) -> None:
    """Heartbeats as fast as they can be sent; they must be slowed down or end the connection."""
    key = base64.b64encode(b"sixteen bytes...").decode()
    head = target.head(
        "GET /v1/realtime",
        {
            "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": key,
            "Sec-WebSocket-Version": "13", "Authorization": f"Bearer {target.key}",
        },
    )  # fmt: skip
    reader, writer = await target.raw()
    pongs, is_ended = 0, False

    async def send() -> None:
        while True:
            writer.write(PING * 1_000)
            await writer.drain()

    try:
        writer.write(head)
        await reader.readuntil(b"\r\n\r\n")
        sending = asyncio.create_task(send())
        try:
            async with asyncio.timeout(target.seconds):
                while data := await reader.read(1 << 16):
                    pongs += data.count(PONG)
            is_ended = True
        except TimeoutError:
            pass
        except OSError:  # reset, as the server left pings unread
            is_ended = True
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    finally:
        writer.close()
    if is_ended:
        tally.held["hung up"] += 1
        tally.noted["pongs"] += pongs
    else:
        is_slowed = pongs <= MAX_PONGS_PER_S * max(1.0, target.seconds)
        (tally.held if is_slowed else tally.gave_way)["pongs"] += pongs


async def long_heads(target: AttackTarget, tally: AttackTally) -> None:
    """Heads of 200 kB, as one header and as many; they must be refused."""
    long = {"X-Long": "a" * HEAD_BYTES}
    many = {f"X-{index}": "a" * 100 for index in range(HEAD_BYTES // 110)}
    with suppress(TimeoutError):
        async with asyncio.timeout(target.seconds):
            while True:
                for headers in (long, many):
                    head = target.head("GET /healthz", headers)
                    status = await _status(target, head)
                    if status is None:
                        tally.held["hung up"] += 1
                    else:
                        tally.refusal(status)
                await asyncio.sleep(0.05)


async def _status(target: AttackTarget, request: bytes) -> int | None:
    """The status that answers `request`; None where the server hangs up without one."""
    reader, writer = await target.raw()
    try:
        writer.write(request)
        line = await reader.readline()
    except OSError:
        return None
    finally:
        writer.close()
    return int(line.split()[1]) if line else None


async def _ask_health(target: AttackTarget, tally: AttackTally) -> None:
    async with target.http() as client:
        for path in HEALTH:
            reply = await client.get(path, timeout=ANSWER_S)
            tally.status(reply.status_code, wanted=reply.status_code == 200)
