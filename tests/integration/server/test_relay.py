"""Any door: what is about a stream reaches its owner through every server of a fleet."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import pytest
from fastapi.routing import APIRoute
from starlette.responses import Response
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from onlooker.clients.python import Client, ClientOptions
from onlooker.core.ids import tenant_stream_id
from onlooker.engine.fake import ScriptedEngine
from onlooker.server.app import create_app
from onlooker.server.gateway import Gateway
from onlooker.server.relay import finding, route
from onlooker.server.relay.call import RelayedCall
from onlooker.server.relay.route import StreamRoute
from onlooker.server.wiring import make_gateway
from onlooker.streams.stream import Stream
from onlooker.streams.tenants import TenantStreams
from tests.fakes.fleet import lease_of, member, member_apart, redis_of_a_fleet
from tests.fakes.pictures import make_pixels
from tests.fakes.served import (
    KEY,
    Served,
    data_url,
    frame_message,
    jpeg,
    make_settings,
    next_event,
    send,
    serving,
    user_item,
)
from tests.fakes.waiting import WAIT_S, limited, until

pytestmark = pytest.mark.redis

OPTIONS = ClientOptions(answer_timeout_s=WAIT_S)
AUTH = {"authorization": f"Bearer {KEY}"}
WRONG = {"authorization": "Bearer another-key-altogether"}
RELAYED = {"onlooker-relayed-by": "somebody"}
QUESTION = {"question": "what is there?"}
DOOR = tenant_stream_id("default", "door")
CHAT = {
    "model": "fake",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "video_url", "video_url": {"url": "stream://door"}},
                {"type": "text", "text": "what is there?"},
            ],
        }
    ],
}

PLAIN_CHAT = {"model": "fake", "messages": [{"role": "user", "content": "what is there?"}]}
PLAIN_RESPONSE = {"model": "fake", "input": "what is there?"}
VIDEO = {"type": "input_video", "video_url": "stream://door"}
RESPONSE = {
    "model": "fake",
    "input": [{"role": "user", "content": [VIDEO, {"type": "input_text", "text": "what?"}]}],
}
NAMED = {"onlooker-stream": "door"}


@pytest.fixture
def redis_url() -> Iterator[str]:
    with redis_of_a_fleet() as url:
        yield url


@dataclass(frozen=True, slots=True)
class Pair:
    """`a` owns the stream `door`; `b` is the door that clients take."""

    a: Served
    b: Served

    def relays(self, kind: str, outcome: str) -> float:
        return self.b.metric("onlooker_relays_total", kind=kind, outcome=outcome)

    def nothing_is_left(self) -> bool:
        """Whether no server holds anything for somebody any more."""
        idle = all(one.gateway.requests.taken == one.gateway.places.taken == 0
                   for one in (self.a, self.b))  # fmt: skip
        return idle and not self.b.gateway.connections and not self.a.gateway.connections


@pytest.fixture
async def pair(redis_url: str) -> AsyncIterator[Pair]:
    async with member(redis_url, "a") as a, member(redis_url, "b") as b:
        async with a.http(headers=AUTH) as client:
            (await client.post("/v1/streams", json={"id": "door"})).raise_for_status()
        found = Pair(a, b)
        yield found
        await until(found.nothing_is_left)
        assert b.metric("onlooker_relays_active") == 0


@asynccontextmanager
async def at(served: Served, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    async with served.http(headers=AUTH | headers) as client:
        yield client


# ---- HTTP

CALLS: list[tuple[str, str, dict[str, Any], int]] = [
    ("GET", "/v1/streams/door", {}, 200),
    ("POST", "/v1/streams", {"json": {"id": "door"}}, 409),
    (
        "POST",
        "/v1/streams/door/frames?t=0.5",
        {"content": jpeg(), "headers": {"content-type": "image/jpeg"}},
        200,
    ),
    ("POST", "/v1/streams/door/questions", {"json": QUESTION}, 200),
    ("POST", "/v1/streams/door/watches", {"json": {"condition": "it rains"}}, 201),
    ("GET", "/v1/streams/door/watches", {}, 200),
    ("GET", "/v1/streams/door/watches/none", {}, 404),
    ("PATCH", "/v1/streams/door/watches/none", {"json": {"paused": True}}, 404),
    ("DELETE", "/v1/streams/door/watches/none", {}, 404),
    ("GET", "/v1/streams/door/alerts", {}, 200),
    ("POST", "/v1/chat/completions", {"json": CHAT}, 200),
    ("POST", "/v1/chat/completions", {"json": PLAIN_CHAT, "headers": NAMED}, 200),
    ("POST", "/v1/responses", {"json": RESPONSE}, 200),
    ("POST", "/v1/responses", {"json": PLAIN_RESPONSE, "headers": NAMED}, 200),
    ("GET", "/v1/responses/none", {"headers": NAMED}, 404),
    ("POST", "/v1/whip/door", {"content": "x", "headers": {"content-type": "text/plain"}}, 415),
    ("DELETE", "/v1/whip/door/none", {}, 404),
    ("PATCH", "/v1/streams/door", {"json": {"keep_for_s": 3600}}, 200),
    ("DELETE", "/v1/streams/door/memory?from=1&to=2", {}, 400),
    ("GET", "/v1/streams/door/reference", {}, 404),
    ("GET", "/v1/streams/door/timeline", {}, 404),
    ("GET", "/v1/streams/door/pictures", {}, 200),
    ("GET", "/v1/streams/door/picture", {}, 404),
    ("GET", "/v1/streams/door/strip", {}, 404),
    ("GET", "/v1/streams/door/clips", {}, 404),
    (
        "POST",
        "/v1/streams/door/imports?starts_at=0",
        {"content": b"x" * 100_000, "headers": {"content-type": "video/mp4"}},
        415,
    ),
    ("GET", "/v1/streams/door/imports", {}, 200),
    ("GET", "/v1/streams/door/imports/none", {}, 404),
    ("DELETE", "/v1/streams/door/imports/none", {}, 404),
    ("DELETE", "/v1/streams/door", {}, 204),
]


@pytest.mark.parametrize(
    ("method", "path", "what", "status"), CALLS, ids=[f"{call[0]} {call[1]}" for call in CALLS]
)
async def test_a_call_about_another_servers_stream_is_answered_by_that_server(
    pair: Pair, method: str, path: str, what: dict[str, Any], status: int
) -> None:
    async with at(pair.b) as client:
        reply = await client.request(method, path, **what)
    assert (reply.status_code, reply.headers["onlooker-served-by"]) == (status, "a"), reply.text


@pytest.mark.parametrize(
    ("method", "path", "what", "status"), CALLS, ids=[f"{call[0]} {call[1]}" for call in CALLS]
)
async def test_who_shows_a_wrong_key_is_refused_at_the_door(
    pair: Pair, method: str, path: str, what: dict[str, Any], status: int
) -> None:
    async with pair.b.http() as client:
        headers = {**what.get("headers", {}), **WRONG}
        reply = await client.request(method, path, **{**what, "headers": headers})
    assert reply.status_code == 401
    assert "onlooker-served-by" not in reply.headers
    assert pair.b.metric("onlooker_relays_active") == 0


def test_every_route_about_a_stream_is_passed_on() -> None:
    app = create_app(make_gateway(make_settings(), engine=ScriptedEngine()))
    about = [
        route
        for route in app.routes
        if isinstance(route, APIRoute)
        and route.path.startswith(("/v1/streams", "/v1/whip", "/v1/chat", "/v1/responses"))
    ]
    assert len(about) > 15
    assert [route.path for route in about if not isinstance(route, StreamRoute)] == []


async def test_what_a_key_may_not_do_it_may_not_do_through_another_door(redis_url: str) -> None:
    keys = [KEY, "default+read:a-key-that-reads"]
    async with (
        member(redis_url, "a", server__api_keys=keys) as a,
        member(redis_url, "b", server__api_keys=keys) as b,
        at(a) as owner,
        b.http(headers={"authorization": "Bearer a-key-that-reads"}) as reader,
    ):
        await owner.post("/v1/streams", json={"id": "door"})
        assert (await reader.get("/v1/streams/door")).status_code == 200
        assert (await reader.delete("/v1/streams/door")).status_code == 403
        assert (await owner.get("/v1/streams/door")).status_code == 200


async def test_another_tenants_stream_of_the_same_name_is_not_reached(redis_url: str) -> None:
    keys = [KEY, "acme:a-key-of-acme"]
    async with (
        member(redis_url, "a", server__api_keys=keys) as a,
        member(redis_url, "b", server__api_keys=keys) as b,
        at(a) as owner,
        b.http(headers={"authorization": "Bearer a-key-of-acme"}) as stranger,
    ):
        await owner.post("/v1/streams", json={"id": "door"})
        assert (await stranger.get("/v1/streams/door")).status_code == 404


async def test_a_token_made_at_one_server_is_good_at_all(pair: Pair) -> None:
    async with at(pair.a) as client:
        token = (await client.post("/v1/realtime/client_secrets")).json()["value"]
    async with pair.b.http() as client:
        reply = await client.get(f"/v1/streams/door?token={token}")
    assert (reply.status_code, reply.headers["onlooker-served-by"]) == (200, "a")


async def test_openais_client_asks_through_any_door(pair: Pair) -> None:
    async with openai.AsyncOpenAI(base_url=pair.b.api, api_key=KEY) as client:
        whole = await client.chat.completions.create(**CHAT)  # type: ignore[call-overload]
        chunks = [
            chunk.choices[0].delta.content or ""
            async for chunk in await client.chat.completions.create(**CHAT, stream=True)  # type: ignore[call-overload]
        ]
    assert whole.choices[0].message.content == "".join(chunks) != ""
    # The client hangs up at the last word; whether the end comes before that is a matter of turns.
    await until(lambda: pair.relays("http", "done") + pair.relays("http", "left") == 2)


async def test_a_conversation_goes_on_through_another_door(pair: Pair) -> None:
    async with at(pair.b, **NAMED) as client:
        first = (await client.post("/v1/responses", json=PLAIN_RESPONSE)).json()
        asked = PLAIN_RESPONSE | {"previous_response_id": first["id"]}
        assert (await client.post("/v1/responses", json=asked)).status_code == 200
        kept = await client.get(f"/v1/responses/{first['id']}")
    assert (kept.status_code, kept.json()["id"]) == (200, first["id"])


async def test_events_are_followed_and_resumed_through_another_door(pair: Pair) -> None:
    async with at(pair.b) as client:
        first = await events_until(client, "stream.answer")
        number = first[-1]["id"]
        await client.post("/v1/streams/door/questions", json=QUESTION)
        resumed = await events_until(client, "stream.answer", {"last-event-id": number})
    assert int(resumed[-1]["id"]) > int(number)


async def test_a_reader_who_hangs_up_is_let_go_by_the_owner(pair: Pair) -> None:
    stream = pair.a.gateway.streams_of("default").get("door")
    async with at(pair.b) as client, client.stream("GET", "/v1/streams/door/events") as reply:
        await anext(reply.aiter_lines())
        assert stream.status().subscribers == 1
    await until(lambda: stream.status().subscribers == 0)
    assert pair.relays("http", "left") == 1


async def test_too_large_a_body_is_refused_at_the_door(redis_url: str) -> None:
    async with (
        member(redis_url, "a") as a,
        member(redis_url, "b", streams__max_frame_bytes=4096) as b,
        at(a) as owner,
        at(b) as client,
    ):
        await owner.post("/v1/streams", json={"id": "door"})
        kind = {"content-type": "image/jpeg"}
        sized = await client.post("/v1/streams/door/frames", content=b"x" * 5000, headers=kind)
        flowing = await client.post("/v1/streams/door/frames", content=dripping(5000), headers=kind)
        await until(lambda: not b.gateway.connections)
        assert (sized.status_code, flowing.status_code) == (413, 413)
        assert b.metric("onlooker_relays_active") == 0


async def test_a_body_of_unknown_length_reaches_the_owner_whole(pair: Pair) -> None:
    picture = jpeg()

    async def pieces() -> AsyncIterator[bytes]:
        yield picture[:100]
        yield picture[100:]

    async with at(pair.b, **{"content-type": "image/jpeg"}) as client:
        reply = await client.post("/v1/streams/door/frames?t=1", content=pieces())
    assert reply.json()["outcome"] == "kept"


async def dripping(num_bytes: int) -> AsyncIterator[bytes]:
    for _ in range(num_bytes // 100):
        yield b"x" * 100


async def events_until(
    client: httpx.AsyncClient, kind: str, headers: dict[str, str] | None = None
) -> list[dict[str, Any]]:
    """Follow `door` until an event of this kind; a question is asked once the line is up."""
    events: list[dict[str, Any]] = []
    number = ""
    async with (
        limited(kind),
        client.stream("GET", "/v1/streams/door/events", headers=headers) as reply,
    ):
        assert reply.headers["onlooker-served-by"] == "a"
        async for line in reply.aiter_lines():
            if line.startswith("id: "):
                number = line.removeprefix("id: ")
            if not line.startswith("data: "):
                continue
            events.append(json.loads(line.removeprefix("data: ")) | {"id": number})
            if events[-1]["type"] == kind:
                return events
            if len(events) == 1 and headers is None:
                await client.post("/v1/streams/door/questions", json=QUESTION)
    raise AssertionError(f"no {kind} among {events}")


# ---- one hop


async def test_what_was_passed_on_once_is_not_passed_on_again(pair: Pair) -> None:
    async with at(pair.b, **RELAYED) as client:
        reply = await client.get("/v1/streams/door")
        created = await client.post("/v1/streams", json={"id": "door"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (421, "owned_elsewhere")
    assert created.status_code == 421
    assert pair.a.base in reply.json()["error"]["message"]


async def test_servers_that_take_each_other_for_the_owner_do_not_pass_a_call_round(
    redis_url: str,
) -> None:
    async with (
        member(redis_url, "a") as a,
        lease_of(redis_url, "door", server="phantom", url=a.base),
        at(a) as client,
    ):
        reply = await client.get("/v1/streams/door")
        assert reply.status_code == 421
        await until(lambda: a.metric("onlooker_relays_total", kind="http", outcome="refused") == 1)


async def test_a_forged_mark_of_a_relay_gives_nobody_any_right(pair: Pair) -> None:
    async with pair.a.http(headers=RELAYED) as client:
        assert (await client.get("/v1/streams/door")).status_code == 401
        assert (await client.delete("/v1/streams/door", headers=WRONG)).status_code == 401
    with pytest.raises(InvalidStatus) as refused:
        async with pair.a.ws("?stream=door", additional_headers=RELAYED):
            pass
    assert refused.value.response.status_code == 401


async def test_where_relaying_is_off_clients_are_told_where_the_stream_is(redis_url: str) -> None:
    async with (
        member(redis_url, "a") as a,
        member(redis_url, "b", fleet__relay=False) as b,
        at(a) as owner,
        at(b) as client,
    ):
        await owner.post("/v1/streams", json={"id": "door"})
        reply = await client.get("/v1/streams/door")
    assert reply.status_code == 421
    assert a.base in reply.json()["error"]["message"]


async def test_a_stream_that_has_moved_is_found_where_it_is_now(pair: Pair, redis_url: str) -> None:
    async with member(redis_url, "c") as c, at(pair.a) as a, at(pair.b) as b, at(c) as other:
        assert (await b.get("/v1/streams/door")).headers["onlooker-served-by"] == "a"
        await a.delete("/v1/streams/door")
        await other.post("/v1/streams", json={"id": "door"})
        moved = await b.get("/v1/streams/door")  # `a`, which `b` takes for the owner, refuses
        assert (moved.status_code, moved.headers["onlooker-served-by"]) == (200, "c")


async def test_who_is_sent_a_stream_looks_again_who_has_it(pair: Pair) -> None:
    """The server that sends it knows that its last owner has left it; this one knew otherwise."""
    async with at(pair.b) as client, at(pair.b, **RELAYED) as relayed:
        assert (await client.get("/v1/streams/door")).headers["onlooker-served-by"] == "a"
        await pair.a.gateway.hub.move_all(deadline_s=0.0)
        assert (await relayed.post("/v1/streams/door/questions", json=QUESTION)).status_code == 200


async def test_a_stream_that_comes_here_while_another_server_is_asked_is_served_here(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = RelayedCall.ask

    async def then_it_comes_here(call: RelayedCall) -> Response:
        await pair.a.gateway.hub.close_stream(DOOR, "closed")
        reply = await asked(call)
        await pair.b.gateway.hub.open_stream(DOOR)
        return reply

    monkeypatch.setattr(RelayedCall, "ask", then_it_comes_here)
    async with at(pair.b) as client:
        reply = await client.post("/v1/streams/door/questions", json=QUESTION)
    assert (reply.status_code, "onlooker-served-by" in reply.headers) == (200, False)


async def test_a_stream_that_leaves_before_it_is_asked_is_looked_for_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[str] = []

    async def found_and_gone(gateway: Gateway, streams: TenantStreams, name: str) -> Stream:
        stream = await finding.found(gateway, streams, name)
        if not left:
            left.append(name)
            await gateway.hub.move_all(deadline_s=0.0)
        return stream

    monkeypatch.setattr(route, "found", found_and_gone)
    async with at(pair.a) as client:
        reply = await client.post("/v1/streams/door/questions", json=QUESTION)
        unknown = await client.post("/v1/streams/nowhere/questions", json=QUESTION)
    assert (reply.status_code, left, unknown.status_code) == (200, ["door"], 404)


async def test_a_stream_that_never_stays_is_said_to_be_between_servers(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def found_and_gone(gateway: Gateway, streams: TenantStreams, name: str) -> Stream:
        stream = await finding.found(gateway, streams, name)
        await gateway.hub.move_all(deadline_s=0.0)
        return stream

    monkeypatch.setattr(route, "found", found_and_gone)
    async with at(pair.a) as client:
        reply = await client.post("/v1/streams/door/questions", json=QUESTION)
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    assert "is just going from one server to another" in reply.json()["error"]["message"]


async def test_an_owner_that_is_gone_is_not_waited_for(redis_url: str) -> None:
    async with (
        member(redis_url, "b") as b,
        lease_of(redis_url, "door", server="ghost", url="http://127.0.0.1:9"),
        at(b) as client,
    ):
        reply = await client.post("/v1/streams/door/questions", json=QUESTION)
        assert reply.status_code == 200
        assert b.metric("onlooker_leases_total", event="taken_over") == 1


# ---- WebSocket


async def test_a_connection_through_another_door_sees_and_answers(pair: Pair) -> None:
    async with pair.b.ws("?stream=door", additional_headers=AUTH) as ws:
        created = await next_event(ws, "session.created")
        await ws.send(frame_message(jpeg()))
        ack = await next_event(ws, "input_video.ack")
        await send(ws, "conversation.item.create", item=user_item("what?", data_url(jpeg())))
        await send(ws, "response.create")
        done = await next_event(ws, "response.done")
    assert created["session"]["stream"] == "door"
    assert ack["totals"]["kept"] == 1
    assert done["response"]["status"] == "completed"
    assert pair.a.gateway.streams_of("default").get("door").status().kept == 1
    await until(lambda: pair.relays("websocket", "left") == 1)


async def test_openais_realtime_client_connects_through_any_door(pair: Pair) -> None:
    async with (
        openai.AsyncOpenAI(base_url=pair.b.api, api_key=KEY) as client,
        client.realtime.connect(model="fake", extra_query={"stream": "door"}) as connection,
        limited("the session"),
    ):
        assert (await connection.recv()).type == "session.created"


async def test_our_client_feeds_and_asks_through_any_door(redis_url: str) -> None:
    async with (
        member(redis_url, "a") as a,
        member(redis_url, "b") as b,
        Client(a.base, KEY, options=OPTIONS) as owner,
        Client(b.base, KEY, options=OPTIONS) as client,
    ):
        await owner.create_stream("film", clock="virtual")
        async with client.stream("film", clock="virtual") as stream:
            for at_s, colour in enumerate(("red", "blue")):
                await stream.send_frame(make_pixels(colour), at_s=at_s)
            await stream.drain(WAIT_S)
            assert "mostly blue" in (await stream.ask("What colour?")).text
        assert (await owner.get_stream("film")).totals.received == 2
        assert b.metric("onlooker_streams_active") == 0


async def test_our_client_goes_on_by_itself_when_the_owner_is_killed(redis_url: str) -> None:
    with member_apart(redis_url, "a") as a:
        async with (
            member(redis_url, "b") as b,
            Client(a.base, KEY, options=OPTIONS) as owner,
            Client(b.base, KEY, options=OPTIONS) as client,
        ):
            await owner.create_stream("door")
            async with client.stream("door") as stream:
                assert (await stream.ask("What?")).status == "completed"
                a.kill()
                await until(lambda: b.metric("onlooker_streams_active") == 1)
                assert (await stream.ask("What?")).status == "completed"


async def test_a_refusal_by_the_owner_reaches_the_client(redis_url: str) -> None:
    async with (
        member(redis_url, "a", server__max_connections=1) as a,
        member(redis_url, "b") as b,
        at(a) as owner,
    ):
        await owner.post("/v1/streams", json={"id": "door"})
        async with a.ws(additional_headers=AUTH):
            with pytest.raises(InvalidStatus) as refused:
                async with b.ws("?stream=door", additional_headers=AUTH):
                    pass
        assert refused.value.response.status_code == 503
        assert "retry-after" in refused.value.response.headers
        await until(lambda: b.metric("onlooker_relays_active") == 0)


async def test_how_the_owner_closes_is_told_the_client(redis_url: str) -> None:
    async with (
        member(redis_url, "a", server__idle_timeout_s=0.05) as a,
        member(redis_url, "b") as b,
        at(a) as owner,
    ):
        await owner.post("/v1/streams", json={"id": "door"})
        async with b.ws("?stream=door", additional_headers=AUTH) as ws:
            assert (await next_event(ws, "session.closing"))["reason"] == "idle"
            await ws.wait_closed()
    assert (ws.close_code, ws.close_reason) == (1000, "idle")


async def test_a_server_that_stops_lets_go_of_what_it_passes_on(redis_url: str) -> None:
    async with member(redis_url, "a") as a, at(a) as owner:
        await owner.post("/v1/streams", json={"id": "door"})
        async with member(redis_url, "b", server__drain_s=60.0) as b:
            ws = await b.ws("?stream=door", additional_headers=AUTH)
            await next_event(ws, "session.created")
            client = b.http(headers=AUTH)
            reading = asyncio.create_task(client.get("/v1/streams/door/events"))
            await until(lambda: b.metric("onlooker_relays_active") == 2)
        closing = await next_event(ws, "session.closing")
        await ws.wait_closed()
        assert (closing["reason"], ws.close_code) == ("moved", 1001)
        async with limited("the events to end"):
            assert (await reading).status_code == 200
        await client.aclose()


# ---- owners that fail


async def test_an_owner_that_is_killed_is_told_and_the_next_call_works(redis_url: str) -> None:
    with member_apart(redis_url, "a") as a:
        async with member(redis_url, "b") as b, at(b) as client:
            async with httpx.AsyncClient(base_url=a.base, headers=AUTH, trust_env=False) as owner:
                (await owner.post("/v1/streams", json={"id": "door"})).raise_for_status()
            ws = await b.ws("?stream=door", additional_headers=AUTH)
            await next_event(ws, "session.created")
            async with client.stream("GET", "/v1/streams/door/events") as reply:
                lines = reply.aiter_lines()
                assert (await anext(lines)).startswith("event: ")
                a.kill()
                async with limited("the end of the events"):
                    rest = [line async for line in lines]
            closing = await next_event(ws, "session.closing")
            await ws.wait_closed()
            asked = await client.post("/v1/streams/door/questions", json=QUESTION)
            await until(lambda: b.metric("onlooker_relays_active") == 0)
    assert rest[-3] == "event: error"
    assert json.loads(rest[-2].removeprefix("data: "))["error"]["code"] == "owner_lost"
    assert (closing["reason"], ws.close_code) == ("owner_lost", 1013)
    assert asked.status_code == 200
    assert "onlooker-served-by" not in asked.headers


async def test_an_owner_that_stays_silent_is_given_up(redis_url: str) -> None:
    asked = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        try:
            await reader.read()
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with (
        server,
        member(redis_url, "b", fleet__relay_timeout_s=0.2) as b,
        lease_of(redis_url, "door", server="mute", url=url),
        at(b) as client,
    ):
        reply = await client.get("/v1/streams/door")
        assert asked.is_set()
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "owner_lost")
        assert "retry-after" in reply.headers


# ---- slow readers

FLOOD_BYTES = 256 << 20
MAX_ON_THE_WAY = 32 << 20
"""Buffers of three sockets on loopback, and what the two servers hold."""


async def test_a_reader_who_takes_nothing_does_not_fill_the_server(redis_url: str) -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                     b"content-length: %d\r\n\r\n" % FLOOD_BYTES)  # fmt: skip
        try:
            while sent < FLOOD_BYTES:
                writer.write(b" " * 65536)
                await writer.drain()
                sent += 65536
        except OSError:
            return
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(flood, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with (
        member(redis_url, "b", server__send_timeout_s=0.3) as b,
        lease_of(redis_url, "door", server="flood", url=url),
    ):
        host, port = b.base.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port), limit=1024)
        key = f"authorization: Bearer {KEY}"
        writer.write(f"GET /v1/streams/door HTTP/1.1\r\nhost: {host}\r\n{key}\r\n\r\n".encode())
        await until(
            lambda: b.metric("onlooker_relays_total", kind="http", outcome="slow_reader") == 1
        )
        assert 0 < sent < MAX_ON_THE_WAY
        writer.transport.abort()
        server.close()


async def test_a_viewer_who_takes_nothing_does_not_fill_the_server(redis_url: str) -> None:
    sent = 0

    async def flood(connection: ServerConnection) -> None:
        nonlocal sent
        try:
            while sent < FLOOD_BYTES:
                await connection.send("x" * 65536)
                sent += 65536
        except ConnectionClosed:
            return

    async with serve(flood, "127.0.0.1", 0, compression=None) as server:
        url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        async with (
            member(redis_url, "b", server__send_timeout_s=0.3) as b,
            lease_of(redis_url, "door", server="flood", url=url),
            connect(
                f"{b.realtime}?stream=door", additional_headers=AUTH, max_queue=1, proxy=None
            ) as ws,
        ):
            await until(
                lambda: (
                    b.metric("onlooker_relays_total", kind="websocket", outcome="slow_reader") == 1
                )
            )
            assert 0 < sent < MAX_ON_THE_WAY
            ws.transport.abort()


# ---- who is there


async def test_servers_are_listed_with_their_load_until_they_stop(redis_url: str) -> None:
    async with member(redis_url, "a", fleet__notice_s=0.05) as a:
        async with member(redis_url, "b") as b, at(a) as client:
            await client.post("/v1/streams", json={"id": "door"})
            listed = await servers_where(client, lambda found: found.get("a", {}).get("streams"))
        rest = await servers_where_at(a, lambda found: "b" not in found)
    assert set(listed) == {"a", "b"}
    assert set(rest) == {"a"}
    assert (listed["a"]["url"], listed["b"]["url"]) == (a.base, b.base)
    assert (listed["a"]["status"], listed["a"]["streams"], listed["b"]["streams"]) == (
        "ready",
        1,
        0,
    )


async def test_a_server_that_is_alone_lists_itself() -> None:
    async with serving() as served, served.http() as client:
        listed = (await client.get("/v1/servers")).json()["data"]
    assert [(one["status"], one["url"]) for one in listed] == [("ready", "")]


Found = dict[str, dict[str, Any]]


async def servers_where(client: httpx.AsyncClient, holds: Callable[[Found], object]) -> Found:
    """The servers that are listed, by name, as soon as a condition holds."""
    async with limited("the list of servers"):
        while True:
            reply = (await client.get("/v1/servers")).raise_for_status()
            found = {one["name"]: one for one in reply.json()["data"]}
            if holds(found):
                return found


async def servers_where_at(served: Served, holds: Callable[[Found], object]) -> Found:
    async with at(served) as client:
        return await servers_where(client, holds)
