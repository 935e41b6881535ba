from dataclasses import replace
from typing import Any

import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.errors import EngineFailed
from onlooker.core.protocol.answer_events import (
    ItemAdded,
    ResponseCreated,
    ResponseDone,
    TextDelta,
    TextDone,
)
from onlooker.engine.interface import (
    AnswerDelta,
    AnswerEnd,
    Evidence,
    EvidenceSource,
    FinishReason,
    MisreadTime,
    Question,
)
from onlooker.server.answers import AnswerWriter


def make_writer(clock: ManualClock | None = None, **options: Any) -> AnswerWriter:
    defaults: dict[str, Any] = {"stream": "s", "conversation_id": "conv"}
    question = Question(text="?", max_tokens=10)
    return AnswerWriter(question, clock=clock or ManualClock(), **{**defaults, **options})


def make_end(finish: FinishReason = FinishReason.STOP, **fields: Any) -> AnswerEnd:
    return AnswerEnd(finish, 100, 80, 5, ((0.0, 1.0),), **fields)


def done_of(events: list[Any]) -> ResponseDone:
    assert isinstance(events[-1], ResponseDone)
    return events[-1]


def test_the_first_piece_opens_the_item_and_the_others_do_not() -> None:
    writer = make_writer()
    assert [e.type for e in writer.delta(AnswerDelta("a"))] == [  # type: ignore[attr-defined]
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_text.delta",
    ]
    assert [e.type for e in writer.delta(AnswerDelta("b"))] == ["response.output_text.delta"]  # type: ignore[attr-defined]


def test_what_is_said_meanwhile_is_told_and_is_no_part_of_the_answer() -> None:
    writer = make_writer()
    *_, meanwhile = writer.delta(AnswerDelta("Looking. ", is_interim=True))
    assert isinstance(meanwhile, TextDelta)
    assert (meanwhile.delta, writer.text) == ("Looking. ", "")
    (said,) = writer.delta(AnswerDelta("Twice."))
    assert [one.model_dump().get("interim") for one in (meanwhile, said)] == [True, None]
    events = writer.end(make_end())
    assert [event.text for event in events if isinstance(event, TextDone)] == ["Twice."]
    assert done_of(events).response.text == "Twice."


def test_an_answer_that_ends_before_it_has_words_has_none() -> None:
    writer = make_writer()
    writer.delta(AnswerDelta("Looking. ", is_interim=True))
    events = writer.cancel()
    assert [event.text for event in events if isinstance(event, TextDone)] == [""]
    assert done_of(events).response.text == ""
    assert writer.has_item, "clients have heard of its item"


def test_beside_the_conversation_no_item_joins_it() -> None:
    writer = make_writer(conversation_id=None)
    events = [*writer.delta(AnswerDelta("a")), *writer.end(make_end())]
    assert not any(isinstance(event, ItemAdded) for event in events)


def test_the_end_tells_text_usage_and_what_it_was_based_on() -> None:
    clock = ManualClock()
    writer = make_writer(clock, metadata={"a": "b"})
    (created,) = writer.begin()
    assert isinstance(created, ResponseCreated)
    clock.advance(0.25)
    writer.delta(AnswerDelta("Hello"))
    clock.advance(1)
    writer.delta(AnswerDelta(" there"))
    response = done_of(writer.end(make_end(asked_s=3.0, seen_until_s=2.5))).response
    assert response.text == "Hello there"
    assert (response.metadata, response.max_output_tokens) == ({"a": "b"}, 10)
    assert response.usage is not None
    assert response.usage.total_tokens == 105
    assert response.usage.input_token_details.cached_tokens == 80
    facts = response.onlooker
    assert (facts.asked_s, facts.seen_until_s, facts.ttft_ms) == (3.0, 2.5, 250.0)
    assert facts.clip_spans_s == [(0.0, 1.0)]


def test_the_end_tells_where_its_evidence_lay() -> None:
    seen = Evidence(3.0, 3.5, EvidenceSource.NAMED, "redis", is_partial=True, is_compacted=True)
    end = replace(make_end(), evidence=(seen,), fetched_bytes={"redis": 4096}, fetched_ratio=0.25)
    told = done_of(make_writer().end(end)).model_dump(mode="json")["response"]["onlooker"]
    assert told["evidence"] == [
        {
            "start_s": 3.0,
            "end_s": 3.5,
            "source": "named",
            "tier": "redis",
            "partial": True,
            "compacted": True,
            "picture": None,
        }
    ]
    assert told["fetched_bytes"] == {"redis": 4096}
    assert told["fetched_ratio"] == 0.25


@pytest.mark.parametrize(
    ("finish", "status", "reason"),
    [
        (FinishReason.STOP, "completed", None),
        (FinishReason.LENGTH, "incomplete", "max_output_tokens"),
        (FinishReason.CANCELLED, "cancelled", "client_cancelled"),
        (FinishReason.ERROR, "failed", None),
    ],
)
def test_every_way_to_finish_has_its_status(
    finish: FinishReason, status: str, reason: str | None
) -> None:
    writer = make_writer()
    writer.delta(AnswerDelta("x"))
    response = done_of(writer.end(make_end(finish))).response
    assert response.status == status
    assert response.status_details is not None
    assert response.status_details.reason == reason
    assert response.output[0].status == ("completed" if status == "completed" else "incomplete")


def test_a_stream_that_closed_is_the_reason() -> None:
    writer = make_writer()
    response = done_of(writer.end(make_end(FinishReason.CANCELLED, reason="closed: idle"))).response
    assert response.status_details is not None
    assert response.status_details.reason == "closed: idle"


def test_an_answer_without_a_word_has_no_item() -> None:
    ends = (
        make_writer().cancel(),
        make_writer().fail(EngineFailed("broke")),
        make_writer().end(make_end()),
    )
    for events in ends:
        assert len(events) == 1
        assert done_of(events).response.output == []


def test_a_failure_is_told_and_kept() -> None:
    writer = make_writer()
    writer.delta(AnswerDelta("half"))
    response = done_of(writer.fail(EngineFailed("broke"))).response
    assert response.status_details is not None
    assert response.status_details.error is not None
    assert response.status_details.error.code == "engine_failed"
    assert isinstance(writer.failure, EngineFailed)
    assert response.text == "half"


def test_times_that_were_misread_are_told() -> None:
    misread = (MisreadTime(3513.0, 1813.0), MisreadTime(77.0, None))
    facts = done_of(make_writer().end(make_end(misread_times=misread))).response.onlooker
    assert [one.model_dump() for one in facts.misread_times] == [
        {"said_s": 3513.0, "told_s": 1813.0},
        {"said_s": 77.0, "told_s": None},
    ]
