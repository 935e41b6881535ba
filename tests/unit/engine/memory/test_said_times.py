"""Times that answers name, and what could be read of them."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from onlooker.engine.interface import MisreadTime
from onlooker.engine.memory.said_times import TimeMender, TimesInView, UnsettledTime
from onlooker.engine.memory.shown import ShownClip


def shown(*stamps_s: float, stands_s: float = 1.0) -> list[ShownClip]:
    return [ShownClip(at_s, at_s + stands_s, at_s) for at_s in stamps_s]


def taken(mender: TimeMender, piece: str, view: TimesInView) -> str:
    """What is given out of a piece, each misread time told as the one that ends alike."""
    found = mender.take(piece)
    while (unsettled := mender.unsettled) is not None:
        assert mender.take("") == "", "nothing goes on before it is settled"
        found += mender.settle(view.alike(unsettled.said_s))
    return found


def mended(*pieces: str, view: TimesInView) -> tuple[str, TimeMender]:
    mender = TimeMender(view)
    parts = [taken(mender, piece, view) for piece in pieces]
    return "".join([*parts, mender.end()]), mender


VIEW = TimesInView(shown(20, 1813, 3584, 3585))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("At 3513 seconds.", "At 1813 seconds."),
        ("It came at 13 seconds, I think", "It came at 1813 seconds, I think"),
        ("At 3513.0 seconds", "At 1813.0 seconds"),
        ("<3513.0 seconds>", "<1813.0 seconds>"),
        ("at 9984 seconds and at 120 seconds", "at 3584 seconds and at 20 seconds"),
    ],
)
def test_a_time_that_nothing_in_view_bears_becomes_the_one_that_ends_like_it(
    said: str, told: str
) -> None:
    assert mended(said, view=VIEW)[0] == told


@pytest.mark.parametrize(
    "said",
    [
        "At 1813 seconds", "At 1814 seconds", "At 3584.5 seconds",  # in view
        "At 1820 seconds", "At 3580 seconds",  # rounded, perhaps
        "At about 3513 seconds",
        "At 3555 seconds",  # ends like none
        "For 3513 seconds", "after 3513 seconds", "3513 seconds", "every 13 seconds",  # amounts
        "3513 things", "at 13 places", "At 13 stars", "at 13 s", "at 13",
        "at 13:13", "at 13:13:13 seconds", "at 3.13 pm", "at 35131813 seconds", "at 13 o'clock",
        "that 3513 seconds",
    ],
)  # fmt: skip
def test_what_was_read_or_is_no_time_stays(said: str) -> None:
    assert mended(said, view=VIEW)[0] == said


def test_a_time_that_two_stamps_end_like_stays_and_is_told() -> None:
    found, mender = mended("At 13 seconds", view=TimesInView(shown(1813, 2913)))
    assert found == "At 13 seconds"
    assert mender.misread == [MisreadTime(13.0, None)]


def test_a_time_may_come_from_the_question() -> None:
    texts = ["Was it red at 3513 seconds?"]
    found, mender = mended("Not at 3513 seconds", view=TimesInView(VIEW.shown, texts))
    assert found == "Not at 3513 seconds"
    assert (mender.misread, mender.num_seen) == ([], 1)


def test_a_clip_bears_all_the_time_for_which_it_stands() -> None:
    view = TimesInView(shown(100, stands_s=50))
    assert mended("At 130 seconds", view=view)[0] == "At 130 seconds"
    assert mended("At 1400 seconds", view=view)[0] == "At 100 seconds"


def test_all_waits_for_a_misread_time_to_be_settled() -> None:
    mender = TimeMender(VIEW)
    assert mender.take("Twice: at 20 seconds, at 3513 seconds, at 77 seconds.") == (
        "Twice: at 20 seconds, at "
    )
    assert mender.unsettled == UnsettledTime(3513.0, "Twice: at 20 seconds, at ")
    assert mender.take(" Or so.") == ""
    assert mender.settle(3585.0) == "3585 seconds, at "
    assert mender.unsettled == UnsettledTime(77.0, "Twice: at 20 seconds, at 3585 seconds, at ")
    assert mender.settle(None) == "77 seconds. Or so."
    assert mender.end() == ""
    assert mender.misread == [MisreadTime(3513.0, 3585.0), MisreadTime(77.0, None)]


def test_the_misread_times_are_told() -> None:
    _, mender = mended("At 3513 seconds, at 20 seconds, at 77 seconds", view=VIEW)
    assert mender.misread == [MisreadTime(3513.0, 1813.0), MisreadTime(77.0, None)]
    assert mender.num_seen == 1


def test_words_are_given_out_at_once_and_digits_when_their_unit_has_come() -> None:
    mender = TimeMender(VIEW)
    pieces = ["It came at", " 35", "13", " sec", "onds", " or at ", "13", " stars"]
    assert [taken(mender, piece, VIEW) for piece in pieces] == [
        "It came at", " ", "", "", "1813 seconds", " or at ", "", "13 stars"
    ]  # fmt: skip


WORDS = st.sampled_from([
    "at ", "At  ", "<", "about ", "1", "3", "13", "35", ".", "0", " ", "s", "sec", "seconds", "at",
    "second", "star", ">", ":", "for ", "\n", "x",
])  # fmt: skip
STAMPS = st.lists(st.integers(0, 4000).map(lambda tenths: tenths / 10), max_size=6)


@given(st.lists(WORDS, max_size=14), st.lists(st.integers(0, 60), max_size=6), STAMPS)
@example(["at ", "1", "3", " ", "seconds"], [4], [313.0])
def test_it_does_not_matter_how_the_text_comes_in(
    words: list[str], cuts: list[int], stamps_s: list[float]
) -> None:
    text, view = "".join(words), TimesInView(shown(*stamps_s))
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[a:b] for a, b in pairwise(places)]
    (found, by_pieces), (whole, at_once) = mended(*pieces, view=view), mended(text, view=view)
    assert found == whole
    assert by_pieces.misread == at_once.misread


@given(st.integers(0, 99_999), STAMPS, st.integers(0, 3))
def test_what_is_told_was_in_view_or_is_what_was_said(
    said_s: int, stamps_s: list[float], decimals: int
) -> None:
    view = TimesInView(shown(*stamps_s))
    number = f"{said_s}.{'0' * decimals}" if decimals else str(said_s)
    found, mender = mended(f"At {number} seconds", view=view)
    told_s = float(found.split()[1])
    if view.has(said_s):
        assert (told_s, mender.misread) == (said_s, [])
    elif told_s == said_s:
        assert mender.misread == [MisreadTime(said_s, None)]
    else:
        (one,) = mender.misread
        assert one.told_s in stamps_s
        assert abs(told_s - one.told_s) < 1
        assert int(told_s) % 100 == said_s % 100


@given(st.text(max_size=60), STAMPS)
def test_text_without_a_time_stays_as_it_is(text: str, stamps_s: list[float]) -> None:
    if "seconds" not in text.lower():
        assert mended(*text, view=TimesInView(shown(*stamps_s)))[0] == text
