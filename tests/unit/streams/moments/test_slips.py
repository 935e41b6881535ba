"""Which sentences of a diary may hide what is asked for."""

import pytest

from onlooker.streams.moments.slips import slips_of
from tests.fakes.diaries import make_entry


@pytest.mark.parametrize(
    ("text", "may_hide"),
    [
        ("A blue cross and a blue cross", True),
        ("A green star, a Blue cross and a blue cross. Something red appeared", True),
        ("A green star, a blue cross and a red cross", False),
        ("The green cross turned red.", True),
        ("The green cross became RED.", True),
        ("The green cross turned blue.", False),
        ("The red cross turned left.", False),
        ("A man and a man with a dog", False),  # another man
        ("A red cross appeared.", False),  # which is named
        ("", False),
    ],
)
def test_what_names_a_thing_twice_or_a_new_colour_may_hide_another(
    text: str, *, may_hide: bool
) -> None:
    entry = make_entry(3.0, text)
    assert slips_of([entry], ["red", "triangle"]) == ([entry] if may_hide else [])


def test_where_no_colour_is_asked_for_no_change_of_colour_hides_it() -> None:
    entries = [make_entry(3.0, "The lamp turned red."), make_entry(4.0, "A cat and a cat")]
    assert slips_of(entries, ["cat"]) == entries[1:]
