"""Eyes of a voice agent: how many frames go out, and what a look that fails says."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from onlooker.clients.eyes.stream_eyes import StreamEyes
from onlooker.core.clock import ManualClock
from onlooker.core.errors import Overloaded

PIXELS = np.zeros((2, 2, 3), np.uint8)


class Stream:
    """Counts frames; asks for as many as `fps` says; refuses to answer."""

    def __init__(self, fps: float | None = None) -> None:
        self.pace = None if fps is None else SimpleNamespace(fps=fps)
        self.num_sent = 0

    async def send_frame(self, pixels: object) -> None:
        self.num_sent += 1

    async def ask(self, question: str, *, alone: bool) -> Any:
        raise Overloaded("too many answers are under way")


async def shown(stream: Stream, *, camera_fps: int, seconds: int) -> int:
    """How many frames go out of a camera's."""
    clock = ManualClock()
    eyes = StreamEyes(cast(Any, stream), fps=2.0, clock=clock)
    for _ in range(camera_fps * seconds):
        await eyes.see(PIXELS)
        clock.advance(1 / camera_fps)
    return stream.num_sent


async def test_a_camera_of_thirty_frames_a_second_sends_two() -> None:
    assert await shown(Stream(), camera_fps=32, seconds=10) == 20


async def test_a_busy_server_gets_fewer() -> None:
    assert await shown(Stream(fps=0.5), camera_fps=32, seconds=10) == 5


async def test_a_look_that_fails_is_told_in_words() -> None:
    eyes = StreamEyes(cast(Any, Stream()), clock=ManualClock())
    assert await eyes.look("Who is it?") == (
        "I cannot see right now: too many answers are under way"
    )
