"""What questions about the past as a whole ask for."""

import pytest

from onlooker.engine.memory.times import Now
from onlooker.streams.moments.question_plan import QuestionPlan, Wanted, plan_of

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
