"""Streams that the server feeds by itself, over HTTP."""

from pathlib import Path

import pytest

from onlooker.core.media import Codec
from tests.fakes.pictures import record
from tests.fakes.served import Served, serving
from tests.fakes.waiting import until


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("http://127.0.0.1:1/film.mp4", 403),
        ("http://169.254.169.254/latest/meta-data", 403),
        ("http://[::1]/", 403),
        ("file:///etc/passwd", 403),
        ("/etc/passwd", 403),
        ("gopher://example.org/", 403),
        ("http://", 400),
        ("http://a..b/", 400),
        (f"rtsp://{'a' * 64}.example.org/", 400),
    ],
)
async def test_what_is_not_allowed_is_refused_and_leaves_no_stream(url: str, status: int) -> None:
    async with serving() as served, served.http() as http:
        reply = await http.post("/v1/streams", json={"id": "film", "source": {"url": url}})
        assert reply.status_code == status, reply.text
        assert reply.json()["error"]["type"] in ("permission_error", "invalid_request_error")
        assert served.gateway.hub.streams() == []


async def test_a_file_is_watched_and_its_end_is_told(tmp_path: Path) -> None:
    film = tmp_path / "film.webm"
    film.write_bytes(record(Codec.WEBM, 30))
    async with (
        serving(
            streams__sources__schemes=("file",), streams__sources__file_dirs=(str(tmp_path),)
        ) as served,
        served.http() as http,
    ):
        body = {"id": "film", "clock": "virtual", "source": {"url": film.as_uri()}}
        created = (await http.post("/v1/streams", json=body)).json()
        assert created["source"] == {"kind": "pull", "url": "file:film.webm"}
        await until(lambda: served.gateway.hub.get("film").status().source is None)
        stream = (await http.get("/v1/streams/film")).json()
        assert stream["totals"]["received"] > 0
        assert stream["totals"]["dropped"] == {}
        reply = await http.post("/v1/streams/film/questions", json={"question": "Which colours?"})
        assert reply.json()["answer"].startswith("I have seen these colours: ")
        assert await told(served, "film")


async def told(served: Served, stream: str) -> bool:
    """Whether followers of the stream hear of its source's end."""
    url = f"/v1/streams/{stream}/events?after=0"
    async with served.http() as http, http.stream("GET", url) as reply:
        async for line in reply.aiter_lines():
            if '"source ended"' in line:
                return True
    return False
