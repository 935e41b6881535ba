"""Streams of the drawn world that are watched: what each shows, and what was told of it."""

import asyncio
import io
import random
from dataclasses import dataclass, field

from PIL import Image

from onlooker.benchmarks.alert_truth import Shown, Standing
from onlooker.demo_model.examples import TEST_SEED
from onlooker.demo_model.render import render
from onlooker.watches.alert import Alert

NUM_STREAMS = 8
FRAME_S = 1.0
"""Stream time between two frames; each is a clip."""

Told = list[tuple[Alert, float]]


@dataclass(slots=True)
class Watched:
    """One stream: what it shows, what is watched for, and what was told of it."""

    shown: Shown
    frames: list[bytes]
    standing: list[Standing]
    told: Told = field(default_factory=list)
    polled: dict[int, list[tuple[int, float]]] = field(default_factory=dict)
    """By watch, the frames about which polling became a yes, and the stream times of that."""
    yes: dict[int, list[int]] = field(default_factory=dict)
    """By watch, the frames about which polling said yes."""
    dropped: int = 0
    seen: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the newest clip has been seen or lost; cleared by whoever waits for that."""


def worlds(seconds: int, seed: int, *, first: int = TEST_SEED) -> list[Watched]:
    """The first worlds from seed `first` on in which there is enough to watch for."""
    rng = random.Random(seed)
    found: list[Watched] = []
    number = 0
    while len(found) < NUM_STREAMS:
        world_seed = first + 1000 * seed + number
        number += 1
        shown = Shown(world_seed, num_frames=seconds, start_s=10.0 + 60.0 * rng.random())
        standing = shown.watches(rng)
        if len(standing) == 4:  # a world in which fewer kinds appear has too little to watch for
            frames = [_jpeg(shown, time_s) for time_s in shown.times]
            found.append(Watched(shown, frames, standing))
    return found


def _jpeg(shown: Shown, time_s: float) -> bytes:
    data = io.BytesIO()
    picture = render(shown.world.state_at(time_s), 320, 240)
    Image.fromarray(picture).save(data, "JPEG", quality=80)
    return data.getvalue()
