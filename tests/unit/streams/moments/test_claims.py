"""What a sentence of the diary claims."""

import pytest

from onlooker.streams.moments.claims import WrittenClaim, claims_of


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
        ("Something red appeared", []),
        ("The scene changed.", []),
        ("", []),
    ],
)
def test_a_sentence_claims_what_it_says(text: str, claims: list[WrittenClaim]) -> None:
    assert claims_of(text) == claims
