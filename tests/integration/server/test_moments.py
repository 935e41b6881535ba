"""Questions about the past as a whole: answered from the diary, and checked against clips."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from onlooker.cache_store.config import DiarySection
from onlooker.core.clock import Clock
from onlooker.core.metrics import Metrics
from onlooker.engine.checks import Check, CheckResult
from onlooker.engine.fake import ScriptedEngine
from onlooker.streams.meaning.meanings import Meanings
from tests.fakes.embedder import WordEmbedder
from tests.fakes.served import serving
from tests.integration.server.test_timeline import DOOR, SCRIPT, push, written


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """A stream that was red, blue, red, blue and green, a second each."""
    async with written() as served, served.http() as client:
        await client.post("/v1/streams", json={"id": "door", "clock": "virtual"})
        await push(client, "red", "blue", "red", "blue", "green", "black")
        yield client


async def ask(http: httpx.AsyncClient, question: str, **more: Any) -> dict[str, Any]:
    reply = await http.post(f"{DOOR}/questions", json={"question": question, **more})
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


async def test_every_time_is_told_with_its_picture(http: httpx.AsyncClient) -> None:
    reply = await ask(http, "How often was it red?")
    assert reply["answer"] == "Two times: at 0 s and at 2 s."  # nothing of what is said meanwhile
    facts = reply["onlooker"]
    assert [one["at_s"] for one in facts["moments"]] == [0.0, 2.0]
    assert facts["moments_exact"] is True
    assert all(one["confidence"] > 0.85 for one in facts["moments"])
    assert (await http.get(facts["moments"][1]["picture"])).status_code == 200
    assert {one["source"] for one in facts["evidence"]} == {"diary"}


async def test_the_first_and_the_last_time_are_found(http: httpx.AsyncClient) -> None:
    for asked, at_s in (("first", 1.0), ("last", 4.0)):
        reply = await ask(http, f"When did you {asked} see blue?")
        assert [one["at_s"] for one in reply["onlooker"]["moments"]] == [at_s]


async def test_only_the_time_that_is_named_counts(http: httpx.AsyncClient) -> None:
    reply = await ask(http, "How often was it red between 1 and 4 seconds?")
    assert [one["at_s"] for one in reply["onlooker"]["moments"]] == [2.0]


async def test_what_was_not_checked_is_not_counted_and_that_is_said(
    http: httpx.AsyncClient,
) -> None:
    reply = await ask(http, "How often was it red?", budget_s=0)
    assert reply["onlooker"]["moments_exact"] is False
    assert "could be checked in time" in reply["answer"]


async def test_what_happened_is_told_from_the_diary(http: httpx.AsyncClient) -> None:
    reply = await ask(http, "What happened so far?")
    assert "All is red (2 times: 0 s, 2 s)." in reply["answer"]
    assert reply["onlooker"]["moments_exact"] is None


async def test_an_answer_is_no_longer_than_was_asked_for(http: httpx.AsyncClient) -> None:
    whole = await ask(http, "How often was it red?", max_output_tokens=12)
    assert (whole["status"], whole["answer"]) == ("completed", "Two times: at 0 s and at 2 s.")
    fewer = await ask(http, "How often was it red?", max_output_tokens=10)
    assert (fewer["status"], fewer["answer"]) == ("completed", "Two times: at 0 s and 1 more.")
    cut = await ask(http, "How often was it red?", max_output_tokens=4)
    assert (cut["status"], cut["answer"]) == ("incomplete", "Two times: at")
    assert [one["at_s"] for one in cut["onlooker"]["moments"]] == [0.0, 2.0]
    digest = await ask(http, "What happened so far?", max_output_tokens=18)
    assert digest["answer"].endswith("other sentences.")


async def test_instructions_that_only_say_who_the_model_is_are_no_hindrance(
    http: httpx.AsyncClient,
) -> None:
    asked = "How often was it red?"
    persona = await ask(http, asked, instructions="You are a helpful assistant.")
    assert len(persona["onlooker"]["moments"]) == 2


async def test_instructions_say_how_what_was_found_is_told() -> None:
    script = ((r"Two times: at 0 s and at 2 s\.", "Zwei Mal."), *SCRIPT)
    async with written(engine=ScriptedEngine(script)) as served, served.http() as http:
        await http.post("/v1/streams", json={"id": "door", "clock": "virtual"})
        await push(http, "red", "blue", "red", "blue")
        reply = await ask(http, "How often was it red?", instructions="Answer in German.")
        assert reply["answer"] == "Zwei Mal."
        assert [one["at_s"] for one in reply["onlooker"]["moments"]] == [0.0, 2.0]
        assert reply["onlooker"]["moments_exact"] is True


async def test_a_question_may_be_left_to_the_model(http: httpx.AsyncClient) -> None:
    reply = await ask(http, "How often was it red?", from_diary=False)
    assert (reply["answer"], reply["onlooker"]["moments_exact"]) == ("Yes.", None)


async def test_who_asks_how_sure_it_is_hears_how_sure_the_least_sure_moment_is(
    http: httpx.AsyncClient,
) -> None:
    facts = (await ask(http, "How often was it red?", confidence=True))["onlooker"]
    assert len(facts["moments"]) == 2
    assert facts["confidence"] == min(one["confidence"] for one in facts["moments"])


async def test_what_the_diary_names_otherwise_is_found_beside_what_it_names() -> None:
    class Careless(ScriptedEngine):
        """Writes down the wrong colour once, and is sure of its checks."""

        async def check(self, check: Check) -> CheckResult:
            result = await super().check(check)
            is_yes = result.logprobs[0] > result.logprobs[1]
            return replace(result, logprobs=(-0.001, -7.0) if is_yes else (-7.0, -0.001))

        def _reply(self, *asked: Any) -> str:
            said = super()._reply(*asked)
            self.num_red = getattr(self, "num_red", 0) + (said == "All is red.")
            return "All is pink." if said == "All is red." and self.num_red == 2 else said

    for sweeps, found in ((True, [0.0, 2.0, 4.0]), (False, [0.0, 4.0])):
        engine = Careless(SCRIPT)
        async with (
            written(engine=engine, streams__moments__sweeps=sweeps) as served,
            served.http() as http,
        ):
            await http.post("/v1/streams", json={"id": "door", "clock": "virtual"})
            await push(http, "red", "blue", "red", "blue", "red", "blue")
            facts = (await ask(http, "How often was it red?"))["onlooker"]
            assert [one["at_s"] for one in facts["moments"]] == found
            # What is not named is believed by one clip alone, but not called certain.
            assert facts["moments_exact"] is not sweeps


async def test_what_the_diary_knows_nothing_of_is_for_the_model(http: httpx.AsyncClient) -> None:
    assert (await ask(http, "How often was it purple?"))["answer"] == "Yes."
    assert (await ask(http, "Is it red?"))["answer"] == "Yes."


async def test_chat_completions_tell_moments_too(http: httpx.AsyncClient) -> None:
    content = [
        {"type": "text", "text": "List all times it was red."},
        {"type": "video_url", "video_url": {"url": "stream://door"}},
    ]
    body = {"model": "fake", "messages": [{"role": "user", "content": content}]}
    reply = (await http.post("/v1/chat/completions", json=body)).json()
    assert [one["at_s"] for one in reply["onlooker"]["moments"]] == [0.0, 2.0]


async def test_a_check_that_fails_makes_a_count_inexact() -> None:
    def fails(check: Check) -> bool:
        return check.asked_s == 2.0

    engine = ScriptedEngine(SCRIPT, fail_check=fails)
    async with written(engine=engine) as served, served.http() as http:
        await http.post("/v1/streams", json={"id": "door", "clock": "virtual"})
        await push(http, "red", "blue", "red", "blue")
        reply = await ask(http, "How often was it red?")
        assert [one["at_s"] for one in reply["onlooker"]["moments"]] == [0.0]
        assert reply["onlooker"]["moments_exact"] is False


async def test_more_than_may_be_checked_is_never_called_exact() -> None:
    async with written(streams__moments__max_checks=2) as served, served.http() as http:
        await http.post("/v1/streams", json={"id": "door", "clock": "virtual"})
        await push(http, "red", "blue", "red", "blue", "red", "blue")
        reply = await ask(http, "How often was it red?")
        assert reply["onlooker"]["moments_exact"] is False


async def test_without_a_diary_the_model_answers() -> None:
    async with serving(engine=ScriptedEngine(SCRIPT)) as served, served.http() as http:
        await http.post("/v1/streams", json={"id": "door", "clock": "virtual"})
        await push(http, "red", "blue")
        assert (await ask(http, "How often was it red?"))["answer"] == "Yes."


async def test_a_question_to_several_cameras_says_when_each_of_them_saw_it() -> None:
    async with written() as served, served.http() as http:
        body = {"id": "door", "clock": "virtual", "starts_at": 1_767_607_200}
        (await http.post("/v1/streams", json=body)).raise_for_status()
        await push(http, "red", "blue", "red", "blue")
        (await http.post("/v1/streams", json={**body, "id": "hall"})).raise_for_status()
        wanted = {"question": "How often was it red?", "streams": ["door", "hall"]}
        reply = (await http.post("/v1/questions", json=wanted)).json()
        assert reply["cameras"][0]["stream"] == "door"
        assert [one["start_s"] for one in reply["cameras"][0]["moments"]] == [0.0, 2.0]
        assert all(one["picture"] and one["wall_time"] for one in reply["cameras"][0]["moments"])
        assert reply["parts"][0]["moments_exact"] is True
        assert reply["answer"].startswith("At least 2 in all: door 2; not known: hall.")


class SeesCrimson(ScriptedEngine):
    """Sees it in the first and the third second."""

    async def check(self, check: Check) -> CheckResult:
        is_so = int(check.asked_s) in (0, 2)
        return CheckResult(logprobs=(0.0, -8.0) if is_so else (-8.0, 0.0))


async def test_a_diary_that_is_searched_by_meaning_tells_what_it_has_other_words_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def make(section: DiarySection, clock: Clock, metrics: Metrics) -> Meanings:
        return Meanings(WordEmbedder(), settings=section, clock=clock, metrics=metrics)

    monkeypatch.setattr("onlooker.server.store_wiring._make_meanings", make)
    async with written(engine=SeesCrimson(SCRIPT)) as served, served.http() as client:
        await client.post("/v1/streams", json={"id": "door", "clock": "virtual"})
        await push(client, "red", "blue", "red", "blue")
        reply = await ask(client, "How often was it crimson?")
        assert [one["at_s"] for one in reply["onlooker"]["moments"]] == [0.0, 2.0]
        assert reply["onlooker"]["moments_exact"] is False
        kept = (await client.get("/metrics")).text
        assert "onlooker_diary_vectors_size_bytes 0.0" not in kept
        await client.delete(f"{DOOR}/memory")
        gone = (await client.get("/metrics")).text
        assert "onlooker_diary_vectors_size_bytes 0.0" in gone
