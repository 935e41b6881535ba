"""What streams are called, over every door: given, changed, told, kept, and said to the model."""

import io
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from onlooker.clients.python import Client
from onlooker.engine.fake import ScriptedEngine, ScriptedStore
from tests.fakes.fleet import member, redis_of_a_fleet
from tests.fakes.served import KEY, Served, data_url, jpeg, next_event, send, serving

DOOR = "/v1/streams/door"
PLATE = {"name": "Front door", "description": "The street.", "labels": ["outside", "Door"]}
TOLD = {"name": "Front door", "description": "The street.", "labels": ["door", "outside"]}
SCRIPT = [("What are you told?", "{instructions}")]


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(engine=ScriptedEngine(SCRIPT)) as running:
        yield running


@pytest.fixture
async def http(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with served.http() as client:
        yield client


def plate_of(stream: dict[str, object]) -> dict[str, object]:
    return {name: stream[name] for name in TOLD}


async def test_a_stream_is_given_its_nameplate_and_has_it_changed(http: httpx.AsyncClient) -> None:
    made = await http.post("/v1/streams", json={"id": "door", **PLATE})
    assert plate_of(made.json()) == TOLD
    changed = await http.patch(DOOR, json={"name": "Back door", "labels": []})
    assert plate_of(changed.json()) == {**TOLD, "name": "Back door", "labels": []}


async def test_listings_are_narrowed_by_labels(http: httpx.AsyncClient) -> None:
    for name, labels in (("a", ["door"]), ("b", ["door", "outside"]), ("c", [])):
        await http.post("/v1/streams", json={"id": name, "labels": labels})

    async def listed(query: str) -> list[str]:
        return [one["id"] for one in (await http.get(f"/v1/streams?{query}")).json()["data"]]

    assert await listed("label=DOOR") == ["a", "b"]
    assert await listed("label=door&label=outside") == ["b"]
    assert await listed("label=door&limit=1&after=a") == ["b"]
    assert await listed("label=nowhere") == []
    refused = await http.get("/v1/streams?label=two%20words")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "labels")


async def test_a_stream_with_a_bad_nameplate_is_not_opened(http: httpx.AsyncClient) -> None:
    refused = await http.post("/v1/streams", json={"id": "door", "labels": ["two words"]})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "labels")
    assert (await http.get(DOOR)).status_code == 404
    assert (await http.post("/v1/streams", json={"id": "door"})).status_code == 201


async def test_the_model_is_told_of_the_stream_that_is_asked(http: httpx.AsyncClient) -> None:
    await http.post("/v1/streams", json={"id": "door", **PLATE})
    asked = {"question": "What are you told?"}
    own = (await http.post(f"{DOOR}/questions", json=asked)).json()["answer"]
    assert own == (
        'You follow a script. The camera is called "Front door". Its labels: door, outside. '
        "About it: The street."
    )
    brief = {**asked, "instructions": "Be brief."}
    mine = (await http.post(f"{DOOR}/questions", json=brief)).json()["answer"]
    assert mine.startswith('Be brief. The camera is called "Front door".')
    await http.post("/v1/streams", json={"id": "plain"})
    plain = (await http.post("/v1/streams/plain/questions", json=asked)).json()["answer"]
    assert plain == "None"


async def test_a_connection_names_its_stream_and_others_are_told(served: Served) -> None:
    async with served.ws("?stream=door") as ws, served.http() as http:
        await next_event(ws, "session.created")
        await send(ws, "session.update", session={"type": "realtime", "input_video": PLATE})
        told = await next_event(ws, "session.updated", "error")
        assert plate_of(told["session"]["input_video"]) == TOLD
        assert plate_of((await http.get(DOOR)).json()) == TOLD


async def test_a_reference_picture_is_kept_small_with_masks_on_it_and_taken_away(
    http: httpx.AsyncClient,
) -> None:
    left = {"polygon": [[0, 0], [0.5, 0], [0.5, 1], [0, 1]], "effect": "black"}
    await http.post("/v1/streams", json={"id": "door", "masks": [left]})
    assert (await http.get(f"{DOOR}/reference")).status_code == 404
    picture = data_url(jpeg("white", width=640, height=480))
    told = (await http.patch(DOOR, json={"reference": picture})).json()
    assert told["reference"] == f"{DOOR}/reference"

    async def shades() -> tuple[int, int]:
        reply = await http.get(told["reference"])
        assert reply.headers["content-type"] == "image/jpeg"
        with Image.open(io.BytesIO(reply.content)) as image:
            grey = image.convert("L")
            row = grey.height // 2
            shown = [grey.getpixel((column, row)) for column in (2, grey.width - 3)]
        assert all(isinstance(shade, int) for shade in shown)
        return (shown[0], shown[1])  # type: ignore[return-value]  # of one channel

    left_shade, right_shade = await shades()
    assert left_shade < 40
    assert right_shade > 200
    right = {"polygon": [[0.5, 0], [1, 0], [1, 1], [0.5, 1]], "effect": "black"}
    await http.patch(DOOR, json={"masks": [right]})
    assert max(await shades()) < 40, "a mask that came later is on it, too"
    assert (await http.patch(DOOR, json={"reference": None})).json()["reference"] is None
    assert (await http.get(f"{DOOR}/reference")).status_code == 404


@pytest.mark.parametrize(
    ("reference", "status"),
    [("https://example.org/a.jpg", 400), ("data:text/plain;base64,aGk=", 400), ("now", 404)],
)
async def test_what_is_no_reference_picture_is_refused(
    http: httpx.AsyncClient, reference: str, status: int
) -> None:
    await http.post("/v1/streams", json={"id": "door"})
    refused = await http.patch(DOOR, json={"reference": reference})
    assert (refused.status_code, refused.json()["error"]["param"]) == (status, "reference")


async def test_the_newest_picture_is_taken_as_the_reference(http: httpx.AsyncClient) -> None:
    await http.post("/v1/streams", json={"id": "door", "clock": "virtual"})
    for at_s in (1, 2):
        headers = {"content-type": "image/jpeg", "x-capture-time-s": str(at_s)}
        await http.post(f"{DOOR}/frames", content=jpeg("green"), headers=headers)
    await http.post(f"{DOOR}/questions", json={"question": "What?"})
    assert (await http.patch(DOOR, json={"reference": "now"})).status_code == 200
    shown = await http.get(f"{DOOR}/reference")
    assert shown.content == (await http.get(f"{DOOR}/picture")).content


async def test_the_python_client_names_finds_and_renames_streams(served: Served) -> None:
    async with Client(served.base) as client:
        await client.create_stream("door", name="Front door", labels=["outside"])
        await client.create_stream("hall", labels=["inside"])
        assert [one.id for one in await client.streams("outside")] == ["door"]
        told = await client.describe("hall", name="Hall", reference=jpeg())
        assert (told.name, told.labels) == ("Hall", ["inside"])
        assert told.reference == "/v1/streams/hall/reference"
        assert (await client.describe("hall", reference=b"")).reference is None


async def test_a_nameplate_outlives_the_server(tmp_path: Path) -> None:
    store = ScriptedStore()
    for is_first in (True, False):
        engine = ScriptedEngine(store=store)
        async with (
            serving(engine=engine, cache_store__disk__path=tmp_path) as served,
            served.http() as http,
        ):
            body = {"id": "door", **(PLATE if is_first else {})}
            assert plate_of((await http.post("/v1/streams", json=body)).json()) == TOLD
            if is_first:
                await http.patch(DOOR, json={"reference": data_url(jpeg())})
            assert (await http.get(f"{DOOR}/reference")).status_code == 200


@pytest.mark.redis
async def test_a_nameplate_follows_its_stream_to_another_server() -> None:
    with redis_of_a_fleet() as url:
        headers = {"authorization": f"Bearer {KEY}"}
        async with member(url, "b") as b, b.http(headers=headers) as there:
            async with member(url, "a") as a, a.http(headers=headers) as http:
                await http.post("/v1/streams", json={"id": "door", **PLATE})
                assert plate_of((await there.get(DOOR)).json()) == TOLD
            assert plate_of((await there.get(DOOR)).json()) == TOLD
