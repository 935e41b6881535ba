"""Conversations: earlier questions and answers that stand between the clips and a question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from onlooker.demo_model.examples import WATCHED
from onlooker.demo_model.questions import DrawnQuestion

TALKED = 0.4
"""The share of the questions that are asked in a conversation."""
TURNS = (1, 2, 3, 4, 5)
TURN_SHARES = (0.3, 0.2, 0.15, 0.15, 0.2)
"""How often a conversation has so many earlier turns."""
ASKED_AGAIN = 0.3
"""The share of the conversations in which the same question was asked before and got another
answer: one that is no longer true, or that was wrong."""

Asked = Sequence[tuple[int, DrawnQuestion]]


def with_turns(
    rng: np.random.Generator, asked: Asked, told: Asked
) -> list[tuple[int, DrawnQuestion]]:
    """The questions `asked`, many of them with earlier turns drawn from those `told`.

    Both are pairs (number of clips seen, question) as `questions.branches` draws them. A turn was
    asked no later than the question it stands before, and was right then: a topic that changes, and
    answers that need not be right any more. A follow-up keeps its own turn, as the last one.
    """
    turns = sorted(((seen, q) for seen, q in told if not q.history), key=lambda pair: pair[0])
    found: list[tuple[int, DrawnQuestion]] = []
    for seen, question in asked:
        if question.family not in WATCHED and rng.random() < TALKED:
            count = int(rng.choice(TURNS, p=TURN_SHARES)) - len(question.history)
            before = [q for at, q in turns if at <= seen and q is not question]
            history = _history(rng, question, before, count)
            question = replace(question, history=(*history, *question.history))
        found.append((seen, question))
    return found


def _history(
    rng: np.random.Generator, question: DrawnQuestion, before: Sequence[DrawnQuestion], count: int
) -> list[tuple[str, str]]:
    """Up to `count` turns out of `before`, in order; now and then one of them is the question."""
    count = min(count, len(before))
    if count < 1:
        return []
    picked = np.sort(rng.choice(len(before), count, replace=False))
    history = [(before[i].text, before[i].answer) for i in picked]
    others = {
        q.answer
        for q in before
        if q.family == question.family and q.answer not in question.all_accepted
    }
    if others and not question.history and rng.random() < ASKED_AGAIN:
        wrong = sorted(others)[int(rng.integers(len(others)))]
        history[int(rng.integers(count))] = (question.text, wrong)
    return history
