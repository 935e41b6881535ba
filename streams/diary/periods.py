"""`Period`: a quarter of an hour, an hour or a day of the clock that hangs on the wall."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from onlooker.cache_store.diary import Level

_LENGTH_S = {Level.QUARTER: 900.0, Level.HOUR: 3600.0}

SUMMED = (Level.QUARTER, Level.HOUR, Level.DAY)
"""The levels that sum up a period, from the shortest to the longest."""


@dataclass(frozen=True, slots=True)
class Period:
    """From `start_s` on until before `end_s`, in seconds of a clock."""

    level: Level
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class WallClock:
    """The clock by which a stream's periods begin and end.

    Args:
        is_known: whether it is known when the stream was; else its periods are counted from the
            beginning of its own time.
        zone: in which days begin; None: the machine's own.
    """

    is_known: bool
    zone: tzinfo | None = None

    def at(self, stream_s: float, wall_s: float) -> float:
        """What the clock shows at a stream time, where it was at `wall_s`."""
        return wall_s if self.is_known else stream_s

    def period(self, level: Level, at_s: float) -> Period:
        """The period of a level in which the clock shows `at_s`."""
        if (length_s := _LENGTH_S.get(level)) is not None:
            start_s = math.floor(at_s / length_s) * length_s
            return Period(level, start_s, start_s + length_s)
        midnight = self._moment(at_s).replace(hour=0, minute=0, second=0, microsecond=0)
        # At noon of the next day, since a day may have 23 hours or 25.
        next_day = (midnight.replace(tzinfo=None) + timedelta(days=1)).replace(
            tzinfo=midnight.tzinfo
        )
        return Period(level, midnight.timestamp(), next_day.timestamp())

    def told(self, at_s: float) -> str:
        """A time for people: of the day, or seconds of a stream whose wall times are not known."""
        return f"{self._moment(at_s):%H:%M:%S}" if self.is_known else f"{at_s:.0f} s"

    def _moment(self, at_s: float) -> datetime:
        moment = datetime.fromtimestamp(at_s, UTC)
        return moment.astimezone(self.zone) if self.is_known else moment
