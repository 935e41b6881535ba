"""Pictures that would keep a decoder busy, pushed and asked about, with real decoder processes."""

import asyncio
import itertools
import time
from typing import Any

import httpx
import pytest

from tests.fakes.costly import endless_jpeg
from tests.fakes.served import (
    Served,
    data_url,
    frame_message,
    jpeg,
    next_event,
    serving,
)
from tests.fakes.waiting import until

WITHOUT_END = endless_jpeg()
"""Takes several seconds of processor time."""
HOURS = endless_jpeg(20_000)
"""Takes more than any budget in these tests."""

JPEG = {"content-type": "image/jpeg"}


def processes(**settings: Any) -> Any:
    """A server with real decoder processes."""
    named = {f"streams__decoding__{name}": value for name, value in settings.items()}
    return serving(decodes_in_processes=True, **named)


_times_s = itertools.count(0, 10)


async def push(http: httpx.AsyncClient, stream: str, picture: bytes) -> httpx.Response:
    """Push a picture, so long after the one before it that it is looked at."""
    path = f"/v1/streams/{stream}/frames"
    return await http.post(path, params={"t": next(_times_s)}, content=picture, headers=JPEG)


async def opened(http: httpx.AsyncClient, *names: str) -> None:
    for name in names:
        reply = await http.post("/v1/streams", json={"id": name})
        assert reply.is_success, reply.text


def is_decoding(served: Served) -> bool:
    return not served.gateway.hub.is_decoding_idle


async def test_a_picture_that_costs_too_much_is_refused_and_counted() -> None:
    async with processes() as served, served.http() as http:
        await opened(http, "one")
        reply = await push(http, "one", WITHOUT_END)
        assert reply.status_code == 413
        assert "processor time" in reply.json()["error"]["message"]
        status = (await http.get("/v1/streams/one")).json()
        assert status["totals"]["dropped"] == {"too_costly": 1}
        assert served.metric("onlooker_decoders_ended_total", why="too_costly") == 1
        assert (await push(http, "one", jpeg())).json()["outcome"] == "kept"


async def test_others_are_served_while_a_costly_picture_is_decoded() -> None:
    async with processes(still_budget_s=20) as served, served.http() as http:
        await opened(http, "one", "two", "other")
        costly = [asyncio.create_task(push(http, name, HOURS)) for name in ("one", "two")]
        await until(lambda: is_decoding(served))
        for _ in range(3):
            assert (await push(http, "other", jpeg())).is_success
        assert not any(task.done() for task in costly)
        for name in ("one", "two"):
            assert (await http.delete(f"/v1/streams/{name}")).is_success
        assert {(await task).status_code for task in costly} == {409}


async def test_a_stream_that_sends_such_pictures_again_and_again_is_refused() -> None:
    async with processes(max_offences=2, still_budget_s=0.05) as served, served.http() as http:
        await opened(http, "one", "other")
        for _ in range(2):
            assert (await push(http, "one", WITHOUT_END)).status_code == 413
        assert (await push(http, "one", jpeg())).status_code == 413
        assert served.metric("onlooker_decoders_ended_total", why="too_costly") == 2
        assert (await push(http, "other", jpeg())).is_success


async def test_a_costly_picture_is_told_over_the_socket() -> None:
    async with processes() as served, served.ws() as ws:
        await ws.send(frame_message(WITHOUT_END, sequence=7))
        event = await next_event(ws, "input_video.ack")
        assert "too_costly" in str(event)


async def test_a_costly_picture_beside_a_question_is_refused() -> None:
    async with processes() as served, served.http() as http:
        picture = {"type": "image_url", "image_url": {"url": data_url(WITHOUT_END)}}
        words = {"type": "text", "text": "what is it?"}
        reply = await http.post(
            "/v1/chat/completions",
            json={"model": "fake", "messages": [{"role": "user", "content": [words, picture]}]},
        )
        assert reply.status_code == 413, reply.text
        assert "processor time" in reply.text


@pytest.mark.parametrize("how", ["stop", "delete"])
async def test_nobody_waits_for_a_picture_that_is_being_decoded(how: str) -> None:
    async with processes(still_budget_s=60) as served, served.http() as http:
        await opened(http, "one")
        pushed = asyncio.create_task(push(http, "one", HOURS))
        await until(lambda: is_decoding(served))
        begun_s = time.monotonic()
        if how == "delete":
            assert (await http.delete("/v1/streams/one")).is_success
            assert time.monotonic() - begun_s < 5
            assert (await pushed).status_code == 409
    assert time.monotonic() - begun_s < 15
    await asyncio.gather(pushed, return_exceptions=True)


async def test_readiness_tells_that_nothing_is_decoded() -> None:
    async with processes(still_budget_s=60, stall_s=0.2) as served, served.http() as http:
        await opened(http, "one")
        assert (await http.get("/readyz")).status_code == 200
        pushed = asyncio.create_task(push(http, "one", HOURS))
        await until(lambda: not served.gateway.hub.ready())
        ready = await http.get("/readyz")
        assert ready.status_code == 503
        assert "none is being decoded" in ready.json()["reason"]
        assert (await http.get("/healthz")).status_code == 200
    await asyncio.gather(pushed, return_exceptions=True)
