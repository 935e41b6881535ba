"""Times that a question names: "at 12 seconds", "ten minutes ago", "in the first minute".

Content alone does not find what is asked by time, so a question that names one is answered from the
clips of that time. All results are spans of stream time in seconds, clipped to what has been seen.
"""

import re
from collections.abc import Callable

_UNITS_S = {"s": 1.0, "sec": 1.0, "second": 1.0, "min": 60.0, "minute": 60.0, "h": 3600.0}
_UNITS_S |= {"hour": 3600.0, "hr": 3600.0, "m": 60.0}

_WORDS: dict[str, float] = {"a": 1, "an": 1, "half a": 0.5, "fifteen": 15, "twenty": 20}
_WORDS |= {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7}
_WORDS |= {"eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12}
_WORDS |= {"thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "ninety": 90}

_NUMBER = r"(?P<number>\d+(?:\.\d+)?|" + "|".join(sorted(_WORDS, key=len, reverse=True)) + ")"
_UNIT = r"(?P<unit>seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h)\b"
_CLOCK = r"(?:(?P<hours>\d{1,3}):)?(?P<minutes>\d{1,3}):(?P<seconds>\d{2}(?:\.\d+)?)\b"

Span = tuple[float, float]
_Rule = tuple[re.Pattern[str], Callable[[re.Match[str], float], Span]]


def named_spans(question: str, *, now_s: float) -> list[Span]:
    """The spans of stream time that `question` names, asked at `now_s`; none for most questions.

    A time that is in the future, or before the start of the stream, is left out.
    """
    text = question.lower()
    spans: list[Span] = []
    for pattern, meaning in _RULES:
        for match in pattern.finditer(text):
            start_s, end_s = meaning(match, now_s)
            if end_s > 0 and start_s <= now_s:
                spans.append((max(0.0, start_s), min(end_s, now_s)))
        if spans:
            break  # "five seconds ago" also reads as "five seconds"
    return spans


def speaks_of_now(question: str) -> bool:
    """Whether `question` also asks about the present ("is it still there?")."""
    return _NOW.search(question.lower()) is not None


_NOW = re.compile(r"\b(?:now|still|currently|present|presently|since|any ?more|any ?longer|yet)\b")


def _amount_s(match: re.Match[str]) -> float:
    number, unit = match["number"], match["unit"].rstrip("s") or "s"
    value = _WORDS[number] if number in _WORDS else float(number)
    return value * _UNITS_S[unit]


def _around(time_s: float, half_s: float) -> Span:
    return time_s - half_s, time_s + half_s


def _ago(match: re.Match[str], now_s: float) -> Span:
    amount_s = _amount_s(match)
    return _around(now_s - amount_s, max(1.0, amount_s * 0.05))


def _at(match: re.Match[str], now_s: float) -> Span:
    # "at 12 seconds" is the second that begins then.
    time_s = _amount_s(match)
    return time_s, time_s + 1.0


def _clock(match: re.Match[str], now_s: float) -> Span:
    time_s = 3600 * float(match["hours"] or 0) + 60 * float(match["minutes"])
    time_s += float(match["seconds"])
    return time_s, time_s + 1.0


def _first(match: re.Match[str], now_s: float) -> Span:
    return 0.0, _amount_s(match) if match["number"] else _UNITS_S[match["unit"].rstrip("s")]


def _last(match: re.Match[str], now_s: float) -> Span:
    amount_s = _amount_s(match) if match["number"] else _UNITS_S[match["unit"].rstrip("s")]
    return now_s - amount_s, now_s


_RULES: list[_Rule] = [
    (re.compile(rf"\b{_NUMBER}\s*{_UNIT}\s+(?:ago|earlier|before now)"), _ago),
    (re.compile(rf"\bfirst\s+(?:{_NUMBER}\s*)?{_UNIT}"), _first),
    (re.compile(rf"\b(?:last|past)\s+(?:{_NUMBER}\s*)?{_UNIT}"), _last),
    (re.compile(rf"\b(?:at|around|about|by)\s+{_CLOCK}"), _clock),
    (re.compile(r"\bat\s+(?P<unit>second|minute)\s+(?P<number>\d+(?:\.\d+)?)"), _at),
    (re.compile(rf"\b(?:at|around|about)\s+{_NUMBER}\s*{_UNIT}"), _at),
    (re.compile(rf"\b{_NUMBER}\s*{_UNIT}\s+(?:in|into)\b"), _at),
]
