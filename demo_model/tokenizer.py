"""The demo model's tokenizer: one token a word, and a constant number of tokens for any time.

A time such as ``12345.5 seconds`` is cut into groups whose surface says their place value
(``a1 b23 c45 .5``), so a clip's stamp costs four tokens at second 3 and at second 80000 alike, and
a question that names second 12 holds the very tokens that stand in the stamp of that clip.
Everything is done by rules inside ``tokenizer.json``: nothing outside the stock `tokenizers`
library is needed to read it.
"""

from __future__ import annotations

import string
from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import WordLevel

UNKNOWN = "<|unk|>"
SILENCE = "<|silence|>"
END_OF_TEXT = "<|endoftext|>"
IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
VISION_START = "<|vision_start|>"
VISION_END = "<|vision_end|>"
VIDEO_PAD = "<|video_pad|>"
IMAGE_PAD = "<|image_pad|>"
SPECIAL_TOKENS = (
    END_OF_TEXT,
    IM_START,
    IM_END,
    VISION_START,
    VISION_END,
    "<|vision_pad|>",
    IMAGE_PAD,
    VIDEO_PAD,
    SILENCE,
    UNKNOWN,
)
"""The special tokens in the order of their ids: 0 is the end of text, 2 the end of a turn."""

ROLES = ("system", "user", "assistant")
PUNCTUATION = (".", ",", "?", "!", ":", ";", "-")

_SECONDS = r"(\.\d)? seconds"


def time_tokens() -> list[str]:
    """All tokens that a time can be made of: ten-thousands, hundreds, seconds, tenths."""
    return (
        [f"a{digit}" for digit in range(10)]
        + [f"b{pair:02d}" for pair in range(100)]
        + [f"c{pair:02d}" for pair in range(100)]
        + [f".{digit}" for digit in range(10)]
    )


def build_tokenizer(words: Iterable[str]) -> Tokenizer:
    """A word-level tokenizer over `words` (any case), the special tokens, times and digits."""
    known = {word.lower() for word in words} - set(SPECIAL_TOKENS)
    known |= set(ROLES) | set(PUNCTUATION) | {"seconds"} | set(string.digits)
    ordered = [*SPECIAL_TOKENS, *time_tokens()]
    ordered += sorted(known - set(ordered))
    tokenizer = Tokenizer(
        WordLevel({word: index for index, word in enumerate(ordered)}, unk_token=UNKNOWN)
    )
    tokenizer.normalizer = normalizers.Sequence(_normalizer_rules())
    tokenizer.pre_tokenizer = pre_tokenizers.Split(
        Regex(r"\.\d|[\p{L}\p{N}_]+(?:'[\p{L}]+)?|[^\s\p{L}\p{N}_]"),
        behavior="removed",
        invert=True,
    )
    tokenizer.decoder = decoders.Sequence(_decoder_rules())
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS]
    )
    return tokenizer


def _normalizer_rules() -> list[normalizers.Normalizer]:
    """Rules that lower the case, then spell every number of seconds as tagged groups.

    `Replace` writes literal text only, so each rule looks around the one character it rewrites.
    """
    replace = normalizers.Replace
    rules: list[normalizers.Normalizer] = [
        normalizers.NFKC(),
        normalizers.Lowercase(),
        replace(Regex(r"[\u2018\u2019]"), "'"),
        normalizers.Prepend(" "),
        replace(Regex(r"(?<=\d)\s*(seconds|second|secs|sec|s)\b"), " seconds"),
        # Hundredths are dropped; more than five whole digits wrap round after 100,000 s (27.8 h).
        replace(Regex(r"(?<=\.\d)\d+(?= seconds)"), ""),
        replace(Regex(r"(?<![\d.])\d+(?=\d{5}" + _SECONDS + ")"), ""),
    ]
    for missing in range(1, 5):
        behind = r"(?=\d{" + str(5 - missing) + "}" + _SECONDS + ")"
        rules.append(replace(Regex("<" + behind), "<" + "0" * missing))
        rules.append(replace(Regex(r"\s" + behind), " " + "0" * missing))
    for digit in string.digits:
        rules.append(replace(Regex(digit + r"(?=\d{4}" + _SECONDS + ")"), f" a{digit} b"))
    for digit in string.digits:
        rules.append(
            replace(Regex(r"(?<=b\d)" + digit + r"(?=\d\d" + _SECONDS + ")"), f"{digit} c")
        )
    rules += [
        replace(Regex(r"\.(?=\d seconds)"), " ."),
        replace(Regex(r"<(?= a\d b)"), ""),
        replace(Regex(r" seconds>"), " "),
    ]
    return rules


def _decoder_rules() -> list[decoders.Decoder]:
    """Rules that put spaces between words but not before punctuation, take the tags off times, and
    write a capital at the start.

    Each rule keeps the text of the first n tokens a prefix of the text of the first n+1, which
    incremental detokenisation relies on.
    """
    replace = decoders.Replace
    rules: list[decoders.Decoder] = [
        decoders.WordPiece(prefix="##", cleanup=True),
        decoders.Fuse(),
        replace(Regex(r" ?a0 b00 c0?(?=\d)"), " "),
        replace(Regex(r" ?a0 b00$"), ""),
        replace(Regex(r" ?a0 b0?(?=\d)"), " "),
        replace(Regex(r" ?a0$"), ""),
        replace(Regex(r" ?\ba(?=\d\b)"), " "),
        replace(Regex(r" [bc](?=\d\d)"), ""),
        replace(Regex(r" (?=[:;])"), ""),
        # vLLM decodes an answer together with the last tokens of its prompt.
        replace(Regex(r"^.*\bassistant\b ?"), ""),
        replace(Regex(r"\bi\b"), "I"),
        replace(Regex(r"(?<=\d) (?=\.\d)"), ""),
        decoders.Strip(content=" ", left=1, right=0),
    ]
    rules += [
        replace(Regex(f"^{letter}(?!\\d)"), letter.upper()) for letter in string.ascii_lowercase
    ]
    return rules
