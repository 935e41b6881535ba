"""Seeded fuzzers: client events that are broken, and payloads of every codec that are.

A server holds when it answers all of it, whatever the answer, without an internal error. A message
counts when the server has shown that it read it: by a pong after it, or by its acknowledgement.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

from onlooker.benchmarks.attacks.mutation import mutated_bytes, mutated_event
from onlooker.benchmarks.attacks.samples import messages_of
from onlooker.benchmarks.attacks.tally import AttackTally
from onlooker.benchmarks.attacks.target import HUNG_UP, NOT_LET_IN, AttackTarget, RealtimeLink
from onlooker.core.media import Codec
from onlooker.core.protocol.frame_header import FrameHeader, pack_frame

NUM_CONNECTIONS = 8
EVENTS_A_LINK = 90
"""Below the number of errors for which a connection is ended by default."""
PAYLOADS_A_LINK = 100
READ_S = 20.0
"""How long the server gets to read what one connection sent."""
PAUSE_S = 0.2
"""After a refused connection."""
MUTATED_SHARE = 0.8
"""Of the payloads; the others are sound, so that the decoder gets past its first picture."""

_ITEM = {
    "type": "message", "role": "user",
    "content": [{"type": "input_text", "text": "What colour is it?"}],
}  # fmt: skip
EVENTS: tuple[dict[str, Any], ...] = (
    {"type": "session.update", "session": {"type": "realtime", "max_output_tokens": 5,
     "input_video": {"clock": "live", "max_fps": 5, "token_drop": "filled",
                     "compaction": "merge", "ack": "all"}}},
    {"type": "input_video.frame.append", "frame": "AAAA", "codec": "jpeg", "timestamp_ms": 0},
    {"type": "input_video.attach", "slot": 1, "stream": "fuzzed"},
    {"type": "input_video.detach", "slot": 1},
    {"type": "conversation.item.create", "item": _ITEM},
    {"type": "conversation.item.retrieve", "item_id": "item_1"},
    {"type": "conversation.item.delete", "item_id": "item_1"},
    {"type": "conversation.item.truncate", "item_id": "item_1", "content_index": 0,
     "audio_end_ms": 0},
    {"type": "input_audio_buffer.append", "audio": "AAAA"},
    {"type": "input_audio_buffer.commit"},
    {"type": "input_audio_buffer.clear"},
    {"type": "output_audio_buffer.clear"},
    {"type": "response.create", "response": {"conversation": "none", "input": [_ITEM],
     "max_output_tokens": 3, "metadata": {"a": "b"}}},
    {"type": "response.cancel", "response_id": "resp_1"},
    {"type": "stream.watch.create", "watch": {"id": "w", "condition": "a red circle appears",
     "trigger": ["change", "yes_no"], "json_schema": {"type": "object", "properties": {}}}},
    {"type": "stream.watch.update", "watch_id": "w", "watch": {"paused": True}},
    {"type": "stream.watch.delete", "watch_id": "w"},
    {"type": "stream.watch.list"},
    {"type": "ping", "event_id": "e"},
)  # fmt: skip
"""One sound event of each type. None has an address in it: nothing may leave the machine."""

Batch = Callable[[RealtimeLink, int, random.Random], Awaitable[bool]]
"""Sends so many messages on a fresh connection; False where the server did not read them all."""


async def protocol_messages(target: AttackTarget, tally: AttackTally) -> None:
    """Broken client events and broken frame headers."""
    await _fuzz(target, tally, partial(_say, tally), "messages", target.messages, EVENTS_A_LINK)
    async with target.http() as client:
        with suppress(*HUNG_UP):
            await client.delete("/v1/streams/fuzzed")


async def payloads(target: AttackTarget, tally: AttackTally) -> None:
    """Broken pictures and pieces of video of every codec, on the virtual clock, so that none is
    left out."""
    for codec in Codec:
        batch = partial(_push, tally, codec, messages_of(codec))
        name = codec.name.lower()
        await _fuzz(target, tally, batch, name, target.payloads, PAYLOADS_A_LINK)


async def _fuzz(
    target: AttackTarget, tally: AttackTally, batch: Batch, name: str, num: int, num_a_link: int
) -> None:
    """Send `num` messages, `num_a_link` on each of several connections at a time."""
    starts = iter(range(0, num, num_a_link))

    async def one() -> None:
        for start in starts:
            rng = random.Random(f"{target.seed}:{name}:{start}")
            size = min(num_a_link, num - start)
            while not await _on_a_link(target, tally, batch, name, size, rng):
                pass

    await asyncio.gather(*(one() for _ in range(NUM_CONNECTIONS)))


async def _on_a_link(
    target: AttackTarget, tally: AttackTally, batch: Batch, name: str, size: int, rng: random.Random
) -> bool:
    """Send one batch; False where the server let nobody in."""
    try:
        async with target.realtime() as link:
            is_read = False
            with suppress(*HUNG_UP, TimeoutError):
                async with asyncio.timeout(READ_S):
                    is_read = await batch(link, size, rng)
            if link.close_code is not None:
                tally.close(link.close_code)
            (tally.held if is_read else tally.noted)[name if is_read else f"{name} unread"] += size
    except NOT_LET_IN:
        tally.noted["not let in"] += 1
        await asyncio.sleep(PAUSE_S)
        return False
    return True


async def _say(tally: AttackTally, link: RealtimeLink, size: int, rng: random.Random) -> bool:
    last = {"type": "ping", "event_id": "the last one"}

    async def send() -> None:
        for _ in range(size):
            await link.send(_message(rng))
        await link.send(last)

    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(send())
        async for event in link.events():
            tally.fault_of(event)
            if event["type"] == "pong" and sending.done():
                return True
        sending.cancel()
    return False


async def _push(
    tally: AttackTally, codec: Codec, sound: list[bytes], link: RealtimeLink, size: int,
    rng: random.Random,
) -> bool:  # fmt: skip
    session = {"type": "realtime", "input_video": {"clock": "virtual"}}
    await link.send({"type": "session.update", "session": session})

    async def send() -> None:
        for sequence in range(size):
            payload = sound[sequence % len(sound)]
            if rng.random() < MUTATED_SHARE:
                payload = mutated_bytes(payload, rng)
            header = FrameHeader(
                codec=codec, sequence=sequence, capture_us=100_000 * sequence,
                key_frame=sequence % 10 == 0, last_frame=sequence == size - 1,
            )  # fmt: skip
            await link.send(pack_frame(header, payload))

    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(send())
        async for event in link.events():
            tally.fault_of(event)
            if event["type"] == "input_video.ack" and event["totals"]["received"] >= size:
                return True
        sending.cancel()
    return False


def _message(rng: random.Random) -> str | bytes:
    """One broken message; a tenth are binary, of which most have a sound header before noise."""
    if rng.random() < 0.9:
        return mutated_event(rng.choice(EVENTS), rng)
    header = FrameHeader(
        codec=rng.choice(list(Codec)),
        sequence=rng.randrange(2**32),
        capture_us=rng.randrange(10**9),
    )
    message = pack_frame(header, rng.randbytes(rng.randint(1, 200)))
    return message if rng.random() < 0.6 else mutated_bytes(message, rng)
