"""Requests that an app of this process answers, piece by piece."""

import asyncio

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from onlooker.server.mcp.in_process import MAX_PIECES, InProcessTransport
from tests.fakes.waiting import limited, until


def calling(app: object) -> httpx.AsyncClient:
    transport = InProcessTransport(app)  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, base_url="http://here")


async def begin(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-app", b"yes")]})


async def test_a_request_arrives_whole_and_so_does_its_reply() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        assert (scope["method"], scope["path"]) == ("POST", "/a b")
        assert scope["query_string"] == b"c=%C3%A9"
        assert (b"x-mine", b"1") in scope["headers"]
        await begin(send)
        await send({"type": "http.response.body", "body": message["body"] * 2})

    async with calling(app) as http:
        reply = await http.post("/a b", params={"c": "é"}, content=b"ab", headers={"X-Mine": "1"})
    assert (reply.status_code, reply.headers["x-app"], reply.content) == (200, "yes", b"abab")


async def test_pieces_come_before_the_reply_is_whole() -> None:
    goes_on = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await begin(send)
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await goes_on.wait()
        await send({"type": "http.response.body", "body": b"last"})

    async with limited("pieces"), calling(app) as http, http.stream("GET", "/") as reply:
        pieces = reply.aiter_raw()
        assert await anext(pieces) == b"first"
        goes_on.set()
        assert [piece async for piece in pieces] == [b"last"]


async def test_an_app_waits_for_a_slow_reader_and_hears_that_it_left() -> None:
    sent: list[int] = []
    told: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await begin(send)
        listening = asyncio.ensure_future(receive())
        try:
            for number in range(10 * MAX_PIECES):
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
                sent.append(number)
        finally:
            await asyncio.sleep(0)
            told.append((await listening)["type"])

    async with calling(app) as http:
        async with http.stream("GET", "/"):
            await until(lambda: len(sent) == MAX_PIECES)
        assert len(sent) == MAX_PIECES
    assert told == ["http.disconnect"]


async def test_a_reply_that_ends_is_not_broken_off() -> None:
    ended: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await begin(send)
        await send({"type": "http.response.body", "body": b"all"})
        await asyncio.sleep(0)
        ended.append(True)

    async with calling(app) as http:
        assert (await http.get("/")).content == b"all"
    assert ended == [True]


async def test_an_app_that_fails_before_it_replies_is_an_error_of_the_connection() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError

    async with calling(app) as http:
        with pytest.raises(httpx.RemoteProtocolError, match="without a reply"):
            await http.get("/")
