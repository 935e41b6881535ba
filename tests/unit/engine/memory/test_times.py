"""Times that a question names."""

from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.engine.memory.times import (
    Now,
    named_spans,
    named_times,
    speaks_of_now,
    time_asked,
    without_times,
)

ZONE = ZoneInfo("Europe/Berlin")
NOON_TO_ONE = Now(3600.0, datetime(2026, 5, 4, 12, 0, tzinfo=ZONE).timestamp(), ZONE)
"""A stream that was opened at noon and is asked at one o'clock."""


@pytest.mark.parametrize(
    ("question", "span"),
    [
        ("What colour was the star at 12 seconds?", (12.0, 13.0)),
        ("what was there at 12.5 s?", (12.5, 13.5)),
        ("what was there at second 30?", (30.0, 31.0)),
        ("what was there in minute 1?", (60.0, 100.0)),
        ("and 20 seconds in?", (20.0, 21.0)),
        ("what happened at 1:05?", (65.0, 66.0)),
        ("what happened at 0:01:05?", (65.0, 66.0)),
        ("what was there ten seconds ago?", (89.0, 91.0)),
        ("what was there a minute ago?", (37.0, 43.0)),
        ("what was there 1 min 20 s ago?", (16.0, 24.0)),
        ("what was there 1m20s ago?", (16.0, 24.0)),
        ("what was there a minute and a half ago?", (5.5, 14.5)),
        ("what was there half a minute ago?", (68.5, 71.5)),
        ("what was there forty-five seconds ago?", (52.75, 57.25)),
        ("what was there a couple of seconds ago?", (97.0, 99.0)),
        ("what came in the first minute?", (0.0, 60.0)),
        ("what came in the last 30 seconds?", (70.0, 100.0)),
        ("what came in the past minute?", (40.0, 100.0)),
        ("who came within the first ten seconds?", (0.0, 10.0)),
        ("who came in the second minute?", (60.0, 100.0)),
        ("who came in the first half?", (0.0, 50.0)),
        ("who came in the last quarter?", (75.0, 100.0)),
        ("what was there between 10 and 20 seconds?", (10.0, 21.0)),
        ("what was there from 10 to 20 s?", (10.0, 21.0)),
        ("what was there between 0:10 and 0:20?", (10.0, 21.0)),
        ("what was there between 20 and 10 seconds ago?", (79.0, 91.0)),
        ("what was there from the start to 0:10?", (0.0, 11.0)),
        ("what was there between the first circle and 0:10?", None),
        ("what changed since 0:30?", (30.0, 100.0)),
        ("what came after 0:30?", (31.0, 100.0)),
        ("what was there before 0:30?", (0.0, 30.0)),
        ("what was there until ten seconds ago?", (0.0, 89.0)),
        ("what was there up to 0:30?", (0.0, 30.0)),
        ("what was there just before the end?", (90.0, 100.0)),
        ("what was there right after the start?", (0.0, 10.0)),
        ("what was there ten seconds before the end?", (89.0, 91.0)),
        ("what was there five seconds after 0:30?", (35.0, 36.0)),
        ("what was there at the beginning of the video?", (0.0, 5.0)),
        ("what was there near the very end?", (95.0, 100.0)),
        ("what was there around 40 seconds?", (38.0, 43.05)),
    ],
)
def test_a_named_time_becomes_a_span(question: str, span: tuple[float, float] | None) -> None:
    expected = [] if span is None else [pytest.approx(span)]
    assert named_spans(question, Now(100.0)) == expected


@pytest.mark.parametrize(
    ("question", "span"),
    [
        ("what was there at 12:30?", (1800.0, 1860.0)),
        ("what was there at 12:30:15?", (1815.0, 1816.0)),
        ("what was there at 12:30 pm?", (1800.0, 1860.0)),
        ("what was there at noon?", (0.0, 60.0)),
        ("what was there at 12 o'clock?", (0.0, 60.0)),
        ("what was there between 12:10 and 12:20?", (600.0, 1260.0)),
        ("what has come since 12:50?", (3000.0, 3600.0)),
        ("what was there before 12:05?", (0.0, 300.0)),
        ("what was there around 12:30?", (1680.0, 1980.0)),
        ("who came this afternoon?", (0.0, 3600.0)),
        ("who came today?", (0.0, 3600.0)),
        ("who came this evening?", None),
        ("who came yesterday?", None),
        ("what was there at 11:30 am?", None),
        ("what was there at 1:05?", (65.0, 66.0)),  # after one o'clock nothing was seen yet
    ],
)
def test_a_clock_time_is_the_wall_s_where_that_was_seen(
    question: str, span: tuple[float, float] | None
) -> None:
    expected = [] if span is None else [pytest.approx(span)]
    assert named_spans(question, NOON_TO_ONE) == expected


def test_a_clock_time_of_a_stream_without_a_wall_is_a_place_in_it() -> None:
    assert named_spans("what was there at 12:30?", Now(3600.0)) == [(750.0, 751.0)]


def test_a_clock_time_may_be_of_the_day_before() -> None:
    begun = datetime(2026, 5, 4, 20, 0, tzinfo=ZONE).timestamp()
    now = Now(8 * 3600.0, begun, ZONE)  # four in the morning
    assert named_spans("what was there at 23:30?", now) == [(12600.0, 12660.0)]
    assert named_spans("what was there at 11:30 pm?", now) == [(12600.0, 12660.0)]
    assert named_spans("what was there at 2:30?", now) == [(23400.0, 23460.0)]
    assert named_spans("what happened last night?", now) == [(0.0, 8 * 3600.0)]


def test_a_clock_time_reads_the_same_when_the_clocks_change() -> None:
    begun = datetime(2026, 10, 25, 0, 0, tzinfo=ZONE).timestamp()  # the night of 25 hours
    now = Now(12 * 3600.0, begun, ZONE)
    assert named_spans("what was there at 9:00?", now) == [(10 * 3600.0, 10 * 3600.0 + 60)]


def test_two_times_are_both_named_and_what_meets_is_one() -> None:
    now = Now(100.0)
    assert named_spans("at 0:12 or ten seconds ago?", now) == [(12.0, 13.0), (89.0, 91.0)]
    assert named_spans("in the first 20 seconds, at 0:12?", now) == [(0.0, 20.0)]


@pytest.mark.parametrize(
    "question",
    [
        "what colour is the circle?",
        "how many objects are there now?",
        "was there ever a red star?",
        "when did the second circle appear?",
        "was there a second star?",
        "what came after a second circle?",
        "is there a minute hand?",
        "what was there before the circle?",
        "what will be there at 500 seconds?",
        "what was there ten hours ago?",
        "in the end, was it red?",
    ],
)
def test_a_question_that_names_no_time_seen_names_none(question: str) -> None:
    assert named_spans(question, Now(100.0)) == []


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("what was there at 12 seconds?", False),
        ("what was there before now?", False),
        ("is what was there at 12 seconds still there?", True),
        ("what has changed since 0:12?", True),
        ("what is on the left now?", True),
        ("who knows nowhere?", False),
    ],
)
def test_a_question_about_now_is_told_from_one_about_then(question: str, expected: bool) -> None:
    assert speaks_of_now(question) is expected


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("what is on the left now?", True),
        ("how many objects are there at the moment?", True),
        ("what is on the left?", False),  # says nothing of time
        ("is the red circle still there now?", False),
        ("has anything changed up to now?", False),
        ("was it red at 0:12 and is it now?", False),
        ("what is new now?", False),
    ],
)
def test_only_what_speaks_of_nothing_past_is_about_now_alone(question: str, expected: bool) -> None:
    assert time_asked(question, Now(100.0)).is_only_now is expected


_WORDS = """between from and to at around in the first last second third minute minutes half 10 5
0:12 12:30 3 pm ago before after just since until now end start of video a an hours seconds noon
today yesterday twenty - five red circle"""
phrases = st.lists(st.sampled_from(_WORDS.split()), max_size=12).map(" ".join)


@given(st.text(max_size=80) | phrases, st.floats(0, 1e6), st.none() | st.floats(0, 3e9))
def test_any_text_gives_spans_within_what_was_seen(
    text: str, asked_s: float, zero_wall_s: float | None
) -> None:
    spans = named_spans(text, Now(asked_s, zero_wall_s, ZONE))
    for start_s, end_s in spans:
        assert 0 <= start_s <= end_s <= asked_s
    for (_, earlier_end_s), (later_start_s, _) in pairwise(spans):
        assert earlier_end_s <= later_start_s


@given(st.integers(0, 5999), st.floats(0, 1e5))
def test_a_position_is_found_in_all_its_forms(second: int, later_s: float) -> None:
    now = Now(second + later_s)
    clock = f"{second // 60}:{second % 60:02d}"
    long = f"{second // 3600}:{second % 3600 // 60:02d}:{second % 60:02d}"
    expected = [(float(second), min(second + 1.0, now.asked_s))]
    for text in (f"at {second} seconds", f"at {clock}", f"at {long}", f"{second} s into it"):
        assert named_spans(f"what was there {text}?", now) == expected


@given(st.integers(0, 86399), st.integers(0, 3 * 86400))
def test_a_wall_time_is_the_latest_such_minute_seen(minute_of: int, length_s: int) -> None:
    begun = datetime(2026, 5, 4, 9, 17, tzinfo=ZONE)
    now = Now(float(length_s), begun.timestamp(), ZONE)
    hour, minute = minute_of // 3600, minute_of % 3600 // 60
    half = "am" if hour < 12 else "pm"
    spans = named_spans(f"what was there at {(hour - 1) % 12 + 1}:{minute:02d} {half}?", now)
    if not spans:
        assert length_s < 86400
        return
    ((start_s, end_s),) = spans
    shown = datetime.fromtimestamp(begun.timestamp() + start_s, ZONE)
    assert start_s == 0 or (shown.hour, shown.minute) == (hour, minute)
    assert end_s - start_s <= 60
    assert length_s - start_s <= 86400


SHOT = datetime(2026, 11, 28, 9, 0, tzinfo=ZONE).timestamp()
"""Saturday the 28th at nine, when the stream of `ASKED_LATER` begins."""
ASKED_LATER = Now(30 * 3600.0, SHOT, ZONE, datetime(2026, 11, 30, 8, 0, tzinfo=ZONE).timestamp())
"""A stream that ends on the 29th at three in the afternoon, asked on Monday morning."""


@pytest.mark.parametrize(
    ("question", "span"),
    [
        ("who came yesterday?", (15 * 3600.0, 30 * 3600.0)),
        ("who came the day before yesterday?", (0.0, 15 * 3600.0)),
        ("who came on Saturday?", (0.0, 15 * 3600.0)),
        ("who came on 2026-11-28?", (0.0, 15 * 3600.0)),
        ("who came yesterday morning?", (20 * 3600.0, 27 * 3600.0)),
        ("who came on 2026-11-28 in the evening?", (8 * 3600.0, 15 * 3600.0)),
        ("what was there yesterday at 10:30?", (25.5 * 3600.0, 25.5 * 3600.0 + 60)),
        ("what was there at 10:30 yesterday?", (25.5 * 3600.0, 25.5 * 3600.0 + 60)),
        ("what was there at 10:30 on 2026-11-28?", (1.5 * 3600.0, 1.5 * 3600.0 + 60)),
        ("what was there at 10:30:15 on saturday?", (5415.0, 5416.0)),
        ("who came between 10:00 and 11:00 on saturday?", (3600.0, 7260.0)),
        ("who came after 22:00 on saturday?", (13 * 3600.0 + 60, 15 * 3600.0)),
        ("who came before 10:00 yesterday?", (15 * 3600.0, 25 * 3600.0)),
        ("what was there at 10:30?", (25.5 * 3600.0, 25.5 * 3600.0 + 60)),
        ("who came today?", None),
        ("who came on 2026-02-31?", None),
    ],
)
def test_days_of_a_recording_are_those_of_whoever_asks(
    question: str, span: tuple[float, float] | None
) -> None:
    expected = [] if span is None else [pytest.approx(span)]
    assert named_spans(question, ASKED_LATER) == expected


def test_no_time_is_named_across_much_white_space() -> None:
    now = Now(asked_s=100.0)
    assert named_spans("who came in the   first minute?", now) == [(0.0, 60.0)]
    assert named_spans(f"who came in the first{' ' * 8000}minute?", now) == []
    (named,) = named_times(f"{' ' * 100}at 12 seconds", now)
    assert named.place == slice(100, 113), "the words stand where they stood"


@pytest.mark.parametrize(
    ("question", "bare"),
    [
        ("What came in the last minute at the door?", "What came at the door?"),
        ("What came in the first minute and in the last minute?", "What came ?"),
        ("What came between 5 and 10 seconds or between 20 and 30 seconds?", "What came ?"),
        ("What was on at 12 seconds?", "What was on ?"),
        ("What is on the left?", "What is on the left?"),
    ],
)
def test_of_a_time_nothing_is_left_where_it_is_taken_out(question: str, bare: str) -> None:
    assert without_times(question, Now(asked_s=100.0)) == bare
