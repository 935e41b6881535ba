"""New streams go to the server of a fleet that has most room."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.fakes.fleet import SELDOM, acquaint, member, redis_of_a_fleet
from tests.fakes.served import KEY, Served, next_event
from tests.fakes.waiting import until

pytestmark = pytest.mark.redis

AUTH = {"authorization": f"Bearer {KEY}"}
RELAYED = {"onlooker-relayed-by": "somebody"}


@pytest.fixture
def redis_url() -> Iterator[str]:
    with redis_of_a_fleet() as url:
        yield url


@asynccontextmanager
async def two(
    redis_url: str, *, a: dict[str, Any] | None = None, b: dict[str, Any] | None = None
) -> AsyncIterator[tuple[Served, Served]]:
    """Servers `a` and `b`, which have heard of each other."""
    async with (
        member(redis_url, "a", **SELDOM, **(a or {})) as first,
        member(redis_url, "b", **SELDOM, **(b or {})) as second,
    ):
        await acquaint(first, second)
        yield first, second


def names(served: Served) -> list[str]:
    return [stream.name for stream in served.gateway.hub.streams()]


@asynccontextmanager
async def at(served: Served, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    async with served.http(headers=AUTH | headers) as client:
        yield client


async def test_a_full_server_passes_a_new_stream_on(redis_url: str) -> None:
    async with two(redis_url, a={"streams__max_streams": 1}) as (a, b), at(a) as client:
        await client.post("/v1/streams", json={"id": "first"})
        reply = await client.post("/v1/streams", json={"id": "door", "metadata": {"of": "us"}})
        assert (reply.status_code, reply.headers["onlooker-served-by"]) == (201, "b")
        assert (await client.get("/v1/streams/door")).json()["metadata"] == {"of": "us"}
        assert (names(a), names(b)) == (["first"], ["door"])


async def test_where_all_are_full_the_caller_is_told_so(redis_url: str) -> None:
    one = {"streams__max_streams": 1}
    async with two(redis_url, a=one, b=one) as (a, _), at(a) as client:
        replies = [await client.post("/v1/streams", json={"id": f"s{n}"}) for n in range(3)]
        assert [reply.status_code for reply in replies] == [201, 201, 503]
        assert replies[2].json()["error"]["code"] == "overloaded"
        assert "retry-after" in replies[2].headers


async def test_a_server_with_little_room_passes_on_what_it_could_take(redis_url: str) -> None:
    async with (
        two(redis_url, a={"streams__max_streams": 4}, b={"streams__max_streams": 40}) as (a, b),
        at(a) as client,
    ):
        for number in range(3):
            await client.post("/v1/streams", json={"id": f"s{number}"})
        assert names(a)[:1] == ["s0"]
        assert "s2" in names(b)


async def test_what_was_passed_on_once_is_opened_where_it_arrives(redis_url: str) -> None:
    async with two(redis_url, a={"streams__max_streams": 1}) as (a, _), at(a, **RELAYED) as client:
        await client.post("/v1/streams", json={"id": "first"})
        assert (await client.post("/v1/streams", json={"id": "door"})).status_code == 503


async def test_a_connection_with_a_new_stream_goes_to_the_server_with_room(redis_url: str) -> None:
    async with two(redis_url, a={"streams__max_streams": 1}) as (a, b), at(a) as client:
        await client.post("/v1/streams", json={"id": "first"})
        async with a.ws("?stream=door", additional_headers=AUTH) as ws:
            assert (await next_event(ws, "session.created"))["session"]["stream"] == "door"
            assert names(b) == ["door"]
        async with a.ws(additional_headers=AUTH) as ws:
            await next_event(ws, "session.created")
            assert len(names(b)) == 2
        await until(lambda: names(b) == ["door"])


async def test_pictures_are_asked_about_where_there_is_room(redis_url: str) -> None:
    asked = {"model": "fake", "messages": [{"role": "user", "content": "what?"}]}
    async with two(redis_url, a={"streams__max_streams": 1}) as (a, _), at(a) as client:
        await client.post("/v1/streams", json={"id": "first"})
        reply = await client.post("/v1/chat/completions", json=asked)
        assert (reply.status_code, reply.headers["onlooker-served-by"]) == (200, "b")


async def test_a_stream_that_is_open_is_not_placed_again(redis_url: str) -> None:
    async with two(redis_url, a={"streams__max_streams": 1}) as (a, b), at(a) as client:
        await client.post("/v1/streams", json={"id": "door"})
        assert (await client.post("/v1/streams", json={"id": "door"})).status_code == 409
        assert names(b) == []


async def test_a_server_that_was_chosen_and_is_gone_is_passed_over(redis_url: str) -> None:
    async with member(redis_url, "a", **SELDOM) as a, at(a) as client:
        await acquaint(a)
        assert a.gateway.herald is not None
        assert a.gateway.placer is not None
        (me,) = await a.gateway.herald.servers()
        gone = {"name": "gone", "url": "http://127.0.0.1:9", "room_ratio": 2.0}
        a.gateway.placer.hear([me.model_copy(update=gone)])
        reply = await client.post("/v1/streams", json={"id": "door"})
        assert (reply.status_code, names(a)) == (201, ["door"])
        assert a.metric("onlooker_relays_total", kind="http", outcome="gone") == 1
