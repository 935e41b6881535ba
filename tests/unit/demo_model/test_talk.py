"""Conversations in training: which turns stand before a question."""

from __future__ import annotations

import numpy as np

from onlooker.demo_model.answers import DrawnQuestion
from onlooker.demo_model.training.talk import with_turns

NUMBERS = ("none", "one", "two")


def question(family: str, seen: int) -> tuple[int, DrawnQuestion]:
    return seen, DrawnQuestion(family, f"{family} at {seen}?", NUMBERS[seen % 3])


TOLD = [question(family, seen) for seen in range(12) for family in ("now_count", "ever", "check")]


def talks(asked: list[tuple[int, DrawnQuestion]]) -> list[tuple[int, DrawnQuestion]]:
    found = []
    for seed in range(60):
        found += with_turns(np.random.default_rng(seed), asked, TOLD)
    return found


def test_earlier_turns_were_asked_no_later_and_in_order() -> None:
    seen_at = {q.text: seen for seen, q in TOLD}
    lengths = set()
    for seen, asked in talks([question("ever", 6)]):
        turns = [seen_at[text] for text, _ in asked.history if text != asked.text]
        assert turns == sorted(turns)
        assert all(at <= seen for at in turns)
        lengths.add(len(asked.history))
    assert lengths == {0, 1, 2, 3, 4, 5}


def test_a_follow_up_keeps_its_own_turn_as_the_last() -> None:
    own = (("What color is the star?", "red"),)
    follow_up = DrawnQuestion("follow_up", "And the shape?", "a star", history=own)
    found = talks([(9, follow_up)])
    assert all(asked.history[-1:] == own for _, asked in found)
    assert any(len(asked.history) == 5 for _, asked in found)


def test_the_same_question_was_now_and_then_answered_otherwise() -> None:
    asked_now = DrawnQuestion("now_count", "How many are there?", "two")
    found = [asked for _, asked in talks([(8, asked_now)])]
    again = [a for asked in found for text, a in asked.history if text == asked.text]
    assert again
    assert "two" not in again
    assert len(again) < len(found) / 2


def test_what_watches_ask_stands_in_no_conversation() -> None:
    assert all(asked.history == () for _, asked in talks([question("check", 8)]))
