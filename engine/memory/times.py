"""Times that a question names: "at 12 seconds", "ten minutes ago", "between 12:30 and 12:45".

Content alone does not find what is asked by time, so a question that names one is answered from the
clips of that time. All results are spans of stream time in seconds, clipped to what has been seen.

A clock time is read on the wall where that is known and lies within what was seen, else as a
position in the stream ("at 1:05" is then the 65th second). Where the question names one day, its
clock times are of that day.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, tzinfo

from onlooker.engine.interface import Question
from onlooker.engine.memory.days import DAY, DAY_PART, day_part, named_day, wall_moment
from onlooker.engine.memory.spoken import (
    AMOUNT,
    CLOCK,
    NUMBER,
    ORDINALS,
    UNIT,
    amount_s,
    clock_parts,
    number_of,
    unit_s,
)

Span = tuple[float, float]
"""Start and end in seconds of stream time."""

_MINUTE_S, _DAY_S = 60.0, 86400.0

_LEADS_UP = re.compile(
    r"\b(?:at|in|on|around|about|during|within|over|for|of|since|before|after|between|from)\b", re.I
)
_LEADING_UP = re.compile(
    r"\b(?:(?:at|in|on|around|about|during|within|over|for|of)(?:\s+(?:the|this))?|the)\s*$", re.I
)
_JOINS = re.compile(r"(?:,|\b(?:and|or)\b)\s*$", re.I)

_GAP = re.compile(r"\s{16,}")
"""No time is named across so much white space, through which rules would look again and again."""


@dataclass(frozen=True, slots=True)
class Now:
    """When a question is asked."""

    asked_s: float
    """Stream time at which the question is asked, in seconds."""
    zero_wall_s: float | None = None
    """Wall clock (seconds since 1970) of stream time 0, where it is known."""
    zone: tzinfo | None = None
    """The time zone in which clock times are meant; None: the machine's own."""
    asked_wall_s: float | None = None
    """Wall clock of whoever asks, for whom yesterday is the day before; None: that of `asked_s`,
    which is another where a stream was recorded before."""
    day: date | None = None
    """The day of which clock times are; None: the latest that was seen."""

    @classmethod
    def of(cls, question: Question, zone: tzinfo | None = None) -> "Now":
        """When `question` is asked."""
        return cls(question.asked_s, question.zero_wall_s, zone, question.asked_wall_s)

    @property
    def asked_at(self) -> datetime:
        """The wall clock of whoever asks, in the zone; only where `zero_wall_s` is known."""
        wall_s = self.asked_wall_s
        if wall_s is None:
            wall_s = (self.zero_wall_s or 0.0) + self.asked_s
        return datetime.fromtimestamp(wall_s, UTC).astimezone(self.zone)


@dataclass(frozen=True, slots=True)
class NamedTime:
    """A time that a question names, and the words that name it."""

    place: slice
    """Where the words stand in the question."""
    span: Span
    is_on_wall: bool
    """Whether the words mean that span only because the wall clock of the stream is known."""


@dataclass(frozen=True, slots=True)
class TimeAsked:
    """What a question says about time."""

    asked_s: float
    """Stream time at which the question is asked, in seconds."""
    spans: tuple[Span, ...] = ()
    """Spans of the past that the question names, in order; no two overlap."""
    speaks_of_now: bool = False
    """Whether the question asks about the present too."""
    is_only_now: bool = False
    """Whether the question asks about the present alone."""


def time_asked(question: str, now: Now) -> TimeAsked:
    """What `question`, asked at `now`, says about time."""
    spans = tuple(named_spans(question, now))
    only_now = not spans and speaks_only_of_now(question)
    return TimeAsked(now.asked_s, spans, speaks_of_now(question), only_now)


def named_spans(question: str, now: Now) -> list[Span]:
    """The spans of stream time that `question` names, in order; none for most questions.

    A time that is in the future, or before the start of the stream, is left out.
    """
    return _merged([span for _, span, _ in _named(question, now)])


def named_moments(question: str, now: Now) -> list[NamedTime]:
    """What names a moment in `question`, such as "at 12 seconds", in order, with the span of stream
    time that it means; that of "at 12.5 seconds" is a tenth of a second."""
    return [
        replace(named, span=_as_exact(named.span))
        for named, meaning in _in_order(question, now)
        if meaning is _at
    ]


def named_times(question: str, now: Now) -> list[NamedTime]:
    """What names a time in `question`, a moment or not, in order."""
    return [named for named, _ in _in_order(question, now)]


def without_times(question: str, now: Now) -> str:
    """`question` without the words that name times, and without those that only lead up to them: of
    "in the first minute and in the last hour" nothing is left."""
    text = question
    for named in reversed(named_times(question, now)):
        head, words = text[: named.place.start], text[named.place]
        if _LEADS_UP.match(words) is None:
            head = _LEADING_UP.sub("", head)
        text = f"{_JOINS.sub('', head)} {text[named.place.stop :]}"
    return " ".join(text.split())


def named_on_wall(question: str, now: Now) -> list[NamedTime]:
    """What names a time of the wall clock in `question`, a moment or not, in order."""
    return [named for named, _ in _in_order(question, now) if named.is_on_wall]


def _in_order(question: str, now: Now) -> list[tuple[NamedTime, "_Meaning"]]:
    if len(question.lower()) != len(question):  # letters whose small ones are more than one
        return []
    unknown = replace(now, zero_wall_s=None)
    found = [
        (NamedTime(slice(*match.span()), span, _placed(match, meaning, unknown) != span), meaning)
        for match, span, meaning in _named(question, now)
    ]
    return sorted(found, key=lambda one: one[0].place.start)


def _as_exact(span: Span) -> Span:
    """`span`; of a second that does not begin as one, its first tenth."""
    start_s, end_s = span
    is_second = start_s % 1 > 0 and end_s - start_s < 1.001
    return (start_s, start_s + 0.1) if is_second else span


def _named(question: str, now: Now) -> Iterator[tuple[re.Match[str], Span, "_Meaning"]]:
    """What names a time in `question`, the span that it means, and the rule that says so."""
    text = question.lower().replace("\u2019", "'")
    text = _GAP.sub(lambda gap: "|" * len(gap[0]), text)
    now = _dated(text, now)
    for pattern, meaning in _RULES:
        if meaning is _day_part and now.day is not None and "#" in text:
            return  # the day belongs to the clock times that were hidden
        for match in pattern.finditer(text):
            if (span := _placed(match, meaning, now)) is not None:
                yield match, span, meaning
        # "five seconds ago" also reads as "five seconds": what one rule has read is hidden from
        # the next.
        text = pattern.sub(lambda match: "#" * len(match[0]), text)


def _placed(match: re.Match[str], meaning: "_Meaning", now: Now) -> Span | None:
    """The span that `match` means, as far as it was seen; None where nothing of it was."""
    span = meaning(match, now)
    if span is not None and now.day is not None and now.zero_wall_s is not None:
        midnight = wall_moment(now.day, 0, 0, now.zone).timestamp() - now.zero_wall_s
        span = max(span[0], midnight), min(span[1], midnight + _DAY_S)
    if span is None or span[1] <= 0 or span[0] > min(now.asked_s, span[1]):
        return None
    return max(0.0, span[0]), min(span[1], now.asked_s)


def _dated(text: str, now: Now) -> Now:
    """`now`, with the day of which the clock times in `text` are where it names one day."""
    days = re.findall(rf"\b{DAY}\b", text)
    if now.zero_wall_s is None or len(days) != 1 or re.search(rf"\b{CLOCK}", text) is None:
        return now
    return replace(now, day=named_day(days[0], now.asked_at.date()))


def speaks_of_now(question: str) -> bool:
    """Whether `question` also asks about the present ("is it still there?")."""
    return _NOW.search(_BEFORE_NOW.sub("", question.lower())) is not None


def speaks_only_of_now(question: str) -> bool:
    """Whether `question` asks about the present and says nothing of the past."""
    text = question.lower()
    return _ONLY_NOW.search(text) is not None and _PAST.search(text) is None


_NOW = re.compile(r"\b(?:now|still|currently|present|presently|since|any ?more|any ?longer|yet)\b")
_BEFORE_NOW = re.compile(r"\bbefore\s+now\b|\b(?:un)?til+\s+now\b")
_ONLY_NOW = re.compile(
    r"\b(?:now|currently|presently|at\s+present|(?:at|in)\s+(?:the|this)\s+(?:very\s+)?moment)\b"
)
_PAST = re.compile(
    r"\b(?:was|were|did|had|has|have|been|ever|never|before|after|earlier|ago|first|last|seen|saw|"
    r"since|still|yet|any ?more|any ?longer|again|then|until|till|previous|previously|already|"
    r"recent|recently|changed?|changes|different|remember|when|history|whole|entire|all along|"
    r"so far|used to|up to|came|come|appeared|left the|went|gone|moved|new)\b"
)


# ---- points in time ----

_THE_STREAM = r"(?:\s+of\s+(?:the\s+|this\s+)?(?:stream|video|recording|film|clip))?"
_START = rf"(?:the\s+)?(?:very\s+)?(?:start|beginning){_THE_STREAM}"
_END = rf"(?:the\s+)?(?:very\s+)?end{_THE_STREAM}"
_NAMED = rf"(?:second|minute|hour)\s+{NUMBER}\b"
_POINT = (
    rf"(?:{AMOUNT}\s+(?:ago|earlier|in(?:to)?)\b"
    rf"|{_NAMED}|{CLOCK}|{AMOUNT}|{_START}|{_END}|now\b)"
)
_AGO = re.compile(rf"({AMOUNT})\s+(?:ago|earlier)")
_AMOUNT = re.compile(rf"({AMOUNT})")
_NAMED_PARTS = re.compile(rf"(second|minute|hour)\s+({NUMBER})")


def _point(text: str, now: Now) -> Span | None:
    """The span that a match of `_POINT` names: as long as its unit, a second or a minute of the
    wall clock, or as inexact as people are. None for a clock time that cannot be placed."""
    if match := _AGO.match(text):
        ago_s = amount_s(match[1])
        return _around(now.asked_s - ago_s, ago_s)
    if match := _NAMED_PARTS.match(text):
        time_s = number_of(match[2]) * unit_s(match[1])
        return time_s, time_s + unit_s(match[1])
    if re.match(CLOCK, text):
        return _clock(text, now)
    if match := _AMOUNT.match(text):
        time_s = amount_s(match[1])
        return time_s, time_s + 1.0
    if re.match(_START, text):
        return 0.0, 0.0
    return now.asked_s, now.asked_s


def _around(time_s: float, distance_s: float) -> Span:
    """The span that people mean by `time_s`, who are as exact as they are close to it: on either
    side a twentieth of `distance_s`, a second at least."""
    half_s = max(1.0, distance_s * 0.05)
    return time_s - half_s, time_s + half_s


def _clock(text: str, now: Now) -> Span | None:
    """The span of a clock time: on the wall clock where that time was seen, else from the start of
    the stream. None where it is neither."""
    parts, half = clock_parts(text)
    width_s = 1.0 if len(parts) == 3 else _MINUTE_S
    for time_s in _on_the_wall(parts, half, now):
        if time_s + width_s > 0 and time_s <= now.asked_s:
            return time_s, time_s + width_s
    if half is not None or ":" not in text or parts[1] >= 60 or parts[-1] >= 60:
        return None
    time_s = parts[0] * 60 + parts[1]
    if len(parts) == 3:
        time_s = time_s * 60 + parts[2]
    return time_s, time_s + 1.0


def _on_the_wall(parts: list[float], half: str | None, now: Now) -> list[float]:
    """Stream times at which a clock on the wall showed the time of `parts`, the likeliest first:
    the latest, or of one day that of 24 hours as it is written."""
    if now.zero_wall_s is None or parts[0] >= 24 or parts[1] >= 60 or parts[-1] >= 60:
        return []
    hour = int(parts[0])
    if half is not None:
        if not 1 <= hour <= 12:
            return []
        hours = [hour % 12 + (12 if half == "p" else 0)]
    else:
        # "at 2:30" in the afternoon is half past two, if that was seen.
        hours = [hour, hour % 12 + 12] if 1 <= hour < 12 else [hour, 0] if hour == 12 else [hour]
    asked = datetime.fromtimestamp(now.zero_wall_s + now.asked_s, UTC).astimezone(now.zone)
    before = range(int(min(now.asked_s // _DAY_S, 6)) + 2)
    days = [asked.date() - timedelta(days=days) for days in before]
    found = []
    for day in days if now.day is None else [now.day]:
        for one in hours:
            moment = wall_moment(day, one, int(parts[1]), now.zone)
            seconds = parts[2] if len(parts) == 3 else 0.0
            found.append(moment.timestamp() + seconds - now.zero_wall_s)
    found = [time_s for time_s in found if time_s <= now.asked_s]
    return found if now.day is not None else sorted(found, reverse=True)


# ---- rules ----

_JUST_S = 10.0
"""How long "just before" lasts, in seconds."""

_LOOSE_WALL_S = 120.0
"""Seconds that "around 12:30" adds on either side."""


_SHARED = re.compile(rf"[ap]\.?m\b.*$|o'?clock$|(?<![a-z]){UNIT}.*$")


def _between(match: re.Match[str], now: Now) -> Span | None:
    first, last = match["first"], match["last"]
    if match["bare"] is not None:
        # "between 5 and 10 minutes ago": the unit and what follows belong to both.
        ending = _SHARED.search(last)
        if ending is None:
            return None
        first = f"{match['bare']} {ending[0]}"
    spans = [span for text in (first, last) if (span := _point(text, now)) is not None]
    if len(spans) < 2:
        return None
    return min(start_s for start_s, _ in spans), max(end_s for _, end_s in spans)


def _beside(match: re.Match[str], now: Now) -> Span | None:
    """The span of ``since 12:30``, ``just before the end`` or ``ten seconds after 1:05``."""
    point = _point(match["point"], now)
    if point is None:
        return None
    start_s, end_s = point
    is_after = match["side"] in ("since", "after")
    if match["lead"] is not None:
        lead_s = amount_s(match["lead"])
        if not is_after:
            return _around(start_s - lead_s, lead_s)
        return start_s + lead_s, max(end_s, start_s + 1.0) + lead_s
    if match["just"] is not None:
        return (end_s, end_s + _JUST_S) if is_after else (start_s - _JUST_S, start_s)
    if is_after:
        return (start_s if match["side"] == "since" else end_s), now.asked_s
    return 0.0, start_s


def _part_of(match: re.Match[str], now: Now) -> Span:
    """The span of ``the first minute``, ``the last two hours`` or ``the past ten seconds``."""
    length_s = amount_s(match["amount"]) if match["amount"] else unit_s(match["unit"])
    if match["which"] == "first":
        return 0.0, length_s
    return now.asked_s - length_s, now.asked_s


def _nth(match: re.Match[str], now: Now) -> Span:
    """The span of ``the third minute``."""
    length_s = unit_s(match["unit"])
    start_s = (ORDINALS[match["which"]] - 1) * length_s
    return start_s, start_s + length_s


def _share(match: re.Match[str], now: Now) -> Span:
    """The span of ``the first half`` or ``the last third``."""
    length_s = now.asked_s / {"half": 2, "third": 3, "quarter": 4}[match["share"]]
    if match["which"] == "first":
        return 0.0, length_s
    return now.asked_s - length_s, now.asked_s


def _edge(match: re.Match[str], now: Now) -> Span:
    """The span of ``at the start`` or ``near the end``: a twentieth of what was seen, 5 s to a
    minute."""
    length_s = min(_MINUTE_S, max(5.0, now.asked_s / 20))
    if "end" in match[0]:
        return now.asked_s - length_s, now.asked_s
    return 0.0, length_s


def _at(match: re.Match[str], now: Now) -> Span | None:
    """The span of ``at 12 seconds``, ``around 12:30`` or ``ten minutes ago``."""
    point = _point(match["point"], now)
    if point is None or not match["loose"]:
        return point
    if ":" in match["point"] and point[1] - point[0] == _MINUTE_S:
        return point[0] - _LOOSE_WALL_S, point[1] + _LOOSE_WALL_S
    (early_s, _), (_, late_s) = (_around(time_s, time_s) for time_s in point)
    return early_s, late_s


def _day_part(match: re.Match[str], now: Now) -> Span | None:
    """The span of ``this morning`` or ``yesterday``; None where the wall clock is not known."""
    if now.zero_wall_s is None:
        return None
    span = day_part(match[0], now.asked_at, now.zone)
    return None if span is None else (span[0] - now.zero_wall_s, span[1] - now.zero_wall_s)


_Meaning = Callable[[re.Match[str], Now], Span | None]
_Rule = tuple[re.Pattern[str], _Meaning]

_RULES: list[_Rule] = [
    (
        re.compile(
            rf"\b(?:between|from)\s+(?:(?P<bare>{NUMBER})|(?P<first>{_POINT}))"
            rf"\s+(?:and|to|until|till)\s+(?P<last>{_POINT})"
        ),
        _between,
    ),
    (
        re.compile(
            rf"\b(?P<which>first|last|past|previous)\s+"
            rf"(?:(?P<amount>{AMOUNT})|(?P<unit>{UNIT}))"
        ),
        _part_of,
    ),
    (re.compile(r"\b(?P<which>first|second|last)\s+(?P<share>half|third|quarter)\b"), _share),
    (
        re.compile(rf"\bthe\s+(?P<which>{'|'.join(ORDINALS)})\s+(?P<unit>minute|hour|second)\b"),
        _nth,
    ),
    (
        re.compile(
            rf"\b(?:(?P<lead>{AMOUNT})\s+|(?P<just>just|right|shortly)\s+)?"
            rf"(?P<side>since|after|before|until|till|up\s+to)\s+(?P<point>{_POINT})"
        ),
        _beside,
    ),
    (re.compile(rf"\b(?P<loose>)(?P<point>{AMOUNT}\s+(?:ago|earlier|in(?:to)?)\b)"), _at),
    (re.compile(rf"\b(?:at|by|near|towards?|around)\s+(?:{_START}|{_END})\b"), _edge),
    (
        re.compile(rf"\b(?:(?:at|by|in)|(?P<loose>around|about))\s+(?P<point>{_NAMED}|{CLOCK})"),
        _at,
    ),
    (re.compile(rf"\b(?:at|(?P<loose>around|about))\s+(?P<point>{AMOUNT})"), _at),
    (re.compile(rf"\b{DAY_PART}"), _day_part),
]


def _merged(spans: list[Span]) -> list[Span]:
    found: list[Span] = []
    for start_s, end_s in sorted(spans):
        if found and start_s < found[-1][1]:
            found[-1] = (found[-1][0], max(end_s, found[-1][1]))
        else:
            found.append((start_s, end_s))
    return found
