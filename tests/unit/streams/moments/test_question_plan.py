"""What questions about the past as a whole ask for."""

from datetime import UTC

import pytest

from onlooker.engine.memory.times import Now
from onlooker.streams.moments.question_plan import (
    MAX_LETTERS,
    QuestionPlan,
    Wanted,
    plan_of,
)

NOW = Now(7200.0)


def plan(question: str) -> QuestionPlan:
    found = plan_of(question, NOW)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("question", "wanted", "condition"),
    [
        ("When did a red circle appear?", Wanted.EACH, "a red circle appears"),
        ("How often did a red circle appear?", Wanted.COUNT, "a red circle appears"),
        ("How many times has a red circle appeared?", Wanted.COUNT, "a red circle appears"),
        ("List all times a red circle appeared.", Wanted.EACH, "a red circle appears"),
        ("At what times was a van there?", Wanted.EACH, "there is a van"),
        ("When did you first see a blue star?", Wanted.FIRST, "there is a blue star"),
        ("When was a red circle last there?", Wanted.LAST_SEEN, "there is a red circle"),
        ("When was the last time the dog left?", Wanted.LAST, "the dog leaves"),
        ("When was the last delivery?", Wanted.LAST_SEEN, "there is the delivery"),
        ("When did someone leave a parcel?", Wanted.EACH, "someone leaves a parcel"),
        ("What time did a red circle appear?", Wanted.EACH, "a red circle appears"),
        ("When exactly did a red circle appear again?", Wanted.EACH, "a red circle appears"),
        ("When was the last time you saw a van?", Wanted.LAST_SEEN, "there is a van"),
        ("When was the van away?", Wanted.EACH, "the van leaves"),
        ("When was the van gone?", Wanted.EACH, "the van leaves"),
    ],
)
def test_a_question_of_times_is_read_as_a_condition(
    question: str, wanted: Wanted, condition: str
) -> None:
    found = plan(question)
    assert (found.wanted, found.condition) == (wanted, condition)


def test_the_subject_is_what_the_diary_names_whatever_happened_to_it() -> None:
    assert plan("When did a red circle appear?").subject == ("red", "circle")
    assert plan("When did someone leave a parcel at the door?").subject == ("parcel", "door")


def test_a_time_that_is_named_bounds_the_search_and_is_no_part_of_the_condition() -> None:
    found = plan("How often did you see a dog in the last hour?")
    assert (found.condition, found.spans) == ("there is a dog", ((3600.0, 7200.0),))


@pytest.mark.parametrize(
    ("question", "spans"),
    [
        ("What happened so far?", ((0.0, 7200.0),)),
        ("What has happened in the last hour?", ((3600.0, 7200.0),)),
        ("Summarise the first ten minutes.", ((0.0, 600.0),)),
        ("Summarise briefly what happened", ((0.0, 7200.0),)),
        ("What happened outside while I was away?", ((0.0, 7200.0),)),
    ],
)
def test_what_happened_is_summed_up(question: str, spans: tuple[tuple[float, float], ...]) -> None:
    found = plan(question)
    assert (found.wanted, found.spans) == (Wanted.SUMMARY, spans)


@pytest.mark.parametrize(
    "question",
    [
        "What color is the star?",
        "How many objects are there?",
        "What just happened?",
        "What has just changed?",
        "What happened to the parcel at the door?",
        "When will it rain?",
        "When does the shop open?",
        "Was there ever a red star?",
        "When?",
        "",
    ],
)
def test_other_questions_have_no_plan(question: str) -> None:
    assert plan_of(question, NOW) is None


def test_words_of_a_subject_are_searched_whole() -> None:
    """A stem that is cut once more would not be found."""
    assert plan("When did a blue cross appear?").subject == ("blue", "cross")


@pytest.mark.parametrize(
    "question",
    [
        "How often did a red or a blue circle appear?",
        "When did either a cat or a dog come in?",
        "When did the dog not move?",
        "When didn\u2019t the dog move?",
        "When was there no cat?",
        "When did the second red circle appear?",
        "When did the other man leave?",
        "When did the man enter and what was he wearing?",
        "When did the man enter? What was he wearing?",
        "When did the cat leave, and where did it go?",
        "When you see a red circle, what do you do?",
    ],
)
def test_what_checks_of_one_condition_cannot_tell_has_no_plan(question: str) -> None:
    assert plan_of(question, NOW) is None


@pytest.mark.parametrize(
    "question",
    [
        "What happened to it?",
        "What happened to Rex?",
        "What happened next?",
        "What happened after that?",
        "Summarise the kitchen.",
    ],
)
def test_not_all_that_begins_like_a_question_of_what_happened_asks_for_all(question: str) -> None:
    assert plan_of(question, NOW) is None


@pytest.mark.parametrize(
    "question",
    [
        "Summarise in German.",
        "Summarise the last hour in one short sentence.",
        "Give me a summary of the video as JSON.",
        "Sum up in French",
    ],
)
def test_a_summary_may_be_asked_for_in_a_certain_way(question: str) -> None:
    found = plan(question)
    assert (found.wanted, found.is_plain) == (Wanted.SUMMARY, False)
    assert plan("Summarise the last hour.").is_plain


@pytest.mark.parametrize("ask", ["What happened {}?", "When did a red circle appear {}?"])
@pytest.mark.parametrize("when", ["yesterday", "at 23:30", "on 2026-11-28", "on Friday"])
def test_a_time_that_was_not_seen_is_not_answered_from_another(ask: str, when: str) -> None:
    begun = Now(600.0, zero_wall_s=1_767_268_800.0, zone=UTC)  # a Thursday, at noon
    assert plan_of(ask.format("so far"), begun) is not None
    assert plan_of(ask.format(when), begun) is None


@pytest.mark.parametrize("gap", [" ", "\t", "\n"])
def test_a_question_may_be_any_length_and_hold_any_white_space(gap: str) -> None:
    assert plan(f"When did a{gap * 8000}red circle appear?").subject == ("red", "circle")
    assert plan_of(gap * 8000, NOW) is None
    assert plan_of("When did " + "a red " * MAX_LETTERS + "circle appear?", NOW) is None
