"""The diary over HTTP: what the model wrote down while it watched."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from onlooker.engine.fake import ScriptedEngine, ScriptedStore
from tests.fakes.served import Served, jpeg, serving
from tests.fakes.waiting import until

DOOR = "/v1/streams/door"
SCRIPT = (
    (r"what is to be seen", "All is {colour}."),
    (r"what has just changed", "It turned {colour}."),
    (r"Sum them up", "It had many colours."),
    (r"", "Yes."),
)


def written(**more: Any) -> Any:
    """A server that writes a diary, of whose words the tests know."""
    engine = more.pop("engine", None) or ScriptedEngine(SCRIPT)
    return serving(
        engine=engine,
        streams__perception__max_pair_gap_s=0.1,
        cache_store__diary__enabled=True,
        **more,
    )


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with written() as running:
        yield running


@pytest.fixture
async def http(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with served.http() as client:
        await client.post("/v1/streams", json={"id": "door", "clock": "virtual"})
        yield client


async def push(http: httpx.AsyncClient, *colours: str, first: int = 0, step: int = 1) -> None:
    """Send pictures some seconds apart, each a clip of its own."""
    for index, colour in enumerate(colours):
        reply = await http.post(
            f"{DOOR}/frames",
            content=jpeg(colour),
            headers={"content-type": "image/jpeg", "x-capture-time-s": str(first + index * step)},
        )
        assert reply.status_code == 200, reply.text
    # Once a question was answered, all that came before it has been seen.
    assert (await http.post(f"{DOOR}/questions", json={"question": "Now?"})).status_code == 200


async def timeline(http: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    reply = await http.get(f"{DOOR}/timeline", params=query)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


async def told(http: httpx.AsyncClient, **query: Any) -> list[tuple[float, str]]:
    return [(one["start_s"], one["text"]) for one in (await timeline(http, **query))["data"]]


async def test_what_changes_is_written_down_with_its_time(http: httpx.AsyncClient) -> None:
    await push(http, "red", "red", "blue", "blue", "green")
    assert await told(http) == [
        (0.0, "All is red."),
        (2.0, "All is blue."),
        (4.0, "All is green."),
    ]
    first = (await timeline(http))["data"][0]
    assert (first["level"], first["wall_time"]) == ("scene", None)
    assert (await http.get(first["picture"])).status_code == 200


async def test_a_diary_is_searched_and_read_in_pages(
    http: httpx.AsyncClient,
) -> None:
    await push(http, "red", "blue", "red", "blue", "red")
    assert [start_s for start_s, _ in await told(http, q="blue")] == [1.0, 3.0]
    assert [start_s for start_s, _ in await told(http, q="blue", order="desc")] == [3.0, 1.0]
    assert [start_s for start_s, _ in await told(http, **{"from": 2, "to": 3})] == [2.0, 3.0]
    found: list[float] = []
    query: dict[str, Any] = {"limit": 2}
    while (page := await timeline(http, **query))["has_more"]:
        found += [one["start_s"] for one in page["data"]]
        query["from"] = page["next_s"]
    found += [one["start_s"] for one in page["data"]]
    assert found == [0.0, 1.0, 2.0, 3.0, 4.0]


async def test_a_quarter_of_an_hour_is_summed_up_when_it_is_over(http: httpx.AsyncClient) -> None:
    await push(http, "red", "blue", "red", "blue", step=300)
    assert await told(http, level="quarter") == [(0.0, "It had many colours.")]
    await push(http, "green", first=3601)
    assert await told(http, level="hour") == [(0.0, "It had many colours.")]
    assert [start_s for start_s, _ in await told(http, level="quarter")] == [0.0, 900.0]


async def test_a_closed_stream_leaves_no_diary_and_an_open_one_is_read_by_people(
    http: httpx.AsyncClient,
) -> None:
    await push(http, "red", "blue")
    reply = await http.get(f"{DOOR}/timeline", params={"format": "markdown", "to": "0.5"})
    assert reply.headers["content-type"].startswith("text/markdown")
    assert reply.text == "# Diary of door\n\n- **0.0 s** All is red.\n"
    await http.delete(DOOR)
    await http.post("/v1/streams", json={"id": "door", "clock": "virtual"})
    assert await told(http) == []


BAD_QUERIES = (
    ({"from": "3", "to": "1"}, "ends after it starts"),
    ({"from": "900"}, "future"),
    ({"from": "yesterday"}, "ISO 8601"),
    ({"level": "week"}, "level"),
    ({"limit": "1000000"}, "limit"),
)


async def test_a_bad_query_is_told_what_is_wrong(http: httpx.AsyncClient) -> None:
    await push(http, "red", "blue", "red", "blue")
    for query, says in BAD_QUERIES:
        reply = await http.get(f"{DOOR}/timeline", params=query)
        assert reply.status_code == 400, reply.text
        assert says in reply.text


async def test_a_server_without_a_diary_says_so() -> None:
    async with serving() as served, served.http() as http:
        await http.post("/v1/streams", json={"id": "door"})
        reply = await http.get(f"{DOOR}/timeline")
        assert reply.status_code == 404
        assert "cache_store.diary.enabled" in reply.text


async def test_a_deleted_span_is_gone_from_sentences_and_summaries() -> None:
    script = ((r"what is to be seen", "All is {colour}."), (r"Sum them up", ""), (r"", "Yes."))
    async with written(engine=ScriptedEngine(script)) as served, served.http() as http:
        await http.post("/v1/streams", json={"id": "door", "clock": "virtual"})
        await push(http, "red", "blue", "red", "green", step=300)
        assert "blue" in (await told(http, level="quarter"))[0][1]
        reply = await http.delete(f"{DOOR}/memory", params={"from": 250, "to": 350})
        assert reply.json()["diary_entries"] == 2
        assert [start_s for start_s, _ in await told(http, level="scene")] == [0.0, 600.0, 900.0]
        assert await told(http, level="quarter") == [
            (0.0, "All is red (0 s)."),
            (600.0, "All is red (600 s)."),
        ]


async def test_a_diary_outlives_its_server(tmp_path: Path) -> None:
    store, disk = ScriptedStore(), {"cache_store__disk__path": str(tmp_path)}
    for first in (0, 10):
        engine = ScriptedEngine(SCRIPT, store=store)
        async with written(engine=engine, **disk) as served, served.http() as http:
            await http.post("/v1/streams", json={"id": "door", "clock": "virtual"})
            await push(http, "red", "blue", first=first)
            found = [start_s for start_s, _ in await told(http)]
    assert found == [0.0, 1.0, 10.0, 11.0]


async def test_a_live_stream_is_never_held_up_by_its_diary() -> None:
    engine = ScriptedEngine(SCRIPT, fail_answer=lambda question: "to be seen" in question.text)
    now = {"cache_store__diary__gather_s": 0.0}
    async with written(engine=engine, **now) as served, served.http() as http:
        await http.post("/v1/streams", json={"id": "door"})
        await push(http, "red", "blue")
        await until(lambda: served.metric("onlooker_diary_sentences_total", outcome="failed") > 0)
        assert await told(http) == []
        assert (await http.get(DOOR)).json()["clips"] > 0
