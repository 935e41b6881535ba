"""The tokenizer: constant-size times, what questions and stamps share, and text that reads well."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from onlooker.demo_model.phrases import vocabulary
from onlooker.demo_model.tokenizer import SILENCE, UNKNOWN, build_tokenizer

TOKENIZER = build_tokenizer(vocabulary())


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return TOKENIZER


@given(st.floats(min_value=0.0, max_value=99_999.94))
def test_every_stamp_costs_four_known_tokens(seconds: float) -> None:
    tokens = TOKENIZER.encode(f"<{seconds:.1f} seconds>").tokens
    assert len(tokens) == 4
    assert UNKNOWN not in tokens


def test_stamps_beyond_a_hundred_thousand_seconds_wrap_round(tokenizer: Tokenizer) -> None:
    late = tokenizer.encode("<712345.6 seconds>").ids
    assert late == tokenizer.encode("<12345.6 seconds>").ids


@given(st.integers(min_value=0, max_value=99_999), st.integers(min_value=0, max_value=9))
def test_a_question_names_a_second_with_the_tokens_of_its_stamp(second: int, tenth: int) -> None:
    stamp = TOKENIZER.encode(f"<{second}.{tenth} seconds>").tokens
    asked = TOKENIZER.encode(f"What color was the star at {second} seconds?").tokens
    exact = TOKENIZER.encode(f"What color was the star at {second}.{tenth} seconds?").tokens
    assert asked[6:9] == stamp[:3]
    assert exact[6:10] == stamp


@pytest.mark.parametrize("spoken", ["12.5 s", "12.5s", "12.5 sec", "12.5 second", "12.5 SECONDS"])
def test_ways_to_write_seconds_are_alike(tokenizer: Tokenizer, spoken: str) -> None:
    assert tokenizer.encode(f"at {spoken}").ids == tokenizer.encode("at 12.5 seconds").ids


@given(st.integers(min_value=0, max_value=99_999))
def test_times_are_decoded_without_tags_and_leading_zeros(second: int) -> None:
    ids = TOKENIZER.encode(f"at {second} seconds").ids
    assert TOKENIZER.decode(ids) == f"At {second} seconds"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "a red circle appeared. the sign now shows 7.",
            "A red circle appeared. the sign now shows 7.",
        ),
        ("i can't tell.", "I can't tell."),
        ("on the left", "On the left"),
        (f"{SILENCE}", ""),
    ],
)
def test_answers_read_well(tokenizer: Tokenizer, text: str, shown: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text).ids) == shown


@pytest.mark.parametrize("answer", ["at 7 seconds", "at 40005 seconds", "a blue star, a red cross"])
def test_streamed_text_equals_text_decoded_at_once(tokenizer: Tokenizer, answer: str) -> None:
    prompt = tokenizer.encode("When?<|im_end|>\n<|im_start|>assistant\n").ids
    stream = DecodeStream(ids=prompt, skip_special_tokens=True)
    ids = tokenizer.encode(answer).ids
    parts = [stream.step(tokenizer, token) for token in ids]
    assert "".join(part for part in parts if part) == tokenizer.decode(ids)


def test_words_outside_the_world_become_one_unknown_token_each(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("quokka flibber").tokens == [UNKNOWN, UNKNOWN]


def test_every_word_of_questions_and_answers_is_known(tokenizer: Tokenizer) -> None:
    assert UNKNOWN not in tokenizer.encode(" ".join(vocabulary())).tokens


def test_special_tokens_keep_their_ids(tokenizer: Tokenizer) -> None:
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", SILENCE]
    assert [tokenizer.token_to_id(name) for name in names] == [0, 1, 2, 8]
