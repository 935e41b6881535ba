"""Quarters, hours and days by the clock on the wall."""

from datetime import datetime
from zoneinfo import ZoneInfo

from onlooker.cache_store.diary import Level
from onlooker.streams.diary.periods import WallClock

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()


def test_a_quarter_begins_at_its_quarter() -> None:
    period = WallClock(is_known=True, zone=BERLIN).period(Level.QUARTER, at("2026-05-01 10:29:59"))
    assert period.start_s == at("2026-05-01 10:15:00")
    assert period.end_s == at("2026-05-01 10:30:00")


def test_a_day_on_which_clocks_change_has_twentythree_hours() -> None:
    period = WallClock(is_known=True, zone=BERLIN).period(Level.DAY, at("2026-03-29 12:00:00"))
    assert period.start_s == at("2026-03-29 00:00:00")
    assert period.end_s - period.start_s == 23 * 3600


def test_a_stream_of_unknown_time_counts_from_its_own_beginning() -> None:
    clock = WallClock(is_known=False, zone=BERLIN)
    assert clock.period(Level.DAY, clock.at(90_000.0, 1.7e9)).start_s == 86_400.0
    assert clock.told(clock.at(64.0, 1.7e9)) == "64 s"
