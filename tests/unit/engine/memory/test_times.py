"""Times that a question names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.engine.memory.times import named_spans, speaks_of_now


@pytest.mark.parametrize(
    ("question", "span"),
    [
        ("What colour was the star at 12 seconds?", (12.0, 13.0)),
        ("what was there at 12.5 s?", (12.5, 13.5)),
        ("what was there at second 30?", (30.0, 31.0)),
        ("and 20 seconds in?", (20.0, 21.0)),
        ("what happened at 1:05?", (65.0, 66.0)),
        ("what happened at 0:01:05?", (65.0, 66.0)),
        ("what was there ten seconds ago?", (89.0, 91.0)),
        ("what was there a minute ago?", (37.0, 43.0)),
        ("what came in the first minute?", (0.0, 60.0)),
        ("what came in the last 30 seconds?", (70.0, 100.0)),
        ("what came in the past minute?", (40.0, 100.0)),
        ("who came within the first ten seconds?", (0.0, 10.0)),
    ],
)
def test_a_named_time_becomes_a_span(question: str, span: tuple[float, float]) -> None:
    assert named_spans(question, now_s=100.0) == [pytest.approx(span)]


@pytest.mark.parametrize(
    "question",
    [
        "what colour is the circle?",
        "how many objects are there now?",
        "was there ever a red star?",
        "when did the second circle appear?",
        "is there a minute hand?",
        "what will be there at 500 seconds?",
        "what was there ten hours ago?",
    ],
)
def test_a_question_that_names_no_time_seen_names_none(question: str) -> None:
    assert named_spans(question, now_s=100.0) == []


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("what was there at 12 seconds?", False),
        ("is what was there at 12 seconds still there?", True),
        ("what has changed since 0:12?", True),
        ("what is on the left now?", True),
        ("who knows nowhere?", False),
    ],
)
def test_a_question_about_now_is_told_from_one_about_then(question: str, expected: bool) -> None:
    assert speaks_of_now(question) is expected


@given(st.text(max_size=80), st.floats(0, 1e6))
def test_any_text_gives_spans_within_what_was_seen(text: str, now_s: float) -> None:
    for start_s, end_s in named_spans(text, now_s=now_s):
        assert 0 <= start_s <= now_s
        assert end_s <= now_s
