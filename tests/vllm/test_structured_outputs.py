"""Answers that are held to a JSON schema, by a model that would write nonsense otherwise."""

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pytest

from onlooker.core.clock import SystemClock
from onlooker.core.errors import InvalidRequest
from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Frame
from onlooker.core.metrics import Metrics
from onlooker.engine.config import EngineSection, VllmSection
from onlooker.engine.functions import Function, FunctionCall, Toolbox
from onlooker.engine.interface import AnswerDelta, AnswerEnd, Engine, Question
from onlooker.engine.memory.config import MemorySection
from onlooker.engine.vllm_adapter.engine import make_engine
from onlooker.server.abilities import ANY_OBJECT
from onlooker.watches.schema import misfit
from tests.fakes.byte_tokenizer import byte_tokenizer

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

STREAM = StreamId("door")
SCHEMA = {
    "type": "object",
    "properties": {
        "is_there": {"type": "boolean"},
        "colour": {"enum": ["red", "blue"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 9},
    },
    "required": ["is_there", "colour", "count"],
    "additionalProperties": False,
}


async def answer(engine: Engine, schema: Mapping[str, Any] | None) -> str:
    question = Question(
        text="What is there?", stream_id=STREAM, asked_s=1e6, max_tokens=80, json_schema=schema
    )
    events = engine.answer(question)
    return "".join([event.text async for event in events if isinstance(event, AnswerDelta)])


DIAL = Function("dial", "", {"type": "object", "properties": {"urgent": {"type": "boolean"}},
                             "required": ["urgent"], "additionalProperties": False})  # fmt: skip


async def calls(engine: Engine) -> tuple[str, tuple[FunctionCall, ...]]:
    """What an answer says that must call a function, and what it calls."""
    question = Question(
        text="What is there?",
        stream_id=STREAM,
        asked_s=1e6,
        max_tokens=80,
        tools=Toolbox((DIAL,), choice="required"),
    )
    *said, end = [event async for event in engine.answer(question)]
    assert isinstance(end, AnswerEnd)
    return "".join(event.text for event in said if isinstance(event, AnswerDelta)), end.calls


@pytest.mark.parametrize("mode", ["segments", "resend"])
def test_a_model_that_can_write_json_is_held_to_a_schema_and_one_it_cannot_compile_harms_nobody(
    tmp_path: Path, mode: Literal["segments", "resend"]
) -> None:
    from tests.vllm.in_process import frames
    from tests.vllm.tiny_qwen2_5 import write_tiny_qwen2_5

    async def scenario() -> None:
        engine = make_engine(
            EngineSection(
                model=str(write_tiny_qwen2_5(tmp_path, byte_tokenizer())),
                mode=mode,
                memory=MemorySection(recent_clips=4, retrieved_clips=2),
                vllm=VllmSection(max_model_len=2048),
            ),
            SystemClock(),
            Metrics(),
        )
        await engine.start(lambda line: None)
        try:
            assert engine.info.writes_json
            await engine.open_stream(STREAM)
            first, second = (Frame(i, 0.5 * i, 0.0, p) for i, p in enumerate(frames(0)))
            await engine.ingest(Clip(STREAM, 0, (first, second)))
            with pytest.raises(json.JSONDecodeError):
                json.loads(await answer(engine, None))
            assert misfit(json.loads(await answer(engine, SCHEMA)), SCHEMA) is None
            assert (await answer(engine, ANY_OBJECT)).startswith("{")  # and goes on for ever
            text, (call,) = await calls(engine)
            assert (text, call.name) == ("", "dial")
            assert misfit(json.loads(call.arguments), DIAL.parameters) is None
            with pytest.raises(InvalidRequest):
                await answer(engine, {"type": "object", "properties": {"a": {
                    "type": "number", "multipleOf": 3}}})  # fmt: skip
            assert misfit(json.loads(await answer(engine, SCHEMA)), SCHEMA) is None
        finally:
            await engine.close()

    os.environ.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    asyncio.run(scenario())
