"""A server is drained: its streams go on at others, and clients follow."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from onlooker.clients.python import Client, ClientOptions
from onlooker.core.errors import Overloaded
from onlooker.engine.fake import ScriptedEngine
from onlooker.streams.events import StreamEnded
from tests.fakes.fleet import SELDOM, acquaint, member, redis_of_a_fleet
from tests.fakes.served import KEY, Served, next_event, send, serving, user_item
from tests.fakes.waiting import WAIT_S, limited, until

pytestmark = pytest.mark.redis

AUTH = {"authorization": f"Bearer {KEY}"}
OPTIONS = ClientOptions(answer_timeout_s=WAIT_S)
DRAIN = "/v1/servers/self/drain"
QUESTION = {"question": "what is there?"}


@pytest.fixture
def redis_url() -> Iterator[str]:
    with redis_of_a_fleet() as url:
        yield url


@dataclass(frozen=True, slots=True)
class Pair:
    """`a`, which owns the stream `door` and is drained, and `b`."""

    a: Served
    b: Served

    def names(self, served: Served) -> list[str]:
        return [stream.name for stream in served.gateway.hub.streams()]


@pytest.fixture
async def pair(redis_url: str) -> AsyncIterator[Pair]:
    async with member(redis_url, "a", **SELDOM) as a, member(redis_url, "b", **SELDOM) as b:
        async with at(a) as client:
            (await client.post("/v1/streams", json={"id": "door"})).raise_for_status()
        await acquaint(a, b)
        yield Pair(a, b)


@asynccontextmanager
async def at(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with served.http(headers=AUTH) as client:
        yield client


async def test_a_drained_server_is_not_ready_and_says_so_to_all(pair: Pair) -> None:
    async with at(pair.a) as client, at(pair.b) as other:
        reply = await client.post(DRAIN)
        assert (reply.status_code, reply.json()["status"]) == (202, "draining")
        assert (await client.get("/readyz")).status_code == 503
        async with limited("the others to hear of it"):
            while True:
                listed = (await other.get("/v1/servers")).json()["data"]
                if {one["name"]: one["status"] for one in listed}["a"] == "draining":
                    break


async def test_its_streams_go_on_at_the_next_server_that_is_asked(pair: Pair) -> None:
    async with at(pair.a) as client, at(pair.b) as other:
        await client.post(DRAIN)
        await until(lambda: not pair.names(pair.a))
        reply = await other.post("/v1/streams/door/questions", json=QUESTION)
        assert (reply.status_code, pair.names(pair.b)) == (200, ["door"])
        assert "onlooker-served-by" not in reply.headers
        assert pair.b.metric("onlooker_leases_total", event="taken_over") == 0


async def test_a_drained_server_still_is_a_door_to_others(pair: Pair) -> None:
    async with at(pair.a) as client:
        await client.post(DRAIN)
        await until(lambda: not pair.names(pair.a))
        asked = await client.post("/v1/streams/door/questions", json=QUESTION)
        opened = await client.post("/v1/streams", json={"id": "new"})
        assert (asked.status_code, asked.headers["onlooker-served-by"]) == (200, "b")
        assert (opened.status_code, opened.headers["onlooker-served-by"]) == (201, "b")
        async with pair.a.ws("?stream=new", additional_headers=AUTH) as ws:
            assert (await next_event(ws, "session.created"))["session"]["stream"] == "new"
        assert pair.names(pair.a) == []


async def test_connections_are_told_that_their_stream_moved(pair: Pair) -> None:
    async with pair.a.ws("?stream=door", additional_headers=AUTH) as ws, at(pair.a) as client:
        await next_event(ws, "session.created")
        await client.post(DRAIN)
        closing = await next_event(ws, "session.closing", "stream.closed")
        await ws.wait_closed()
    assert (closing["type"], closing["reason"], closing["retry_after_s"]) == (
        "session.closing",
        "moved",
        0.0,
    )
    assert (ws.close_code, ws.close_reason) == (1001, "moved")


async def test_readers_of_events_are_let_go_without_being_told_an_end(pair: Pair) -> None:
    async with at(pair.a) as client, client.stream("GET", "/v1/streams/door/events") as reply:
        lines = reply.aiter_lines()
        await anext(lines)
        async with at(pair.a) as other:
            await other.post(DRAIN)
        async with limited("the end of the events"):
            rest = [line async for line in lines]
    assert not [line for line in rest if "stream.closed" in line]


async def test_an_answer_under_way_ends_before_its_stream_moves(redis_url: str) -> None:
    hold = asyncio.Event()

    class Slow(ScriptedEngine):
        async def answer(self, *args, **options):  # type: ignore[no-untyped-def] # as the engine's
            async for event in super().answer(*args, **options):
                await hold.wait()
                yield event

    async with (
        member(redis_url, "a", engine=Slow(), **SELDOM) as a,
        member(redis_url, "b", **SELDOM) as b,
        at(a) as client,
        at(b) as other,
    ):
        await client.post("/v1/streams", json={"id": "door"})
        async with a.ws("?stream=door", additional_headers=AUTH) as ws:
            await send(ws, "conversation.item.create", item=user_item("what?"))
            await send(ws, "response.create")
            await next_event(ws, "response.created")
            await client.post(DRAIN)
            await next_event(ws, "session.closing")
            await send(ws, "response.create", response={"conversation": "none"})
            refused = await next_event(ws, "error")
            asking = asyncio.create_task(other.post("/v1/streams/door/questions", json=QUESTION))
            hold.set()
            done = await next_event(ws, "response.done")
            await ws.wait_closed()
        reply = await asking
    assert refused["error"]["code"] == "shutting_down"
    assert done["response"]["status"] == "completed"
    assert ws.close_reason == "moved"
    assert (reply.status_code, "onlooker-served-by" in reply.headers) == (200, False)


async def test_until_its_turn_a_stream_is_served_where_it_is(redis_url: str) -> None:
    slowly = {**SELDOM, "streams__move_every_s": 3.0, "server__drain_s": 60.0}
    async with (
        member(redis_url, "a", **slowly) as a,
        member(redis_url, "b", **SELDOM) as b,
        at(a) as client,
        at(b) as other,
    ):
        for name in ("first", "second"):
            await client.post("/v1/streams", json={"id": name})
        await acquaint(a, b)
        async with a.ws("?stream=second", additional_headers=AUTH) as ws:
            await next_event(ws, "session.created")
            await client.post(DRAIN)
            await until(lambda: len(a.gateway.hub.streams()) == 1)
            here = await client.post("/v1/streams/second/questions", json=QUESTION)
            through = await other.post("/v1/streams/second/questions", json=QUESTION)
            await send(ws, "conversation.item.create", item=user_item("what?"))
            await send(ws, "response.create")
            done = await next_event(ws, "response.done", "error", "session.closing")
            refused = await client.post("/v1/streams", json={"id": "new"})
        await until(lambda: not a.gateway.hub.streams())
        moved = await client.post("/v1/streams/second/questions", json=QUESTION)
    assert (here.status_code, "onlooker-served-by" in here.headers) == (200, False)
    assert (through.status_code, through.headers["onlooker-served-by"]) == (200, "a")
    assert done["type"] == "response.done"
    assert (refused.status_code, refused.headers["onlooker-served-by"]) == (201, "b")
    assert (moved.status_code, moved.headers["onlooker-served-by"]) == (200, "b")


async def test_a_stream_is_free_when_its_viewers_hear_that_it_moved(pair: Pair) -> None:
    """Whoever comes back at once must find it so, and the numbers of events must go on."""
    ownership = pair.a.gateway.hub._ownership
    assert ownership is not None
    released: list[str] = []
    release = ownership.release

    async def note(*args: object, **options: object) -> None:
        await release(*args, **options)  # type: ignore[arg-type]
        released.append("free")

    ownership.release = note  # type: ignore[method-assign]
    stream = pair.a.gateway.hub.streams()[0]
    heard = stream.subscribe(max_events=100)

    async def listen() -> int:
        last = 0
        async for number, event in heard:
            last = number
            if isinstance(event, StreamEnded):
                released.append("told")
        return last

    listening = asyncio.create_task(listen())
    async with at(pair.a) as client, at(pair.b) as other:
        await client.post(DRAIN)
        last = await listening
        await other.get("/v1/streams/door")
        assert pair.b.gateway.hub.streams()[0].last_event >= last
    assert released == ["free", "told"]


async def test_a_stream_that_two_servers_take_over_at_once_is_asked_at_the_quicker(
    redis_url: str,
) -> None:
    """The drained server sends a question to one server, and the stream is at another by then."""
    async with (
        member(redis_url, "a", **SELDOM) as a,
        member(redis_url, "b", **SELDOM) as b,
        member(redis_url, "c", **SELDOM, streams__max_streams=1) as c,
        at(a) as client,
        at(c) as third,
    ):
        await client.post("/v1/streams", json={"id": "door"})
        await acquaint(a, b, c)
        await client.post(DRAIN)
        await until(lambda: not a.gateway.hub.streams())
        assert (await third.get("/v1/streams/door")).status_code == 200
        asked = await client.post("/v1/streams/door/questions", json=QUESTION)
    assert (asked.status_code, asked.headers["onlooker-served-by"]) == (200, "c")


async def test_a_stream_that_its_next_server_cannot_open_at_once_is_not_lost(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first to be asked is told to come again, and the next one is answered."""
    opened, failed = pair.b.gateway.hub._opener._opened, list[str]()

    async def failing_once(*args: Any) -> Any:
        if not failed:
            failed.append("door")
            raise Overloaded("the journal does not answer")
        return await opened(*args)

    monkeypatch.setattr(pair.b.gateway.hub._opener, "_opened", failing_once)
    async with at(pair.a) as client, at(pair.b) as other:
        await client.post(DRAIN)
        await until(lambda: not pair.names(pair.a))
        first = await other.post("/v1/streams/door/questions", json=QUESTION)
        again = await other.post("/v1/streams/door/questions", json=QUESTION)
    assert (first.status_code, first.headers["retry-after"]) == (503, "1")
    assert (again.status_code, pair.names(pair.b)) == (200, ["door"])


async def test_a_drain_can_be_called_off(pair: Pair) -> None:
    async with at(pair.a) as client:
        await client.post(DRAIN)
        await until(lambda: not pair.names(pair.a))
        reply = await client.delete(DRAIN)
        assert (reply.status_code, reply.json()["status"]) == (200, "ready")
        assert (await client.get("/readyz")).status_code == 200
        asked = await client.post("/v1/streams/door/questions", json=QUESTION)
        assert (asked.status_code, pair.names(pair.a)) == (200, ["door"])


async def test_our_client_follows_its_stream_to_another_server(pair: Pair) -> None:
    async with (
        at(pair.a) as client,
        Client(pair.b.base, KEY, options=OPTIONS) as door,
        door.stream("door") as stream,
    ):
        assert (await stream.ask("What?")).status == "completed"
        assert pair.names(pair.b) == []
        await client.post(DRAIN)
        await until(lambda: pair.names(pair.b) == ["door"])
        assert (await stream.ask("What?")).status == "completed"


async def test_a_server_that_stops_lets_its_streams_go_on_elsewhere(redis_url: str) -> None:
    async with member(redis_url, "b") as b:
        async with member(redis_url, "a") as a, at(a) as client:
            await client.post("/v1/streams", json={"id": "door"})
        async with at(b) as other:
            assert (await other.get("/v1/streams/door")).status_code == 200
            assert b.metric("onlooker_leases_total", event="taken_over") == 0


async def test_a_key_without_the_scope_drains_nothing(redis_url: str) -> None:
    keys = [KEY, "default+read:a-key-that-reads"]
    async with (
        member(redis_url, "a", server__api_keys=keys) as a,
        a.http(headers={"authorization": "Bearer a-key-that-reads"}) as reader,
    ):
        assert (await reader.post(DRAIN)).status_code == 403
        assert (await reader.get("/readyz")).status_code == 200


async def test_a_server_that_is_alone_keeps_its_streams_when_it_is_drained() -> None:
    async with serving() as served, served.http() as client:
        await client.post("/v1/streams", json={"id": "door"})
        async with served.ws("?stream=door") as ws:
            await next_event(ws, "session.created")
            await client.post(DRAIN)
            assert (await next_event(ws, "session.closing"))["reason"] == "shutting_down"
            await ws.wait_closed()
        assert (await client.get("/v1/streams/door")).status_code == 503
        await client.delete(DRAIN)
        assert (await client.get("/v1/streams/door")).status_code == 200


async def test_who_connects_through_a_drained_server_is_not_sent_away_at_the_end_of_the_drain(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A balancer that has not noticed sends them there; they are passed on, and stay."""
    caplog.set_level("INFO", "onlooker.server.drain")
    slowly = {**SELDOM, "streams__move_every_s": 2.0, "server__drain_s": 60.0}
    async with (
        member(redis_url, "a", **slowly) as a,
        member(redis_url, "b", **SELDOM) as b,
        at(a) as client,
    ):
        for name in ("first", "second"):
            await client.post("/v1/streams", json={"id": name})
        await acquaint(a, b)
        await client.post(DRAIN)
        await until(lambda: len(a.gateway.hub.streams()) == 1)
        async with a.ws("?stream=first", additional_headers=AUTH) as ws:
            await next_event(ws, "session.created")
            await until(lambda: "drained" in caplog.messages)
            await send(ws, "ping")
            assert (await next_event(ws, "pong", "session.closing"))["type"] == "pong"
