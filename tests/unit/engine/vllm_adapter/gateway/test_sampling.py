"""What is known of a model from its tokenizer alone."""

from typing import Any

import pytest
from tokenizers import Tokenizer

from onlooker.demo_model import tokenizer as words
from onlooker.engine.vllm_adapter.gateway import sampling
from tests.fakes.byte_tokenizer import byte_tokenizer


class HuggingFace:
    """The two calls of a Hugging Face tokenizer, on the tokenizer that it wraps."""

    def __init__(self, wrapped: Tokenizer, prefix: str = "") -> None:
        self._wrapped, self._prefix = wrapped, prefix

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
