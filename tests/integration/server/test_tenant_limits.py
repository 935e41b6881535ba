"""Limits of a tenant as callers meet them at every door, and on two servers with one Redis."""

import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from tests.contract.redis_server import RedisServer
from tests.fakes.fleet import SELDOM, member
from tests.fakes.served import (
    KEY,
    Served,
    frame_message,
    jpeg,
    next_event,
    send,
    serving,
    user_item,
)

AUTH = {"authorization": f"Bearer {KEY}"}
LIMITS: dict[str, Any] = {
    "tenants__limits__max_streams": 1,
    "tenants__limits__max_fps": 1.0,
    "tenants__limits__max_questions_per_minute": 1,
    "tenants__limits__max_watches": 1,
}
QUESTION = {"question": "What is there?"}
RAIN = {"condition": "it rains"}
PICTURE: dict[str, Any] = {"content": jpeg(), "headers": {"content-type": "image/jpeg"}}
DOOR = "/v1/streams/door"


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(server__api_keys=[KEY], **LIMITS) as running:
        yield running


@asynccontextmanager
async def at(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with served.http(headers=AUTH) as client:
        yield client


def refusal(reply: httpx.Response) -> tuple[int, str, str]:
    """Status, code and limit; a refusal says when to come again."""
    error = reply.json()["error"]
    assert int(reply.headers["retry-after"]) >= error["retry_after_s"] > 0
    assert error["retryable"]
    return reply.status_code, error["code"], error["limit"]


def reached(limit: str) -> tuple[int, str, str]:
    return 429, "rate_limit_exceeded", limit


def chat(**more: Any) -> dict[str, Any]:
    content = [
        {"type": "video_url", "video_url": {"url": "stream://door"}},
        {"type": "text", "text": "What is there?"},
    ]
    return {"model": "fake", "messages": [{"role": "user", "content": content}], **more}


async def test_http_is_told_which_limit_it_is_and_when_to_come_again(served: Served) -> None:
    async with at(served) as http:
        for path, body, limit in (
            ("/v1/streams", {"json": {"id": "door"}}, "streams"),
            (f"{DOOR}/watches", {"json": RAIN}, "watches"),
            (f"{DOOR}/frames", PICTURE, "fps"),
            (f"{DOOR}/questions", {"json": QUESTION}, "questions_per_minute"),
        ):
            assert (await http.post(path, **body)).is_success
            if limit == "streams":
                body = {"json": {"id": "yard"}}
            assert refusal(await http.post(path, **body)) == reached(limit)


async def test_clients_of_openai_are_told_likewise(served: Served) -> None:
    async with at(served) as http:
        await http.post("/v1/streams", json={"id": "door"})
        await http.post(f"{DOOR}/questions", json=QUESTION)
        asked = {"model": "fake", "input": "What is there?"}
        told = {"onlooker-stream": "door"}
        for reply in (
            await http.post("/v1/chat/completions", json=chat()),
            await http.post("/v1/chat/completions", json=chat(stream=True)),
            await http.post("/v1/responses", json=asked, headers=told),
            await http.post("/v1/responses", json={**asked, "stream": True}, headers=told),
        ):
            assert refusal(reply) == reached("questions_per_minute")


async def test_an_answer_by_events_says_so_at_its_end(served: Served) -> None:
    async with at(served) as http:
        await http.post("/v1/streams", json={"id": "door"})
        await http.post(f"{DOOR}/questions", json=QUESTION)
        reply = await http.post(f"{DOOR}/questions", json={**QUESTION, "stream": True})
        last = json.loads(reply.text.strip().splitlines()[-1].removeprefix("data: "))
        error = last["response"]["status_details"]["error"]
        assert (last["type"], error["limit"]) == ("response.done", "questions_per_minute")
        assert 0 < error["retry_after_s"] <= 60


async def test_a_connection_is_told_by_errors_answers_and_acknowledgements(served: Served) -> None:
    async with served.ws("?stream=door", additional_headers=AUTH) as ws:
        for _ in range(2):
            await send(ws, "stream.watch.create", watch=RAIN)
        assert (await next_event(ws, "error"))["error"]["limit"] == "watches"
        await send(ws, "conversation.item.create", item=user_item("What is there?"))
        for status in ("completed", "failed"):
            await send(ws, "response.create")
            done = (await next_event(ws, "response.done"))["response"]
            assert done["status"] == status
        assert done["status_details"]["error"]["limit"] == "questions_per_minute"
        for number in (1, 2):
            await ws.send(frame_message(jpeg(), sequence=number, at_s=float(number)))
        while not (ack := await next_event(ws, "input_video.ack"))["totals"]["dropped"]:
            pass
        assert ack["totals"]["dropped"] == {"tenant_fps": 1}
        with pytest.raises(InvalidStatus) as refused:
            async with served.ws(additional_headers=AUTH):
                raise AssertionError("it was let in")
    assert refused.value.response.status_code == 429
    assert json.loads(refused.value.response.body)["error"]["limit"] == "streams"


async def test_usage_tells_what_a_tenant_has_did_and_was_refused(served: Served) -> None:
    async with at(served) as http:
        await http.post("/v1/streams", json={"id": "door"})
        for _ in range(2):
            await http.post(f"{DOOR}/frames", **PICTURE)
            await http.post(f"{DOOR}/questions", json=QUESTION)
        reply = (await http.get("/v1/usage")).json()
    (usage,) = reply["data"]
    assert reply["is_whole"]
    assert (usage["tenant"], usage["streams"], usage["questions"]) == ("default", 1, 1)
    assert usage["frames"] == {"taken": 1, "left_out": 1}
    assert usage["refused"] == {
        "streams": 0, "fps": 1, "questions_per_minute": 1, "memory_bytes": 0, "watches": 0,
    }  # fmt: skip
    assert usage["tokens"]["output"] > 0
    assert usage["limits"]["max_streams"] == 1


# ---- two servers ----


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server on this machine; `make setup` installs one where it may")
    with tempfile.TemporaryDirectory(prefix="ol") as folder:
        server = RedisServer(Path(folder))
        server.start()
        yield server
        server.kill()


@asynccontextmanager
async def two(redis: RedisServer, **limits: int) -> AsyncIterator[tuple[Served, Served]]:
    """Servers `a` and `b`, which have heard of each other and hear nothing newer."""
    settings = {f"tenants__limits__{name}": limit for name, limit in limits.items()}
    options = {**SELDOM, **settings, "fleet__relay": False}
    async with (
        member(redis.url, "a", **options) as a,
        member(redis.url, "b", **options) as b,
    ):
        await exchange(a, b, a)
        yield a, b


async def exchange(*members: Served) -> None:
    for one in members:
        await one.gateway.hub.accounts.settle()


async def opened(served: Served, name: str) -> int:
    async with at(served) as http:
        return (await http.post("/v1/streams", json={"id": name})).status_code


@pytest.mark.redis
async def test_a_limit_of_streams_holds_over_two_servers(redis: RedisServer) -> None:
    async with two(redis, max_streams=2) as (a, b):
        assert [await opened(a, "one"), await opened(b, "two")] == [201, 201]
        assert [await opened(a, "three"), await opened(b, "four")] == [429, 429]
        async with at(a) as http:
            await http.delete("/v1/streams/one")
        assert await opened(b, "four") == 201


@pytest.mark.redis
async def test_a_minute_has_no_more_questions_on_two_servers(redis: RedisServer) -> None:
    async with two(redis, max_questions_per_minute=1) as (a, b), at(a) as first, at(b) as second:
        assert [await opened(a, "door"), await opened(b, "yard")] == [201, 201]
        assert (await first.post(f"{DOOR}/questions", json=QUESTION)).is_success
        reply = await second.post("/v1/streams/yard/questions", json=QUESTION)
        assert refusal(reply) == reached("questions_per_minute")


@pytest.mark.redis
async def test_without_redis_each_server_gives_out_its_part_until_it_is_back(
    redis: RedisServer,
) -> None:
    async with two(redis, max_questions_per_minute=4) as (a, _), at(a) as http:
        await opened(a, "door")
        redis.kill()
        replies = [await http.post(f"{DOOR}/questions", json=QUESTION) for _ in range(3)]
        assert [reply.status_code for reply in replies] == [200, 200, 429]
        assert "while Redis does not answer" in replies[2].json()["error"]["message"]
        assert a.metric("onlooker_tenant_limits_alone") == 1
        assert not (await http.get("/v1/usage")).json()["is_whole"]
        redis.start()
        await exchange(a)
        assert a.metric("onlooker_tenant_limits_alone") == 0
        assert (await http.post(f"{DOOR}/questions", json=QUESTION)).is_success


@pytest.mark.redis
async def test_usage_is_that_of_all_servers_and_outlives_them(redis: RedisServer) -> None:
    async with two(redis) as (a, b):
        for served, name in ((a, "door"), (b, "yard")):
            await opened(served, name)
            async with at(served) as http:
                await http.post(f"/v1/streams/{name}/questions", json=QUESTION)
        await exchange(a, b, a)
        async with at(a) as http:
            reply = (await http.get("/v1/usage")).json()
        assert (reply["servers"], reply["is_whole"]) == (["a", "b"], True)
        assert [reply["data"][0][name] for name in ("streams", "questions")] == [2, 2]
    async with member(redis.url, "c", **SELDOM) as c, at(c) as http:
        (usage,) = (await http.get("/v1/usage")).json()["data"]
    assert [usage[name] for name in ("streams", "questions")] == [0, 2]
