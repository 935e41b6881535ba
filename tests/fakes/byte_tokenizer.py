"""A tokenizer that writes any text, one token a byte, while the demo model's knows only words."""

from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from onlooker.demo_model import tokenizer as words


def byte_tokenizer() -> Tokenizer:
    """A byte-level tokenizer without merges, whose special tokens are those of the demo model."""
    ordered = [*words.SPECIAL_TOKENS, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(BPE({token: index for index, token in enumerate(ordered)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in words.SPECIAL_TOKENS]
    )
    return tokenizer
