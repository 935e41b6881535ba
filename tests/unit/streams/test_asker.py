import asyncio
import contextlib

import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.errors import (
    Conflict,
    EngineDead,
    EngineFailed,
    EngineRestarting,
    InvalidRequest,
    Overloaded,
    ShuttingDown,
)
from onlooker.core.ids import ResponseId
from onlooker.core.metrics import Metrics
from onlooker.engine.fake import ScriptedEngine
from onlooker.engine.interface import AnswerDelta, AnswerEnd, FinishReason, Question, Turn
from onlooker.streams.events import AnswerFinished, AnswerStarted, ClipSeen
from onlooker.streams.stream import Stream, StreamOptions
from tests.fakes.pictures import make_clip, make_message
from tests.fakes.streams import (
    SMALL,
    ask,
    ask_fully,
    driven,
    next_event,
    running_hub,
    waiting_events,
)
from tests.fakes.waiting import until

LIVE, VIRTUAL = StreamOptions(clock="live"), StreamOptions(clock="virtual")
GO_ON = Question(text="go on", response_id=ResponseId("resp_1"))
R = GO_ON.response_id


async def feed(stream: Stream, colours: str, *, begin_s: float = 0.0) -> None:
    """Two frames a second, one for each letter."""
    names = {"r": "red", "g": "green", "b": "blue", "w": "white"}
    for index, letter in enumerate(colours):
        message = make_message(begin_s + index / 2, colour=names[letter], sequence=index)
        await stream.push_wait(message)


async def test_an_answer_about_a_time_depends_on_nothing_captured_later() -> None:
    async with running_hub() as hub:
        for options in (LIVE, VIRTUAL):
            whole, part = [await hub.open_stream(options=options) for _ in range(2)]
            await feed(whole, "rrggbbwwrr")
            await feed(part, "rrgg")
            for at_s in (0.0, 0.25, 0.5, 0.9, 1.0, 1.4, 1.5):
                texts = {await ask(stream, "digest", at_s=at_s) for stream in (whole, part)}
                assert len(texts) == 1, (options.clock, at_s)


async def test_an_answer_tells_what_it_had_seen() -> None:
    async with running_hub() as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        await feed(stream, "rrggb")
        _, end = await ask_fully(stream, "Which colours?", at_s=1.2)
        assert end.clip_spans_s == ((0.0, 1.2),)
        assert end.asked_s == 1.2
        assert end.seen_until_s == 1.2
        _, end = await ask_fully(stream)
        assert end.seen_until_s == 2.0  # the lone last frame, too


async def test_a_stream_without_frames_can_be_asked() -> None:
    async with running_hub() as hub:
        for options in (LIVE, VIRTUAL):
            stream = await hub.open_stream(options=options)
            text, end = await ask_fully(stream, "how many?")
            assert text == "I have seen 0 clips up to 0.00 s."
            assert end.seen_until_s is None


async def test_a_virtual_question_waits_for_what_was_pushed_before_it() -> None:
    clock = ManualClock()
    engine = ScriptedEngine(clock=clock, info=SMALL, ingest_s=5.0)
    async with running_hub(engine=engine, clock=clock, mailbox_frames=50) as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        await driven(clock, feed(stream, "rrggbbww"), step_s=0.5)
        text = await driven(clock, ask(stream, "how many?"), step_s=0.5)
        assert text == "I have seen 4 clips up to 3.50 s."


async def test_a_live_question_about_now_does_not_wait_for_a_slow_engine() -> None:
    clock = ManualClock()
    engine = ScriptedEngine(clock=clock, info=SMALL, ingest_s=50.0)
    async with running_hub(engine=engine, clock=clock, fresh_wait_s=0.25) as hub:
        stream = await hub.open_stream(options=LIVE)
        events = stream.subscribe(max_events=50)
        await feed(stream, "rr")
        await driven(clock, next_event(events, ClipSeen))
        await feed(stream, "gg", begin_s=1.0)
        asked_at_s = clock.now_s()
        text = await driven(clock, ask(stream, "Which colours?"), step_s=0.01)
        assert text == "I have seen these colours: red."
        assert clock.now_s() - asked_at_s < 0.5


async def test_a_live_question_about_a_coming_time_waits_for_it() -> None:
    clock = ManualClock()
    async with running_hub(clock=clock) as hub:
        stream = await hub.open_stream(options=LIVE)
        await feed(stream, "r")
        asking = asyncio.ensure_future(ask(stream, "Which colours?", at_s=5.0))
        await asyncio.sleep(0)
        clock.advance(4.0)
        await stream.push_wait(make_message(4.0, colour="blue", received_at_s=clock.now_s()))
        assert not asking.done()
        clock.advance(1.5)
        assert await asking == "I have seen these colours: red, blue."
        with pytest.raises(InvalidRequest, match="ahead of the stream"):
            await ask(stream, at_s=1000.0)


@pytest.mark.parametrize(
    ("text", "options", "match"),
    [
        ("  ", {}, "empty"),
        ("?", {"at_s": float("nan")}, "stream time"),
        ("?", {"at_s": -1.0}, "stream time"),
        ("?", {"images": (make_clip(),) * 9}, "4 pictures"),
    ],
)
async def test_a_question_that_is_none_is_refused(
    text: str, options: dict[str, object], match: str
) -> None:
    async with running_hub() as hub:
        stream = await hub.open_stream(options=LIVE)
        with pytest.raises(InvalidRequest, match=match):
            await ask(stream, text, **options)


async def begin(stream: Stream) -> object:
    """An answer that has begun and goes on."""
    answer = stream.ask(GO_ON)
    await anext(answer)
    return answer


async def test_questions_are_limited_per_stream_and_in_all_and_slots_come_back() -> None:
    metrics = Metrics()
    async with running_hub(max_questions_per_stream=2, max_questions=3, metrics=metrics) as hub:
        first, second = [await hub.open_stream(options=LIVE) for _ in range(2)]
        answers = [await begin(first), await begin(first)]
        with pytest.raises(Overloaded, match="for this stream"):
            await ask(first)
        answers.append(await begin(second))
        with pytest.raises(Overloaded, match="on this server"):
            await ask(second)
        for answer in answers:
            await answer.aclose()  # type: ignore[attr-defined]
        assert await ask(first)
        value = metrics.registry.get_sample_value
        assert value("onlooker_questions_total", {"outcome": "refused"}) == 2
        assert value("onlooker_questions_total", {"outcome": "cancelled"}) == 3
        assert value("onlooker_questions_total", {"outcome": "completed"}) == 1
        assert value("onlooker_questions_active") == 0


async def test_cancelling_ends_the_engines_work_and_tells_the_viewers() -> None:
    engine = ScriptedEngine(info=SMALL)
    async with running_hub(engine=engine) as hub:
        stream = await hub.open_stream(options=LIVE)
        events = stream.subscribe(max_events=10)
        answer = stream.ask(GO_ON)
        await anext(answer)
        assert engine.num_answering == 1
        await answer.aclose()
        assert engine.num_answering == 0
        started, finished = waiting_events(events)
        assert started == AnswerStarted(R, 0.0)
        assert finished == AnswerFinished(R, 0.0, FinishReason.CANCELLED, "I")


async def test_cancelling_the_reading_task_while_the_engine_thinks_ends_it_too() -> None:
    clock = ManualClock()
    engine = ScriptedEngine(clock=clock, info=SMALL, ttft_s=10.0)
    async with running_hub(engine=engine, clock=clock) as hub:
        stream = await hub.open_stream(options=LIVE)
        asking = asyncio.ensure_future(ask(stream))
        await until(lambda: engine.num_answering > 0)
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
        assert engine.num_answering == 0
        assert stream.status().questions == 0


async def test_an_answer_ends_when_its_stream_closes() -> None:
    async with running_hub() as hub:
        stream = await hub.open_stream(options=LIVE)
        answer = stream.ask(GO_ON)
        await anext(answer)
        await hub.close_stream(stream.id, "enough")
        rest = [event async for event in answer]
        assert isinstance(rest[-1], AnswerEnd)
        assert [event for event in rest if isinstance(event, AnswerEnd)] == rest[-1:]


async def test_an_answer_that_hangs_ends_when_its_stream_closes() -> None:
    clock = ManualClock()
    engine = ScriptedEngine(clock=clock, info=SMALL, tpot_s=1000.0)
    async with running_hub(engine=engine, clock=clock) as hub:
        stream = await hub.open_stream(options=LIVE)
        answer = stream.ask(GO_ON)
        assert isinstance(await anext(answer), AnswerDelta)
        waiting = asyncio.ensure_future(anext(answer))
        await asyncio.sleep(0)
        await hub.close_stream(stream.id, "enough")
        end = await waiting
        assert isinstance(end, AnswerEnd)
        assert end.finish_reason is FinishReason.CANCELLED
        assert "enough" in str(end.reason)
        assert engine.num_answering == 0


async def test_a_question_that_still_waits_is_told_that_its_stream_goes_on_elsewhere() -> None:
    clock = ManualClock()
    async with running_hub(clock=clock) as hub:
        stream = await hub.open_stream(options=LIVE)
        asking = asyncio.ensure_future(ask(stream, at_s=30.0))
        await asyncio.sleep(0)
        await driven(clock, hub.move_all(deadline_s=0.0))
        with pytest.raises(ShuttingDown, match="goes on at another server: try again"):
            await asking


async def test_a_question_that_still_waits_is_told_that_its_stream_closed() -> None:
    clock = ManualClock()
    async with running_hub(clock=clock) as hub:
        stream = await hub.open_stream(options=LIVE)
        asking = asyncio.ensure_future(ask(stream, at_s=30.0))
        await asyncio.sleep(0)
        await hub.close_stream(stream.id, "enough")
        with pytest.raises(Conflict, match="enough"):
            await asking


async def test_an_answer_that_fails_in_the_engine_is_counted_and_told() -> None:
    metrics = Metrics()
    engine = ScriptedEngine(info=SMALL, fail_answer=lambda question: "fail" in question.text)
    async with running_hub(engine=engine, metrics=metrics) as hub:
        stream = await hub.open_stream(options=LIVE)
        events = stream.subscribe(max_events=10)
        with pytest.raises(EngineFailed):
            await ask(stream, "fail, please")
        finished = await next_event(events, AnswerFinished)
        assert finished.finish_reason is FinishReason.ERROR
        assert await ask(stream, "and now?")
        assert (
            metrics.registry.get_sample_value("onlooker_questions_total", {"outcome": "failed"})
            == 1
        )


async def test_an_answer_whose_engine_dies_is_told_that_it_is_being_started_again() -> None:
    clock = ManualClock()
    engine = ScriptedEngine(clock=clock, info=SMALL)
    async with running_hub(engine=engine, clock=clock) as hub:
        stream = await hub.open_stream(options=LIVE)
        answer = stream.ask(GO_ON)
        await anext(answer)
        engine.die()
        with pytest.raises(EngineRestarting):
            await anext(answer)
        assert engine.num_answering == 0
        assert not hub.ready()


async def test_an_end_is_told_when_the_engine_is_done_with_the_request() -> None:
    engine = ScriptedEngine([("", "one")], info=SMALL)
    async with running_hub(engine=engine) as hub:
        stream = await hub.open_stream(options=LIVE)
        async for event in stream.ask(GO_ON):
            assert engine.num_answering == (0 if isinstance(event, AnswerEnd) else 1)


async def test_frames_are_watched_while_an_answer_runs_and_do_not_show_in_it() -> None:
    clock = ManualClock()
    engine = ScriptedEngine(clock=clock, info=SMALL, tpot_s=1.0)
    async with running_hub(engine=engine, clock=clock) as hub:
        stream = await hub.open_stream(options=LIVE)
        await feed(stream, "rr")
        asking = asyncio.ensure_future(ask(stream, "Which colours?"))
        await until(lambda: engine.num_answering > 0)
        events = stream.subscribe(max_events=50)
        await feed(stream, "gg", begin_s=1.0)
        assert (await next_event(events, ClipSeen)).end_s == 1.5
        assert not asking.done()
        assert await driven(clock, asking) == "I have seen these colours: red."


async def test_dialogue_pictures_and_limits_reach_the_engine() -> None:
    async with running_hub(
        engine=ScriptedEngine([("", "{num_turns} {num_images} a b c")], info=SMALL)
    ) as hub:
        stream = await hub.open_stream(options=LIVE)
        turns, images = (Turn("q", "a", 0.0),) * 3, (make_clip(),) * 2
        text, end = await ask_fully(stream, dialogue=turns, images=images, max_tokens=4)
        assert text == "3 2 a b"
        assert end.finish_reason is FinishReason.LENGTH


async def test_a_hub_that_shuts_down_lets_answers_end_and_takes_no_new_ones() -> None:
    clock = ManualClock()
    engine = ScriptedEngine(clock=clock, info=SMALL, tpot_s=0.5)
    async with running_hub(engine=engine, clock=clock) as hub:
        stream = await hub.open_stream(options=LIVE)
        asking = asyncio.ensure_future(ask(stream, "how many?"))
        await until(lambda: engine.num_answering > 0)
        closing = asyncio.ensure_future(hub.close(deadline_s=60.0))
        await asyncio.sleep(0)
        with pytest.raises(ShuttingDown):
            await ask(stream)
        assert await driven(clock, asking) == "I have seen 0 clips up to 0.00 s."
        await driven(clock, closing)
        assert not hub.ready()


async def test_when_the_engine_is_gone_for_good_every_stream_says_so() -> None:
    engine = ScriptedEngine(info=SMALL)
    async with running_hub(engine=engine, restarts={"max_restarts": 0}) as hub:
        stream = await hub.open_stream(options=LIVE)
        events = stream.subscribe(max_events=20)
        engine.die()
        with pytest.raises(EngineDead):
            await ask(stream)
        told = [event async for _, event in events]
        assert "engine" in getattr(told[-1], "reason", "")
        assert not hub.alive()
        with pytest.raises(EngineDead):
            await hub.open_stream()
