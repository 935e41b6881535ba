"""The album over HTTP: pictures of what a stream showed, contact sheets and films."""

import io
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from PIL import Image

from onlooker.clients.python import Client
from onlooker.engine.fake import ScriptedEngine, ScriptedStore
from tests.fakes.fleet import SELDOM, acquaint, member, redis_of_a_fleet
from tests.fakes.served import KEY, Served, jpeg, serving
from tests.fakes.waiting import until
from tests.integration.clients.test_commands import run

DOOR = "/v1/streams/door"
COLOURS = ("red", "blue", "green", "white", "black")


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(streams__perception__max_pair_gap_s=0.1) as running:
        yield running


@pytest.fixture
async def http(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with served.http() as client:
        yield client


async def push(http: httpx.AsyncClient, *colours: str, first: int = 0) -> None:
    """Send pictures a second apart, each a clip of its own."""
    for index, colour in enumerate(colours, first):
        reply = await http.post(
            f"{DOOR}/frames",
            content=jpeg(colour),
            headers={"content-type": "image/jpeg", "x-capture-time-s": str(float(index))},
        )
        assert reply.status_code == 200, reply.text
    # Once a question was answered, all that came before it has been seen.
    assert (await http.post(f"{DOOR}/questions", json={"question": "Now?"})).status_code == 200


@pytest.fixture
async def door(http: httpx.AsyncClient) -> httpx.AsyncClient:
    """A stream that has seen a red, a blue, a green, a white and a black second."""
    await http.post("/v1/streams", json={"id": "door", "clock": "virtual"})
    await push(http, *COLOURS)
    return http


def colour_of(image: Image.Image) -> tuple[int, int, int]:
    """The colour in the middle, each channel as 0 or 1."""
    middle = image.convert("RGB").getpixel((image.width // 2, image.height // 2))
    assert isinstance(middle, tuple)
    red, green, blue = (int(value > 100) for value in middle)
    return red, green, blue


async def picture(http: httpx.AsyncClient, at: str) -> Image.Image:
    reply = await http.get(f"{DOOR}/picture", params={"at": at})
    assert reply.status_code == 200, reply.text
    return Image.open(io.BytesIO(reply.content))


async def test_every_clip_has_a_picture_in_order_of_time(door: httpx.AsyncClient) -> None:
    listed = (await door.get(f"{DOOR}/pictures")).json()
    assert [one["start_s"] for one in listed["data"][:4]] == [0.0, 1.0, 2.0, 3.0]
    assert all(one["bytes"] > 0 and one["media_type"] == "image/jpeg" for one in listed["data"])
    assert listed["has_more"] is False
    first = await door.get(listed["data"][0]["url"])
    assert colour_of(Image.open(io.BytesIO(first.content))) == (1, 0, 0)


async def test_a_long_list_comes_in_pages_from_either_end(door: httpx.AsyncClient) -> None:
    for order, expected in (("asc", [0.0, 1.0, 2.0, 3.0]), ("desc", [3.0, 2.0, 1.0, 0.0])):
        found, query = [], {"limit": "2", "order": order, "to": "3"}
        while True:
            page = (await door.get(f"{DOOR}/pictures", params=query)).json()
            found += [one["start_s"] for one in page["data"]]
            if not page["has_more"]:
                break
            query["from" if order == "asc" else "to"] = str(page["next_s"])
        assert found == expected


async def test_a_time_is_shown_by_the_clip_that_stood_for_it(door: httpx.AsyncClient) -> None:
    assert colour_of(await picture(door, "1.7")) == (0, 0, 1)
    listed = (await door.get(f"{DOOR}/pictures", params={"at": "1.7"})).json()
    assert [one["start_s"] for one in listed["data"]] == [1.0]


async def test_a_span_is_seen_at_a_glance(door: httpx.AsyncClient) -> None:
    one = await picture(door, "0")
    reply = await door.get(f"{DOOR}/strip", params={"from": 0, "to": 3, "columns": 2, "limit": 4})
    assert reply.status_code == 200, reply.text
    sheet = Image.open(io.BytesIO(reply.content))
    assert sheet.width == 2 * one.width
    assert sheet.height > 2 * one.height
    cells = [(x, y) for y in (0, sheet.height // 2) for x in (0, one.width)]
    seen = [colour_of(sheet.crop((x, y, x + one.width, y + one.height))) for x, y in cells]
    assert seen == [(1, 0, 0), (0, 0, 1), (0, 1, 0), (1, 1, 1)]


async def test_of_a_long_span_some_pictures_are_shown_from_its_beginning_to_its_end(
    http: httpx.AsyncClient,
) -> None:
    await http.post("/v1/streams", json={"id": "door", "clock": "virtual"})
    await push(http, "red", *(["white", "black"] * 10), "blue", "green")
    one = await picture(http, "0")
    reply = await http.get(f"{DOOR}/strip", params={"to": 21, "limit": 3, "columns": 3})
    sheet = Image.open(io.BytesIO(reply.content))
    assert sheet.width == 3 * one.width
    cells = [sheet.crop((x, 0, x + one.width, one.height)) for x in (0, 2 * one.width)]
    assert [colour_of(cell) for cell in cells] == [(1, 0, 0), (0, 0, 1)]


async def test_a_span_is_seen_as_a_film(door: httpx.AsyncClient) -> None:
    query = {"from": "0", "to": "3", "fps": "2"}
    reply = await door.get(f"{DOOR}/clips", params=query)
    assert reply.headers["content-type"] == "video/mp4", reply.text
    assert reply.headers["x-onlooker-pictures"] == "4"
    with av.open(io.BytesIO(reply.content), "r") as film:
        frames = [
            (frame.time, colour_of(Image.fromarray(frame.to_ndarray(format="rgb24"))))
            for frame in film.decode(video=0)
        ]
    assert frames == [(0.0, (1, 0, 0)), (0.5, (0, 0, 1)), (1.0, (0, 1, 0)), (1.5, (1, 1, 1))]
    reply = await door.get(f"{DOOR}/clips", params={**query, "format": "webp"})
    moving = Image.open(io.BytesIO(reply.content))
    assert (moving.format, getattr(moving, "n_frames", 1)) == ("WEBP", 4)


@pytest.mark.parametrize(
    ("path", "query", "status", "words"),
    [
        ("pictures", {"from": "3", "to": "1"}, 400, "ends after it starts"),
        ("pictures", {"from": "99"}, 400, "future"),
        ("picture", {"at": "99"}, 400, "future"),
        ("pictures", {"at": "1", "from": "0"}, 400, "not both"),
        ("pictures", {"at": "yesterday"}, 400, "ISO 8601"),
        ("picture", {"at": "2026-05-01T12:30:00Z"}, 400, "wall times"),
        ("strip", {"from": "0.2", "to": "0.8"}, 404, "no pictures of that span"),
        ("clips", {"from": "0", "fps": "1000"}, 400, "fps"),
    ],
)
async def test_what_cannot_be_shown_is_refused_in_words(
    door: httpx.AsyncClient, path: str, query: dict[str, str], status: int, words: str
) -> None:
    refused = await door.get(f"{DOOR}/{path}", params=query)
    assert refused.status_code == status, refused.text
    assert words in refused.text


async def test_deleting_a_span_deletes_its_pictures(door: httpx.AsyncClient) -> None:
    told = (await door.delete(f"{DOOR}/memory", params={"from": 1, "to": 2})).json()
    assert told["pictures"] == 2
    listed = (await door.get(f"{DOOR}/pictures", params={"to": 3})).json()
    assert [one["start_s"] for one in listed["data"]] == [0.0, 3.0]
    assert colour_of(await picture(door, "2.5")) == (1, 0, 0)


async def test_masks_are_painted_before_a_picture_is_taken(http: httpx.AsyncClient) -> None:
    mask = {"polygon": [[0, 0], [1, 0], [1, 1], [0, 1]], "effect": "black"}
    await http.post("/v1/streams", json={"id": "door", "clock": "virtual", "masks": [mask]})
    await push(http, "white", "red")
    assert colour_of(await picture(http, "0")) == (0, 0, 0)


async def test_a_closed_stream_leaves_no_pictures_behind(door: httpx.AsyncClient) -> None:
    assert (await door.delete(DOOR)).status_code == 204
    await door.post("/v1/streams", json={"id": "door", "clock": "virtual"})
    assert (await door.get(f"{DOOR}/pictures")).json()["data"] == []


async def test_without_an_album_the_reply_says_how_to_have_one() -> None:
    async with serving(cache_store__album__enabled=False) as running, running.http() as http:
        await http.post("/v1/streams", json={"id": "door", "clock": "virtual"})
        refused = await http.get(f"{DOOR}/pictures")
        assert refused.status_code == 404
        assert "cache_store.album.enabled" in refused.text


async def test_pictures_outlive_the_server(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "streams__perception__max_pair_gap_s": 0.1,
        "cache_store__album__path": str(tmp_path / "album"),
    }
    store = ScriptedStore()
    engine = ScriptedEngine(store=store)
    async with serving(engine=engine, **settings) as running, running.http() as http:
        await http.post("/v1/streams", json={"id": "door", "clock": "virtual"})
        await push(http, "red", "blue")
    engine = ScriptedEngine(store=store)
    async with serving(engine=engine, **settings) as running, running.http() as http:
        await http.post("/v1/streams", json={"id": "door", "clock": "virtual"})
        assert colour_of(await picture(http, "0")) == (1, 0, 0)


async def test_the_command_line_asks_and_saves_the_pictures(
    served: Served, door: httpx.AsyncClient, tmp_path: Path
) -> None:
    status, said, told = await run(
        "ask", "door", "Which colours?", "--pictures", str(tmp_path), "--server", served.base
    )
    assert status == 0, told
    assert "red" in said
    files = sorted(os.listdir(tmp_path))
    assert f"{len(files)} pictures in {tmp_path}" in told
    assert colour_of(Image.open(tmp_path / files[-1])) == (0, 0, 0), "the newest of what was seen"


async def test_the_python_client_looks_through_the_album(
    served: Served, door: httpx.AsyncClient
) -> None:
    async with Client(served.base) as client:
        album = client.pictures("door")
        listed = await album.between(from_s=1, to_s=3, newest_first=True)
        assert [one.start_s for one in listed.data] == [3.0, 2.0, 1.0]
        assert colour_of(Image.open(io.BytesIO(await album.at(2.2)))) == (0, 1, 0)
        assert Image.open(io.BytesIO(await album.strip(limit=2))).format == "JPEG"
        assert (await album.film(format="webp"))[8:12] == b"WEBP"


@pytest.mark.redis
async def test_in_a_fleet_pictures_follow_their_stream_to_the_next_server() -> None:
    store = ScriptedStore()
    options: dict[str, Any] = {**SELDOM, "streams__perception__max_pair_gap_s": 0.1}
    headers = {"authorization": f"Bearer {KEY}"}
    with redis_of_a_fleet() as url:
        async with (
            member(url, "a", engine=ScriptedEngine(store=store), **options) as a,
            member(url, "b", engine=ScriptedEngine(store=store), **options) as b,
            a.http(headers=headers) as at_a,
            b.http(headers=headers) as at_b,
        ):
            await acquaint(a, b)
            await at_a.post("/v1/streams", json={"id": "door", "clock": "virtual"})
            await push(at_a, "red", "blue")
            assert colour_of(await picture(at_b, "0")) == (1, 0, 0)  # from the owner
            await at_a.post("/v1/servers/self/drain")
            await until(lambda: not a.gateway.hub.streams())
            opened = await at_b.post("/v1/streams", json={"id": "door", "clock": "virtual"})
            assert opened.status_code == 201, opened.text
            shown = await at_b.get(f"{DOOR}/picture", params={"at": "0"})
            assert "onlooker-served-by" not in shown.headers
            assert colour_of(Image.open(io.BytesIO(shown.content))) == (1, 0, 0)
