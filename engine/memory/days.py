"""Days and parts of days that a question names: "yesterday", "on 2026-11-29", "last night".

They are days of the calendar on the wall, so they mean nothing where the wall clock of a stream is
not known.
"""

import re
from datetime import date, datetime, timedelta, tzinfo

DAY = (
    r"(?:(?:the\s+day\s+before\s+)?yesterday|today"
    r"|(?:on\s+)?\d{4}-\d{2}-\d{2}"
    r"|(?:on|last)\s+(?:mon|tues|wednes|thurs|fri|satur|sun)day)"
)
"""Matches one day: ``yesterday``, ``the day before yesterday``, ``2026-11-29``, ``on Monday``."""

DAY_PART = (
    rf"(?:this\s+(?:morning|afternoon|evening)|last\s+night|tonight"
    rf"|{DAY}(?:\s+(?:in\s+the\s+)?(?:morning|afternoon|evening|night))?)"
)
"""Matches a day or a part of one: ``yesterday``, ``yesterday evening``, ``last night``."""

_WEEKDAYS = ("mon", "tues", "wednes", "thurs", "fri", "satur", "sun")
_HOURS = {"morning": (5, 12), "afternoon": (12, 18), "evening": (17, 24), "night": (18, 30)}


def named_day(text: str, today: date) -> date | None:
    """The day that `text`, in small letters, names; None for a day that is not in the calendar.

    A day of the week is the latest such day, today left out.
    """
    if match := re.search(r"\d{4}-\d{2}-\d{2}", text):
        try:
            return date.fromisoformat(match[0])
        except ValueError:
            return None
    if match := re.search(rf"\b({'|'.join(_WEEKDAYS)})day\b", text):
        before = (today.weekday() - _WEEKDAYS.index(match[1])) % 7 or 7
        return today - timedelta(days=before)
    if "yesterday" in text:
        return today - timedelta(days=2 if "day before" in text else 1)
    return today


def day_part(text: str, now: datetime, zone: tzinfo | None) -> tuple[float, float] | None:
    """The span that a match of `DAY_PART` in `text` means, asked at `now`, in seconds since the
    Unix epoch; None for a day that is not in the calendar. `zone`: None is the machine's own."""
    text = " ".join(text.split())
    if text == "last night":
        first_h, last_h, day = -6, 6, now.date()
    else:
        named = named_day(text, now.date())
        if named is None:
            return None
        word = "night" if text == "tonight" else text.rsplit(" ", 1)[-1]
        (first_h, last_h), day = _HOURS.get(word, (0, 24)), named
    return _at_hour(day, first_h, zone), _at_hour(day, last_h, zone)


def _at_hour(day: date, hour: int, zone: tzinfo | None) -> float:
    """When a clock on the wall shows `hour` of `day`, which may be an hour of a day beside it."""
    return wall_moment(day + timedelta(days=hour // 24), hour % 24, 0, zone).timestamp()


def wall_moment(day: date, hour: int, minute: int, zone: tzinfo | None) -> datetime:
    """That time of `day`, aware of its zone. `zone`: None is the machine's own."""
    moment = datetime(day.year, day.month, day.day, hour, minute)
    return moment.replace(tzinfo=zone) if zone is not None else moment.astimezone()
