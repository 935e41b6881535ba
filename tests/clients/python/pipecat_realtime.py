"""Pipecat's service for OpenAI's realtime API, in a pipeline."""

import asyncio
import json
import os
import sys

from loguru import logger
from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.openai.realtime.events import SessionProperties
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.workers.runner import WorkerRunner

logger.remove()
logger.add(sys.stderr, level="WARNING")

# Pipecat writes ?model=... behind its base_url, whatever that ends with.
URL = os.environ["BASE_URL"].replace("http", "ws", 1) + "/realtime?stream=door&rest="


class Collector(FrameProcessor):
    """Keeps what the model says, and tells when it has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.errors, self.ended = "", [], asyncio.Event()

    async def process_frame(self, frame, direction) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, LLMTextFrame):
            self.text += frame.text
        if isinstance(frame, ErrorFrame):
            self.errors.append(frame.error)
        if isinstance(frame, LLMFullResponseEndFrame):
            self.ended.set()
        await self.push_frame(frame, direction)


async def main() -> None:
    service = OpenAIRealtimeLLMService(
        api_key="none-needed",
        base_url=URL,
        settings=OpenAIRealtimeLLMService.Settings(
            model="fake",
            session_properties=SessionProperties(
                instructions="Be brief.", output_modalities=["text"]
            ),
        ),
        start_audio_paused=True,
    )
    collector = Collector()
    worker = PipelineWorker(Pipeline([service, collector]))
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)

    async def ask() -> None:
        context = LLMContext([{"role": "user", "content": "What were you told about the colour?"}])
        await worker.queue_frame(LLMContextFrame(context))
        await asyncio.wait_for(collector.ended.wait(), 60)
        await worker.queue_frame(EndFrame())

    await asyncio.gather(runner.run(), ask())
    print(json.dumps({"text": collector.text, "errors": collector.errors}))


asyncio.run(main())
