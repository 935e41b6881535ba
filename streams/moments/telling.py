"""How counts and times are told, and how long that may be."""

import re
from collections.abc import Callable, Sequence

MAX_TOLD = 20
"""Times that are listed in an answer's text; all are in its moments."""

_WORDS = {0: "no", 1: "one", 2: "two", 3: "three"}


def counted(count: int, noun: str) -> str:
    """A count of something with a regular plural: "one time", "14 times"."""
    return f"{_WORDS.get(count, count)} {noun}{'' if count == 1 else 's'}"


def listed(times: Sequence[str], *, max_told: int = MAX_TOLD) -> str:
    """Times in a row, with how many more there are."""
    told = [f"at {time}" for time in times[:max_told]]
    if len(times) > max_told:
        return f"{', '.join(told)} and {len(times) - max_told} more"
    return told[0] if len(told) == 1 else f"{', '.join(told[:-1])} and {told[-1]}"


_TOKEN = re.compile(r"[^\W\d_]{1,8}|\d|_|[^\w\s]")


def num_tokens(text: str) -> int:
    """About how many tokens a model would take for `text`: one for a common word, a digit or a
    mark."""
    return sum(1 for _ in _TOKEN.finditer(text))


def fitted(tell: Callable[[int], str], most: int, max_tokens: int) -> tuple[str, bool]:
    """What `tell` says of as many things, `most` at most, as go into so many tokens; and whether
    that had to be cut off even so."""
    count = most
    while num_tokens(text := tell(count)) > max_tokens:
        if count == 1:
            return _cut(text, max_tokens), True
        count = max(1, count // 2)
    return text, False


def _cut(text: str, max_tokens: int) -> str:
    tokens = list(_TOKEN.finditer(text))
    return text[: tokens[max_tokens - 1].end()] if max_tokens > 0 else ""
