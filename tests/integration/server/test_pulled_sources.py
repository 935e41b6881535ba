"""Streams that the server feeds by itself, over HTTP."""

import json
from pathlib import Path
from typing import Any

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


FILES: dict[str, Any] = {"streams__sources__schemes": ("file",)}


async def test_a_file_is_watched_and_its_end_is_told(tmp_path: Path) -> None:
    film = tmp_path / "film.webm"
    film.write_bytes(record(Codec.WEBM, 30))
    async with (
        serving(**FILES, streams__sources__file_dirs=(str(tmp_path),)) as served,
        served.http() as http,
    ):
        body = {"id": "film", "clock": "virtual", "source": {"url": film.as_uri()}}
        created = (await http.post("/v1/streams", json=body)).json()
        assert (created["source"]["kind"], created["source"]["url"]) == ("pull", "file:film.webm")
        assert created["source"]["state"] == "opening"
        await until(lambda: served.gateway.hub.get("film").status().source is None)
        stream = (await http.get("/v1/streams/film")).json()
        assert stream["totals"]["received"] > 0
        assert stream["totals"]["dropped"] == {}
        assert stream["source"]["url"] == "file:film.webm"
        assert (stream["source"]["state"], stream["source"]["reason"]) == ("ended", "it ended")
        reply = await http.post("/v1/streams/film/questions", json={"question": "Which colours?"})
        assert reply.json()["answer"].startswith("I have seen these colours: ")
        updates = await told(served, "film", until="ended")
        assert [update["reason"] for update in updates] == [
            "source began", "source playing", "source ended",
        ]  # fmt: skip


async def test_a_source_that_fails_leaves_its_reason_and_events_that_can_be_resumed(
    tmp_path: Path,
) -> None:
    (tmp_path / "film.mp4").write_text("this is no film")
    async with (
        serving(**FILES, streams__sources__file_dirs=(str(tmp_path),)) as served,
        served.http() as http,
    ):
        await http.post("/v1/streams", json={"id": "a", "source": {"url": f"{tmp_path}/film.mp4"}})
        updates = await told(served, "a", until="failed")
        source = (await http.get("/v1/streams/a")).json()["source"]
        assert (source["kind"], source["url"], source["state"]) == ("pull", "film.mp4", "failed")
        assert "no video" in source["reason"]
        assert source["changed_at"] > 0
        assert [update["stream"]["source"]["state"] for update in updates] == ["opening", "failed"]
        again = await told(served, "a", until="failed", after=updates[0]["event_number"])
        assert again == updates[1:]


async def told(served: Served, stream: str, *, until: str, after: int = 0) -> list[dict[str, Any]]:
    """What followers of the stream hear of its source, from event `after` on."""
    url, updates = f"/v1/streams/{stream}/events?after={after}", []
    async with served.http() as http, http.stream("GET", url) as reply:
        async for line in reply.aiter_lines():
            event = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
            if event.get("type") == "stream.updated":
                updates.append(event)
                if event["reason"] == f"source {until}":
                    break
    return updates
