"""Masks, retention and deletion over every door, and by the Python client and the command line."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from onlooker.clients.python import Client
from onlooker.core.errors import Forbidden, InvalidRequest
from onlooker.core.protocol.stream_objects import MaskConfig
from onlooker.engine.fake import ScriptedEngine, ScriptedStore
from tests.fakes.served import (
    KEY,
    Served,
    errors_of,
    frame_message,
    jpeg,
    next_event,
    send,
    serving,
)
from tests.fakes.waiting import until
from tests.integration.clients.test_commands import run

ALL = {"polygon": [[0, 0], [1, 0], [1, 1], [0, 1]], "effect": "black"}
DOOR = "/v1/streams/door"


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(streams__perception__max_pair_gap_s=0.1) as running:
        yield running


@pytest.fixture
async def http(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with served.http() as client:
        yield client


async def push(http: httpx.AsyncClient, *colours: str, first: int = 0) -> None:
    for index, colour in enumerate(colours, first):
        reply = await http.post(
            f"{DOOR}/frames",
            content=jpeg(colour),
            headers={"content-type": "image/jpeg", "x-capture-time-s": str(float(index))},
        )
        assert reply.status_code == 200, reply.text


async def colours(http: httpx.AsyncClient) -> str:
    reply = await http.post(f"{DOOR}/questions", json={"question": "Which colours?"})
    text: str = reply.json()["answer"]
    return text.removeprefix("I have seen these colours: ").removesuffix(".")


async def test_masks_are_given_at_creation_told_and_changed(http: httpx.AsyncClient) -> None:
    made = await http.post(
        "/v1/streams", json={"id": "door", "clock": "virtual", "masks": [ALL], "keep_for_s": 3600}
    )
    assert made.status_code == 201, made.text
    told = (await http.get(DOOR)).json()
    assert (told["masks"], told["keep_for_s"]) == ([ALL], 3600)
    await push(http, "red")
    changed = await http.patch(DOOR, json={"masks": []})
    assert (changed.json()["masks"], changed.json()["keep_for_s"]) == ([], 3600)
    await push(http, "red", first=1)
    assert await colours(http) == "black, red"
    changed = await http.patch(DOOR, json={"keep_for_s": None})
    assert changed.json()["keep_for_s"] is None


@pytest.mark.parametrize(
    ("mask", "wrong"),
    [
        ({"polygon": [[0, 0], [1, 0]]}, "polygon"),
        ({"polygon": [[0, 0], [2, 0], [1, 1]]}, "polygon"),
        ({"polygon": [[0, 0], [1, 0], [1, 1]], "effect": "sepia"}, "effect"),
    ],
)
async def test_what_is_no_mask_is_refused_with_what_is_wrong(
    http: httpx.AsyncClient, mask: dict[str, Any], wrong: str
) -> None:
    refused = await http.post("/v1/streams", json={"id": "door", "masks": [mask]})
    assert refused.status_code == 400
    assert wrong in refused.json()["error"]["param"]
    assert (await http.get(DOOR)).status_code == 404


async def test_too_many_masks_are_refused_and_nothing_is_left_behind(
    http: httpx.AsyncClient,
) -> None:
    refused = await http.post("/v1/streams", json={"id": "door", "masks": [ALL] * 33})
    assert refused.status_code == 413
    assert "max_masks" in refused.json()["error"]["message"]
    assert (await http.get(DOOR)).status_code == 404


async def test_a_span_is_deleted_and_the_reply_says_what_went(http: httpx.AsyncClient) -> None:
    await http.post("/v1/streams", json={"id": "door", "clock": "virtual"})
    await push(http, "red", "blue", "green", "white")
    reply = await http.delete(f"{DOOR}/memory", params={"from": 1, "to": 2})
    assert reply.status_code == 200, reply.text
    told = reply.json()
    assert (told["clips"], told["from_s"], told["to_s"], told["pending_in"]) == (2, 1.0, 2.0, [])
    assert await colours(http) == "red, white"
    asked = await http.post(f"{DOOR}/questions", json={"question": "What was it at 1 second?"})
    assert "no longer remember" in asked.json()["answer"]
    assert asked.json()["onlooker"]["forgotten_spans_s"] == [[1.0, 2.0]]
    reply = await http.delete(f"{DOOR}/memory")
    assert reply.json()["clips"] == 2
    assert await colours(http) == "none"


@pytest.mark.parametrize("span", [{"from": "noon"}, {"from": "5", "to": "4"}, {"to": "-1"},
                                  {"from": "nan"}, {"form": "1"}])  # fmt: skip
async def test_what_is_no_span_is_refused(http: httpx.AsyncClient, span: dict[str, str]) -> None:
    await http.post("/v1/streams", json={"id": "door"})
    refused = await http.delete(f"{DOOR}/memory", params=span)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] in span


async def test_a_live_stream_knows_its_wall_times(served: Served, http: httpx.AsyncClient) -> None:
    await http.post("/v1/streams", json={"id": "door"})
    assert (await http.delete(f"{DOOR}/memory?from=2026-05-01T12:00:00Z")).status_code == 400
    await push(http, "red")
    stream = served.gateway.streams_of("default").get("door")
    await until(lambda: stream.status().clips == 1)
    now = await http.delete(f"{DOOR}/memory?from=2001-01-01&to=2999-01-01T00:00:00%2B02:00")
    assert now.status_code == 200, now.text
    assert now.json()["clips"] == 1


async def test_a_connection_masks_what_it_feeds(served: Served) -> None:
    async with served.ws("?stream=door") as ws:
        video = {"masks": [ALL], "keep_for_s": 60}
        await send(ws, "session.update", session={"type": "realtime", "input_video": video})
        updated = await next_event(ws, "session.updated")
        assert updated["session"]["input_video"]["masks"] == [ALL]
        await ws.send(frame_message(jpeg("red")))
        await next_event(ws, "input_video.ack")
        stream = served.gateway.streams_of("default").get("door")
        await until(lambda: stream.status().clips == 1)
        async with served.http() as http:
            assert await colours(http) == "black"
            assert (await http.get(DOOR)).json()["keep_for_s"] == 60


async def test_a_connection_does_not_unmask_what_another_feeds() -> None:
    keys = f"{KEY},+push+read:a-camera-key,+push+admin:an-owner-key"
    async with (
        serving(server__api_keys=keys) as served,
        served.http(headers={"authorization": f"Bearer {KEY}"}) as http,
    ):
        await http.post("/v1/streams", json={"id": "door", "masks": [ALL]})
        await push(http, "red")  # who pushes over HTTP feeds it for a while
        for key, is_refused in (("a-camera-key", True), ("an-owner-key", False)):
            headers = {"authorization": f"Bearer {key}"}
            async with served.ws("?stream=door", additional_headers=headers) as ws:
                session = {"type": "realtime", "input_video": {"masks": []}}
                await send(ws, "session.update", session=session)
                assert bool(await errors_of(ws)) is is_refused


async def test_an_own_stream_that_is_opened_anew_keeps_its_masks(served: Served) -> None:
    async with served.ws() as ws:
        for video in ({"masks": [ALL]}, {"clock": "virtual"}):
            await send(ws, "session.update", session={"type": "realtime", "input_video": video})
            updated = await next_event(ws, "session.updated")
            assert updated["session"]["input_video"]["masks"] == [ALL]


async def test_masks_are_in_force_again_after_a_restart(tmp_path: Path) -> None:
    store = ScriptedStore()
    settings: dict[str, Any] = {"cache_store__disk__path": str(tmp_path)}
    async with (
        serving(engine=ScriptedEngine(store=store), **settings) as served,
        served.http() as http,
    ):
        await http.post("/v1/streams", json={"id": "door", "masks": [ALL]})
    async with (
        serving(engine=ScriptedEngine(store=store), **settings) as served,
        served.ws("?stream=door") as ws,
    ):
        told = await next_event(ws, "session.created")
        assert told["session"]["input_video"]["masks"] == [ALL]


async def test_the_client_masks_and_forgets() -> None:
    keys = f"{KEY},+push+ask+read:a-camera-key"
    async with serving(server__api_keys=keys, streams__perception__max_pair_gap_s=0.1) as served:
        async with Client(served.base, "a-camera-key") as camera:
            mask = MaskConfig.model_validate(ALL)
            async with camera.stream("door", masks=[mask], clock="virtual") as stream:
                await stream.send_frame(jpeg("red"), at_s=0.0)
                assert "black" in (await stream.ask("Which colours?")).text
            with pytest.raises(Forbidden, match="admin"):
                await camera.forget("door")
        async with Client(served.base, KEY) as owner:
            assert (await owner.set_masks("door", [])).masks == []
            assert (await owner.set_keep_for("door", 5.0)).keep_for_s == 5.0
            assert (await owner.set_keep_for("door", None)).keep_for_s is None
            with pytest.raises(InvalidRequest):
                await owner.forget("door", from_s=3.0, to_s=2.0)
            assert (await owner.forget("door", to_s=0.5)).clips == 1


async def test_the_command_line_forgets(served: Served, http: httpx.AsyncClient) -> None:
    await http.post("/v1/streams", json={"id": "door", "clock": "virtual"})
    await push(http, "red", "blue", "green")
    at = {"ONLOOKER_URL": served.base}
    status, out, err = await run("forget", "door", "--from", "1", "--to", "1.5", **at)
    assert (status, err) == (0, "")
    assert "1 clips" in out
    status, out, _ = await run("forget", "door", "--json", **at)
    assert (status, json.loads(out)["clips"]) == (0, 2)
    status, _, err = await run("forget", "door", "--from", "teatime", **at)
    assert status == 2
    assert "no time" in err
