"""Words of a text as diaries find them: without case, endings, and words that say nothing."""

import re

MAX_WORDS = 32
"""Words of a search that count; more are not looked at."""

_WORD = re.compile(r"[^\W_]+")
_EMPTY = frozenset(
    {
        "a", "an", "the", "is", "was", "are", "were", "be", "been", "of", "on", "in", "at", "to",
        "and", "or", "it", "its", "this", "that", "there", "any", "some", "has", "have", "had",
    }
)  # fmt: skip
_ENDING = re.compile(r"(?:ings?|ed|es|s|e)$")
_LEAST_STEM = 3


def words_of(text: str) -> list[str]:
    """The stems of the words of `text`, in order. Texts of other languages keep their words as they
    are, but for endings that look English. A stem is no word: it has no stem of its own."""
    return [stem_of(word) for word in whole_words_of(text)]


def whole_words_of(text: str) -> list[str]:
    """The words of `text` in small letters, in order, without those that say nothing."""
    return [word for word in _WORD.findall(text.lower()) if word not in _EMPTY]


def stem_of(word: str) -> str:
    """A word in small letters without its ending."""
    cut = _ENDING.sub("", word)
    return cut if len(cut) >= _LEAST_STEM else word
