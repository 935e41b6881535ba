"""The live client against a server that speaks the protocol."""

import asyncio
import io
import json
from contextlib import aclosing

import httpx
import numpy as np
import pytest
from PIL import Image

from onlooker.clients.python import (
    Client,
    ClientOptions,
    Connected,
    ConnectionLost,
    Disconnected,
    Problem,
    Reconnect,
    ServerUnreachable,
    VideoPace,
)
from onlooker.clients.python.sources.drawn import DrawnSource
from onlooker.core.errors import (
    InvalidRequest,
    NotFound,
    Overloaded,
    Unauthorized,
    UnsupportedMedia,
)
from onlooker.core.media import Codec
from onlooker.core.protocol import client_events as asked
from onlooker.core.protocol import server_events as told
from onlooker.core.protocol.answer_events import TextDelta
from onlooker.core.protocol.base import ErrorBody
from onlooker.core.protocol.stream_objects import StreamObject
from tests.fakes.waiting import WAIT_S
from tests.unit.clients.protocol_server import ProtocolServer, protocol_server

QUICK = ClientOptions(reconnect=Reconnect(first_s=0.001, max_s=0.01), answer_timeout_s=WAIT_S)
JPEG = b"\xff\xd8\xff\xe0 not decoded here"


def client_for(server: ProtocolServer, **settings: object) -> Client:
    return Client(server.url, **{"options": QUICK, **settings})  # type: ignore[arg-type]


async def test_frames_arrive_with_their_time_sequence_and_bytes() -> None:
    async with protocol_server() as server, client_for(server) as client:
        async with client.stream("door") as stream:
            assert stream.session is not None
            assert stream.session.model == "scripted"
            await stream.send_frame(JPEG, at_s=1.25)
            await stream.send_frame(b"\x89PNG\r\n\x1a\n rest", at_s=1.5, last=True)
            await stream.drain()
        assert [path.split("?")[1] for path in server.paths] == ["stream=door&events=all"]
        (first, payload), (second, _) = server.frames
        assert payload == JPEG
        assert (first.codec, first.sequence, first.capture_us) == (Codec.JPEG, 1, 1_250_000)
        assert (second.codec, second.sequence, second.last_frame) == (Codec.PNG, 2, True)


async def test_an_array_becomes_a_picture_no_larger_than_the_server_can_use() -> None:
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:, :, 1] = 200
    async with (
        protocol_server() as server,
        client_for(server) as client,
        client.stream("s") as stream,
    ):
        await stream.send_frame(pixels, at_s=0.0)
        events = stream.events()
        await server.tell(told.VideoPace(stream="s", fps=2, width=16, height=16, reason="enough"))
        async with aclosing(aiter(events)) as line:  # type: ignore[type-var]
            while not isinstance(await anext(line), VideoPace):
                pass
        assert stream.pace is not None
        assert stream.pace.fps == 2
        await stream.send_frame(pixels, at_s=1.0)
        await stream.drain()
    sizes = [Image.open(io.BytesIO(payload)).size for _, payload in server.frames]
    assert sizes == [(64, 48), (21, 16)]
    center = Image.open(io.BytesIO(server.frames[1][1])).convert("RGB").getpixel((10, 8))
    assert isinstance(center, tuple)
    assert center[1] > 180
    assert center[0] < 30


async def test_nonsense_is_refused_before_it_is_sent() -> None:
    async with protocol_server() as server, client_for(server) as client:
        async with client.stream("s") as stream:
            with pytest.raises(UnsupportedMedia, match="no JPEG, PNG or WebP"):
                await stream.send_frame(b"hello", at_s=0.0)
            with pytest.raises(UnsupportedMedia, match="float64"):
                await stream.send_frame(np.zeros((4, 4, 3)), at_s=0.0)  # type: ignore[arg-type]
            await stream.send_frame(JPEG, at_s=2.0)
            with pytest.raises(InvalidRequest, match="runs backwards"):
                await stream.send_frame(JPEG, at_s=1.0)
            with pytest.raises(InvalidRequest, match="empty"):
                stream.ask_stream("  ")
            await stream.drain()
        assert len(server.frames) == 1
        with pytest.raises(InvalidRequest, match="cannot name a stream"):
            client.stream("no spaces")


async def test_an_answer_comes_whole_and_in_pieces() -> None:
    async with (
        protocol_server() as server,
        client_for(server) as client,
        client.stream("s") as stream,
    ):
        answer = await stream.ask("What is it?", at_s=3.0, max_output_tokens=5)
        assert (answer.text, answer.status) == ("You asked: What is it?", "completed")
        assert answer.facts.asked_s == 3.0
        pieces = [piece async for piece in stream.ask_stream("And now?", alone=True)]
        assert pieces == ["You asked: ", "And now?"]
        first, second = server.of(asked.ResponseCreate)
        assert first.response.max_output_tokens == 5
        assert first.response.input is None
        assert second.response.conversation == "none"
        assert len(server.of(asked.ItemCreate)) == 1


async def test_questions_of_one_dialogue_wait_for_each_other_but_not_those_beside_it() -> None:
    async with (
        protocol_server(answers=False) as server,
        client_for(server) as client,
        client.stream("s") as stream,
    ):
        one, two = stream.ask_stream("one"), stream.ask_stream("two")
        beside = stream.ask_stream("beside", alone=True)
        await server.until(lambda: len(server.running) == 2)
        assert len(server.of(asked.ItemCreate)) == 1
        await server.finish("resp_2", ["by the way"], "completed")
        assert (await beside.result()).text == "by the way"
        assert not one.done
        await server.finish("resp_1", ["1"], "completed")
        await server.until(lambda: len(server.running) == 1)
        await server.finish("resp_3", ["2"], "completed")
        assert [(await each.result()).text for each in (one, two)] == ["1", "2"]


async def test_leaving_the_pieces_early_cancels_the_answer() -> None:
    async with (
        protocol_server(answers=False) as server,
        client_for(server) as client,
        client.stream("s") as stream,
    ):
        pending = stream.ask_stream("a long story")
        await server.until(lambda: "resp_1" in server.running)
        delta = TextDelta(response_id="resp_1", item_id="i", delta="Once")
        await server.tell(delta)
        async with aclosing(aiter(pending)) as pieces:  # type: ignore[type-var]
            assert await anext(pieces) == "Once"
        assert (await pending.result()).status == "cancelled"
        assert [event.response_id for event in server.of(asked.ResponseCancel)] == ["resp_1"]


async def test_a_question_cancelled_before_its_turn_never_leaves() -> None:
    async with (
        protocol_server(answers=False) as server,
        client_for(server) as client,
        client.stream("s") as stream,
    ):
        stream.ask_stream("one")
        two = stream.ask_stream("two")
        two.cancel()
        assert two.done
        await server.until(lambda: "resp_1" in server.running)
        await server.finish("resp_1", [], "completed")
        assert len(server.of(asked.ItemCreate)) == 1


async def test_an_answer_that_takes_too_long_is_cancelled() -> None:
    options = ClientOptions(answer_timeout_s=0.05)
    async with (
        protocol_server(answers=False) as server,
        client_for(server, options=options) as client,
        client.stream("s") as stream,
    ):
        with pytest.raises(TimeoutError):
            await stream.ask("anybody?")
        await server.until(lambda: bool(server.of(asked.ResponseCancel)))


async def test_a_refused_question_raises_what_the_server_raised() -> None:
    refusal = ErrorBody(
        type="overloaded_error", code="overloaded", message="4 answers are under way",
        retryable=True, retry_after_s=2.5,
    )  # fmt: skip
    async with (
        protocol_server(refusal=refusal) as server,
        client_for(server) as client,
        client.stream("s") as stream,
    ):
        with pytest.raises(Overloaded, match="4 answers") as raised:
            await stream.ask("one too many", alone=True)
        assert raised.value.retry_after_s == 2.5
        server.refusal = None
        assert (await stream.ask("now?")).text == "You asked: now?"


async def test_too_many_questions_are_refused_here() -> None:
    options = ClientOptions(max_questions=2)
    async with (
        protocol_server(answers=False) as server,
        client_for(server, options=options) as client,
        client.stream("s") as stream,
    ):
        stream.ask_stream("1")
        stream.ask_stream("2")
        with pytest.raises(Overloaded, match="2 answers are under way"):
            stream.ask_stream("3")


async def test_errors_that_belong_to_no_question_are_events() -> None:
    async with (
        protocol_server() as server,
        client_for(server) as client,
        client.stream("s") as stream,
    ):
        events = aiter(stream.events())
        body = ErrorBody(type="conflict_error", code="conflict", message="fed by somebody else")
        await server.tell(told.ErrorEvent(error=body))
        problem = await anext(events)
        assert isinstance(problem, Problem)
        assert problem.error.code == "conflict"


async def test_a_lost_connection_ends_answers_and_comes_back_with_its_settings() -> None:
    async with (
        protocol_server(answers=False) as server,
        client_for(server) as client,
        client.stream("s", instructions="Be brief.") as stream,
    ):
        events = aiter(stream.events())
        pending = stream.ask_stream("gone?")
        await server.until(lambda: "resp_1" in server.running)
        await server.drop()
        with pytest.raises(ConnectionLost, match="the answer was lost"):
            await pending.result()
        assert isinstance(await anext(events), Disconnected)
        assert isinstance(await anext(events), Connected)
        server.answers = True
        assert (await stream.ask("back?")).text == "You asked: back?"
        updates = server.of(asked.SessionUpdate)
        assert [event.session.instructions for event in updates] == ["Be brief."] * 2


async def test_a_question_asked_while_disconnected_waits_for_the_next_connection() -> None:
    async with (
        protocol_server() as server,
        client_for(server) as client,
        client.stream("s") as stream,
    ):
        events = aiter(stream.events())
        await server.drop()
        assert isinstance(await anext(events), Disconnected)
        assert (await stream.ask("still there?")).text == "You asked: still there?"


async def test_live_frames_give_way_to_newer_ones_and_are_counted() -> None:
    async with (
        protocol_server() as server,
        client_for(server) as client,
        client.stream("s") as stream,
    ):
        events = aiter(stream.events())
        server.acknowledges = False
        await server.drop()
        assert isinstance(await anext(events), Disconnected)
        for number in range(10):
            await stream.send_frame(JPEG, at_s=float(number))
        sent = 10 - stream.num_replaced
        await server.until(lambda: len(server.frames) == sent)
        assert stream.num_replaced > 0
        assert server.frames[-1][0].sequence == 10


async def test_virtual_frames_are_never_lost_even_when_the_connection_is() -> None:
    bodies = []

    def created(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        stream = StreamObject(id="s", created_at=0.0, clock="virtual")
        return httpx.Response(201, text=stream.model_dump_json())

    async with (
        protocol_server(acknowledges=False) as server,
        client_for(server, transport=httpx.MockTransport(created)) as client,
        client.stream("s", clock="virtual") as stream,
    ):
        sending = asyncio.create_task(_send_many(stream, 40))
        await server.until(lambda: len(server.frames) >= 10)
        assert not sending.done(), "without acknowledgements there must be no room for all"
        server.acknowledges = True
        await server.drop()
        await sending
        await stream.drain()
        assert sorted({header.sequence for header, _ in server.frames}) == list(range(1, 41))
        assert stream.num_replaced == 0
    assert [body["clock"] for body in bodies] == ["virtual"] * 2, "made again where it is gone"


async def _send_many(stream: object, count: int) -> None:
    for number in range(count):
        await stream.send_frame(JPEG, at_s=number / 10)  # type: ignore[attr-defined]


async def test_a_closed_stream_ends_everything_with_its_reason() -> None:
    async with (
        protocol_server(answers=False) as server,
        client_for(server) as client,
        client.stream("s") as stream,
    ):
        pending = stream.ask_stream("anything?")
        await server.tell(told.StreamClosed(stream="s", slot=0, reason="it was deleted"))
        with pytest.raises(NotFound, match="it was deleted"):
            await pending.result()
        with pytest.raises(NotFound, match="it was deleted"):
            await stream.send_frame(JPEG, at_s=0.0)
        assert [type(event) async for event in stream.events()] == []


async def test_a_slow_reader_of_events_loses_the_oldest_and_is_told_how_many() -> None:
    options = ClientOptions(max_events=4)
    async with (
        protocol_server() as server,
        client_for(server, options=options) as client,
        client.stream("s") as stream,
    ):
        line = stream.events()
        for number in range(10):
            await stream.send_frame(JPEG, at_s=float(number))
            await stream.drain()
        assert line.num_lost == 6
        events = aiter(line)
        ack = await anext(events)
        assert isinstance(ack, told.VideoAck)
        assert ack.last_sequence == 7
        assert len(server.frames) == 10


async def test_a_key_is_shown_and_a_wrong_one_refused_without_trying_again() -> None:
    async with protocol_server(api_key="right-key-1") as server:
        async with (
            client_for(server, api_key="right-key-1") as client,
            client.stream("s") as stream,
        ):
            assert (await stream.ask("in?")).text == "You asked: in?"
        async with client_for(server, api_key="wrong-key-1") as client:
            with pytest.raises(Unauthorized, match="no such key"):
                async with client.stream("s"):
                    pass
        assert len(server.connections) == 1


async def test_nobody_there_is_said_at_once() -> None:
    async with protocol_server() as server:
        url = server.url
    async with Client(url) as client:
        with pytest.raises(ServerUnreachable, match="nothing answers at http://127"):
            async with client.stream("s"):
                pass
        assert await client.ready() is False
        with pytest.raises(ServerUnreachable):
            await client.models()


async def test_given_up_after_the_allowed_attempts() -> None:
    options = ClientOptions(reconnect=Reconnect(attempts=2, first_s=0.001, max_s=0.002))
    async with Client("http://127.0.0.1:9", options=options) as idle:
        assert idle.options.reconnect.attempts == 2
    async with protocol_server() as server:
        client = client_for(server, options=options)
        stream = client.stream("s")
        await stream.__aenter__()
        events = stream.events()
    lost = [event async for event in events]
    assert [type(event) for event in lost] == [Disconnected] * 3
    assert isinstance(lost[-1], Disconnected)
    assert lost[-1].retry_in_s is None
    with pytest.raises(ServerUnreachable):
        await stream.ask("anybody?")
    await stream.close()
    await client.close()


def test_the_drawn_source_tells_the_truth_about_its_picture() -> None:
    source = DrawnSource(seed=7, width=64, height=48)
    picture = asyncio.run(source.picture(2.0))
    assert picture.pixels.shape == (48, 64, 3)
    scene = source.world.state_at(2.0)
    assert all(o.color in source.truth(2.0) for o in scene.objects)


async def test_leaving_sends_what_was_handed_in() -> None:
    async with protocol_server(acknowledges=False) as server, client_for(server) as client:
        async with client.stream("s") as stream:
            await stream.send_frame(JPEG, at_s=0.0)
            await stream.send_frame(JPEG, at_s=1.0)
        await server.until(lambda: len(server.frames) == 2)
