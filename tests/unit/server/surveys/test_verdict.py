"""What the parts of a survey come to."""

from typing import Any

import pytest

from onlooker.core.protocol.answer_facts import Usage
from onlooker.core.protocol.base import ErrorBody
from onlooker.core.protocol.surveys import SurveyMoment, SurveyPart, SurveyReply
from onlooker.server.surveys.framing import Form, Framed
from onlooker.server.surveys.verdict import says, verdict


def part(stream: str, answer: str, form: Form = "which", **more: Any) -> SurveyPart:
    fields = {"name": stream.title(), "status": "completed", **more}
    return SurveyPart(
        stream=stream,
        asked="Is there a cat?",
        answer=answer,
        says=says(answer, form),
        **fields,
    )


def missed(stream: str) -> SurveyPart:
    error = ErrorBody(type="overloaded_error", code="timed_out", message="too late")
    return part(stream, "", status="timed_out", error=error)


def told(form: Form, *parts: SurveyPart, unreached: tuple[str, ...] = ()) -> SurveyReply:
    return verdict("s", "?", Framed(form, "?"), parts, unreached=unreached)


def test_the_cameras_that_say_yes_are_named_surest_first() -> None:
    found = told(
        "which",
        part("hall", "Yes, it is.", confidence=0.6),
        part("yard", "no"),
        part("door", "yes", confidence=0.9),
    )
    assert found.answer == "Door and Hall."
    assert [one.stream for one in found.cameras] == ["door", "hall"]
    assert (found.status, found.form) == ("completed", "which")


@pytest.mark.parametrize(
    ("form", "words"), [("which", "None of the 2 cameras."), ("any", "No, none of the 2 cameras.")]
)
def test_where_none_says_yes_that_is_said(form: Form, words: str) -> None:
    assert told(form, part("hall", "no"), part("yard", "No, nothing.")).answer == words


def test_whether_any_is_answered_by_yes_and_the_cameras() -> None:
    assert told("any", part("hall", "no"), part("yard", "yes")).answer == "Yes: Yard."


@pytest.mark.parametrize(
    ("source", "words"), [("named", "Yard (at 12.0 s)."), ("retrieved", "Yard.")]
)
def test_a_moment_is_in_the_words_where_the_question_named_its_time(
    source: str, words: str
) -> None:
    moment = SurveyMoment(stream="yard", start_s=12.04, end_s=13.0, source=source, tier="memory")
    found = told("which", part("yard", "yes", moments=[moment]))
    assert (found.answer, found.cameras[0].moments) == (words, [moment])


def test_what_was_not_heard_is_said_beside_the_answer() -> None:
    found = told("which", part("hall", "yes"), missed("yard"), unreached=("b",))
    assert found.status == "incomplete"
    assert found.answer == (
        "Hall. Not heard: Yard. Not asked: the streams of b, which did not answer."
    )


def test_an_answer_that_is_neither_yes_nor_no_is_not_counted_and_told() -> None:
    found = told("which", part("hall", "yes"), part("yard", "It is dark."))
    assert found.answer == "Hall. Not clear: Yard."


def test_where_nobody_says_yes_or_no_each_camera_speaks_for_itself() -> None:
    found = told("any", part("hall", "A cat."), part("yard", "A\n dog."))
    assert (found.form, found.answer) == ("each", "Hall: A cat.\nYard: A dog.")


def test_where_none_was_heard_it_has_failed() -> None:
    found = told("which", missed("hall"), missed("yard"))
    assert (found.status, found.answer) == ("failed", "None of the cameras could be asked.")
    assert [one.status for one in found.parts] == ["timed_out", "timed_out"]


def test_long_lists_and_long_answers_are_cut_in_the_words_and_whole_in_the_parts() -> None:
    many = told("which", *(part(f"cam{n:02}", "yes") for n in range(30)))
    assert many.answer.endswith("and 10 more.")
    assert len(many.cameras) == 30
    long = told("each", part("hall", "word " * 400, "each"))
    assert len(long.answer) < 450
    assert long.parts[0].answer == "word " * 400


def test_tokens_are_added_up() -> None:
    usage = Usage(input_tokens=3, output_tokens=2, total_tokens=5)
    found = told("which", part("a", "yes", usage=usage), part("b", "no", usage=usage))
    assert (found.usage.input_tokens, found.usage.total_tokens) == (6, 10)
