"""One connection feeds streams of several owners: each slot is relayed to its own."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest

from tests.fakes.fleet import member, member_apart, redis_of_a_fleet
from tests.fakes.served import KEY, Served, frame_message, jpeg, next_event, send, user_item
from tests.fakes.waiting import until

pytestmark = pytest.mark.redis

AUTH = {"authorization": f"Bearer {KEY}"}


@pytest.fixture
def redis_url() -> Iterator[str]:
    with redis_of_a_fleet() as url:
        yield url


@pytest.fixture
async def pair(redis_url: str) -> AsyncIterator[tuple[Served, Served]]:
    """`a`, which has the stream `far`, and `b`, which has `near` and is connected to."""
    async with member(redis_url, "a") as a, member(redis_url, "b") as b:
        await open_stream(a, "far")
        await open_stream(b, "near")
        yield a, b
        await until(lambda: not a.gateway.connections and not b.gateway.connections)
        assert b.metric("onlooker_relays_active") == 0


@asynccontextmanager
async def at(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with served.http(headers=AUTH) as client:
        yield client


async def open_stream(served: Served, name: str) -> None:
    async with at(served) as client:
        (await client.post("/v1/streams", json={"id": name})).raise_for_status()


def kept(served: Served, name: str) -> int:
    return served.gateway.streams_of("default").get(name).status().kept


async def test_each_slot_feeds_its_own_streams_owner(pair: tuple[Served, Served]) -> None:
    a, b = pair
    async with b.ws("?stream=near", additional_headers=AUTH) as ws:
        await send(ws, "input_video.attach", slot=1, stream="far")
        attached = await next_event(ws, "input_video.attached", "error")
        await ws.send(frame_message(jpeg(), sequence=7, slot=1))
        await ws.send(frame_message(jpeg("blue"), sequence=3))
        acks: dict[int, tuple[str, int]] = {}
        while set(acks) != {0, 1}:
            ack = await next_event(ws, "input_video.ack")
            acks[ack["slot"]] = (ack["stream"], ack["last_sequence"])
    assert (attached["slot"], attached["stream"]["id"]) == (1, "far")
    assert acks == {0: ("near", 3), 1: ("far", 7)}
    assert (kept(a, "far"), kept(b, "near")) == (1, 1)


async def test_events_of_a_connection_are_numbered_as_one(pair: tuple[Served, Served]) -> None:
    _, b = pair
    async with b.ws("?stream=near", additional_headers=AUTH) as ws:
        await send(ws, "input_video.attach", slot=1, stream="far")
        await next_event(ws, "input_video.attached")
        await ws.send(frame_message(jpeg(), slot=1))
        await send(ws, "ping")
        numbers = [(await next_event(ws))["sequence_number"] for _ in range(3)]
    assert numbers == sorted(set(numbers))


async def test_what_is_about_a_far_stream_is_done_by_its_owner(pair: tuple[Served, Served]) -> None:
    a, b = pair
    async with b.ws("?stream=near", additional_headers=AUTH) as ws:
        await send(ws, "input_video.attach", slot=1, stream="far")
        await next_event(ws, "input_video.attached")
        watch = {"id": "rain", "condition": "it rains"}
        await send(ws, "stream.watch.create", stream="far", watch=watch)
        made = await next_event(ws, "stream.watch", "error")
        await ws.send(frame_message(jpeg("blue"), slot=1))
        await next_event(ws, "input_video.ack")
        await send(ws, "conversation.item.create", item=user_item("What colour?"))
        await send(ws, "response.create", response={"stream": "far"})
        done = await next_event(ws, "response.done", "error")
        too_long = {"stream": "far", "max_output_tokens": 4095, "instructions": "x" * 40_000}
        await send(ws, "response.create", event_id="mine", response=too_long)
        refused = await next_event(ws, "error")
    assert (made["slot"], made["stream"], made["watch_id"]) == (1, "far", "rain")
    found = a.gateway.streams_of("default").get("far").watches.watches()
    assert [watch.watch_id for watch in found] == ["rain"]
    assert "mostly blue" in done["response"]["output"][0]["content"][0]["text"]
    assert refused["error"]["event_id"] == "mine"


async def test_a_question_to_a_far_stream_has_the_functions_of_its_session(
    pair: tuple[Served, Served],
) -> None:
    _, b = pair
    dial = {"type": "function", "name": "dial", "parameters": {"type": "object"}}
    session = {"type": "realtime", "tools": [dial], "instructions": "Be brief."}
    async with b.ws("?stream=near", additional_headers=AUTH) as ws:
        await send(ws, "session.update", session=session)
        await send(ws, "input_video.attach", slot=1, stream="far")
        await next_event(ws, "input_video.attached")
        await send(ws, "conversation.item.create", item=user_item("Please dial."))
        await send(ws, "response.create", response={"stream": "far"})
        called = await next_event(ws, "response.done", "error")
        (call,) = called["response"]["output"]
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "busy"}
        await send(ws, "conversation.item.create", item=result)
        await next_event(ws, "conversation.item.done")
        await send(ws, "response.create", response={"stream": "far"})
        done = await next_event(ws, "response.done", "error")
        itself = {"type": "item_reference", "id": called["response"]["output"][0]["id"]}
        await send(ws, "response.create", response={"stream": "far", "tools": [], "input": [
            {"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "Please dial."}]}, itself,
        ]})  # fmt: skip
        again = await next_event(ws, "response.done", "error")
    assert (call["type"], call["name"]) == ("function_call", "dial")
    assert done["response"]["output"][0]["type"] == "message"
    assert [item["type"] for item in again["response"]["output"]] == ["message"]


async def test_an_answer_about_a_far_stream_is_remembered_unless_it_is_beside(
    pair: tuple[Served, Served],
) -> None:
    _, b = pair
    async with b.ws("?stream=near", additional_headers=AUTH) as ws:
        await send(ws, "input_video.attach", slot=1, stream="far")
        await next_event(ws, "input_video.attached")
        await send(ws, "conversation.item.create", item=user_item("What colour?"))
        answers = []
        for conversation in ("none", "auto"):
            far = {"stream": "far", "conversation": conversation}
            await send(ws, "response.create", response=far)
            done = await next_event(ws, "response.done", "error")
            answers.append(done["response"]["output"][0]["id"])
        found = []
        for item_id in answers:
            await send(ws, "conversation.item.retrieve", item_id=item_id)
            found.append((await next_event(ws, "conversation.item.retrieved", "error"))["type"])
    assert found == ["error", "conversation.item.retrieved"]


async def test_what_is_wrong_with_a_question_to_a_far_stream_is_said(
    pair: tuple[Served, Served],
) -> None:
    _, b = pair
    async with b.ws("?stream=near", additional_headers=AUTH) as ws:
        await send(ws, "input_video.attach", slot=1, stream="far")
        await next_event(ws, "input_video.attached")
        await send(ws, "conversation.item.create", item=user_item("What?"))
        unknown = {"stream": "far", "input": [{"type": "item_reference", "id": "none"}]}
        await send(ws, "response.create", event_id="mine", response=unknown)
        no_item = await next_event(ws, "error")
        too_long = {"stream": "far", "instructions": "x" * 40_000}
        await send(ws, "response.create", response=too_long)
        refused = await next_event(ws, "error")
        await send(
            ws, "response.create", response={"stream": "far", "output_modalities": ["audio"]}
        )
        no_sound = await next_event(ws, "error")
        await send(ws, "response.create", response={"stream": "far"})
        done = await next_event(ws, "response.done", "error")
    assert (no_item["error"]["code"], no_item["error"]["event_id"]) == ("not_found", "mine")
    assert (refused["error"]["code"], refused["error"]["event_id"]) == ("too_large", None)
    assert no_sound["error"]["code"] == "invalid_request"
    assert done["response"]["status"] == "completed"


async def test_a_far_slot_is_detached_and_lets_go_of_its_owner(pair: tuple[Served, Served]) -> None:
    a, b = pair
    async with b.ws("?stream=near", additional_headers=AUTH) as ws:
        await send(ws, "input_video.attach", slot=1, stream="far")
        await next_event(ws, "input_video.attached")
        assert a.gateway.places.taken == 1
        await send(ws, "input_video.detach", slot=1)
        assert (await next_event(ws, "input_video.detached"))["stream"] == "far"
        await until(lambda: a.gateway.places.taken == 0)
        await ws.send(frame_message(jpeg(), slot=1))
        assert (await next_event(ws, "error"))["error"]["code"] == "not_found"


async def test_a_slot_of_a_connection_that_was_passed_on_reaches_a_third_server(
    pair: tuple[Served, Served], redis_url: str
) -> None:
    a, _ = pair
    async with member(redis_url, "c") as c:
        async with c.ws("?stream=near", additional_headers=AUTH) as ws:
            await send(ws, "input_video.attach", slot=1, stream="far")
            await next_event(ws, "input_video.attached")
            await ws.send(frame_message(jpeg(), slot=1))
            assert (await next_event(ws, "input_video.ack"))["stream"] == "far"
        assert kept(a, "far") == 1


async def test_a_far_stream_that_is_closed_is_told_so(pair: tuple[Served, Served]) -> None:
    a, b = pair
    async with b.ws("?stream=near", additional_headers=AUTH) as ws, at(a) as client:
        await send(ws, "input_video.attach", slot=1, stream="far")
        await next_event(ws, "input_video.attached")
        await client.delete("/v1/streams/far")
        assert (await next_event(ws, "stream.closed"))["slot"] == 1
        await send(ws, "input_video.detach", slot=1)
        await next_event(ws, "input_video.detached")


async def test_a_slot_goes_on_by_itself_when_its_owner_is_drained(
    pair: tuple[Served, Served],
) -> None:
    a, b = pair
    async with b.ws("?stream=near", additional_headers=AUTH) as ws, at(a) as client:
        await send(ws, "input_video.attach", slot=1, stream="far")
        await next_event(ws, "input_video.attached")
        await client.post("/v1/servers/self/drain")
        await until(lambda: b.metric("onlooker_streams_active") == 2)
        await until(lambda: not b.gateway.relay or b.metric("onlooker_relays_active") == 0)
        await ws.send(frame_message(jpeg(), slot=1))
        assert (await next_event(ws, "input_video.ack"))["slot"] == 1
    assert kept(b, "far") == 1


async def test_a_slot_goes_on_by_itself_when_its_owner_is_killed(redis_url: str) -> None:
    with member_apart(redis_url, "a") as a:
        async with member(redis_url, "b") as b:
            async with httpx.AsyncClient(base_url=a.base, headers=AUTH, trust_env=False) as owner:
                (await owner.post("/v1/streams", json={"id": "far"})).raise_for_status()
            async with b.ws("?stream=near", additional_headers=AUTH) as ws:
                await send(ws, "input_video.attach", slot=1, stream="far")
                await next_event(ws, "input_video.attached")
                a.kill()
                await until(lambda: b.metric("onlooker_streams_active") == 2)
                await ws.send(frame_message(jpeg(), slot=1))
                assert (await next_event(ws, "input_video.ack"))["slot"] == 1
