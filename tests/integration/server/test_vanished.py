"""An owner whose machine has vanished: nothing takes connections to it, or refuses them."""

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from tests.fakes.fleet import SELDOM, acquaint, lease_of, member, redis_of_a_fleet
from tests.fakes.served import KEY, Served, next_event, send
from tests.fakes.waiting import limited
from tests.unit.server.fleet.test_placer import make_server

pytestmark = pytest.mark.redis

AUTH = {"authorization": f"Bearer {KEY}"}
SOON = {"fleet__connect_s": 0.1, "fleet__hold_s": 60.0}


@pytest.fixture
def redis_url() -> Iterator[str]:
    with redis_of_a_fleet() as url:
        yield url


@pytest.fixture
def nowhere() -> Iterator[str]:
    """The URL of a server that takes no connections, and refuses none: a queue that is full."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        waiting = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            with suppress(BlockingIOError):
                one.connect(listening.getsockname())
            waiting.append(one)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        for one in waiting:
            one.close()


@asynccontextmanager
async def at(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with served.http(headers=AUTH) as client:
        yield client


async def test_calls_about_its_streams_say_so_and_soon_without_waiting(
    redis_url: str, nowhere: str
) -> None:
    async with (
        member(redis_url, "b", **SOON) as b,
        lease_of(redis_url, "door", server="vanished", url=nowhere),
        at(b) as client,
    ):
        for _ in range(4):
            reply = await client.get("/v1/streams/door")
            assert (reply.status_code, reply.json()["error"]["code"]) == (503, "owner_lost")
            assert "retry-after" in reply.headers
        assert b.metric("onlooker_servers_unreached_total", how="tried") == 2
        assert b.metric("onlooker_servers_unreached_total", how="held") == 2
        assert b.metric("onlooker_relays_active") == 0


async def test_connections_to_its_streams_are_refused_in_time(redis_url: str, nowhere: str) -> None:
    async with (
        member(redis_url, "b", **SOON) as b,
        lease_of(redis_url, "door", server="vanished", url=nowhere),
        b.ws("", additional_headers=AUTH) as ws,
    ):
        async with limited("the refusal"):
            with pytest.raises(InvalidStatus) as refused:
                await b.ws("?stream=door", additional_headers=AUTH)
        assert refused.value.response.status_code == 503
        await send(ws, "input_video.attach", slot=1, stream="door")
        assert (await next_event(ws, "error"))["error"]["code"] == "owner_lost"


async def test_a_stream_that_was_to_be_opened_there_is_opened_here(
    redis_url: str, nowhere: str
) -> None:
    async with member(redis_url, "b", **SOON, **SELDOM) as b, at(b) as client:
        await acquaint(b)
        assert b.gateway.placer is not None
        b.gateway.placer.hear([make_server("vanished", 5.0, url=nowhere)])
        reply = await client.post("/v1/streams", json={"id": "new"})
        assert (reply.status_code, "onlooker-served-by" in reply.headers) == (201, False)
        b.gateway.placer.hear([make_server("vanished", 5.0, url=nowhere)])
        async with b.ws("?stream=newer", additional_headers=AUTH) as ws:
            assert (await next_event(ws, "session.created"))["session"]["stream"] == "newer"
        assert b.metric("onlooker_relays_total", kind="http", outcome="unreached") == 1
        assert b.metric("onlooker_relays_total", kind="websocket", outcome="unreached") == 1


async def test_who_wants_to_take_its_streams_over_does_not_wait_long(
    redis_url: str, nowhere: str
) -> None:
    passed_on = {**AUTH, "onlooker-relayed-by": "somebody"}
    async with (
        member(redis_url, "b", **SOON) as b,
        lease_of(redis_url, "door", server="vanished", url=nowhere),
        b.http(headers=passed_on) as client,
    ):
        for _ in range(3):
            assert (await client.get("/v1/streams/door")).status_code == 421
        assert b.metric("onlooker_servers_unreached_total", how="tried") == 2
