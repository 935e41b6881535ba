"""Words as diaries find them."""

import pytest

from onlooker.cache_store.diaries.words import words_of


@pytest.mark.parametrize(
    ("one", "other"),
    [("appears", "appeared"), ("circles", "circle"), ("moving", "moves"), ("RED", "red")],
)
def test_forms_of_a_word_are_one(one: str, other: str) -> None:
    assert words_of(one) == words_of(other)


def test_short_words_keep_what_looks_like_an_ending() -> None:
    assert words_of("red bed shed") == ["red", "bed", "shed"]


def test_words_of_other_languages_are_found() -> None:
    assert words_of("Ein großer Hund läuft.") == ["ein", "großer", "hund", "läuft"]
