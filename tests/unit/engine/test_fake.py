from typing import Any

import pytest

from onlooker.core.errors import EngineFailed
from onlooker.core.ids import StreamId
from onlooker.engine.fake import ScriptedEngine
from onlooker.engine.interface import AnswerDelta, AnswerEnd, Question
from tests.fakes.pictures import make_clip

S = StreamId("s")


async def reply(engine: ScriptedEngine, text: str, **options: Any) -> str:
    question = Question(text=text, stream_id=S, **{"asked_s": 100.0, **options})
    events = [event async for event in engine.answer(question)]
    assert [type(event) for event in events[-1:]] == [AnswerEnd]
    return "".join(event.text for event in events if isinstance(event, AnswerDelta))


async def make_engine(*colours: str) -> ScriptedEngine:
    engine = ScriptedEngine()
    await engine.open_stream(S)
    for index, colour in enumerate(colours):
        await engine.ingest(make_clip(float(index), index + 0.5, index=index, colour=colour))
    return engine


async def test_it_really_looks_at_the_clips() -> None:
    engine = await make_engine("red", "red", "blue")
    assert await reply(engine, "What colour is it?") == "The newest clip is mostly blue."
    assert await reply(engine, "Which colours?") == "I have seen these colours: red, blue."


async def test_it_sees_half_a_clip_and_the_pending_frame_where_the_time_says_so() -> None:
    engine = await make_engine("red", "blue")
    assert await reply(engine, "how many", asked_s=1.2) == "I have seen 2 clips up to 1.00 s."
    assert await reply(engine, "how many", asked_s=0.7) == "I have seen 1 clips up to 0.50 s."
    pending = make_clip(2.0, index=2)
    assert await reply(engine, "how many", pending=pending) == "I have seen 3 clips up to 2.00 s."
    assert await reply(engine, "how many") == "I have seen 2 clips up to 1.50 s."


async def test_a_half_seen_clip_looks_like_the_pending_frame_did() -> None:
    before = await make_engine("red")
    early = await reply(
        before, "digest", asked_s=1.2, pending=make_clip(1.0, index=1, colour="blue")
    )
    after = await make_engine("red", "blue")
    assert await reply(after, "digest", asked_s=1.2) == early


async def test_failures_come_when_the_script_says_so() -> None:
    engine = ScriptedEngine(fail_ingest=lambda clip: clip.clip_index == 1)
    await engine.open_stream(S)
    await engine.ingest(make_clip(0.0))
    with pytest.raises(EngineFailed):
        await engine.ingest(make_clip(1.0, index=1))
