"""Questions that lean on the turn before, read as questions that stand alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.engine.interface import Question, Turn
from onlooker.server.follow_ups import MAX_LETTERS, MAX_TURNS, standing_alone, understood

LEFT = ("What is on the left?", "A purple star")
COLOUR = ("What colour is the circle?", "Red")
WHEN = ("When did a red circle appear?", "For the last time at 23:41:47.")
OFTEN = ("How often did a red circle appear?", "3 times: at 1:02, at 2:03 and at 4:05.")
SCENE = ("What do you see?", "A blue cross and an orange circle")


def turns(*said: tuple[str, str]) -> list[Turn]:
    return [Turn(question, answer, 0.0) for question, answer in said]


@pytest.mark.parametrize(
    ("before", "asked", "alone"),
    [
        (LEFT, "When did it appear?", "When did the purple star appear?"),
        (LEFT, "And is it moving?", "is the purple star moving?"),
        (LEFT, "And on the right?", "What is on the right?"),
        (LEFT, "And now?", "What is on the left?"),
        (LEFT, "Are you sure?", "What is on the left?"),
        (LEFT, "What about at 12 seconds?", "What is on the left at 12 seconds?"),
        (LEFT, "And ten seconds ago?", "What is on the left ten seconds ago?"),
        (("What was there at 5 seconds?", "A dog"), "And now?", "What was there?"),
        (("What was there at 5 seconds?", "A dog"), "And at 9 seconds?",
         "What was there at 9 seconds?"),
        (("What was there at 5 seconds?", "A dog"), "Really?", "What was there at 5 seconds?"),
        (COLOUR, "And the star?", "What colour is the star?"),
        (COLOUR, "What about the blue one?", "What colour is the blue circle?"),
        (COLOUR, "No, I meant the star.", "What colour is the star?"),
        (COLOUR, "How often did it appear?", "How often did the circle appear?"),
        (COLOUR, "No, the star", "What colour is the star?"),
        (("Was there ever a green star?", "Yes"), "When was that?",
         "When did the green star appear?"),
        (("Did a star leave?", "Yes"), "When was that?", "When did a star leave?"),
        (("Is the door open?", "Yes"), "When did it open?", "When did the door open?"),
        (("Is the red door open?", "Yes"), "Where is it?", "Where is the red door?"),
        (WHEN, "And a green one?", "When did a green circle appear?"),
        (WHEN, "How often did it leave?", "How often did the red circle leave?"),
        (WHEN, "And the first time?", "When did a red circle appear for the first time?"),
        (OFTEN, "And when was the last time?", "When did a red circle appear for the last time?"),
        (OFTEN, "And in the last minute?", "How often did a red circle appear in the last minute?"),
        (COLOUR, "And a minute ago?", "What colour is the circle a minute ago?"),
        (COLOUR, "And the one on the right?", "What colour is the circle on the right?"),
        (("What happened in the last hour?", "Much"), "And now?", "What happened?"),
        (("What happened in the last hour?", "Much"), "And in the last two hours?",
         "What happened in the last two hours?"),
        (("What was in the yard in the last hour?", "Much"), "And in the last two hours?",
         "What was in the yard in the last two hours?"),
    ],
)  # fmt: skip
def test_what_leans_on_the_turn_before_is_read_with_it(
    before: tuple[str, str], asked: str, alone: str
) -> None:
    assert standing_alone(asked, turns(before)) == alone


@pytest.mark.parametrize(
    ("before", "asked"),
    [
        (LEFT, "How many things are there?"),
        (LEFT, "Where is the cross, and is it red?"),
        (LEFT, "What time is it?"),
        (LEFT, "Is it raining?"),
        (LEFT, "Why?"),
        (LEFT, "And then they left, and it was over, which I liked"),
        (LEFT, "Is it a cat?"),
        (LEFT, "Is it time to go?"),
        (SCENE, "When was that?"),
        (("Is the door open?", "Yes"), "When was that?"),
        (SCENE, "What colour is it?"),  # which of the two?
        (SCENE, "And the star?"),  # what of it?
        (("Hello!", "Hello."), "Where is it?"),
        (LEFT, "When was the last time that the left side was empty?"),
        (LEFT, "Has it been raining?"),
        (LEFT, "Is it cold outside?"),
        (LEFT, "Is it OK to go in?"),
        (LEFT, "Is it Monday?"),
        (LEFT, "Is it?"),
        (LEFT, "How is it going?"),
        (COLOUR, "And the star is green"),
        (COLOUR, "No, that is wrong"),
        (COLOUR, "And the ones on the left?"),
        (COLOUR, "And the other one?"),
        (COLOUR, "And the size?"),
        (COLOUR, "And the last time?"),
        (WHEN, "And the second time?"),
        (WHEN, "And the time before?"),
        (("What is there?", f"A dog {'sits ' * 60}and a cat"), "Where is it?"),
    ],
)
def test_what_stands_alone_or_cannot_be_told_stays_as_it_is(
    before: tuple[str, str], asked: str
) -> None:
    assert standing_alone(asked, turns(before)) is None


def test_a_follow_up_may_lean_on_another() -> None:
    before = turns(COLOUR, ("And the star?", "Blue"))
    assert standing_alone("And the cross?", before) == "What colour is the cross?"


def test_only_the_newest_turns_are_read() -> None:
    chain = turns(COLOUR, *[("Are you sure?", "Yes")] * MAX_TURNS)
    assert standing_alone("And the cross?", chain) is None
    assert standing_alone("And the cross?", chain[:MAX_TURNS]) == "What colour is the cross?"


def test_nothing_long_is_read() -> None:
    long = f"Is it{' ' * 3}{'very ' * MAX_LETTERS}red?"
    assert standing_alone("Is it very red?", turns(LEFT)) is not None
    assert standing_alone(long, turns(LEFT)) is None
    assert standing_alone("Is it very red?", turns((long, "A star"))) is None


@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=300))
def test_any_text_is_read_and_the_first_question_stands_alone(
    question: str, answer: str, asked: str
) -> None:
    assert standing_alone(asked, []) is None
    found = standing_alone(asked, turns((question, answer)))
    assert found is None or found.strip()


def test_a_model_that_is_given_turns_gets_the_question_as_it_was_asked() -> None:
    said = turns(LEFT)
    alone = "When did the purple star appear?"
    with_turns = understood(Question(text="When did it appear?", dialogue=tuple(said)), said)
    assert (with_turns.text, with_turns.understood) == ("When did it appear?", alone)
    without = understood(Question(text="When did it appear?"), said)
    assert (without.text, without.understood) == (alone, alone)
    whole = Question(text="What is there?")
    assert understood(whole, said) is whole
