"""Honest work that uses every pool of a server, before it is looked at what the server holds."""

import asyncio
import base64
import io
from contextlib import suppress

import numpy as np
from PIL import Image

from onlooker.benchmarks.attacks.target import HUNG_UP, AttackTarget

NUM_AT_ONCE = 16
SIDE = 2000
"""Of a picture as a telephone takes it: large enough that several are decoded at a time."""


async def warm_up(target: AttackTarget) -> None:
    """Ask about large pictures, and pull from hosts that nobody knows, many at a time."""
    async with target.http() as client:
        ask = {
            "model": (await client.get("/v1/models")).json()["data"][0]["id"],
            "messages": [{"role": "user", "content": _question()}],
            "max_tokens": 8,
        }

        async def question() -> None:
            with suppress(*HUNG_UP):
                await client.post("/v1/chat/completions", json=ask)

        async def source(name: str) -> None:
            with suppress(*HUNG_UP):
                url = f"http://{name}.invalid/v.mp4"
                await client.post("/v1/streams", json={"id": name, "source": {"url": url}})
                await client.delete(f"/v1/streams/{name}")

        await asyncio.gather(*(question() for _ in range(NUM_AT_ONCE)))
        await asyncio.gather(*(source(f"warm-{index}") for index in range(NUM_AT_ONCE)))


def _question() -> list[dict[str, object]]:
    out = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, "JPEG", quality=60)
    url = "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
    return [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
