"""Numbers, amounts of time and clock times as people write them: patterns, and what they mean.

The patterns have no named groups, so that they can be put together; each has a function that reads
what it matched.
"""

import re

_ONES: dict[str, float] = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7,
    "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14,
    "fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
_TENS: dict[str, float] = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70,
    "eighty": 80, "ninety": 90,
}  # fmt: skip
_LOOSE: dict[str, float] = {
    "half a": 0.5, "half an": 0.5, "a quarter of an": 0.25, "three quarters of an": 0.75,
    "a couple of": 2, "a couple": 2, "a few": 3, "several": 5, "a": 1, "an": 1, "half": 0.5,
}  # fmt: skip
ORDINALS: dict[str, int] = {
    "first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7,
    "eighth": 8, "ninth": 9, "tenth": 10,
}  # fmt: skip

UNITS_S: dict[str, float] = {"s": 1.0, "sec": 1.0, "second": 1.0}
UNITS_S |= {"m": 60.0, "min": 60.0, "minute": 60.0}
UNITS_S |= {"h": 3600.0, "hr": 3600.0, "hour": 3600.0, "day": 86400.0}

_DIGITS = r"\d{1,7}(?:\.\d{1,6})?"
_TENS_AND_ONES = rf"(?:{'|'.join(_TENS)})(?:[-\s](?:{'|'.join(list(_ONES)[1:10])}))?"


def _alternatives(words: dict[str, float]) -> str:
    return "|".join(word.replace(" ", r"\s+") for word in sorted(words, key=len, reverse=True))


NUMBER = rf"(?:{_DIGITS}|{_TENS_AND_ONES}|{_alternatives(_ONES)}|{_alternatives(_LOOSE)})"
UNIT = r"(?:seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?)(?![a-z])"
_AND_A_HALF = r"(?:\s+and\s+a\s+half)?"
_NO_ORDINAL = r"(?!a\s+second\s+(?!ago|earlier|before|after|later|in\b|into|or\b|and\b)[a-z])"
"""Keeps ``a second star`` from being read as an amount of time."""
_PART = rf"{_NO_ORDINAL}{NUMBER}{_AND_A_HALF}\s*-?\s*{UNIT}{_AND_A_HALF}"
AMOUNT = rf"(?:{_PART}(?:(?:\s*,\s*|\s+and\s+|\s*){_PART}){{0,2}})"
"""Matches amounts of time: ``two minutes``, ``1 hour and 5 min``, ``2m30s``, ``half an hour``,
``a minute and a half``."""

CLOCK = (
    r"(?:\d{1,3}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?(?:\s*[ap]\.?m\b\.?)?"
    r"|\d{1,2}\s*[ap]\.?m\b\.?|\d{1,2}\s+o'?clock|noon|midnight)"
)
"""Matches clock times: ``12:30``, ``0:01:05``, ``3 pm``, ``9 o'clock``, ``noon``."""

_PARTS = re.compile(rf"({NUMBER})({_AND_A_HALF})\s*-?\s*({UNIT})({_AND_A_HALF})")
_CLOCK_PARTS = re.compile(
    r"(?P<first>\d+)(?::(?P<second>\d+))?(?::(?P<third>\d+(?:\.\d+)?))?\s*(?P<half>[ap])?"
)


def number_of(text: str) -> float:
    """The value of what `NUMBER` matched."""
    text = " ".join(text.split())
    if text in _LOOSE:
        return _LOOSE[text]
    if text[0].isdigit():
        return float(text)
    words = text.replace("-", " ").split()
    return sum(_TENS.get(word, _ONES.get(word, 0.0)) for word in words)


def unit_s(text: str) -> float:
    """Seconds of what `UNIT` matched."""
    text = text.strip()
    return UNITS_S[text if text in UNITS_S else text.rstrip("s")]


def amount_s(text: str) -> float:
    """Seconds of what `AMOUNT` matched."""
    total_s = 0.0
    for number, half, unit, late_half in _PARTS.findall(text):
        total_s += (number_of(number) + 0.5 * bool(half or late_half)) * unit_s(unit)
    return total_s


def clock_parts(text: str) -> tuple[list[float], str | None]:
    """The numbers in what `CLOCK` matched, in order, and its half of the day: ``a``, ``p``, or None
    where it names none."""
    if text.startswith("noon"):
        return [12.0, 0.0], "p"
    if text.startswith("midnight"):
        return [12.0, 0.0], "a"
    match = _CLOCK_PARTS.match(text)
    assert match is not None
    parts = [float(part) for part in match.group("first", "second", "third") if part is not None]
    return (parts if len(parts) > 1 else [*parts, 0.0]), match["half"]
