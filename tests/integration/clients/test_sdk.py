"""The Python client against the real server with the scripted engine."""

import asyncio
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from onlooker.clients.python import (
    Client,
    ClientOptions,
    Connected,
    Disconnected,
    Problem,
    Reconnect,
    RemoteStream,
    StreamAlert,
    StreamClosed,
)
from onlooker.clients.python.events import EventLine
from onlooker.clients.python.feed import Feed
from onlooker.clients.python.sources import FileSource
from onlooker.core.clock import ManualClock
from onlooker.core.errors import Conflict, Forbidden, InvalidRequest, NotFound, TokenExpired
from onlooker.core.jpeg import encode_jpeg
from onlooker.core.protocol.watches import AlertObject
from onlooker.core.scopes import Scope
from onlooker.demo_model.video import write_video
from tests.fakes.pictures import Colour, make_pixels
from tests.fakes.served import Served, jpeg, serving
from tests.fakes.waiting import WAIT_S, limited, until

T = TypeVar("T")

OPTIONS = ClientOptions(answer_timeout_s=WAIT_S)


def client_of(served: Served, api_key: str | None = None) -> Client:
    return Client(served.base, api_key, options=OPTIONS)


async def next_event(events: EventLine, kind: type[T]) -> T:
    """The next event of a kind; others are passed over."""
    async with limited(f"a {kind.__name__}"):
        async for event in events:
            if isinstance(event, kind):
                return event
    raise AssertionError(f"the stream closed before a {kind.__name__}")


async def feed_colours(stream: RemoteStream, *colours: str) -> None:
    """One second of each colour at 2 fps."""
    for second, colour in enumerate(colours):
        for half in (0.0, 0.5):
            await stream.send_frame(make_pixels(colour), at_s=second + half)


async def test_what_was_sent_is_what_is_answered_about() -> None:
    async with serving() as served, client_of(served) as client:
        async with client.stream("door", clock="virtual") as stream:
            await feed_colours(stream, "red", "blue", "green")
            await stream.drain(WAIT_S)
            assert "mostly green" in (await stream.ask("What colour?")).text
            then = await stream.ask("What colour?", at_s=1.5)
            assert "mostly blue" in then.text
            assert then.facts.asked_s == 1.5
            assert stream.last_ack is not None
            assert stream.last_ack.totals.received == 6
        info = await client.get_stream("door")
        assert info.clock == "virtual"
        assert "mostly green" in (await client.ask("door", "What colour?", at_s=2.5)).answer


async def test_the_virtual_clock_gives_the_same_at_any_speed() -> None:
    digests = set()
    for pause_every in (1, 6, 100):
        async with (
            serving() as served,
            client_of(served) as client,
            client.stream(clock="virtual") as stream,
        ):
            for number in range(12):
                await stream.send_frame(make_pixels("red", width=64 + number), at_s=number / 4)
                if number % pause_every == 0:
                    await stream.flush()
            digests.add((await stream.ask("digest")).text)
            assert stream.num_replaced == 0
    assert len(digests) == 1
    assert int(digests.pop().partition(":")[0]) >= 3, "clips of a second each"


async def test_a_stream_of_another_clock_is_not_joined_by_mistake() -> None:
    async with serving() as served, client_of(served) as client:
        await client.create_stream("here", clock="live")
        with pytest.raises(Conflict, match="has the live clock"):
            async with client.stream("here", clock="virtual"):
                pass
        async with client.stream("here", clock="live", max_fps=5) as stream:
            assert not stream.is_virtual


async def test_pieces_arrive_and_make_up_the_answer() -> None:
    async with serving() as served, client_of(served) as client, client.stream() as stream:
        await feed_colours(stream, "red")
        pending = stream.ask_stream("How many clips?")
        pieces = [piece async for piece in pending]
        assert len(pieces) > 3
        assert pending.answer is not None
        assert "".join(pieces) == pending.answer.text
        assert pending.answer.usage.output_tokens == len(pieces)


async def test_a_question_can_bring_its_own_picture() -> None:
    async with serving() as served, client_of(served) as client, client.stream() as stream:
        await feed_colours(stream, "red")
        answer = await stream.ask("digest", images=[jpeg("blue")])
        assert answer.status == "completed"


async def test_many_questions_at_once_all_end() -> None:
    async with serving() as served, client_of(served) as client, client.stream() as stream:
        await feed_colours(stream, "red")
        texts = [f"Question {number}: how many?" for number in range(12)]
        answers = await asyncio.gather(*(stream.ask(text) for text in texts))
        assert [answer.question for answer in answers] == texts
        assert all(answer.status == "completed" for answer in answers)


async def test_a_named_stream_outlives_its_connection_and_an_unnamed_one_does_not() -> None:
    async with serving() as served, client_of(served) as client:
        async with client.stream("kept") as stream:
            await feed_colours(stream, "red")
        async with client.stream() as fresh:
            await feed_colours(fresh, "red")
            assert {each.id for each in await client.streams()} == {"kept", fresh.id}
        assert [each.id for each in await client.streams()] == ["kept"]
        resumed_at_s = await client.seen_until_s("kept")
        assert resumed_at_s == 0.5
        async with client.stream("kept", resumed_at_s=resumed_at_s) as again:
            assert again.now_s() >= 0.5
            await again.send_frame(make_pixels("blue"))
            await again.drain(WAIT_S)
            assert again.last_ack is not None
            assert again.last_ack.totals.dropped == {}
        await client.close_stream("kept")
        assert await client.seen_until_s("kept") == 0.0


async def test_two_sources_and_a_closed_stream_are_told() -> None:
    async with (
        serving() as served,
        client_of(served) as client,
        client.stream("s") as one,
        client.stream("s") as two,
    ):
        await one.send_frame(make_pixels("red"), at_s=0.0)
        await one.drain(WAIT_S)
        events = two.events()
        await two.send_frame(make_pixels("blue"), at_s=1.0)
        event = await next_event(events, Problem)
        assert isinstance(event.error, Conflict)
        assert (await two.ask("What colour?")).status == "completed"
        await client.close_stream("s")
        await next_event(events, StreamClosed)
        with pytest.raises(NotFound, match="closed"):
            await two.ask("Anything?")


async def test_http_calls_and_their_errors() -> None:
    async with serving() as served, client_of(served) as client:
        assert await client.ready()
        assert (await client.models()).data[0].id == "fake"
        assert (await client.create_stream("cam", metadata={"room": "hall"})).id == "cam"
        with pytest.raises(Conflict, match="cam"):
            await client.create_stream("cam")
        reply = await client.push_frame("cam", jpeg("red"), at_s=0.0)
        assert reply.outcome == "kept"
        assert "mostly red" in (await client.ask("cam", "What colour?")).answer
        with pytest.raises(NotFound, match="nobody"):
            await client.get_stream("nobody")
        with pytest.raises(InvalidRequest, match="question"):
            await client.ask("cam", "")
        with pytest.raises(InvalidRequest, match="not the address of a server"):
            Client("ftp://example.org")


async def test_a_file_is_fed_in_real_time_at_the_pace_the_server_asks(tmp_path: Path) -> None:
    path = tmp_path / "two.webm"
    picture = np.full((48, 64, 3), (220, 40, 40), np.uint8)
    write_video(path, [picture] * 30, fps=20)
    async with (
        serving(streams__perception__clip_interval_s=0.5) as served,
        client_of(served) as client,
        client.stream() as stream,
        FileSource(path) as source,
    ):
        feed = Feed(source, stream, fps=20)
        await feed.run()
        assert stream.pace is not None
        assert feed.num_sent <= 1.5 * stream.pace.fps + 3
        assert "mostly red" in (await stream.ask("What colour?")).text


async def test_a_key_works_for_both_ways_in() -> None:
    key = "a-long-enough-key"
    async with serving(server__api_keys=key) as served, client_of(served, api_key=key) as client:
        assert (await client.models()).data
        async with client.stream() as stream:
            await stream.send_frame(encode_jpeg(make_pixels("red")), at_s=0.0)
            assert (await stream.ask("How many?")).status == "completed"


async def test_a_token_made_with_a_key_is_good_for_what_was_asked_for() -> None:
    key = "a-long-enough-key"
    async with serving(server__api_keys=key) as served, client_of(served, api_key=key) as client:
        token = await client.make_token([Scope.READ, Scope.PUSH], ttl_s=60)
        assert token.scopes == [Scope.READ, Scope.PUSH]
        async with client_of(served, api_key=token.value) as other:
            await other.create_stream("cam")
            assert (await other.push_frame("cam", jpeg("red"), at_s=0.0)).outcome == "kept"
            with pytest.raises(Forbidden, match="'ask'"):
                await other.ask("cam", "What colour?")
            with pytest.raises(Forbidden, match="'admin'"):
                await other.make_token()


async def test_a_stream_whose_token_expires_ends_and_says_so() -> None:
    key, clock = "a-long-enough-key", ManualClock()
    async with (
        serving(server__api_keys=key, clock=clock) as served,
        client_of(served, api_key=key) as client,
    ):
        token = await client.make_token([Scope.READ, Scope.PUSH], ttl_s=60)
        async with client_of(served, api_key=token.value) as other, other.stream() as stream:
            events = stream.events()
            clock.advance(60)
            assert (await next_event(events, Disconnected)).retry_in_s is None
            with pytest.raises(TokenExpired):
                await stream.send_frame(jpeg("red"), at_s=0.0)


# ---- watches ----


async def alerts_from(events: EventLine, count: int) -> list[AlertObject]:
    return [(await next_event(events, StreamAlert)).alert for _ in range(count)]


async def feed_one_by_one(
    served: Served, feeder: RemoteStream, *colours: Colour, first: int = 0
) -> None:
    """One frame after another, each when the one before it has become a clip."""
    seen = served.gateway.hub.get("house")
    for second, colour in enumerate(colours, first):
        num_clips = seen.status().clips + 1
        await feeder.send_frame(make_pixels(colour), at_s=float(second))
        await until(lambda: seen.status().clips == num_clips)  # noqa: B023


async def test_alerts_arrive_once_and_in_order_over_a_broken_connection() -> None:
    alone: dict[str, Any] = {"streams__perception__max_pair_gap_s": 0.02}
    options = ClientOptions(reconnect=Reconnect(first_s=0.3, max_s=0.3))
    async with (
        serving(**alone) as served,
        Client(served.base, options=options) as client,
        client.stream("house") as viewer,
        client.stream("house") as feeder,
    ):
        events = viewer.events()
        watch = await viewer.alert_when("it is red", include_frame=True)
        assert watch.state == "active"
        await feed_one_by_one(served, feeder, "red", "blue", "red", "blue")
        first = await alerts_from(events, 2)
        for connection in list(served.gateway.connections):
            connection.end_now()  # everybody is thrown out
        await next_event(events, Connected)
        await feed_one_by_one(served, feeder, "red", "blue", first=4)
        (last,) = await alerts_from(events, 1)
        assert [alert.number for alert in (*first, last)] == [1, 2, 3]
        assert first[0].frame is not None
        assert (await viewer.watches.update(watch.id, paused=True)).state == "paused"
        await viewer.watches.delete(watch.id)
        with pytest.raises(NotFound, match="has no watch"):
            await viewer.watches.delete(watch.id)
        with pytest.raises(InvalidRequest, match="condition is empty"):
            await viewer.alert_when("")
        with pytest.raises(InvalidRequest, match="unknown field"):
            await viewer.alert_when("it is red", colour=1)
