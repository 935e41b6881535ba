"""Answers that are given again with pictures of what they rest on."""

from collections.abc import AsyncIterator
from typing import Any

import httpx

from onlooker.engine.fake import ScriptedEngine
from onlooker.engine.interface import (
    AnswerDelta,
    AnswerEnd,
    AnswerEvent,
    Evidence,
    EvidenceSource,
    FinishReason,
    Question,
)
from onlooker.engine.sampling import TokenChance
from onlooker.streams.config import StreamsSection
from tests.fakes.served import jpeg, serving


class Doubting(ScriptedEngine):
    """Answers with how many pictures it was shown, as sure as it is told to be, from memory."""

    logprob = -3.0
    evidence: tuple[Evidence, ...] = (Evidence(0.0, 1.0, EvidenceSource.RETRIEVED, "memory"),)

    async def answer(self, question: Question) -> AsyncIterator[AnswerEvent]:
        said = f"{len(question.images)} pictures"
        has_chances = question.sampling.num_alternatives is not None
        chances = (TokenChance(said, self.logprob),) if has_chances else ()
        yield AnswerDelta(said, chances)
        yield AnswerEnd(FinishReason.STOP, 10, 5, 2, evidence=self.evidence)


async def asked(engine: Doubting, **settings: Any) -> tuple[dict[str, Any], dict[str, float]]:
    """The answer about a stream with a few pictures, and how often there were second looks."""
    settings = {"streams__second_look__max_pictures": 2, **settings}
    async with serving(engine=engine, **settings) as served, served.http() as http:
        await http.post("/v1/streams", json={"id": "door", "clock": "virtual"})
        for at_s in range(4):
            headers = {"content-type": "image/jpeg", "x-capture-time-s": str(at_s)}
            picture = jpeg("red" if at_s % 2 else "blue")
            await http.post("/v1/streams/door/frames", content=picture, headers=headers)
        await seen(http)
        told = await http.post("/v1/streams/door/questions", json={"question": "Who?"})
        outcomes = ("sure", "looked", "no_pictures")
        counts = {
            one: served.metric("onlooker_second_looks_total", outcome=one) for one in outcomes
        }
        return told.json(), {one: count for one, count in counts.items() if count}


async def seen(http: httpx.AsyncClient) -> None:
    """Wait until the album has a picture."""
    for _ in range(500):
        if (await http.get("/v1/streams/door/pictures")).json()["data"]:
            return
    raise AssertionError("no picture came")


async def test_an_unsure_answer_is_given_again_with_pictures_and_the_evidence_says_so() -> None:
    told, counts = await asked(Doubting())
    assert (told["answer"], counts) == ("1 pictures", {"looked": 1.0})
    sources = [(one["source"], one["tier"]) for one in told["onlooker"]["evidence"]]
    assert sources == [("retrieved", "memory"), ("shown_again", "album")]
    assert told["usage"]["input_tokens"] == 20


async def test_a_sure_answer_is_given_as_it_is() -> None:
    engine = Doubting()
    engine.logprob = -0.01
    told, counts = await asked(engine)
    assert (told["answer"], counts) == ("0 pictures", {"sure": 1.0})


async def test_an_answer_from_long_ago_is_given_again_however_sure() -> None:
    engine = Doubting()
    engine.logprob = -0.01
    told, _ = await asked(engine, streams__second_look__after_s=1.0)
    assert told["answer"] == "1 pictures"


async def test_where_nothing_was_brought_back_there_is_nothing_to_look_at_again() -> None:
    engine = Doubting()
    engine.evidence = ()
    told, counts = await asked(engine)
    assert (told["answer"], counts) == ("0 pictures", {"no_pictures": 1.0})


async def test_it_is_off_by_default() -> None:
    assert StreamsSection().second_look.max_pictures == 0
    told, counts = await asked(Doubting(), streams__second_look__max_pictures=0)
    assert (told["answer"], counts) == ("0 pictures", {})


async def test_without_an_album_answers_are_given_as_they_are() -> None:
    settings: dict[str, Any] = {
        "streams__second_look__max_pictures": 2,
        "cache_store__album__enabled": False,
    }
    async with serving(engine=Doubting(), **settings) as served, served.http() as http:
        await http.post("/v1/streams", json={"id": "door"})
        told = await http.post("/v1/streams/door/questions", json={"question": "Who?"})
        assert told.json()["answer"] == "0 pictures"
