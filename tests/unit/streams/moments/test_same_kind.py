"""Things of a kind: what sentences name of it, and what is found of each told as one."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.engine.interface import FoundMoment
from onlooker.engine.wording import Wording, WordingRule
from onlooker.streams.moments.happenings import Happening
from onlooker.streams.moments.moment_search import FoundTimes
from onlooker.streams.moments.question_plan import Wanted
from onlooker.streams.moments.same_kind import MAX_THINGS, conditions_in, told_as_one
from tests.fakes.diaries import make_entry

WORDING = Wording(
    rules=(
        WordingRule(r"(?:an?|the) (\w+ \w+) appears", "Is there a {1}?", about_event=False),
        WordingRule(r"there is an? (\w+ \w+)", "Is there a {1}?", about_event=False),
        WordingRule(r"an? (\w+ \w+) leaves", "Has a {1} just left?"),
    )
)


def _named(
    *texts: str, subject: str = "circle", happening: Happening | None = Happening.COMES
) -> tuple[list[str], bool]:
    entries = [make_entry(float(at_s), text) for at_s, text in enumerate(texts)]
    return conditions_in(entries, subject.split(), happening, WORDING)


@pytest.mark.parametrize(
    ("text", "subject", "names"),
    [
        ("A blue cross and an orange circle", "circle", ["a orange circle appears"]),
        ("A red circle, a blue circle", "circles",
         ["a red circle appears", "a blue circle appears"]),
        ("A red cross appeared.", "red", ["a red cross appears"]),
        ("The sign now shows 0.", "sign", []),
        ("A very old red circle appeared.", "circle", []),
        ("Something red appeared", "red", []),
        ("A blue cross", "circle", []),
    ],
)  # fmt: skip
def test_names_are_those_for_which_the_model_has_a_question(
    text: str, subject: str, names: list[str]
) -> None:
    assert _named(text, subject=subject) == (names, bool(names))


def test_the_form_is_what_is_asked_for() -> None:
    assert _named("The red circle left.", happening=Happening.LEAVES)[0] == ["a red circle leaves"]
    assert _named("The red circle left.", happening=None)[0] == ["there is a red circle"]
    assert _named("The red circle moved.", happening=Happening.MOVES) == ([], False)


def test_those_named_most_often_come_first_and_not_all_are_looked_for() -> None:
    many = [f"A {letter * 3} circle" for letter in string.ascii_lowercase]
    names, are_all = _named(*many, "A zzz circle")
    assert (len(names), names[0], are_all) == (MAX_THINGS, "a zzz circle appears", False)


def _found(*times_s: float, is_exact: bool = True, is_lasting: bool = False) -> FoundTimes:
    moments = [
        FoundMoment(at_s=at_s, end_s=at_s + 1, wall_s=at_s, confidence=0.9) for at_s in times_s
    ]
    return FoundTimes(moments, is_exact, is_lasting)


_TIMES = st.lists(st.lists(st.integers(0, 9).map(float), max_size=5, unique=True), max_size=5)


@given(_TIMES)
def test_what_was_found_of_each_is_told_once_and_in_order(each: list[list[float]]) -> None:
    found = [_found(*sorted(times_s)) for times_s in each]
    whole = sorted({at_s for times_s in each for at_s in times_s})

    def told(wanted: Wanted) -> list[float]:
        return [one.at_s for one in told_as_one(found, wanted).moments]

    assert told(Wanted.COUNT) == told(Wanted.EACH) == whole
    assert told(Wanted.FIRST) == whole[:1]
    assert told(Wanted.LAST) == told(Wanted.LAST_SEEN) == whole[-1:]


def test_it_is_exact_where_all_of_it_is() -> None:
    assert told_as_one([_found(1.0), _found(2.0)], Wanted.EACH).is_exact
    assert not told_as_one([_found(1.0), _found(2.0)], Wanted.EACH, is_whole=False).is_exact
    assert not told_as_one([_found(1.0), _found(2.0, is_exact=False)], Wanted.EACH).is_exact


def test_one_that_is_there_still_was_seen_last() -> None:
    told = told_as_one([_found(3.0, is_lasting=True), _found(7.0)], Wanted.LAST_SEEN)
    assert ([one.at_s for one in told.moments], told.is_lasting) == ([3.0], True)
