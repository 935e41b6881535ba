"""`StreamEyes`: what a voice agent needs of a stream: show it frames, look, be told.

Nothing here knows a framework; `pipecat_eyes` and `livekit_eyes` put it into one.
"""

from collections.abc import AsyncIterator

import numpy as np
import numpy.typing as npt

from onlooker.clients.python import RemoteStream, StreamAlert
from onlooker.core.clock import Clock, SystemClock
from onlooker.core.errors import OnlookerError

LOOK = "look"
"""The name of the function that a language model calls."""

LOOK_IS = (
    "Look at the live video and answer a question about it. It remembers what was to be seen "
    "before, so ask about the past, too."
)
QUESTION_IS = "What to find out, as a complete question."


class StreamEyes:
    """Of one conversation. Frames beyond `fps` a second are left out: the agent's camera may give
    thirty, and the server asks for fewer still where it is busy."""

    def __init__(
        self, stream: RemoteStream, *, fps: float = 2.0, clock: Clock | None = None
    ) -> None:
        self._stream, self._fps = stream, fps
        self._clock = clock or SystemClock()
        self._due_s = 0.0

    @property
    def wants_frame(self) -> bool:
        """Whether it is time for the next frame; whoever converts frames asks first."""
        return self._clock.now_s() >= self._due_s

    async def see(self, pixels: npt.NDArray[np.uint8]) -> bool:
        """Show a frame, uint8[height, width, 3] in RGB, as it is now; returns whether it was due.

        Raises:
            OnlookerError: the stream has ended, and why.
        """
        if not self.wants_frame:
            return False
        pace = self._stream.pace
        fps = self._fps if pace is None else max(0.1, min(self._fps, pace.fps))
        self._due_s = self._clock.now_s() + 1 / fps
        await self._stream.send_frame(pixels)
        return True

    async def look(self, question: str) -> str:
        """Ask about what was shown. What is wrong is told in words, for the model to say so."""
        try:
            return (await self._stream.ask(question, alone=True)).text
        except (OnlookerError, TimeoutError) as error:
            return f"I cannot see right now: {error or 'it took too long'}"

    async def alerts(self) -> AsyncIterator[str]:
        """What the stream's watches say, in words, from now on and until the stream ends."""
        async for event in self._stream.events():
            if isinstance(event, StreamAlert):
                yield event.alert.text
