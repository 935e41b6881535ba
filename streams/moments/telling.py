"""How counts and times are told."""

from collections.abc import Sequence

MAX_TOLD = 20
"""Times that are listed in an answer's text; all are in its moments."""

_WORDS = {0: "no", 1: "one", 2: "two", 3: "three"}


def counted(count: int, noun: str) -> str:
    """A count of something with a regular plural: "one time", "14 times"."""
    return f"{_WORDS.get(count, count)} {noun}{'' if count == 1 else 's'}"


def listed(times: Sequence[str]) -> str:
    """Times in a row, with how many more there are."""
    told = [f"at {time}" for time in times[:MAX_TOLD]]
    if len(times) > MAX_TOLD:
        return f"{', '.join(told)} and {len(times) - MAX_TOLD} more"
    return told[0] if len(told) == 1 else f"{', '.join(told[:-1])} and {told[-1]}"
