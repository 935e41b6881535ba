"""Keys of two tenants on one server: each sees its own streams, on every kind of call."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from onlooker.core.errors import ConfigError
from tests.fakes.served import Served, frame_message, jpeg, make_settings, next_event, send, serving

ACME, OTHER = "the-key-of-acme", "another-key-1"


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(server__api_keys=f"acme:{ACME},{OTHER}") as running:
        yield running


def http(served: Served, key: str) -> httpx.AsyncClient:
    return served.http(headers={"authorization": f"Bearer {key}"})


@asynccontextmanager
async def ws(served: Served, key: str, query: str) -> AsyncIterator[ClientConnection]:
    headers = {"authorization": f"Bearer {key}"}
    async with served.ws(query, additional_headers=headers) as connection:
        yield connection


async def test_streams_of_one_name_do_not_meet_over_http(served: Served) -> None:
    async with http(served, ACME) as acme, http(served, OTHER) as other:
        assert (await acme.post("/v1/streams", json={"id": "door"})).json()["id"] == "door"
        for path in ("/v1/streams/door", "/v1/streams/door/events", "/v1/streams/acme%2Fdoor"):
            assert (await other.get(path)).status_code == 404
        body = {"question": "What is there?"}
        assert (await other.post("/v1/streams/door/questions", json=body)).status_code == 404
        chat = {
            "model": "onlooker-fake",
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "video_url", "video_url": {"url": "stream://acme/door"}},
                        {"type": "text", "text": "What is there?"},
                    ],
                }
            ],
        }
        assert (await other.post("/v1/chat/completions", json=chat)).status_code in (400, 404)
        assert (await other.delete("/v1/streams/door")).status_code == 404
        assert (await other.get("/v1/streams")).json()["data"] == []
        assert (await other.post("/v1/streams", json={"id": "door"})).status_code == 201
        pushed = await other.post(
            "/v1/streams/door/frames?t=0", content=jpeg(), headers={"content-type": "image/jpeg"}
        )
        assert pushed.status_code == 200
        assert (await acme.get("/v1/streams/door")).json()["totals"]["received"] == 0
        assert (await other.get("/v1/streams/door")).json()["totals"]["received"] == 1
        listed = (await acme.get("/v1/streams")).json()
        assert [stream["id"] for stream in listed["data"]] == ["door"]


async def test_streams_of_one_name_do_not_meet_over_a_connection(served: Served) -> None:
    async with ws(served, ACME, "?stream=door") as acme, ws(served, OTHER, "?stream=door") as other:
        for connection in (acme, other):
            created = await next_event(connection, "session.created")
            assert created["session"]["stream"] == "door"
        await acme.send(frame_message(jpeg("red"), sequence=1))
        ack = await next_event(acme, "input_video.ack")
        assert (ack["stream"], ack["totals"]["received"]) == ("door", 1)
        await send(other, "response.create", response={"stream": "acme/door"})
        refused = await next_event(other, "error")
        assert refused["error"]["code"] in ("not_found", "invalid_request")
    streams = served.gateway.hub.streams()
    assert sorted(stream.id for stream in streams) == ["acme/door", "door"]


async def test_a_connection_cannot_name_another_tenants_stream(served: Served) -> None:
    async with ws(served, ACME, "?stream=door") as acme:
        await next_event(acme, "session.created")
        with pytest.raises(InvalidStatus, match=r"404|400"):
            async with ws(served, OTHER, "?stream=acme/door"):
                pass


@pytest.mark.parametrize(
    "keys", ["a b:some-key-1", ":some-key-1", "a:short", "x:k1234567,k1234567"]
)
def test_keys_that_are_none_are_refused(keys: str) -> None:
    with pytest.raises(ConfigError, match="API key"):
        make_settings(server__api_keys=keys)
