"""`PipecatEyes`: a processor for a pipeline of Pipecat that sees and speaks up.

Put it right behind the transport's input. It shows the stream what the camera sees, answers the
language model's calls of `look`, and says alerts aloud:

    eyes = PipecatEyes(StreamEyes(stream))
    llm.register_function(LOOK, eyes.look)
    context = LLMContext(messages, ToolsSchema(standard_tools=[LOOK_TOOL]))
    Pipeline([transport.input(), eyes, stt, user, llm, tts, transport.output(), assistant])
"""

import asyncio

import numpy as np
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InputImageRawFrame,
    StartFrame,
    TTSSpeakFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.llm_service import FunctionCallParams

from onlooker.clients.eyes.stream_eyes import LOOK, LOOK_IS, QUESTION_IS, StreamEyes

LOOK_TOOL = FunctionSchema(
    name=LOOK,
    description=LOOK_IS,
    properties={"question": {"type": "string", "description": QUESTION_IS}},
    required=["question"],
)


class PipecatEyes(FrameProcessor):
    """Frames of pictures go on to whoever comes next, too."""

    def __init__(self, eyes: StreamEyes) -> None:
        super().__init__()
        self._eyes = eyes
        self._listening: asyncio.Task[None] | None = None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, StartFrame):
            self._listening = self.create_task(self._speak_up())
        elif isinstance(frame, InputImageRawFrame) and self._eyes.wants_frame:
            width, height = frame.size
            pixels = np.frombuffer(frame.image, np.uint8).reshape(height, width, -1)
            await self._eyes.see(pixels[:, :, :3])
        elif isinstance(frame, EndFrame | CancelFrame) and self._listening is not None:
            await self.cancel_task(self._listening)
            self._listening = None
        await self.push_frame(frame, direction)

    async def look(self, params: FunctionCallParams) -> None:
        """What the language model calls."""
        await params.result_callback(await self._eyes.look(params.arguments["question"]))

    async def _speak_up(self) -> None:
        async for text in self._eyes.alerts():
            await self.push_frame(TTSSpeakFrame(text))
