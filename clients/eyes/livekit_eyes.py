"""`LiveKitEyes`: a tool and a listener for an agent of LiveKit Agents.

eyes = LiveKitEyes(StreamEyes(stream))
session = AgentSession(stt=..., llm=..., tts=...)
agent = Agent(instructions="...", tools=[eyes.look])
await session.start(room=ctx.room, agent=agent)
eyes.speak_up(session)                      # alerts are said aloud
# for the track of video that the agent has subscribed to:
await eyes.watch(rtc.VideoStream(track))
"""

import asyncio
from collections.abc import AsyncIterable

import numpy as np
from livekit import rtc
from livekit.agents import AgentSession, function_tool

from onlooker.clients.eyes.stream_eyes import LOOK, LOOK_IS, StreamEyes


class LiveKitEyes:
    """Of one conversation; `close` ends the listening."""

    def __init__(self, eyes: StreamEyes) -> None:
        self._eyes = eyes
        self._listening: asyncio.Task[None] | None = None
        self.look = function_tool(self._look, name=LOOK, description=LOOK_IS)
        """The tool, for `Agent(tools=[...])`."""

    async def watch(self, video: AsyncIterable[rtc.VideoFrameEvent]) -> None:
        """Show the stream what a track of video shows, until that ends."""
        async for event in video:
            if not self._eyes.wants_frame:
                continue
            frame = event.frame.convert(rtc.VideoBufferType.RGB24)
            pixels = np.frombuffer(frame.data, np.uint8).reshape(frame.height, frame.width, 3)
            await self._eyes.see(pixels)

    def speak_up(self, session: AgentSession) -> None:
        """Say alerts aloud from now on."""
        self._listening = asyncio.create_task(self._say(session))

    async def close(self) -> None:
        """Say no more alerts."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)

    async def _look(self, question: str) -> str:
        return await self._eyes.look(question)

    async def _say(self, session: AgentSession) -> None:
        async for text in self._eyes.alerts():
            session.say(text)
