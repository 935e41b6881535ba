"""The WebSocket beyond OpenAI's events: frames, acknowledgements, slots, shutdown."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from onlooker.core.clock import ManualClock
from onlooker.engine.fake import ScriptedEngine
from onlooker.server.realtime.connection import RealtimeConnection
from tests.fakes.served import Served, frame_message, jpeg, next_event, send, serving, user_item
from tests.fakes.streams import driven
from tests.fakes.waiting import limited, until


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as running:
        yield running


async def ask(ws: ClientConnection, text: str, **response: Any) -> dict[str, Any]:
    """Ask in the conversation; the finished response."""
    await send(ws, "conversation.item.create", item=user_item(text))
    await send(ws, "response.create", response=response)
    done = await next_event(ws, "response.done", "error")
    assert done["type"] == "response.done", done
    found: dict[str, Any] = done["response"]
    return found


def text_of(response: dict[str, Any]) -> str:
    return "".join(part["text"] for item in response["output"] for part in item["content"])


async def gathered_acks(ws: ClientConnection, *, count: int) -> dict[str, list[Any]]:
    """Acknowledgements until `count` frames are accounted for."""
    found: dict[str, list[Any]] = {"kept": [], "skipped": [], "dropped": []}
    while sum(map(len, found.values())) < count:
        ack = await next_event(ws, "input_video.ack")
        for outcome, sequences in found.items():
            sequences.extend(ack[outcome])
    return found


async def test_the_first_event_tells_what_the_server_can_and_limits(served: Served) -> None:
    async with served.ws() as ws:
        created = await next_event(ws)
    session = created["session"]
    assert created["sequence_number"] == 1
    assert session["capabilities"]["codecs"][0] == "jpeg"
    assert session["capabilities"]["protocol_version"] == 1
    assert session["limits"]["max_frame_bytes"] == served.gateway.settings.streams.max_frame_bytes
    assert session["stream"].startswith("stream_")


async def test_every_event_is_numbered_without_gaps(served: Served) -> None:
    async with served.ws() as ws:
        numbers = [(await next_event(ws))["sequence_number"]]
        for index in range(5):
            await ws.send(frame_message(jpeg(), sequence=index, at_s=index))
        await send(ws, "conversation.item.create", item=user_item("How many?"))
        await send(ws, "response.create")
        while True:
            event = await next_event(ws)
            numbers.append(event["sequence_number"])
            if event["type"] == "response.done":
                break
    assert numbers == list(range(1, len(numbers) + 1))


async def test_every_frame_is_acknowledged_once(served: Served) -> None:
    async with served.ws() as ws:
        await send(ws, "session.update", session={"input_video": {"clock": "virtual"}})
        for index in range(40):
            await ws.send(frame_message(jpeg(), sequence=index, at_s=index * 0.1))
        acks = await gathered_acks(ws, count=40)
    dropped = [frame["sequence"] for frame in acks["dropped"]]
    assert sorted(acks["kept"] + acks["skipped"] + dropped) == list(range(40))
    assert dropped == []
    assert acks["skipped"]  # ten a second are more than clips need


async def test_frames_as_json_are_as_good(served: Served) -> None:
    async with served.ws() as ws:
        for index in range(2):
            await send(
                ws,
                "input_video.frame.append",
                frame=base64.b64encode(jpeg((50, 80, 220))).decode(),
                codec="jpeg",
                timestamp_ms=index * 500,
            )
        assert (await gathered_acks(ws, count=2))["kept"] == [0, 1]
        assert text_of(await ask(ws, "Which colour?")) == "The newest clip is mostly blue."


async def test_on_the_virtual_clock_an_answer_is_about_what_was_sent_before_it(
    served: Served,
) -> None:
    async with served.ws() as ws:
        await send(ws, "session.update", session={"input_video": {"clock": "virtual"}})
        for index in range(20):
            await ws.send(frame_message(jpeg((220, 40, 40)), sequence=index, at_s=index * 0.5))
        await send(ws, "conversation.item.create", item=user_item("Which colours?"))
        await send(ws, "response.create")
        for index in range(20, 40):  # on their way before the answer is
            await ws.send(frame_message(jpeg((50, 80, 220)), sequence=index, at_s=index * 0.5))
        before = (await next_event(ws, "response.done"))["response"]
        after = await ask(ws, "Which colours?")
    assert text_of(before) == "I have seen these colours: red."
    assert text_of(after) == "I have seen these colours: red, blue."
    assert before["onlooker"]["asked_s"] == 9.5


async def test_a_question_about_an_earlier_moment_knows_nothing_later(served: Served) -> None:
    async with served.ws() as ws:
        await send(ws, "session.update", session={"input_video": {"clock": "virtual"}})
        for index, colour in enumerate(((220, 40, 40), (50, 80, 220))):
            await ws.send(frame_message(jpeg(colour), sequence=index, at_s=index * 5.0))
        early = await ask(ws, "Which colour?", at_s=2.0)
        late = await ask(ws, "Which colour?", at_s=5.0)
    assert text_of(early) == "The newest clip is mostly red."
    assert text_of(late) == "The newest clip is mostly blue."
    assert (early["onlooker"]["asked_s"], late["onlooker"]["asked_s"]) == (2.0, 5.0)


async def test_asking_again_without_a_new_item_repeats_the_question(served: Served) -> None:
    async with served.ws() as ws:
        await ws.send(frame_message(jpeg((220, 40, 40)), at_s=0))
        assert "red" in text_of(await ask(ws, "Which colour?"))
        await ws.send(frame_message(jpeg((50, 80, 220)), at_s=5))
        await send(ws, "response.create")
        again = (await next_event(ws, "response.done"))["response"]
    assert text_of(again) == "The newest clip is mostly blue."


async def test_time_running_backwards_is_dropped_and_said(served: Served) -> None:
    async with served.ws() as ws:
        await ws.send(frame_message(jpeg(), sequence=1, at_s=5))
        await ws.send(frame_message(jpeg(), sequence=2, at_s=1))
        acks = await gathered_acks(ws, count=2)
    assert acks["dropped"] == [{"sequence": 2, "reason": "late"}]


async def test_acknowledgements_can_be_reduced(served: Served) -> None:
    async with served.ws() as ws:
        await send(ws, "session.update", session={"input_video": {"ack": "problems"}})
        await ws.send(frame_message(jpeg(), sequence=1, at_s=5))
        await ws.send(frame_message(jpeg(), sequence=2, at_s=1))
        listed: list[Any] = []
        while not listed:
            ack = await next_event(ws, "input_video.ack")
            assert ack["kept"] == []
            listed += ack["dropped"]
        assert listed == [{"sequence": 2, "reason": "late"}]
        await send(ws, "session.update", session={"input_video": {"ack": "none"}})
        await next_event(ws, "session.updated")
        await ws.send(frame_message(jpeg(), sequence=3, at_s=6))
        await ask(ws, "How many?")
        await send(ws, "ping")
        assert (await next_event(ws, "input_video.ack", "pong"))["type"] == "pong"


async def test_one_connection_feeds_several_streams(served: Served) -> None:
    async with served.ws() as ws:
        await send(ws, "input_video.attach", slot=3, stream="side")
        attached = await next_event(ws, "input_video.attached")
        assert attached["stream"]["id"] == "side"
        await ws.send(frame_message(jpeg((220, 40, 40)), at_s=0))
        await ws.send(frame_message(jpeg((50, 80, 220)), at_s=0, slot=3))
        assert "red" in text_of(await ask(ws, "Which colour?"))
        assert "blue" in text_of(await ask(ws, "Which colour?", stream="side"))
        await send(ws, "input_video.detach", slot=3)
        await next_event(ws, "input_video.detached")
        await ws.send(frame_message(jpeg(), at_s=1, slot=3))
        assert (await next_event(ws, "error"))["error"]["param"] == "slot"
    await until(lambda: [s.id for s in served.gateway.hub.streams()] == ["side"])


async def test_two_sources_on_one_stream_are_refused_once_a_second(served: Served) -> None:
    async with served.ws("?stream=door") as first, served.ws("?stream=door") as second:
        await first.send(frame_message(jpeg(), sequence=1, at_s=0))
        await gathered_acks(first, count=1)
        for index in range(20):
            await second.send(frame_message(jpeg(), sequence=index, at_s=index))
        error = (await next_event(second, "error"))["error"]
        assert (error["code"], error["type"]) == ("conflict", "conflict_error")
        assert "already fed by" in error["message"]
        await send(second, "ping")
        assert (await next_event(second, "error", "pong"))["type"] == "pong"
        assert "clips" in text_of(await ask(second, "Anything?"))
        await first.close()
        await until(lambda: served.gateway.hub.get("door").status().source is None)
    assert served.gateway.hub.get("door").status().received == 1


async def test_a_stream_of_its_own_ends_with_its_connection_a_named_one_stays(
    served: Served,
) -> None:
    async with served.ws() as own, served.ws("?stream=door") as named:
        await next_event(own)
        await next_event(named)
        assert len(served.gateway.hub.streams()) == 2
    await until(lambda: [s.id for s in served.gateway.hub.streams()] == ["door"])


async def test_viewers_are_told_when_the_stream_is_closed(served: Served) -> None:
    async with served.ws("?stream=door") as ws, served.http() as http:
        await next_event(ws)
        await http.delete("/v1/streams/door")
        closed = await next_event(ws, "stream.closed")
        assert (closed["slot"], closed["stream"]) == (0, "door")
        await ws.send(frame_message(jpeg()))
        assert (await next_event(ws, "error"))["error"]["code"] == "not_found"


async def test_the_clock_can_be_chosen_until_the_first_frame(served: Served) -> None:
    async with served.ws() as ws:
        await send(ws, "session.update", session={"input_video": {"clock": "virtual"}})
        updated = await next_event(ws, "session.updated")
        assert updated["session"]["input_video"]["clock"] == "virtual"
        await ws.send(frame_message(jpeg()))
        await gathered_acks(ws, count=1)
        await send(ws, "session.update", session={"input_video": {"clock": "live"}})
        error = (await next_event(ws, "error"))["error"]
        assert (error["code"], error["param"]) == ("conflict", "session.input_video.clock")


async def test_answers_beside_the_conversation_are_bounded() -> None:
    engine = ScriptedEngine(ttft_s=60.0)
    async with serving(engine=engine, server__max_side_answers=2) as served, served.ws() as ws:
        item = user_item("How many?")
        for _ in range(3):
            await send(ws, "response.create", response={"conversation": "none", "input": [item]})
        error = (await next_event(ws, "error"))["error"]
        assert (error["code"], error["retryable"]) == ("overloaded", True)
        await until(lambda: engine.num_answering == 2)
    await until(lambda: engine.num_answering == 0)


async def test_a_vanished_connection_stops_its_answer() -> None:
    engine = ScriptedEngine(ttft_s=60.0)
    async with serving(engine=engine) as served:
        async with served.ws() as ws:
            await send(ws, "conversation.item.create", item=user_item("How many?"))
            await send(ws, "response.create")
            await until(lambda: engine.num_answering == 1)
            ws.transport.abort()
        await until(lambda: engine.num_answering == 0)
        await until(lambda: not served.gateway.connections)


async def test_a_silent_connection_is_closed_one_that_awaits_an_answer_is_not() -> None:
    clock = ManualClock()
    engine = ScriptedEngine(clock=clock, ttft_s=500.0)
    async with (
        serving(engine=engine, clock=clock, server__idle_timeout_s=60.0) as served,
        served.ws() as ws,
    ):
        await send(ws, "conversation.item.create", item=user_item("How many?"))
        await send(ws, "response.create")
        await until(lambda: engine.num_answering == 1)
        (connection,) = served.gateway.connections
        assert isinstance(connection, RealtimeConnection)
        clock.advance(499.0)
        await until(lambda: connection._heard_at_s == clock.now_s())
        clock.advance(1.0)
        assert (await next_event(ws, "response.done", "session.closing"))["type"] == "response.done"
        clock.advance(61.0)
        closing = await next_event(ws, "session.closing")
        assert closing["reason"] == "idle"
        assert await close_code(ws) == 1000
        assert ws.close_reason == "idle"


async def test_a_draining_server_lets_answers_end_and_says_goodbye() -> None:
    clock = ManualClock()
    engine = ScriptedEngine(clock=clock, tpot_s=1.0)
    async with (
        serving(engine=engine, server__drain_s=20.0) as served,
        served.ws() as busy,
        served.ws() as idle,
    ):
        await send(busy, "conversation.item.create", item=user_item("How many?"))
        await send(busy, "response.create")
        await next_event(busy, "response.output_text.delta")
        await next_event(idle)
        served.server.should_exit = True
        assert (await next_event(idle, "session.closing"))["reason"] == "shutting_down"
        assert (await next_event(busy, "session.closing"))["retry_after_s"] > 0
        done = await driven(clock, next_event(busy, "response.done"), step_s=1.0)
        assert done["response"]["status"] == "completed"
        for ws in (busy, idle):
            assert await close_code(ws) == 1001


async def test_an_answer_longer_than_the_drain_ends_as_cancelled() -> None:
    engine = ScriptedEngine(ttft_s=60.0)
    async with serving(engine=engine, server__drain_s=0.05) as served, served.ws() as ws:
        await send(ws, "conversation.item.create", item=user_item("How many?"))
        await send(ws, "response.create")
        await next_event(ws, "response.created")
        served.server.should_exit = True
        done = await next_event(ws, "response.done")
        assert done["response"]["status"] == "cancelled"
        assert await close_code(ws) == 1001


async def test_when_the_engine_is_gone_connections_are_closed_with_1011() -> None:
    engine = ScriptedEngine()
    settings: dict[str, Any] = {"engine__restarts__max_restarts": 0}
    async with serving(engine=engine, **settings) as served, served.ws() as ws:
        await next_event(ws)
        engine.die()
        assert (await next_event(ws, "session.closing"))["reason"] == "engine_dead"
        assert await close_code(ws) == 1011


async def test_a_connection_outlives_the_engine_and_its_answer_ends_with_the_reason() -> None:
    engine = ScriptedEngine(tpot_s=0.02, script=[("", "word " * 1000)])
    settings: dict[str, Any] = {"engine__restarts__min_backoff_s": 0.01}
    async with serving(engine=engine, **settings) as served, served.ws() as ws:
        await next_event(ws)
        await send(ws, "conversation.item.create", item=user_item("what happens?"))
        await send(ws, "response.create", response={"max_output_tokens": 500})
        await next_event(ws, "response.output_text.delta")
        engine.die()
        done = await next_event(ws, "response.done")
        assert done["response"]["status"] == "failed"
        assert done["response"]["status_details"]["error"]["code"] == "engine_restarting"
        await send(ws, "response.create", response={"max_output_tokens": 3})
        done = await next_event(ws, "response.done")
        assert done["response"]["status"] == "incomplete"


async def test_event_readers_end_when_the_server_stops() -> None:
    async with serving() as served, served.http() as http:
        await http.post("/v1/streams", json={"id": "door"})
        async with http.stream("GET", "/v1/streams/door/events") as reply:
            lines = reply.aiter_lines()
            await anext(lines)
            served.server.should_exit = True
            async with limited("the end of the lines"):
                assert [line async for line in lines]


async def test_a_reader_that_stalls_is_let_go_and_nothing_grows() -> None:
    long = user_item("x" * 8000)
    async with (
        serving(server__max_queued_events=64, server__max_messages_per_s=1e6) as served,
        served.ws() as good,
        served.ws(max_queue=1) as bad,
    ):
        await send(bad, "conversation.item.create", item={**long, "id": "long"})
        await next_event(bad, "conversation.item.done")
        bad.transport.pause_reading()
        async with limited("the slow reader to be let go"):
            while not served.metric("onlooker_connections_total", outcome="slow_reader"):
                for _ in range(50):
                    await send(bad, "conversation.item.retrieve", item_id="long")
                    await asyncio.sleep(0)  # the server runs on this very loop
        assert "clips" in text_of(await ask(good, "Still there?"))
        bad.transport.resume_reading()
        assert await close_code(bad) == 1013
        assert bad.close_reason == "slow_reader"


async def close_code(ws: ClientConnection) -> int | None:
    """Read to the end and return how the server closed."""
    with pytest.raises(ConnectionClosed):
        await next_event(ws, "nothing")
    return ws.close_code
