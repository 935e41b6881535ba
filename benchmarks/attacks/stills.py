"""Attacks with pictures, as frames and as what a question shows."""

import asyncio
import base64
import itertools
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from onlooker.benchmarks.attacks import bombs
from onlooker.benchmarks.attacks.tally import AttackTally
from onlooker.benchmarks.attacks.target import HUNG_UP, NOT_LET_IN, AttackTarget, RealtimeLink
from onlooker.core.media import Codec
from onlooker.core.protocol.frame_header import FrameHeader, pack_frame

NUM_CONNECTIONS = 4
PUSHED_FPS = 5.0
CAPTURE_STEP_US = 1_000_000
"""Stream time between two frames: a clip's, so that none is left out before it is decoded."""
LEFT_OUT = frozenset({"mailbox_full", "overload", "rate_limit"})
"""Reasons for which a frame is dropped that nobody has looked into."""


async def repeated_scans(target: AttackTarget, tally: AttackTally) -> None:
    """Frames that are progressive JPEGs with their last scan 400 times; none may be looked at."""
    await _push(target, tally, Codec.JPEG, [bombs.repeated_scans()], may_be_seen=False)


async def huge_dimensions(target: AttackTarget, tally: AttackTally) -> None:
    """Frames whose headers claim billions of pixels."""
    for codec in (Codec.PNG, Codec.JPEG, Codec.WEBP):
        await _push(
            target, tally, codec, [bombs.huge_still(codec)],
            may_be_seen=False, seconds=target.seconds / 3,
        )  # fmt: skip


async def interlaced_pngs(target: AttackTarget, tally: AttackTally) -> None:
    """Interlaced PNGs as large as is allowed: each is looked at or refused, and holds up nobody."""
    await _push(target, tally, Codec.PNG, [bombs.interlaced_png()], may_be_seen=True)


async def long_animations(target: AttackTarget, tally: AttackTally) -> None:
    """WebP animations of 10,000 pictures: each is looked at or refused, and holds up nobody."""
    await _push(target, tally, Codec.WEBP, [bombs.long_animation()], may_be_seen=True)


async def question_pictures(target: AttackTarget, tally: AttackTally) -> None:
    """Questions that show the progressive JPEG; none may be answered."""
    url = "data:image/jpeg;base64," + base64.b64encode(bombs.repeated_scans()).decode()
    content = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": url},
    ]
    item = {"type": "message", "role": "user", "content": content}
    event = {"type": "response.create", "response": {"conversation": "none", "input": [item]}}

    async def ask(link: RealtimeLink) -> None:
        while True:
            await link.send(event)
            answer = await link.until("response.done", "error")
            if answer is None:
                tally.close(link.close_code)
                return
            if answer["type"] == "error":
                tally.error(answer)
            elif answer["response"]["status"] == "failed":
                tally.held["response failed"] += 1
            else:
                tally.gave_way[f"response {answer['response']['status']}"] += 1

    async def one() -> None:
        with suppress(*NOT_LET_IN, *HUNG_UP):
            async with target.realtime() as link:
                await ask(link)

    with suppress(TimeoutError):
        async with asyncio.timeout(target.seconds):
            await asyncio.gather(*(one() for _ in range(NUM_CONNECTIONS)))
    if not +tally.held:
        tally.gave_way["no answer"] += 1


async def _push(
    target: AttackTarget,
    tally: AttackTally,
    codec: Codec,
    payloads: Sequence[bytes],
    *,
    may_be_seen: bool,
    seconds: float | None = None,
) -> None:
    """Push `payloads` in turns over several connections, and count what became of them."""

    async def send(link: RealtimeLink) -> None:
        for sequence, payload in enumerate(itertools.cycle(payloads)):
            header = FrameHeader(
                codec=codec, sequence=sequence, capture_us=CAPTURE_STEP_US * sequence
            )
            await link.send(pack_frame(header, payload))
            await asyncio.sleep(1 / PUSHED_FPS)

    async def one() -> None:
        with suppress(*NOT_LET_IN, *HUNG_UP):
            async with target.realtime() as link, asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(send(link))
                async for event in link.events():
                    tally.fault_of(event)
                    if event["type"] == "input_video.ack":
                        _count(tally, event, may_be_seen=may_be_seen)
                tally.close(link.close_code)
                sending.cancel()

    with suppress(TimeoutError):
        async with asyncio.timeout(seconds or target.seconds):
            await asyncio.gather(*(one() for _ in range(NUM_CONNECTIONS)))
    if not +tally.held:
        tally.gave_way["no answer"] += 1


def _count(tally: AttackTally, ack: dict[str, Any], *, may_be_seen: bool) -> None:
    """Count an acknowledgement's outcomes; what was left out without a look was not refused."""
    tally.noted["skipped"] += len(ack["skipped"])
    (tally.held if may_be_seen else tally.gave_way)["kept"] += len(ack["kept"])
    for drop in ack["dropped"]:
        is_refusal = drop["reason"] not in LEFT_OUT
        (tally.held if is_refusal else tally.noted)[f"dropped {drop['reason']}"] += 1
