"""What sentences say has happened, and which of them may tell of what is asked."""

import pytest

from onlooker.streams.moments.happenings import Happening, claiming, happening_in, telling_of
from tests.fakes.diaries import make_entry

COMES, LEAVES, CHANGES = Happening.COMES, Happening.LEAVES, Happening.CHANGES


@pytest.mark.parametrize(
    ("text", "happening"),
    [
        ("A green circle appeared.", COMES),
        ("A man came in", COMES),
        ("the cat goes back into the house", COMES),
        ("The orange circle left.", LEAVES),
        ("The sign went away.", LEAVES),
        ("a dog goes out", LEAVES),
        ("The dog left and came back.", LEAVES),
        ("The blue cross turned green.", CHANGES),
        ("The green cross started moving.", Happening.MOVES),
        ("The car stopped.", Happening.STOPS),
        ("A blue cross and an orange circle", None),
        ("A lamp on the left", None),
        ("The left door opens.", None),
        ("there is a parcel to left of it", None),
        ("A man walks past and goes on", None),
        ("A lamp left of the door", None),
        ("A left shoe", None),
        ("A car goes past the gate", None),
        ("A woman went to the fridge", None),
        ("A man goes through the gate and leaves", LEAVES),
        ("", None),
    ],
)
def test_the_first_known_verb_says_what_happened(text: str, happening: Happening | None) -> None:
    assert happening_in(text) is happening


SCENE, CAME, LEFT, TURNED = (
    make_entry(float(at_s), text)
    for at_s, text in enumerate(
        (
            "A blue cross and an orange circle",
            "A green circle appeared.",
            "The orange circle left.",
            "The green circle turned red.",
        )
    )
)
ALL = [SCENE, CAME, LEFT, TURNED]


@pytest.mark.parametrize(
    ("happening", "told"),
    [
        (COMES, [SCENE, CAME]),
        (LEAVES, [LEFT]),
        (CHANGES, [TURNED]),
        (Happening.STOPS, ALL),  # the diary has other words for that
        (None, ALL),
    ],
)
def test_what_says_that_something_else_happened_does_not_tell_of_it(
    happening: Happening | None, told: list[object]
) -> None:
    assert telling_of(happening, ALL, ["circle"]) == told


def test_nothing_tells_of_a_leaving_where_all_came() -> None:
    assert telling_of(LEAVES, [CAME], ["circle"]) == []
    assert telling_of(LEAVES, [SCENE, CAME], ["circle"]) == [SCENE]  # perhaps in other words
    assert claiming(LEAVES, [SCENE, CAME], ["circle"]) == []


def test_of_several_sentences_those_that_name_it_count() -> None:
    both = make_entry(1.0, "A red star appeared. The blue circle left.")
    assert telling_of(COMES, [both], ["circle"]) == []
    assert telling_of(COMES, [both], ["star"]) == [both]
    assert claiming(LEAVES, [both], ["circle"]) == [both]


def test_what_names_it_over_several_sentences_may_tell_of_anything() -> None:
    apart = make_entry(1.0, "A circle. Something red appeared.")
    assert telling_of(LEAVES, [apart], ["red", "circle"]) == [apart]
