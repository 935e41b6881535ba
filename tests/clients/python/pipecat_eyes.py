"""Pipecat's pipeline with our eyes in it: frames in, an answer to a call and an alert out."""

import asyncio
import json
import os

import numpy as np
from pipecat.frames.frames import EndFrame, InputImageRawFrame, TTSSpeakFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.llm_service import FunctionCallParams
from pipecat.workers.runner import WorkerRunner

from onlooker.clients.eyes.pipecat_eyes import LOOK_TOOL, PipecatEyes
from onlooker.clients.eyes.stream_eyes import StreamEyes
from onlooker.clients.python import Client


class Voice(FrameProcessor):
    """Notes what is to be said, and the pictures that came through."""

    def __init__(self) -> None:
        super().__init__()
        self.said, self.num_pictures, self.spoke = [], 0, asyncio.Event()

    async def process_frame(self, frame, direction) -> None:
        await super().process_frame(frame, direction)
        self.num_pictures += isinstance(frame, InputImageRawFrame)
        if isinstance(frame, TTSSpeakFrame):
            self.said.append(frame.text)
            self.spoke.set()
        await self.push_frame(frame, direction)


def picture(color) -> InputImageRawFrame:
    pixels = np.full((120, 160, 3), color, np.uint8)
    return InputImageRawFrame(image=pixels.tobytes(), size=(160, 120), format="RGB")


async def main() -> None:
    server = os.environ["BASE_URL"].removesuffix("/v1")
    answers = []
    async with Client(server) as client, client.stream("pipecat") as stream:
        await stream.alert_when("tell me when it is red")
        eyes, voice = PipecatEyes(StreamEyes(stream, fps=20)), Voice()
        worker = PipelineWorker(Pipeline([eyes, voice]))
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(worker)

        async def converse() -> None:
            for color in ((50, 80, 220), (50, 80, 220), (220, 30, 30), (220, 30, 30)):
                await worker.queue_frame(picture(color))
                await asyncio.sleep(0.7)
            await asyncio.wait_for(voice.spoke.wait(), 60)

            async def take(answer, **_) -> None:
                answers.append(answer)

            await eyes.look(
                FunctionCallParams(
                    function_name="look",
                    tool_call_id="1",
                    arguments={"question": "What colour?"},
                    llm=None,
                    pipeline_worker=worker,
                    context=None,
                    result_callback=take,
                )
            )
            await worker.queue_frame(EndFrame())

        await asyncio.gather(runner.run(), converse())
    print(
        json.dumps(
            {
                "said": voice.said,
                "answers": answers,
                "pictures": voice.num_pictures,
                "tool": LOOK_TOOL.to_default_dict()["name"],
            }
        )
    )


asyncio.run(main())
