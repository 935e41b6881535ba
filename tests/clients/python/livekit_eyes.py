"""Our eyes for LiveKit Agents: its frames and its tools; what it would say goes to a stand-in."""

import asyncio
import json
import os

import numpy as np
from livekit import rtc
from livekit.agents import Agent

from onlooker.clients.eyes.livekit_eyes import LiveKitEyes
from onlooker.clients.eyes.stream_eyes import StreamEyes
from onlooker.clients.python import Client


class Session:
    """Notes what is said."""

    def __init__(self) -> None:
        self.said, self.spoke = [], asyncio.Event()

    def say(self, text) -> None:
        self.said.append(text)
        self.spoke.set()


async def track():
    """What a track gives: frames in the form of a camera."""
    for color in ((50, 80, 220), (50, 80, 220), (220, 30, 30), (220, 30, 30)):
        pixels = np.full((120, 160, 3), color, np.uint8)
        rgb = rtc.VideoFrame(160, 120, rtc.VideoBufferType.RGB24, pixels.tobytes())
        frame = rgb.convert(rtc.VideoBufferType.I420)
        yield rtc.VideoFrameEvent(frame=frame, timestamp_us=0, rotation=0)
        await asyncio.sleep(0.7)


async def main() -> None:
    server = os.environ["BASE_URL"].removesuffix("/v1")
    async with Client(server) as client, client.stream("livekit") as stream:
        await stream.alert_when("tell me when it is red")
        eyes, session = LiveKitEyes(StreamEyes(stream, fps=20)), Session()
        agent = Agent(instructions="You see.", tools=[eyes.look])
        eyes.speak_up(session)
        await eyes.watch(track())
        await asyncio.wait_for(session.spoke.wait(), 60)
        answer = await agent.tools[0](question="What colour?")
        await eyes.close()
    print(json.dumps({"said": session.said, "answer": answer, "tool": agent.tools[0].info.name}))


asyncio.run(main())
