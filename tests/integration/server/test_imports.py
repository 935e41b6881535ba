"""Recordings that the server imports by itself: uploaded, from its disk, or fetched."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from onlooker.core.backoff import Backoff
from onlooker.core.ids import StreamId
from onlooker.engine.fake import ScriptedEngine
from onlooker.streams.importing import importer as importers
from tests.fakes.dated_recordings import write_recording
from tests.fakes.served import Served, frame_message, jpeg, serving
from tests.fakes.waiting import limited, until
from tests.fakes.web import Replies, Reply, web

BEGAN = datetime(2026, 5, 1, 15, 0, tzinfo=UTC)
DOOR = "/v1/streams/door/imports"
VIDEO = {"content-type": "video/mp4"}
SCRIPT = ((r"(?i)colou?r", "The newest clip is mostly {colour}."), (r"", "I saw {num_clips}."))


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Six seconds, each of another colour."""
    (tmp_path / "films").mkdir()
    return write_recording(tmp_path / "films" / "door.mp4", 6)


def bytes_of(path: Path) -> bytes:
    return path.read_bytes()


async def upload(http: httpx.AsyncClient, film: Path, **query: str) -> httpx.Response:
    query = {"starts_at": BEGAN.isoformat(), "name": film.name, **query}
    return await http.post(DOOR, params=query, content=bytes_of(film), headers=VIDEO)


async def ended(http: httpx.AsyncClient, job: dict[str, Any]) -> dict[str, Any]:
    """The import, once it is over."""
    async with limited("the end of the import"):
        while True:
            reply = await http.get(f"/v1/streams/{job['stream']}/imports/{job['id']}")
            found: dict[str, Any] = reply.raise_for_status().json()
            if found["ended_at"] is not None:
                return found
            await asyncio.sleep(0.02)


def pictures_of(served: Served) -> int:
    """Pictures of the stream's first import so far."""
    return served.gateway.importer.jobs(StreamId("door"))[0].num_pictures


def at_an_address(film: bytes) -> Replies:
    return lambda path, headers: Reply(film) if "door" in path else Reply(status=404)


def error_of(reply: httpx.Response) -> tuple[int, str | None]:
    return reply.status_code, reply.json()["error"]["param"]


async def test_an_uploaded_recording_is_in_the_stream_at_the_times_at_which_it_was_made(
    film: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "imports"
    async with serving(streams__imports__path=str(folder)) as served, served.http() as http:
        reply = await upload(http, film)
        assert reply.status_code == 202, reply.text
        job = await ended(http, reply.json())
        assert (job["state"], job["reason"], job["progress"]) == ("done", None, 1.0)
        assert (job["name"], job["starts_at"]) == ("door.mp4", BEGAN.timestamp())
        assert job["duration_s"] == pytest.approx(6.0, abs=0.2)
        assert (job["broken"], job["left_out_s"]) == (0, 0.0)
        stream = (await http.get("/v1/streams/door")).json()
        assert (stream["clock"], stream["starts_at"]) == ("virtual", BEGAN.timestamp())
        assert stream["received_until_s"] == pytest.approx(5.5, abs=0.1)
        assert stream["totals"]["received"] == job["pictures"] > 10
        assert stream["totals"]["dropped"] == {}
        assert stream["source"]["state"] == "ended"
        assert served.metric("onlooker_imports_total", outcome="done") == 1
        assert list(folder.glob("*.media")) == []
        assert (await http.get(DOOR)).json()["data"] == [job]
        assert (await http.delete(f"{DOOR}/{job['id']}")).status_code == 204
        assert (await http.get(f"{DOOR}/{job['id']}")).status_code == 404
        assert list(folder.iterdir()) == []


async def test_what_is_no_recording_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "imports"
    async with serving(streams__imports__path=str(folder)) as served, served.http() as http:
        when = {"starts_at": BEGAN.isoformat()}
        refused = {
            "text": await http.post(DOOR, params=when, content=b"hello " * 99, headers=VIDEO),
            "empty": await http.post(DOOR, params=when, headers=VIDEO),
            "no time": await http.post(DOOR, content=b"film", headers=VIDEO),
            "no clock": await http.post(
                DOOR, params={"starts_at": "noon"}, content=b"film", headers=VIDEO
            ),
            "form": await http.post(DOOR, params=when, files={"film": b"film"}),
            "no JSON": await http.post(
                DOOR, content=b"{", headers={"content-type": "application/json"}
            ),
        }
        assert {name: error_of(reply) for name, reply in refused.items()} == {
            "text": (415, None),
            "empty": (400, None),
            "no time": (400, "starts_at"),
            "no clock": (400, "starts_at"),
            "form": (415, "Content-Type"),
            "no JSON": (400, None),
        }
        assert served.gateway.hub.streams() == []
        assert (await http.get(DOOR)).json()["data"] == []
        assert list(folder.iterdir()) == []


async def test_a_recording_that_names_other_files_opens_none(tmp_path: Path) -> None:
    write_recording(tmp_path / "secret.mp4", 1)
    lists = {
        "concat": f"ffconcat version 1.0\nfile '{tmp_path}/secret.mp4'\n",
        "playlist": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{tmp_path}/secret.mp4\n",
    }
    async with serving() as served, served.http() as http:
        for text in lists.values():
            reply = await http.post(
                DOOR, params={"starts_at": "0"}, content=text.encode(), headers=VIDEO
            )
            assert reply.status_code == 415
        assert served.gateway.hub.streams() == []


async def test_a_recording_over_the_limit_is_refused(film: Path) -> None:
    async with serving(streams__imports__max_upload_bytes=2048) as served, served.http() as http:

        async def pieces() -> Any:  # no length is announced
            yield bytes_of(film)

        when = {"starts_at": "0"}
        for content in (bytes_of(film), pieces()):
            reply = await http.post(DOOR, params=when, content=content, headers=VIDEO)
            assert reply.status_code == 413, reply.text


async def test_a_recording_longer_than_the_limit_is_refused(film: Path) -> None:
    async with serving(streams__imports__max_recorded_s=3) as served, served.http() as http:
        reply = await upload(http, film)
        assert reply.status_code == 415
        assert "max_recorded_s" in reply.json()["error"]["message"]


async def test_a_file_of_the_server_is_imported_where_the_operator_allows(film: Path) -> None:
    async with (
        serving(streams__sources__file_dirs=(str(film.parent),)) as served,
        served.http() as http,
    ):
        asked = {"url": film.as_uri(), "starts_at": BEGAN.timestamp()}
        job = await ended(http, (await http.post(DOOR, json=asked)).json())
        assert (job["state"], job["name"]) == ("done", "file:door.mp4")
        assert bytes_of(film)
        for url, status in (("file:///etc/passwd", 403), ("rtsp://192.0.2.1/x", 400)):
            reply = await http.post(DOOR, json={**asked, "url": url})
            assert error_of(reply) == (status, "url")
        reply = await http.post(DOOR, json={"url": film.as_uri()})
        assert error_of(reply) == (400, "starts_at")


async def test_a_recording_at_an_address_is_fetched_and_imported(film: Path) -> None:
    with web(at_an_address(bytes_of(film))) as site:
        async with serving(streams__sources__allow_private=True) as served, served.http() as http:
            asked = {"url": f"{site.url}/door.mp4?key=secret", "starts_at": BEGAN.timestamp()}
            job = await ended(http, (await http.post(DOOR, json=asked)).json())
            assert (job["state"], job["url"]) == ("done", f"{site.url}/door.mp4")
            missing = {**asked, "url": f"{site.url}/none.mp4"}
            job = await ended(http, (await http.post(DOOR, json=missing)).json())
            assert job["state"] == "failed"
            assert "404" in job["reason"]
        async with serving() as served, served.http() as http:
            assert error_of(await http.post(DOOR, json=asked)) == (403, "url")
            assert served.gateway.hub.streams() == []


async def test_a_stream_that_cannot_take_a_recording_says_why(film: Path) -> None:
    async with serving() as served, served.http() as http:
        await http.post("/v1/streams", json={"id": "door"})
        assert error_of(await upload(http, film)) == (409, "stream")
        await http.delete("/v1/streams/door")
        await ended(http, (await upload(http, film)).json())
        earlier = await upload(http, film, starts_at=str(BEGAN.timestamp() - 60))
        assert error_of(earlier) == (409, "starts_at")
        again = await upload(http, film)
        assert error_of(again) == (409, "starts_at")
        assert "takes nothing from before" in again.json()["error"]["message"]


async def test_a_recording_that_overlaps_is_imported_from_where_the_stream_has_come_to(
    film: Path,
) -> None:
    async with serving() as served, served.http() as http:
        await ended(http, (await upload(http, film)).json())
        later = str(BEGAN.timestamp() + 3)
        job = await ended(http, (await upload(http, film, starts_at=later)).json())
        assert job["state"] == "done"
        assert job["left_out_s"] == pytest.approx(2.5, abs=0.1)
        stream = (await http.get("/v1/streams/door")).json()
        assert stream["received_until_s"] == pytest.approx(8.5, abs=0.1)


async def test_masks_are_applied_before_anything_is_looked_at(film: Path) -> None:
    mask = {"polygon": [[0, 0], [1, 0], [1, 1], [0, 1]]}
    opened = {"id": "door", "clock": "virtual", "starts_at": BEGAN.timestamp(), "masks": [mask]}
    async with serving(engine=ScriptedEngine(SCRIPT)) as served, served.http() as http:
        await http.post("/v1/streams", json=opened)
        await ended(http, (await upload(http, film)).json())
        reply = await http.post("/v1/streams/door/questions", json={"question": "Which colour?"})
        assert reply.json()["answer"] == "The newest clip is mostly black."


async def test_an_import_is_cancelled_and_what_came_in_stays(film: Path, tmp_path: Path) -> None:
    folder, engine = tmp_path / "imports", ScriptedEngine(ingest_s=0.3)
    async with (
        serving(engine=engine, streams__imports__path=str(folder)) as served,
        served.http() as http,
    ):
        running = (await upload(http, film)).json()
        waiting = (await upload(http, film, starts_at=str(BEGAN.timestamp() + 60))).json()
        await until(lambda: pictures_of(served) >= 3)
        for job in (waiting, running):
            assert (await http.delete(f"{DOOR}/{job['id']}")).status_code == 204
            assert (await ended(http, job))["state"] == "cancelled"
        stream = (await http.get("/v1/streams/door")).json()
        assert 0 < stream["totals"]["received"] < 12
        assert stream["source"]["state"] == "failed"
        assert list(folder.glob("*.media")) == []


async def test_closing_a_stream_cancels_its_imports(film: Path) -> None:
    engine = ScriptedEngine(ingest_s=0.3)
    async with serving(engine=engine) as served, served.http() as http:
        await upload(http, film)
        assert (await http.delete("/v1/streams/door")).status_code == 204
        assert (await http.get(DOOR)).json()["data"] == []
        assert served.metric("onlooker_imports_total", outcome="cancelled") == 1


async def test_a_tenant_may_have_so_many_imports(film: Path) -> None:
    async with (
        serving(engine=ScriptedEngine(ingest_s=0.3), streams__imports__max_tenant_jobs=1) as served,
        served.http() as http,
    ):
        assert (await upload(http, film)).status_code == 202
        refused = await upload(http, film, starts_at=str(BEGAN.timestamp() + 60))
        assert refused.status_code == 503
        assert "max_tenant_jobs" in refused.json()["error"]["message"]


async def test_an_import_goes_on_after_a_restart(film: Path, tmp_path: Path) -> None:
    kept: Any = {"streams__imports__path": str(tmp_path / "imports")}
    async with (
        serving(engine=ScriptedEngine(ingest_s=0.3), **kept) as served,
        served.http() as http,
    ):
        for later_s in (0, 60):
            reply = await upload(http, film, starts_at=str(BEGAN.timestamp() + later_s))
            assert reply.status_code == 202
        await until(lambda: pictures_of(served) >= 3)
    async with serving(**kept) as served, served.http() as http:
        found = (await http.get(DOOR)).json()["data"]
        assert [(await ended(http, one))["state"] for one in found] == ["done", "done"]
        stream = (await http.get("/v1/streams/door")).json()
        assert stream["starts_at"] == BEGAN.timestamp()
        assert stream["received_until_s"] == pytest.approx(65.5, abs=0.1)


async def test_another_tenant_sees_no_import_and_can_cancel_none(film: Path) -> None:
    keys = "a:a-key-of-tenant-a,b:a-key-of-tenant-b"
    async with serving(server__api_keys=keys) as served:
        mine = {"authorization": "Bearer a-key-of-tenant-a"}
        other = {"authorization": "Bearer a-key-of-tenant-b"}
        async with served.http(headers=mine) as http, served.http(headers=other) as foreign:
            job = (await upload(http, film)).json()
            assert (await foreign.get(DOOR)).json()["data"] == []
            path = f"{DOOR}/{job['id']}"
            assert (await foreign.get(path)).status_code == 404
            assert (await foreign.delete(path)).status_code == 404
            assert (await ended(http, job))["state"] == "done"


async def test_an_import_gives_up_when_nothing_helps(
    film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importers, "AGAIN", Backoff(0.01, 0.01))
    with web(at_an_address(bytes_of(film))) as site:
        pass  # it is gone now
    async with serving(streams__sources__allow_private=True) as served, served.http() as http:
        asked = {"url": f"{site.url}/door.mp4", "starts_at": 0}
        job = await ended(http, (await http.post(DOOR, json=asked)).json())
        assert job["state"] == "failed"
        assert job["reason"]


async def test_a_stream_that_is_fed_by_another_is_left_alone(film: Path) -> None:
    opened = {"id": "door", "clock": "virtual", "starts_at": BEGAN.timestamp()}
    async with serving() as served, served.http() as http:
        await http.post("/v1/streams", json=opened)
        async with served.ws("?stream=door") as ws:
            await ws.send(frame_message(jpeg(), at_s=0.0))
            await until(lambda: served.gateway.hub.get("door").status().source is not None)
            job = await ended(http, (await upload(http, film)).json())
            assert job["state"] == "failed"
            assert "already fed by" in job["reason"]
