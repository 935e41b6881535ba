"""Open-loop load: streams of the drawn world at a fixed rate, with questions that do not wait.

Arrivals never slow down because the server does; what is late shows as lag, drops and TTFT.
"""

import asyncio
import io
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image

from onlooker.core.clock import Clock
from onlooker.core.errors import OnlookerError
from onlooker.core.ids import StreamId, new_id
from onlooker.core.media import Codec, EncodedFrame
from onlooker.demo_model.render import render
from onlooker.demo_model.world import World
from onlooker.engine.interface import Question
from onlooker.streams.events import ClipSeen
from onlooker.streams.hub import StreamHub
from onlooker.streams.stream import Stream, StreamOptions

WIDTH, HEIGHT, QUALITY = 320, 240, 80
QUESTIONS = (
    "How many objects are there?",
    "What colour is the circle?",
    "What number is on the sign?",
    "Was there ever a red star?",
)


@dataclass(frozen=True, slots=True)
class Load:
    """What arrives: streams with frames and questions, for so many seconds."""

    num_streams: int
    seconds: float
    fps: float = 2.0
    """Frames a second of each stream; two make a clip."""
    question_every_s: float = 5.0
    """Mean time between a stream's questions (Poisson)."""
    seed: int = 1


@dataclass(slots=True)
class LoadOutcome:
    """What became of a load's frames and questions, as counts, and the lag of every clip."""

    lag_s: list[float] = field(default_factory=list)
    received: int = 0
    kept: int = 0
    skipped: int = 0
    dropped: int = 0
    clips: int = 0
    asked: int = 0
    answered: int = 0
    refused: int = 0


def draw_frames(seed: int, count: int, fps: float) -> list[bytes]:
    """`count` JPEG pictures of world `seed`, `fps` of them a second."""
    world = World(seed)
    pictures = []
    for index in range(count):
        picture = io.BytesIO()
        image = Image.fromarray(render(world.state_at(index / fps), WIDTH, HEIGHT))
        image.save(picture, "JPEG", quality=QUALITY)
        pictures.append(picture.getvalue())
    return pictures


async def run(hub: StreamHub, load: Load, clock: Clock) -> LoadOutcome:
    """Run `load` against a started hub; returns when all of it has arrived and been answered."""
    count = int(load.seconds * load.fps)
    pictures = [
        await asyncio.to_thread(draw_frames, load.seed * 1000 + n, count, load.fps)
        for n in range(load.num_streams)
    ]
    outcome = LoadOutcome()
    start_s = clock.now_s() + 0.5
    async with asyncio.TaskGroup() as group:
        for number, frames in enumerate(pictures):
            group.create_task(_stream(hub, load, number, frames, clock, start_s, outcome))
    return outcome


async def _stream(
    hub: StreamHub,
    load: Load,
    number: int,
    frames: Sequence[bytes],
    clock: Clock,
    start_s: float,
    outcome: LoadOutcome,
) -> None:
    rng = random.Random(load.seed * 7919 + number)
    stream = await hub.open_stream(
        StreamId(new_id("load")), StreamOptions(clock="live", gate_threshold=0.0)
    )
    listening = asyncio.create_task(_listen(stream, outcome))
    asking: list[asyncio.Task[None]] = []
    offset_s = rng.random() / load.fps  # cameras are not in step
    next_question_s = rng.expovariate(1 / load.question_every_s)
    for index, payload in enumerate(frames):
        due_s = start_s + offset_s + index / load.fps
        await clock.sleep(due_s - clock.now_s())
        now_s = clock.now_s()
        stream.push(EncodedFrame(index, index / load.fps, Codec.JPEG, payload, now_s))
        while next_question_s <= index / load.fps:
            asking.append(asyncio.create_task(_ask(stream, rng.choice(QUESTIONS), outcome)))
            next_question_s += rng.expovariate(1 / load.question_every_s)
    await asyncio.gather(*asking)
    await clock.sleep(1.0)
    status = stream.status()
    outcome.received += status.received
    outcome.kept += status.kept
    outcome.skipped += status.skipped
    outcome.dropped += sum(status.dropped.values())
    outcome.clips += status.clips
    await hub.close_stream(stream.id, "measured")
    await listening


async def _listen(stream: Stream, outcome: LoadOutcome) -> None:
    async for _, event in stream.subscribe(max_events=10_000):
        if isinstance(event, ClipSeen):
            outcome.lag_s.append(event.lag_s)


async def _ask(stream: Stream, question: str, outcome: LoadOutcome) -> None:
    outcome.asked += 1
    try:
        async for _ in stream.ask(Question(text=question, max_tokens=16)):
            pass
        outcome.answered += 1
    except OnlookerError:
        outcome.refused += 1
