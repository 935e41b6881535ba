"""What a sentence of the diary claims."""

import pytest

from onlooker.streams.moments.claims import WrittenClaim, claims_of
from onlooker.streams.moments.happenings import VERBS_OF, Happening


@pytest.mark.parametrize(
    ("text", "claims"),
    [
        (
            "An orange star appeared.",
            [
                WrittenClaim("there is an orange star"),
                WrittenClaim("there is an orange star", is_so=False, is_before=True),
            ],
        ),
        (
            "The red cross left.",
            [
                WrittenClaim("there is a red cross", is_before=True),
                WrittenClaim("there is a red cross", is_so=False),
            ],
        ),
        (
            "The red cross turned orange.",
            [
                WrittenClaim("there is a red cross", is_before=True),
                WrittenClaim("there is an orange cross"),
            ],
        ),
        ("The red cross started moving.", [WrittenClaim("there is a red cross")]),
        ("The red cross stopped.", [WrittenClaim("there is a red cross")]),
        ("The sign now shows 6.", [WrittenClaim("The sign shows 6")]),
        (
            "A red cross, a blue star and an orange square",
            [
                WrittenClaim("there is a red cross"),
                WrittenClaim("there is a blue star"),
                WrittenClaim("there is an orange square"),
            ],
        ),
        (
            "The red cross stopped. The dog barked at the postman.",
            [WrittenClaim("there is a red cross")],
        ),
        ("The red car turned left.", []),
        (
            "The Red cross turned orange.",
            [
                WrittenClaim("there is a Red cross", is_before=True),
                WrittenClaim("there is an orange cross"),
            ],
        ),
        ("The red cross moved left.", [WrittenClaim("there is a red cross")]),
        ("The red cross was moved.", []),
        ("The man left a parcel.", []),
        (
            "The left cup has disappeared.",
            [
                WrittenClaim("there is a left cup", is_before=True),
                WrittenClaim("there is a left cup", is_so=False),
            ],
        ),
        (
            "The green cross turned green.",
            [
                WrittenClaim("there is a green cross", is_before=True),
                WrittenClaim("there is a green cross", is_so=False, is_before=True),
            ],
        ),
        ("The lamp turned red.", [WrittenClaim("there is a lamp", is_before=True)]),
        ("Something red appeared", []),
        ("The scene changed.", []),
        ("", []),
    ],
)
def test_a_sentence_claims_what_it_says(text: str, claims: list[WrittenClaim]) -> None:
    assert list(claims_of(text).claims) == claims


@pytest.mark.parametrize("happening", [Happening.COMES, Happening.LEAVES])
def test_whatever_says_that_something_comes_or_leaves_claims_it(happening: Happening) -> None:
    comes = happening is Happening.COMES
    for verb in VERBS_OF[happening].split():
        claims = claims_of(f"The red cross {verb}.").claims
        assert [(one.is_so, one.is_before) for one in claims if one.is_so is not comes] == (
            [(False, True)] if comes else [(True, True)]
        ), verb
        assert {one.condition for one in claims} == {"there is a red cross"}


@pytest.mark.parametrize(
    ("text", "are_all"),
    [
        ("A red star appeared. The blue box left.", True),
        ("A red star, a blue box and a green cup", True),
        ("The sign now shows 4.", True),
        ("The red star turned blue.", True),
        ("The lamp turned red.", False),  # which colour it has is not asked
        ("The red star stopped.", False),  # whether it moved is not
        ("A red star appeared. The dog barked at the postman.", False),
        ("A red star and a blue box. Something green appeared", False),  # which is not in the list
        ("The scene changed.", False),
        ("", True),
    ],
)
def test_it_is_known_whether_a_sentence_says_more_than_it_claims(text: str, are_all: bool) -> None:
    assert claims_of(text).are_all is are_all
