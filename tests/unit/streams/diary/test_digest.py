"""Summaries by rule: what the sentences say, how often and when."""

from onlooker.streams.diary.digest import digest
from tests.fakes.diaries import make_entry


def text_of(*said: str, max_items: int = 10) -> str:
    entries = [make_entry(float(second), text) for second, text in enumerate(said)]
    return digest(entries, max_items=max_items, told=lambda entry: f"{entry.start_s:.0f} s")


def test_what_was_said_again_is_told_once_with_its_times() -> None:
    assert text_of("A cat came.", "It left.", "a cat came.") == (
        "A cat came (2 times: 0 s, 2 s). It left (1 s)."
    )


def test_of_what_happened_often_the_first_and_the_last_time_are_told() -> None:
    assert text_of(*["A car passed."] * 5) == "A car passed (5 times, first 0 s, last 4 s)."


def test_where_there_is_too_much_the_rare_is_told() -> None:
    assert text_of("A car passed.", "A car passed.", "A parcel came.", max_items=1) == (
        "A parcel came (2 s). More often: 2 other sentences."
    )


def test_nothing_is_summed_up_as_nothing() -> None:
    assert text_of() == ""


def test_things_beside_each_other_are_not_rare_for_that() -> None:
    often = ["A red star and a blue box", "A blue box and a red star", "A red star", "A blue box"]
    told = text_of(*often, "A green cup and a red star", max_items=1)
    assert told == "A green cup and a red star (4 s). More often: 4 other sentences."
    # The only list of its order tells of nothing that is rare.
    told = text_of(*often, "A blue box, a red star", "The grey cat left.", max_items=1)
    assert told == "The grey cat left (5 s). More often: 5 other sentences."


def test_what_has_no_words_has_a_place_too() -> None:
    assert text_of("and the", "and the", "A car passed.", max_items=1) == (
        "A car passed (2 s). More often: 2 other sentences."
    )
