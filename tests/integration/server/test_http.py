"""Streams, frames, questions and events over plain HTTP."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from onlooker.engine.fake import ScriptedEngine
from tests.fakes.served import Served, jpeg, next_event, send, serving
from tests.fakes.waiting import limited, until


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as running:
        yield running


@pytest.fixture
async def http(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with served.http() as client:
        yield client


async def push(
    http: httpx.AsyncClient, stream: str, at_s: float, colour: Any = "red"
) -> dict[str, Any]:
    reply = await http.post(
        f"/v1/streams/{stream}/frames",
        content=jpeg(colour),
        headers={"content-type": "image/jpeg", "x-capture-time-s": str(at_s)},
    )
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def error_of(reply: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = reply.json()["error"]
    return found


async def read_events(reply: httpx.Response, last: str) -> list[dict[str, Any]]:
    """Server-sent events up to one of type `last`, each with its `id` as ``_id``."""
    events: list[dict[str, Any]] = []
    number: str | None = None
    async with limited("the end of the events"):
        async for line in reply.aiter_lines():
            if line.startswith("id: "):
                number = line.removeprefix("id: ")
            elif line.startswith("data: "):
                events.append({**json.loads(line.removeprefix("data: ")), "_id": number})
                number = None
                if events[-1]["type"] == last:
                    return events
    raise AssertionError(f"the events ended before {last}: {[e['type'] for e in events]}")


async def test_a_stream_is_created_listed_inspected_and_closed(http: httpx.AsyncClient) -> None:
    created = await http.post("/v1/streams", json={"id": "door", "metadata": {"place": "hall"}})
    assert created.status_code == 201
    assert created.json()["metadata"] == {"place": "hall"}
    assert created.json()["clock"] == "live"
    assert (await http.get("/v1/streams")).json()["data"][0]["id"] == "door"
    assert (await http.get("/v1/streams/door")).json()["totals"]["received"] == 0
    assert (await http.delete("/v1/streams/door")).status_code == 204
    gone = await http.get("/v1/streams/door")
    assert gone.status_code == 404
    assert "POST /v1/streams" in error_of(gone)["message"]


async def test_a_stream_chooses_which_tokens_are_computed(http: httpx.AsyncClient) -> None:
    made = await http.post("/v1/streams", json={"id": "door", "token_drop": "filled"})
    assert made.json()["token_drop"] == "filled"
    assert (await http.get("/v1/streams/door")).json()["token_drop"] == "filled"
    refused = await http.post("/v1/streams", json={"id": "hall", "token_drop": "half"})
    assert refused.status_code == 400
    assert "'filled'" in refused.json()["error"]["message"]


async def test_where_no_clip_is_kept_none_can_be_computed_in_part() -> None:
    engine = ScriptedEngine(info=replace(ScriptedEngine().info, mode="resend"))
    async with serving(engine=engine) as served, served.http() as http:
        refused = await http.post("/v1/streams", json={"id": "door", "token_drop": "filled"})
        assert refused.status_code == 400
        assert error_of(refused)["param"] == "token_drop"
        assert "leave token_drop out" in error_of(refused)["message"]
        refused = await http.post("/v1/streams", json={"id": "door", "compaction": "merge"})
        assert error_of(refused)["param"] == "compaction"
        assert "leave compaction out" in error_of(refused)["message"]
        nothing = {"id": "door", "token_drop": "off", "compaction": "off"}
        made = await http.post("/v1/streams", json=nothing)
        assert made.status_code == 201
        async with served.ws() as ws:
            changes = {"input_video": {"token_drop": "dtd"}}
            await send(ws, "session.update", session=changes)
            told = await next_event(ws, "error")
            assert told["error"]["param"] == "session.input_video.token_drop"
            changes = {"input_video": {"compaction": "merge"}}
            await send(ws, "session.update", session=changes)
            told = await next_event(ws, "error")
            assert told["error"]["param"] == "session.input_video.compaction"


async def test_a_stream_chooses_what_stays_of_its_old_clips(http: httpx.AsyncClient) -> None:
    made = await http.post("/v1/streams", json={"id": "door", "compaction": "merge"})
    assert made.json()["compaction"] == "merge"
    assert (await http.get("/v1/streams/door")).json()["compaction"] == "merge"
    refused = await http.post("/v1/streams", json={"id": "hall", "compaction": "half"})
    assert refused.status_code == 400
    assert "'merge'" in refused.json()["error"]["message"]


async def test_streams_are_listed_in_pages(http: httpx.AsyncClient) -> None:
    for name in "abc":
        await http.post("/v1/streams", json={"id": name})
    first = (await http.get("/v1/streams?limit=2")).json()
    assert ([s["id"] for s in first["data"]], first["has_more"]) == (["a", "b"], True)
    rest = (await http.get(f"/v1/streams?limit=2&after={first['last_id']}")).json()
    assert ([s["id"] for s in rest["data"]], rest["has_more"]) == (["c"], False)


async def test_a_second_stream_of_one_name_is_a_conflict(http: httpx.AsyncClient) -> None:
    await http.post("/v1/streams", json={"id": "door"})
    again = await http.post("/v1/streams", json={"id": "door"})
    assert (again.status_code, error_of(again)["code"]) == (409, "conflict")


async def test_streams_over_the_limit_are_refused_with_a_time_to_come_back() -> None:
    async with serving(streams__max_streams=1) as served, served.http() as http:
        await http.post("/v1/streams", json={})
        refused = await http.post("/v1/streams", json={})
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert error_of(refused)["retryable"] is True


async def test_a_frame_s_answer_says_what_became_of_it(http: httpx.AsyncClient) -> None:
    await http.post("/v1/streams", json={"id": "film", "clock": "virtual"})
    assert (await push(http, "film", 0.0))["outcome"] == "kept"
    late = await push(http, "film", 5.0, "blue")
    assert (late["outcome"], late["capture_s"]) == ("kept", 5.0)
    backwards = await push(http, "film", 1.0)
    assert (backwards["outcome"], backwards["reason"]) == ("dropped", "late")
    stream = (await http.get("/v1/streams/film")).json()
    assert stream["totals"] == {"received": 3, "kept": 2, "skipped": 0, "dropped": {"late": 1}}
    assert stream["source"]["kind"] == "push"


async def test_a_question_is_answered_as_json(http: httpx.AsyncClient) -> None:
    await http.post("/v1/streams", json={"id": "film", "clock": "virtual"})
    await push(http, "film", 0.0, (220, 40, 40))
    await push(http, "film", 1.0, (50, 80, 220))
    then = await http.post(
        "/v1/streams/film/questions", json={"question": "Which colour?", "at_s": 0.5}
    )
    now = await http.post("/v1/streams/film/questions", json={"question": "Which colour?"})
    assert then.json()["answer"] == "The newest clip is mostly red."
    assert now.json()["answer"] == "The newest clip is mostly blue."
    assert now.json()["onlooker"]["asked_s"] == 1.0
    assert now.json()["status"] == "completed"


async def test_a_question_is_answered_as_events(http: httpx.AsyncClient) -> None:
    await http.post("/v1/streams", json={"id": "film"})
    request = {"question": "How many?", "stream": True}
    async with http.stream("POST", "/v1/streams/film/questions", json=request) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        events = await read_events(reply, "response.done")
    assert [e["sequence_number"] for e in events] == list(range(1, len(events) + 1))
    assert events[0]["type"] == "response.created"
    assert events[-1]["response"]["status"] == "completed"


async def test_hanging_up_cancels_the_answer() -> None:
    engine = ScriptedEngine(ttft_s=60.0)
    async with serving(engine=engine) as served, served.http() as http:
        await http.post("/v1/streams", json={"id": "film", "clock": "virtual"})
        for is_streamed in (True, False):
            request = {"question": "How many?", "stream": is_streamed}
            asking = asyncio.create_task(http.post("/v1/streams/film/questions", json=request))
            await until(lambda: engine.num_answering == 1)
            asking.cancel()
            await until(lambda: engine.num_answering == 0)


async def test_a_refused_question_is_an_http_error(http: httpx.AsyncClient) -> None:
    await http.post("/v1/streams", json={"id": "film"})
    url = "/v1/streams/film/questions"
    empty = await http.post(url, json={"question": "  "})
    assert (empty.status_code, error_of(empty)["param"]) == (400, "question")
    long = await http.post(url, json={"question": "x" * 9000})
    assert (long.status_code, error_of(long)["code"]) == (413, "too_large")
    greedy = await http.post(url, json={"question": "x", "max_output_tokens": 10**6})
    assert (greedy.status_code, error_of(greedy)["param"]) == (413, "max_output_tokens")
    misspelt = await http.post(url, json={"question": "x", "max_tokens": 5})
    assert (misspelt.status_code, error_of(misspelt)["param"]) == (400, "max_tokens")
    missing = await http.post(url, json={})
    assert (missing.status_code, error_of(missing)["message"]) == (400, "'question' is missing")
    broken = await http.post(url, content=b"{", headers={"content-type": "application/json"})
    assert (broken.status_code, error_of(broken)["message"]) == (
        400,
        "the request body is not JSON",
    )


async def test_events_tell_of_frames_answers_and_the_end(http: httpx.AsyncClient) -> None:
    await http.post("/v1/streams", json={"id": "film", "clock": "virtual"})
    async with http.stream("GET", "/v1/streams/film/events") as reply:
        lines = asyncio.create_task(read_events(reply, "stream.closed"))
        await push(http, "film", 0.0)
        await push(http, "film", 9.0)
        await http.post("/v1/streams/film/questions", json={"question": "How many?"})
        await http.delete("/v1/streams/film")
        events = await lines
    by_type = {event["type"]: event for event in events}
    assert events[0]["type"] == "stream.updated"
    assert events[0]["_id"] is None
    assert by_type["input_video.ack"]["totals"]["kept"] >= 1
    answers = [event for event in events if event["type"] == "stream.answer"]
    assert [answer["status"] for answer in answers] == ["in_progress", "completed"]
    assert answers[1]["text"].startswith("I have seen")
    assert by_type["stream.closed"]["reason"] == "closed by a client"


async def test_events_resume_after_the_last_id(http: httpx.AsyncClient) -> None:
    await http.post("/v1/streams", json={"id": "film"})
    for _ in range(2):
        await http.post("/v1/streams/film/questions", json={"question": "How many?"})
    await http.post("/v1/streams", json={"id": "film"})
    url = "/v1/streams/film/events"
    async with http.stream("GET", url, headers={"last-event-id": "0"}) as reply:
        seen = await read_events(reply, "stream.answer")
    await http.delete("/v1/streams/film")
    # The stream is gone; a fresh one of the same name has numbers of its own.
    assert seen[-1]["status"] == "in_progress"
    await http.post("/v1/streams", json={"id": "film"})
    for _ in range(2):
        await http.post("/v1/streams/film/questions", json={"question": "How many?"})
    async with http.stream("GET", url, headers={"last-event-id": "0"}) as reply:
        first = await read_events(reply, "stream.answer")
    last_id = first[-1]["_id"]
    async with http.stream("GET", url, headers={"last-event-id": last_id}) as reply:
        again = await read_events(reply, "stream.answer")
    assert again[-1]["status"] == "completed"
    assert int(again[-1]["_id"]) == int(last_id) + 1


async def test_a_nonsense_event_id_is_told(http: httpx.AsyncClient) -> None:
    await http.post("/v1/streams", json={"id": "film"})
    reply = await http.get("/v1/streams/film/events", headers={"last-event-id": "x1"})
    assert (reply.status_code, error_of(reply)["param"]) == (400, "Last-Event-ID")


async def test_health_metrics_and_documentation(served: Served, http: httpx.AsyncClient) -> None:
    assert (await http.get("/healthz")).json()["status"] == "ok"
    assert (await http.get("/readyz")).json()["status"] == "ok"
    assert "onlooker_streams_active" in (await http.get("/metrics")).text
    paths = (await http.get("/openapi.json")).json()["paths"]
    assert set(paths) == {
        "/v1/servers",
        "/v1/servers/self/drain",
        "/v1/usage",
        "/v1/streams",
        "/v1/streams/{stream_id}",
        "/v1/streams/{stream_id}/imports",
        "/v1/streams/{stream_id}/imports/{import_id}",
        "/v1/streams/{stream_id}/memory",
        "/v1/streams/{stream_id}/timeline",
        "/v1/streams/{stream_id}/pictures",
        "/v1/streams/{stream_id}/picture",
        "/v1/streams/{stream_id}/strip",
        "/v1/streams/{stream_id}/clips",
        "/v1/streams/{stream_id}/frames",
        "/v1/streams/{stream_id}/questions",
        "/v1/streams/{stream_id}/watches",
        "/v1/streams/{stream_id}/watches/{watch_id}",
        "/v1/streams/{stream_id}/alerts",
        "/v1/streams/{stream_id}/events",
        "/v1/streams/{stream_id}/reference",
        "/v1/questions",
        "/v1/watches",
        "/v1/watches/{order_id}",
        "/v1/alerts",
        "/v1/whip/{stream_id}",
        "/v1/whip/{stream_id}/{session_id}",
        "/v1/chat/completions",
        "/v1/responses",
        "/v1/responses/{response_id}",
        "/v1/models",
        "/v1/models/{model}",
        "/v1/realtime/client_secrets",
        "/healthz",
        "/readyz",
        "/metrics",
    }
    for path, calls in paths.items():
        for call in calls.values():
            assert call["summary"], path
            assert call["description"], path
    assert (await http.get("/docs")).status_code == 200


async def test_the_page_is_served_under_a_strict_policy(http: httpx.AsyncClient) -> None:
    page = await http.get("/")
    assert page.status_code == 200
    assert "<html" in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    script = await http.get("/app.js")
    assert "javascript" in script.headers["content-type"]
    assert (await http.get("/../pyproject.toml")).status_code == 404
    assert (await http.get("/%2e%2e/python/cli.py")).status_code == 404


async def test_a_dead_engine_is_told_by_health_and_answers() -> None:
    engine = ScriptedEngine()
    settings: dict[str, Any] = {"engine__restarts__max_restarts": 0}
    async with serving(engine=engine, **settings) as served, served.http() as http:
        engine.die()
        assert (await http.get("/healthz")).status_code == 503
        assert (await http.get("/readyz")).json()["status"] == "failed"
        refused = await http.post("/v1/streams", json={})
        assert (refused.status_code, error_of(refused)["code"]) == (503, "engine_dead")


async def test_an_engine_that_is_started_again_is_not_ready_meanwhile() -> None:
    engine = ScriptedEngine()
    settings: dict[str, Any] = {"engine__restarts__min_backoff_s": 0.1}
    async with serving(engine=engine, **settings) as served, served.http() as http:
        await http.post("/v1/streams", json={"id": "door"})
        engine.die()
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "recovering")
        assert (await http.get("/healthz")).status_code == 200
        reply = await http.post("/v1/streams/door/questions", json={"question": "how many?"})
        assert reply.json()["answer"] == "I have seen 0 clips up to 0.00 s."  # it waited
        assert (await http.get("/readyz")).status_code == 200
        assert served.metric("onlooker_engine_restarts_total", outcome="started") == 1


async def test_an_engine_that_takes_long_to_come_back_is_told_with_a_time_to_retry() -> None:
    engine = ScriptedEngine()
    settings: dict[str, Any] = {
        "engine__restarts__min_backoff_s": 60,
        "engine__restarts__wait_s": 0.05,
    }
    async with serving(engine=engine, **settings) as served, served.http() as http:
        await http.post("/v1/streams", json={"id": "door"})
        engine.die()
        asking = http.post("/v1/streams/door/questions", json={"question": "how many?"})
        for refused in (await asking, await http.post("/v1/streams", json={})):
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "5"
            error = error_of(refused)
            assert (error["code"], error["retryable"]) == ("engine_restarting", True)


async def test_while_starting_the_port_answers_and_says_so() -> None:
    class SlowEngine(ScriptedEngine):
        async def start(self, progress: Any) -> None:
            progress("loading the weights")
            await asyncio.Event().wait()

    async with serving(engine=SlowEngine(), wait=False) as served, served.http() as http:
        assert (await http.get("/healthz")).status_code == 200
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()["reason"]) == (503, "loading the weights")
        refused = await http.get("/v1/models")
        assert error_of(refused)["code"] == "starting"
        assert "loading the weights" in error_of(refused)["message"]


async def test_the_pieces_of_an_answer_are_sent_at_once(served: Served) -> None:
    """Not held until the peer has acknowledged the piece before: that costs 40 ms for each."""
    async with served.http() as http:
        await http.get("/readyz")
        for connection in served.server.server_state.connections:
            peer = connection.transport.get_extra_info("socket")
            assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert served.server.server_state.connections
