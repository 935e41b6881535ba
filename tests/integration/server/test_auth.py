"""Who may in: every way to show a key, on every kind of call."""

from collections.abc import AsyncIterator

import pytest
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from onlooker.core.clock import ManualClock
from onlooker.core.errors import ConfigError
from onlooker.server.serving import bind
from tests.fakes.served import (
    KEY,
    Served,
    errors_of,
    frame_message,
    jpeg,
    make_settings,
    next_event,
    send,
    serving,
    user_item,
)
from tests.fakes.waiting import limited


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(server__api_keys=f"{KEY},another-key-1") as running:
        yield running


async def token(served: Served, *, seconds: int = 60) -> str:
    async with served.http(headers={"authorization": f"Bearer {KEY}"}) as http:
        body = {"expires_after": {"anchor": "created_at", "seconds": seconds}}
        reply = await http.post("/v1/realtime/client_secrets", json=body)
        value: str = reply.json()["value"]
        return value


@pytest.mark.parametrize("key", [KEY, "another-key-1"])
async def test_a_key_in_the_header_opens_http_and_websocket(served: Served, key: str) -> None:
    headers = {"authorization": f"Bearer {key}"}
    async with served.http(headers=headers) as http:
        assert (await http.get("/v1/models")).status_code == 200
    async with served.ws(additional_headers=headers) as ws:
        assert (await next_event(ws))["type"] == "session.created"


@pytest.mark.parametrize(
    "header", [None, "Bearer wrong-key-1", "Bearer", "Basic " + KEY, KEY, "Bearer ek_x.y"]
)
async def test_no_key_or_a_wrong_one_is_401_before_the_upgrade(
    served: Served, header: str | None
) -> None:
    headers = {} if header is None else {"authorization": header}
    async with served.http(headers=headers) as http:
        reply = await http.get("/v1/models")
        assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")
        assert reply.json()["error"]["type"] == "authentication_error"
        assert (await http.post("/v1/streams", json={})).status_code == 401
        assert (await http.post("/v1/chat/completions", json={})).status_code == 401
    with pytest.raises(InvalidStatus) as refused:
        async with served.ws(additional_headers=headers):
            pass
    assert refused.value.response.status_code == 401
    assert b"authentication_error" in (refused.value.response.body or b"")


async def test_a_browser_shows_its_key_as_a_subprotocol(served: Served) -> None:
    offered = [Subprotocol("realtime"), Subprotocol(f"openai-insecure-api-key.{KEY}")]
    async with served.ws(subprotocols=offered) as ws:
        assert ws.subprotocol == "realtime"
        assert (await next_event(ws))["type"] == "session.created"
    wrong = [Subprotocol("realtime"), Subprotocol("openai-insecure-api-key.nope-nope")]
    with pytest.raises(InvalidStatus) as refused:
        async with served.ws(subprotocols=wrong):
            pass
    assert refused.value.response.status_code == 401


@pytest.mark.parametrize("way", ["openai-insecure-api-key.", "onlooker-token.", "query"])
async def test_a_token_opens_a_connection_and_reads(served: Served, way: str) -> None:
    value = await token(served)
    query = f"?token={value}" if way == "query" else ""
    offered = [] if way == "query" else [Subprotocol("realtime"), Subprotocol(way + value)]
    async with served.ws(query, subprotocols=offered or None) as ws:
        assert (await next_event(ws))["type"] == "session.created"
    async with served.http() as http:
        assert (await http.get(f"/v1/streams?token={value}")).status_code == 200


async def test_a_token_changes_nothing_and_makes_no_tokens(served: Served) -> None:
    headers = {"authorization": f"Bearer {await token(served)}"}
    async with served.http(headers=headers) as http:
        assert (await http.get("/v1/streams")).status_code == 200
        assert (await http.post("/v1/streams", json={})).status_code == 403
        assert (await http.post("/v1/realtime/client_secrets")).status_code == 403


async def test_a_key_in_the_query_is_not_taken(served: Served) -> None:
    async with served.http() as http:
        assert (await http.get(f"/v1/streams?key={KEY}")).status_code == 401


async def test_probes_and_figures_need_no_key(served: Served) -> None:
    async with served.http() as http:
        for path in ("/healthz", "/readyz", "/metrics", "/"):
            assert (await http.get(path)).status_code == 200


async def test_figures_can_be_locked() -> None:
    async with (
        serving(server__api_keys=KEY, server__metrics_need_key=True) as served,
        served.http() as http,
    ):
        assert (await http.get("/metrics")).status_code == 401
        headers = {"authorization": f"Bearer {KEY}"}
        assert (await http.get("/metrics", headers=headers)).status_code == 200


async def test_without_keys_foreign_pages_and_names_are_refused() -> None:
    async with (
        serving(server__allowed_origins="https://app.example.org") as served,
        served.http() as http,
    ):
        assert (await http.get("/v1/models")).status_code == 200
        own = {"origin": served.base}
        assert (await http.get("/v1/models", headers=own)).status_code == 200
        foreign = {"origin": "https://evil.example.org"}
        assert (await http.post("/v1/streams", json={}, headers=foreign)).status_code == 403
        rebound = {"host": "evil.example.org", "origin": "http://evil.example.org"}
        assert (await http.get("/v1/models", headers=rebound)).status_code == 403
        listed = {"origin": "https://app.example.org"}
        reply = await http.get("/v1/models", headers=listed)
        assert reply.headers["access-control-allow-origin"] == "https://app.example.org"
        with pytest.raises(InvalidStatus) as refused:
            async with served.ws(additional_headers=foreign):
                pass
        assert refused.value.response.status_code == 403
        async with served.ws(additional_headers=listed) as ws:
            assert (await next_event(ws))["type"] == "session.created"


async def test_connections_over_the_limit_are_503_before_the_upgrade() -> None:
    async with serving(server__max_connections=1) as served, served.ws() as first:
        await next_event(first)
        with pytest.raises(InvalidStatus) as refused:
            async with served.ws():
                pass
        assert refused.value.response.status_code == 503
        assert refused.value.response.headers["retry-after"]
        assert served.metric("onlooker_connections_total", outcome="refused") == 1


async def test_an_unknown_model_and_a_bad_stream_name_are_refused_at_the_upgrade() -> None:
    async with serving() as served:
        for query, status in (("?model=gpt-9", 404), ("?stream=../x", 400)):
            with pytest.raises(InvalidStatus) as refused:
                async with served.ws(query):
                    pass
            assert refused.value.response.status_code == status


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "::", "example.org"])
def test_beyond_loopback_a_key_is_required(host: str) -> None:
    with pytest.raises(ConfigError, match="API key"):
        bind(make_settings(server__host=host).server)


async def test_what_a_token_may_not_do_over_http_it_may_not_do_over_a_websocket(
    served: Served,
) -> None:
    async with served.http(headers={"authorization": f"Bearer {KEY}"}) as http:
        await http.post("/v1/streams", json={"id": "door"})
        watch = {"id": "mine", "condition": "the door opens"}
        assert (await http.post("/v1/streams/door/watches", json=watch)).status_code == 201
        async with served.ws(f"?stream=door&token={await token(served)}") as ws:
            await send(ws, "stream.watch.delete", watch_id="mine")
            await send(ws, "stream.watch.create", watch={"id": "other", "condition": "rain"})
            await ws.send(frame_message(jpeg()))
            refused = await errors_of(ws)
        assert [error["code"] for error in refused] == ["forbidden"] * 3
        assert ["'watch'" in error["message"] for error in refused] == [True, True, False]
        assert "'push'" in refused[2]["message"]
        left = (await http.get("/v1/streams/door/watches")).json()["data"]
        assert [watch["id"] for watch in left] == ["mine"]


async def test_a_connection_ends_when_its_token_does() -> None:
    clock = ManualClock()
    async with (
        serving(server__api_keys=KEY, clock=clock) as served,
        served.ws(f"?token={await token(served)}") as ws,
    ):
        await next_event(ws, "session.created")
        clock.advance(59)
        assert await errors_of(ws) == []
        clock.advance(1)
        error = (await next_event(ws, "error"))["error"]
        assert (error["type"], error["code"]) == ("authentication_error", "token_expired")
        assert (await next_event(ws, "session.closing"))["reason"] == "token_expired"
        async with limited("the connection to close"):
            await ws.wait_closed()
        assert (ws.close_code, ws.close_reason) == (1008, "token_expired")


async def test_answers_under_way_are_told_that_they_end_with_the_token() -> None:
    clock = ManualClock()
    async with (
        serving(server__api_keys=KEY, clock=clock) as served,
        served.ws(f"?token={await token(served)}") as ws,
    ):
        await next_event(ws, "session.created")
        asked = {"input": [user_item("What comes?")], "at_s": 1000.0}
        await send(ws, "response.create", response=asked)
        await next_event(ws, "response.created")
        clock.advance(60)
        told: list[str] = []
        while "session.closing" not in told:
            event = await next_event(ws)
            told.append(event["type"])
        assert told.index("response.done") < told.index("session.closing")


async def test_an_event_reader_ends_when_its_token_does() -> None:
    clock = ManualClock()
    async with serving(server__api_keys=KEY, clock=clock) as served:
        async with served.http(headers={"authorization": f"Bearer {KEY}"}) as http:
            await http.post("/v1/streams", json={"id": "door"})
        url = f"/v1/streams/door/events?token={await token(served)}"
        async with served.http() as http, http.stream("GET", url) as reply:
            lines = reply.aiter_lines()
            assert await anext(lines) == "event: stream.updated"
            clock.advance(60)
            async with limited("the events to end"):
                rest = [line async for line in lines]
        assert rest[-3] == "event: error"
        assert "token_expired" in rest[-2]
