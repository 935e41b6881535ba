"""Health answers whatever else is full, and who says nothing makes room for who does."""

import asyncio
import logging
import struct
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from onlooker.server.serving import quiet_uvicorn
from tests.fakes.served import KEY, Served, next_event, send, serving
from tests.integration.server.test_half_sent import closed, masked, raw, upgraded

PROBES = ("/healthz", "/readyz", "/metrics", "/v1/models")
SMALL: dict[str, Any] = {"server__max_http_requests": 2, "server__max_connections": 1}


async def answers_probes(served: Served) -> None:
    """Every probe answers, each on a socket of its own."""
    for path in PROBES:
        async with served.http(headers={"authorization": f"Bearer {KEY}"}) as http:
            assert (await http.get(path)).status_code == 200, path


async def test_idle_sockets_without_a_key_do_not_keep_probes_from_being_answered() -> None:
    async with serving(server__api_keys=KEY, server__max_guests=8, **SMALL) as served:
        idle = [await raw(served) for _ in range(20)]
        await answers_probes(served)
        for reader, _ in idle[:10]:
            assert await closed(reader) == b""
        assert served.metric("onlooker_sockets_closed_total", reason="crowded") >= 12
        for _, writer in idle:
            writer.close()


async def test_probes_answer_while_all_places_are_taken() -> None:
    headers = {"authorization": f"Bearer {KEY}"}
    async with (
        serving(server__api_keys=KEY, **SMALL) as served,
        served.ws(additional_headers=headers) as ws,
        served.http(headers=headers) as http,
        AsyncExitStack() as readers,
    ):
        await next_event(ws)
        stream = (await http.post("/v1/streams", json={})).json()["id"]
        for _ in range(2):
            events = http.stream("GET", f"/v1/streams/{stream}/events")
            await readers.enter_async_context(events)
        refused = await http.get("/v1/streams")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        assert refused.headers["retry-after"]
        await answers_probes(served)


async def test_requests_without_a_key_take_no_place() -> None:
    async with serving(server__api_keys=KEY, **SMALL) as served, served.http() as http:
        replies = await asyncio.gather(*[http.get("/v1/streams") for _ in range(20)])
        assert {reply.status_code for reply in replies} == {401}


async def test_a_place_is_given_back_when_its_request_ends() -> None:
    async with serving(**SMALL) as served, served.http() as http:
        for _ in range(5):
            assert (await http.get("/v1/streams")).status_code == 200
        assert served.gateway.requests.taken == 0


async def test_who_was_let_in_stays_when_guests_crowd() -> None:
    async with serving(server__max_guests=2) as served, served.ws() as ws:
        await next_event(ws)
        idle = [await raw(served) for _ in range(10)]
        await send(ws, "ping")
        assert (await next_event(ws, "pong"))["type"] == "pong"
        for _, writer in idle:
            writer.close()


async def test_a_socket_that_says_nothing_is_closed_soon() -> None:
    async with serving(server__guest_patience_s=0.2) as served:
        reader, writer = await raw(served)
        assert await closed(reader) == b""
        writer.close()
        assert served.metric("onlooker_sockets_closed_total", reason="late") == 1


async def test_a_stranger_whose_body_has_no_end_is_closed_soon() -> None:
    async with serving(server__api_keys=KEY, server__guest_patience_s=0.2) as served:
        reader, writer = await raw(served)
        writer.write(b"POST /v1/streams HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n\r\n{")
        assert (await closed(reader)).startswith(b"HTTP/1.1 401 ")
        writer.close()
        assert served.metric("onlooker_sockets_closed_total", reason="late") == 1


@pytest.mark.parametrize("num_bytes", [70_000, 200_000])
async def test_a_head_over_the_limit_is_refused_though_it_comes_in_one_piece(
    num_bytes: int,
) -> None:
    async with serving() as served:
        reader, writer = await raw(served)
        writer.write(
            b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"y" * num_bytes + b"\r\n\r\n"
        )
        assert (await closed(reader)).startswith(b"HTTP/1.1 431 ")
        writer.close()
        assert served.metric("onlooker_sockets_closed_total", reason="head") == 1


async def test_a_head_of_too_many_lines_is_refused() -> None:
    async with serving() as served:
        reader, writer = await raw(served)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"a: b\r\n" * 200 + b"\r\n")
        assert (await closed(reader)).startswith(b"HTTP/1.1 431 ")
        writer.close()


@pytest.mark.parametrize(
    "data",
    [b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/9\r\n\r\n", b"\x00" * 200],
    ids=["TLS", "a version that there is not", "zeros"],
)
async def test_what_is_no_http_is_counted_and_logged_in_our_words(
    data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("onlooker", "uvicorn", "uvicorn.error", "uvicorn.access"):
        caplog.set_level(logging.INFO, name)  # which also sets it back after the test
    quiet_uvicorn()
    async with serving() as served:
        reader, writer = await raw(served)
        writer.write(data)
        assert (await closed(reader)).startswith(b"HTTP/1.1 400 ")
        writer.close()
        assert served.metric("onlooker_sockets_closed_total", reason="not_http") == 1
    lines = [record for record in caplog.records if record.levelno >= logging.INFO]
    assert [record.message for record in lines] == ["what came in is no HTTP, or broken"]
    assert vars(lines[0])["peer"] == "127.0.0.1"


async def test_a_refused_websocket_is_told_why_and_writes_no_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(server__api_keys=KEY) as served:
        with pytest.raises(InvalidStatus) as refused:
            await served.ws()
        assert refused.value.response.status_code == 401
    assert [record.message for record in caplog.records if record.levelno > logging.INFO] == []


async def test_a_head_within_the_limit_is_taken_again_and_again_on_one_socket() -> None:
    async with serving() as served, served.http(limits=httpx.Limits(max_connections=1)) as http:
        for _ in range(3):
            reply = await http.get("/healthz", headers={"x-long": "y" * 60_000})
            assert reply.status_code == 200


async def test_a_flood_of_requests_on_one_socket_is_cut_short() -> None:
    async with serving() as served:
        reader, writer = await raw(served)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 1000)
        told = await closed(reader)
        assert told.count(b" 200 OK") < 20
        writer.close()
        assert served.metric("onlooker_sockets_closed_total", reason="pipeline") == 1


@pytest.mark.parametrize("opcode", [9, 10], ids=["pings", "pongs"])
async def test_a_flood_of_pings_ends_the_connection(opcode: int) -> None:
    async with serving() as served:
        reader, writer = await upgraded(served)
        writer.write(masked(opcode, b"") * 5000)
        told = await closed(reader)
        assert struct.pack(">H", 1008) in told, told[-100:]
        writer.close()
        assert served.metric("onlooker_sockets_closed_total", reason="pings") == 1


async def test_messages_that_come_all_at_once_are_all_answered() -> None:
    async with serving(server__max_messages_per_s=1e6) as served:
        reader, writer = await upgraded(served)
        writer.write(masked(1, b'{"type": "ping"}') * 3000)
        told = b""
        async with asyncio.timeout(20):
            while told.count(b'"pong"') < 3000:
                told += await reader.read(1 << 16)
        writer.close()
