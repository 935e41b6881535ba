"""One question to several streams: here, over a fleet, in time, and with what was not heard."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import openai
import pytest

from onlooker.clients.python import Client
from onlooker.engine.fake import ScriptedEngine
from onlooker.engine.interface import AnswerEvent, Question
from tests.fakes.fleet import SELDOM, acquaint, member, redis_of_a_fleet
from tests.fakes.served import KEY, Served, jpeg, serving
from tests.fakes.waiting import until

SCRIPT = [
    ("Is there a red car?", "{colour}"),
    ("What colour is it?", "It is {colour}."),
]
AUTH = {"authorization": f"Bearer {KEY}"}
RED_CAR = {"question": "Which camera sees the red car?"}


class CarSpotter(ScriptedEngine):
    """Says yes where the newest picture is red."""

    def _reply(self, *asked: Any) -> str:
        said = super()._reply(*asked)
        return {"red": "Yes.", "blue": "No.", "nothing": "No."}.get(said, said)


class StuckSpotter(CarSpotter):
    """Never answers for one of the streams."""

    async def answer(self, question: Question) -> AsyncIterator[AnswerEvent]:
        if question.stream_id.endswith("late"):
            await asyncio.Event().wait()
        async for event in super().answer(question):
            yield event


@asynccontextmanager
async def open_streams(http: httpx.AsyncClient, **colours: str) -> AsyncIterator[None]:
    for name, colour in colours.items():
        body = {"id": name, "name": name.title(), "labels": ["outside"], "clock": "virtual"}
        (await http.post("/v1/streams", json=body)).raise_for_status()
        for at_s in (0, 1):
            headers = {"content-type": "image/jpeg", "x-capture-time-s": str(at_s)}
            await http.post(f"/v1/streams/{name}/frames", content=jpeg(colour), headers=headers)
    yield


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(engine=CarSpotter(SCRIPT)) as running:
        yield running


@pytest.fixture
async def http(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        served.http() as client,
        open_streams(client, door="blue", yard="red", hall="blue"),
    ):
        yield client


async def ask(http: httpx.AsyncClient, **wanted: Any) -> dict[str, Any]:
    reply = await http.post("/v1/questions", json=wanted)
    assert reply.status_code == 200, reply.text
    told: dict[str, Any] = reply.json()
    return told


async def test_the_camera_that_sees_it_is_named_with_its_moment_and_picture(
    http: httpx.AsyncClient, served: Served
) -> None:
    told = await ask(http, **RED_CAR)
    assert (told["status"], told["form"], told["answer"]) == ("completed", "which", "Yard.")
    assert [one["stream"] for one in told["cameras"]] == ["yard"]
    assert told["cameras"][0]["confidence"] > 0
    (moment,) = told["cameras"][0]["moments"]
    assert (await http.get(moment["picture"])).status_code == 200
    assert [part["stream"] for part in told["parts"]] == ["door", "yard", "hall"]
    assert {part["asked"] for part in told["parts"]} == {"Is there a red car?"}
    assert served.metric("onlooker_surveys_total", outcome="completed") == 1
    assert served.metric("onlooker_survey_parts_total", outcome="completed") == 3


async def test_only_the_streams_that_are_named_or_have_the_labels_are_asked(
    http: httpx.AsyncClient,
) -> None:
    await http.patch("/v1/streams/hall", json={"labels": ["inside"]})

    async def asked(**wanted: Any) -> list[str]:
        return [part["stream"] for part in (await ask(http, **RED_CAR, **wanted))["parts"]]

    assert await asked(labels=["inside"]) == ["hall"]
    assert await asked(streams=["hall", "door", "hall"]) == ["hall", "door"]
    assert await asked(streams=["hall"], labels=["outside"]) == ["hall", "door", "yard"]


async def test_a_stream_that_cannot_be_asked_is_told_and_the_others_answer(
    http: httpx.AsyncClient,
) -> None:
    told = await ask(http, **RED_CAR, streams=["yard", "gone"])
    assert (told["status"], told["answer"]) == ("incomplete", "Yard. Not heard: gone.")
    gone = told["parts"][1]
    assert (gone["status"], gone["error"]["code"]) == ("refused", "not_found")


async def test_what_is_no_yes_or_no_is_answered_by_each_for_itself(
    http: httpx.AsyncClient,
) -> None:
    told = await ask(http, question="What colour is it?", streams=["door", "yard"])
    assert told["form"] == "each"
    assert told["answer"] == "Door: It is blue.\nYard: It is red."


async def test_parts_are_streamed_as_they_come_and_the_answer_last(
    http: httpx.AsyncClient,
) -> None:
    async with http.stream("POST", "/v1/questions", json={**RED_CAR, "stream": True}) as reply:
        lines = [line async for line in reply.aiter_lines() if line.startswith("data: ")]
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert [one["type"] for one in events] == [
        "survey.started", "survey.part", "survey.part", "survey.part", "survey.done"
    ]  # fmt: skip
    assert [one["sequence_number"] for one in events] == [1, 2, 3, 4, 5]
    assert events[0]["streams"] == ["door", "yard", "hall"]
    assert events[-1]["survey"]["answer"] == "Yard."


@pytest.mark.parametrize(
    ("wanted", "status", "param"),
    [
        ({"question": " "}, 400, "question"),
        ({"question": "Who?", "labels": ["two words"]}, 400, "labels"),
        ({"question": "Who?", "labels": ["nowhere"]}, 400, "labels"),
        ({"question": "Who?", "streams": ["a/b"]}, 400, "streams.0"),
        ({"question": "Who?", "deadline_s": 3000}, 400, "deadline_s"),
        ({"question": "Who?", "deadline_s": 0}, 400, "deadline_s"),
        ({"question": "Who?", "max_output_tokens": 10**9}, 413, "max_output_tokens"),
        ({"question": "x" * 9000}, 413, "question"),
        ({"question": "Who?", "streams": [f"s{n}" for n in range(1000)]}, 413, "streams"),
    ],
)
async def test_what_cannot_be_asked_is_refused_and_names_the_field(
    http: httpx.AsyncClient, wanted: dict[str, Any], status: int, param: str
) -> None:
    refused = await http.post("/v1/questions", json=wanted)
    assert (refused.status_code, refused.json()["error"]["param"]) == (status, param)


async def test_a_question_over_a_thousand_streams_is_told_the_limit_and_its_setting(
    http: httpx.AsyncClient,
) -> None:
    wanted = {**RED_CAR, "streams": [f"cam-{n}" for n in range(1000)]}
    told = (await http.post("/v1/questions", json=wanted)).json()["error"]["message"]
    assert "1000 streams; 64 can be asked at once" in told
    assert "server.surveys.max_streams" in told


async def test_at_the_deadline_the_answer_is_made_of_what_is_there() -> None:
    engine = StuckSpotter(SCRIPT)
    async with (
        serving(engine=engine) as served,
        served.http() as http,
        open_streams(http, door="blue", yard="red", late="red"),
    ):
        told = await ask(http, **RED_CAR, deadline_s=2.0)
        assert told["parts"][2]["status"] == "timed_out"
        assert (told["status"], told["answer"]) == ("incomplete", "Yard. Not heard: Late.")
        assert told["parts"][2]["error"]["code"] == "timed_out"


async def test_who_hangs_up_ends_what_is_asked() -> None:
    engine = CarSpotter(SCRIPT, ttft_s=3600.0)
    async with (
        serving(engine=engine) as served,
        served.http() as http,
        open_streams(http, door="blue", yard="red"),
    ):
        asking = asyncio.create_task(http.post("/v1/questions", json=RED_CAR))
        await until(lambda: engine.num_answering == 2)
        asking.cancel()
        await until(lambda: engine.num_answering == 0)
        await until(lambda: served.metric("onlooker_surveys_total", outcome="cancelled") == 1)


async def test_a_tenants_streams_are_its_own() -> None:
    keys = [f"acme:{KEY}", "other:another-key"]
    async with serving(engine=CarSpotter(SCRIPT), server__api_keys=keys) as served:
        async with served.http(headers=AUTH) as http, open_streams(http, yard="red"):
            pass
        async with served.http(headers={"authorization": "Bearer another-key"}) as http:
            refused = await http.post("/v1/questions", json=RED_CAR)
            assert refused.status_code == 400
            named = await ask(http, **RED_CAR, streams=["yard"])
            assert named["parts"][0]["error"]["code"] == "not_found"


def chat(*names: str, **more: Any) -> dict[str, Any]:
    shown = [{"type": "video_url", "video_url": {"url": f"stream://{name}"}} for name in names]
    asked = {"type": "text", "text": RED_CAR["question"]}
    return {"model": "fake", "messages": [{"role": "user", "content": [*shown, asked]}], **more}


async def test_a_chat_completion_about_several_streams_is_one_answer(
    http: httpx.AsyncClient,
) -> None:
    reply = (await http.post("/v1/chat/completions", json=chat("door", "yard"))).json()
    assert reply["choices"][0]["message"]["content"] == "Yard."
    assert reply["choices"][0]["finish_reason"] == "stop"
    assert [part["stream"] for part in reply["survey"]["parts"]] == ["door", "yard"]
    assert reply["usage"]["total_tokens"] > 0


async def test_openais_client_streams_an_answer_about_several_streams(served: Served) -> None:
    async with (
        served.http() as http,
        open_streams(http, door="blue", yard="red"),
        openai.AsyncOpenAI(base_url=served.api, api_key="none") as client,
    ):
        chunks = await client.chat.completions.create(**chat("door", "yard"), stream=True)
        said = [one.choices[0].delta.content async for one in chunks if one.choices]
    assert "".join(text or "" for text in said) == "Yard."


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logprobs": True}, "logprobs"),
    ],
)
async def test_what_several_streams_cannot_do_in_a_completion_is_refused(
    http: httpx.AsyncClient, more: dict[str, Any], param: str
) -> None:
    refused = await http.post("/v1/chat/completions", json=chat("door", "yard", **more))
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


async def test_the_python_client_asks_several_streams(
    http: httpx.AsyncClient, served: Served
) -> None:
    async with Client(served.base) as client:
        told = await client.survey(RED_CAR["question"], labels=["outside"])
        assert (told.answer, told.cameras[0].stream) == ("Yard.", "yard")


@pytest.mark.redis
async def test_streams_of_all_servers_are_asked_and_a_server_that_is_away_is_told() -> None:
    with redis_of_a_fleet() as url:
        async with (
            member(url, "a", engine=CarSpotter(SCRIPT), **SELDOM) as a,
            member(url, "b", engine=CarSpotter(SCRIPT), **SELDOM) as b,
            a.http(headers=AUTH) as http,
            b.http(headers=AUTH) as there,
            open_streams(http, door="blue"),
            open_streams(there, yard="red"),
        ):
            await acquaint(a, b)
            told = await ask(http, **RED_CAR, labels=["outside"])
            assert (told["status"], told["answer"]) == ("completed", "Yard.")
            assert [part["stream"] for part in told["parts"]] == ["door", "yard"]
            listed = (await http.get("/v1/streams?servers=all&label=outside")).json()
            assert [one["id"] for one in listed["data"]] == ["door", "yard"]
            rest = (await http.get("/v1/streams?servers=all&limit=1&after=door")).json()
            assert ([one["id"] for one in rest["data"]], rest["has_more"]) == (["yard"], False)
            own = (await http.get("/v1/streams")).json()["data"]
            assert [one["id"] for one in own] == ["door"]
            named = await ask(http, **RED_CAR, streams=["yard"])
            assert (named["answer"], named["parts"][0]["name"]) == ("Yard.", "Yard")
            assert a.metric("onlooker_relays_active") == 0
            assert a.gateway.herald is not None
            gone = {"name": "c", "url": "http://127.0.0.1:9"}
            await a.gateway.herald.tell(a.gateway.describe().model_copy(update=gone))
            told = await ask(http, **RED_CAR, labels=["outside"])
            assert (told["status"], told["unreached"]) == ("incomplete", ["c"])
            assert told["answer"] == "Yard. Not asked: the streams of c, which did not answer."
