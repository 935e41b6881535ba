"""Contexts as retrieval leaves them: which clips are seen, and which questions are left."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from onlooker.demo_model.answers import DrawnQuestion
from onlooker.demo_model.training.contexts import retrieved

CLIPS = st.integers(12, 64)
SEEDS = st.integers(0, 2**32 - 1)
FAMILIES = st.sampled_from(["first_seen", "when_appeared", "at_time_color", "how_many_times"])


@st.composite
def asked(draw: st.DrawFn) -> tuple[int, list[tuple[int, DrawnQuestion]]]:
    """How many clips there are, and questions about all of them or the first few."""
    clips = draw(CLIPS)
    evidence = st.lists(st.integers(0, clips - 1), max_size=3, unique=True).map(sorted)
    found = []
    for number in range(draw(st.integers(0, 8))):
        question = DrawnQuestion(draw(FAMILIES), str(number), "", tuple(draw(evidence)))
        found.append((draw(st.sampled_from([clips, clips - 3])), question))
    return clips, found


@given(asked(), SEEDS)
def test_questions_keep_their_evidence(
    drawn: tuple[int, list[tuple[int, DrawnQuestion]]], seed: int
) -> None:
    clips, questions = drawn
    viewed, kept = retrieved(np.random.default_rng(seed), clips, questions)
    before = {question.text: (seen, question) for seen, question in questions}
    assert sorted(set(viewed.tolist())) == viewed.tolist()
    assert viewed[-2:].tolist() == [clips - 2, clips - 1]
    for seen, question in kept:
        was_seen, was = before[question.text]
        assert (seen, was_seen) == (len(viewed), clips)
        assert [int(viewed[i]) for i in question.evidence] == list(was.evidence)
        assert question.family != "how_many_times"


def test_ever_needs_one_of_the_clips_that_show_it() -> None:
    question = DrawnQuestion("ever", "Was there ever a star?", "yes", tuple(range(0, 40, 8)))
    counts = set()
    for seed in range(40):
        viewed, kept = retrieved(np.random.default_rng(seed), 48, [(48, question)])
        shown = [i for i in question.evidence if i in viewed]
        assert [tuple(int(viewed[i]) for i in q.evidence) for _, q in kept] == (
            [tuple(shown)] if shown else []
        )
        counts.add(len(shown))
    assert len(counts) > 2


def test_a_lone_old_clip_stands_before_many_new_ones_now_and_then() -> None:
    question = DrawnQuestion("when_appeared", "When did a star appear?", "at 3 seconds", (3,))
    old = []
    for seed in range(200):
        viewed, kept = retrieved(np.random.default_rng(seed), 64, [(64, question)])
        gaps = np.flatnonzero(np.diff(viewed) > 1)
        if kept and len(gaps):
            old.append((int(gaps[-1]) + 1, len(viewed) - int(gaps[-1]) - 1))
    assert any(few <= 2 and many >= 32 for few, many in old)
    assert any(many <= 8 for _, many in old)
