"""Traces reach a collector: of questions, frames and alerts, over servers of a fleet too."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.fakes.collector import Collected, Collector, collecting
from tests.fakes.fleet import member, redis_of_a_fleet
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
CALLER = "0af7651916cd43dd8448eb211c80319c"
ABOVE = "b7ad6b7169203331"
TRACED = {"traceparent": f"00-{CALLER}-{ABOVE}-01"}
UNTRACED = {"traceparent": f"00-{CALLER}-{ABOVE}-00"}
SOON: dict[str, Any] = {"traces__interval_s": 0.02, "streams__perception__max_pair_gap_s": 0.02}
"""Spans are posted at once, and every frame makes a clip."""

SECRET = "is the blue vase there?"


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with collecting() as running:
        yield running


def is_within(part: Collected, whole: Collected) -> bool:
    return whole.start_ns <= part.start_ns <= part.end_ns <= whole.end_ns


async def ask(ws: Any, text: str = SECRET, **response: Any) -> str:
    item = user_item(text)
    await send(
        ws, "response.create", response={"input": [item], "conversation": "none", **response}
    )
    done = await next_event(ws, "response.done", "error")
    response_id: str = done["response"]["id"]
    return response_id


@pytest.mark.redis
async def test_one_question_over_two_servers_is_one_tree(collector: Collector) -> None:
    traces = {**SOON, "traces__endpoint": collector.url}
    with redis_of_a_fleet() as url:
        async with member(url, "a", **traces) as a, member(url, "b", **traces) as b:
            async with a.http(headers=AUTH) as http:
                (await http.post("/v1/streams", json={"id": "door"})).raise_for_status()
            async with b.http(headers=AUTH | TRACED) as http:
                path = "/v1/streams/door/questions"
                (await http.post(path, json={"question": SECRET})).raise_for_status()
            relay = await collector.one("relay", **{"onlooker.door": "http"})
            question = await collector.one("question")
    assert (relay.trace_id, relay.parent_id, relay.server) == (CALLER, ABOVE, "b")
    assert (question.trace_id, question.parent_id) == (CALLER, relay.span_id)
    assert question.server == "a"
    assert is_within(question, relay)
    parts = collector.children(question)
    assert set(parts) == {"question.wait", "question.answer"}
    assert all(is_within(part, question) for part in parts.values())
    assert question.events == ("first_token",)
    assert question.attributes["onlooker.finish_reason"] == "stop"
    assert question.attributes["onlooker.stream"] == "door"
    ids = {span.span_id for span in collector.spans} | {ABOVE}
    assert all(span.parent_id in ids for span in collector.spans if span.trace_id == CALLER)


@pytest.mark.redis
async def test_a_relayed_connection_brings_its_questions_into_the_callers_trace(
    collector: Collector,
) -> None:
    traces = {**SOON, "traces__endpoint": collector.url}
    with redis_of_a_fleet() as url:
        async with member(url, "a", **traces) as a, member(url, "b", **traces) as b:
            async with a.http(headers=AUTH) as http:
                (await http.post("/v1/streams", json={"id": "door"})).raise_for_status()
            async with b.ws("?stream=door", additional_headers=AUTH | TRACED) as ws:
                await ask(ws)
            async with b.ws("?stream=mine", additional_headers=AUTH | TRACED) as ws:
                await send(ws, "input_video.attach", slot=1, stream="door")
                await next_event(ws, "stream.updated", "input_video.attached", "error")
                await ask(ws, stream="door")
            await collector.one("question")
    relays = collector.named("relay")
    questions = collector.named("question")
    assert len(relays) == len(questions) == 2
    assert {question.parent_id for question in questions} == {relay.span_id for relay in relays}
    assert {span.trace_id for span in (*relays, *questions)} == {CALLER}
    assert {relay.parent_id for relay in relays} == {ABOVE}


async def test_a_question_brings_a_place_of_its_own_over_a_connection(
    collector: Collector,
) -> None:
    async with (
        serving(**SOON, traces__endpoint=collector.url) as served,
        served.ws("?stream=door") as ws,
    ):
        await ask(ws, metadata=TRACED)
        question = await collector.one("question")
        assert (question.trace_id, question.parent_id) == (CALLER, ABOVE)


async def test_what_its_caller_does_not_trace_is_not_traced(collector: Collector) -> None:
    async with serving(**SOON, traces__endpoint=collector.url) as served:
        async with served.ws("?stream=door", additional_headers=UNTRACED) as ws:
            await ask(ws)
        async with served.ws("?stream=door2") as ws:
            response_id = await ask(ws)
        await collector.one("question", **{"onlooker.response_id": response_id})
        assert len(collector.named("question")) == 1


@pytest.mark.parametrize("with_texts", [False, True])
async def test_spans_hold_texts_only_where_a_setting_says_so(
    collector: Collector, with_texts: bool
) -> None:
    traces: dict[str, Any] = {
        "traces__endpoint": collector.url,
        "traces__with_texts": with_texts,
    }
    async with serving(**SOON, **traces) as served, served.ws("?stream=door") as ws:
        await ask(ws)
        question = await collector.one("question")
        assert (question.attributes.get("onlooker.text.question") == SECRET) is with_texts
        assert (SECRET in json.dumps([s.attributes for s in collector.spans])) is with_texts


async def push(served: Served, ws: Any, colour: Any, index: int) -> None:
    await ws.send(frame_message(jpeg(colour), sequence=index, at_s=index))
    await next_event(ws, "input_video.ack")


async def test_a_frame_is_followed_from_the_socket_to_its_segment(collector: Collector) -> None:
    traces: dict[str, Any] = {
        "traces__endpoint": collector.url,
        "traces__frame_ratio": 1.0,
    }
    async with serving(**SOON, **traces) as served, served.ws("?stream=door") as ws:
        await push(served, ws, "red", 7)
        frame = await collector.one("frame", **{"onlooker.sequence": 7})
        parts = collector.children(frame)
        assert set(parts) >= {"clip.wait", "clip.ingest"}
        assert all(is_within(part, frame) for part in parts.values())
        assert frame.attributes["onlooker.stream"] == "door"


async def test_an_alert_is_followed_from_its_frame_to_who_is_told(collector: Collector) -> None:
    watch = {"id": "red", "condition": "tell me when it is red"}
    async with (
        serving(**SOON, traces__endpoint=collector.url) as served,
        served.ws("?stream=house") as ws,
    ):
        await send(ws, "stream.watch.create", watch=watch)
        await next_event(ws, "stream.watch")
        await ws.send(frame_message(jpeg("red"), sequence=1, at_s=0.0))
        told = (await next_event(ws, "stream.alert"))["alert"]
        alert = await collector.one("alert", **{"onlooker.alert": told["id"]})
        delivered = await collector.one("alert.deliver", **{"onlooker.to": "connection"})
        assert told["traceparent"] == f"00-{alert.trace_id}-{alert.span_id}-01"
        assert delivered.parent_id == alert.span_id
        assert set(collector.children(alert)) == {"alert.decide", "alert.write", "alert.deliver"}


async def test_without_traces_nothing_is_recorded_and_no_alert_names_one() -> None:
    watch = {"id": "red", "condition": "tell me when it is red"}
    async with serving(**{**SOON, "traces__interval_s": 2.0}) as served:
        assert served.gateway.tracer is None
        assert served.gateway.exporter is None
        async with served.ws("?stream=house", additional_headers=TRACED) as ws:
            await send(ws, "stream.watch.create", watch=watch)
            await ws.send(frame_message(jpeg("red"), sequence=1, at_s=0.0))
            assert (await next_event(ws, "stream.alert"))["alert"]["traceparent"] is None
            await ask(ws)
