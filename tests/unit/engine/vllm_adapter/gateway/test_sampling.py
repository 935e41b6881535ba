"""What is known of a model from its tokenizer alone."""

from typing import Any

import pytest
from tokenizers import Tokenizer

from onlooker.core.errors import ConfigError
from onlooker.demo_model import tokenizer as words
from onlooker.engine.vllm_adapter.gateway import sampling
from tests.fakes.byte_tokenizer import byte_tokenizer


class HuggingFace:
    """What is used of a Hugging Face tokenizer, on the tokenizer that it wraps."""

    def __init__(self, wrapped: Tokenizer, prefix: str = "") -> None:
        self._wrapped, self._prefix = wrapped, prefix
        self.unk_token_id = wrapped.token_to_id("<|unk|>")

    def encode(self, text: str, *, add_special_tokens: bool) -> Any:
        return self._wrapped.encode(text, add_special_tokens=add_special_tokens).ids

    def decode(self, ids: Any) -> str:
        return self._prefix + str(self._wrapped.decode(ids))


@pytest.mark.parametrize(
    ("tokenizer", "can"),
    [
        (HuggingFace(byte_tokenizer()), True),
        (HuggingFace(byte_tokenizer(), prefix=" "), True),
        (HuggingFace(words.build_tokenizer(["true", "null", "it", "is", "d"])), False),
    ],
    ids=["bytes", "bytes after a space", "words"],
)
def test_a_tokenizer_that_gives_json_back_can_write_it(tokenizer: HuggingFace, can: bool) -> None:
    assert sampling.writes_json(tokenizer) is can


WORDS = HuggingFace(words.build_tokenizer(["and", "then"]))


def test_a_pause_is_one_token_of_the_model() -> None:
    assert sampling.pause_token(WORDS, None) is None
    (first, second) = (sampling.pause_token(WORDS, word) for word in ("and", "then"))
    assert [first, second] == WORDS.encode("and then", add_special_tokens=False)


@pytest.mark.parametrize(
    ("tokenizer", "pause", "says"),
    [
        (WORDS, "and then", "it is 2 tokens"),
        (WORDS, "", "it is 0 tokens"),
        (WORDS, "unheard", "does not know it"),
        (HuggingFace(byte_tokenizer()), " ...", "it is 4 tokens"),
    ],
)
def test_a_pause_that_is_no_token_is_refused(tokenizer: HuggingFace, pause: str, says: str) -> None:
    with pytest.raises(ConfigError, match=f"watching.pause.*{says}"):
        sampling.pause_token(tokenizer, pause)
