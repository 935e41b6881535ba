"""Summaries by rule: what the sentences say, how often and when."""

from hypothesis import example, given
from hypothesis import strategies as st

from onlooker.streams.diary.digest import DigestSentences, digest
from tests.fakes.diaries import make_entry

SAID = [
    "A cat came.",
    "A cat and a dog",
    "The dog left.",
    "the dog left",
    "A red cup",
    "and the",
    "",
]


def text_of(*said: str, max_items: int = 10) -> str:
    entries = [make_entry(float(second), text) for second, text in enumerate(said)]
    sentences = DigestSentences(entries)
    return digest(sentences, max_items=max_items, told=lambda entry: f"{entry.start_s:.0f} s")


def test_what_was_said_again_is_told_once_with_its_times() -> None:
    assert text_of("A cat came.", "It left.", "a cat came.") == (
        "A cat came (2 times: 0 s, 2 s). It left (1 s)."
    )


def test_of_what_happened_often_the_first_and_the_last_time_are_told() -> None:
    assert text_of(*["A car passed."] * 5) == "A car passed (5 times, first 0 s, last 4 s)."


def test_where_there_is_too_much_the_rare_is_told() -> None:
    assert text_of("A car passed.", "A car passed.", "A parcel came.", max_items=1) == (
        "A parcel came (2 s). Beside that: 2 other sentences."
    )


def test_nothing_is_summed_up_as_nothing() -> None:
    assert text_of() == ""


def test_things_beside_each_other_are_not_rare_for_that() -> None:
    often = ["A red star and a blue box", "A blue box and a red star", "A red star", "A blue box"]
    told = text_of(*often, "A green cup and a red star", max_items=1)
    assert told == "A green cup and a red star (4 s). Beside that: 4 other sentences."
    # The only list of its order tells of nothing that is rare.
    told = text_of(*often, "A blue box, a red star", "The grey cat left.", max_items=1)
    assert told == "The grey cat left (5 s). Beside that: 5 other sentences."


def test_what_has_no_words_has_a_place_too() -> None:
    assert text_of("and the", "and the", "A car passed.", max_items=1) == (
        "A car passed (2 s). Beside that: 2 other sentences."
    )


@example(["The dog left.", "the dog left"], {0}, 1)
@given(st.lists(st.sampled_from(SAID), max_size=30), st.sets(st.integers(0, 29)), st.integers(1, 6))
def test_what_is_left_out_is_as_if_it_had_never_been_written(
    said: list[str], out: set[int], max_items: int
) -> None:
    entries = [make_entry(float(second), text) for second, text in enumerate(said)]
    sentences = DigestSentences(entries)
    sentences.leave_out([entries[at] for at in out if at < len(entries)])
    left = [one for at, one in enumerate(entries) if at not in out]
    assert sentences.entries == left
    found, anew = sentences.items(max_items=max_items), DigestSentences(left)
    assert found == anew.items(max_items=max_items)


def test_what_nobody_confirmed_is_told_last_however_rare_it_is() -> None:
    texts = ("A car passed.", "A car passed.", "A dog came.", "A cat came.", "a dog came")
    entries = [make_entry(float(second), text) for second, text in enumerate(texts)]
    sentences = DigestSentences(entries)
    sentences.doubt([entries[2], entries[3]])  # of the dog one entry is left that is not doubted
    told = [item.sentence for item in sentences.items(max_items=2)[0]]
    assert told == ["A car passed", "A dog came"]
