"""When a recording began: from the tags in it, from its name, or from when it was last written.

Each of these can be wrong in ways of its own. Names are most often in local time, tags in UTC.
Some phones tag a recording with the time of its end. Where a tag and a name disagree, the tag is
right, unless the two are just the recording's length apart.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import PurePath
from typing import Literal

TimeSource = Literal["auto", "tag", "name", "modified"]
"""Where beginnings are looked for: ``auto`` takes the tag, else the name; ``modified`` takes the
time at which the file was last written for its end."""

_EARLIEST_S = datetime(1990, 1, 1, tzinfo=UTC).timestamp()
"""Earlier times are those of cameras whose clock was never set."""

_AGREE_S = 2.5
"""Seconds by which two notes of the same time may differ."""


@dataclass(frozen=True, slots=True)
class RecordingStart:
    """When a recording began."""

    wall_s: float
    """Seconds since the Unix epoch."""
    source: str
    """What says so, in words."""
    doubt: str = ""
    """What speaks against it, in words."""


def beginning(
    path: PurePath,
    tags: Mapping[str, str],
    *,
    duration_s: float | None,
    modified_s: float,
    zone: tzinfo | None,
    prefer: TimeSource = "auto",
) -> RecordingStart | None:
    """When the recording at `path` began; None where nothing says so.

    Args:
        path: its place below the folder that is imported, as folders may hold the date.
        tags: of the container and of its video, by name in small letters.
        duration_s: its length, where that is known.
        modified_s: when it was last written, in seconds since the Unix epoch.
        zone: of times in names; None is the machine's own.
    """
    if prefer == "modified":
        return RecordingStart(modified_s - (duration_s or 0.0), "the time of its last change")
    tagged = None if prefer == "name" else _tagged(tags, zone)
    named = None if prefer == "tag" else _named(path, zone)
    if tagged is None or named is None:
        return tagged or named
    apart_s = tagged.wall_s - named.wall_s
    if abs(apart_s) <= _AGREE_S:
        return tagged
    if duration_s and abs(apart_s - duration_s) <= _AGREE_S:
        return RecordingStart(
            named.wall_s, f"{named.source}, as {tagged.source} is that of its end"
        )
    doubt = f"{named.source} says {_told(named.wall_s, zone)}"
    return RecordingStart(tagged.wall_s, tagged.source, doubt)


def parse_time(text: str, zone: tzinfo | None) -> float | None:
    """Seconds since the Unix epoch of a time as people write it: ISO 8601, or as in names of
    files. None where it is no time."""
    found = _tag_time(text, zone)
    return found if found is not None else _named_time(text, zone)


# ---- tags


def _tagged(tags: Mapping[str, str], zone: tzinfo | None) -> RecordingStart | None:
    for name in ("com.apple.quicktime.creationdate", "creation_time", "date"):
        if (value := tags.get(name)) and (wall_s := _tag_time(value, zone)) is not None:
            return RecordingStart(wall_s, f"its tag {name}")
    return None


def _tag_time(text: str, zone: tzinfo | None) -> float | None:
    """A tag's time; without a zone it is in `zone`. A day alone is no time."""
    if len(text) < len("2026-11-29T13:45"):
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return _seconds(moment if moment.tzinfo is not None else _in_zone(moment, zone))


# ---- names

_DATE = r"(?P<year>(?:19|20)\d\d)(?P<sep>[-_.]?)(?P<month>[01]\d)(?P=sep)(?P<day>[0-3]\d)"
_TIME = (
    r"(?P<hour>[0-2]?\d)(?:[-_.:h]?)(?P<minute>[0-5]\d)(?:[-_.:m]?)(?P<second>[0-5]\d)"
    r"(?:[.,](?P<fraction>\d{1,6})(?!\d)|(?P<ms>\d{3})(?!\d))?s?"
)
_ZONE = r"(?:\s?(?P<half>[AaPp][Mm])\b)?(?P<zone>Z(?![A-Za-z])|[+]\d{2}[:.]?\d{2}(?!\d))?"

_BOTH = re.compile(rf"(?<!\d){_DATE}(?:[-_.\sT@]|\sat\s)*{_TIME}(?!\d)(?:{_ZONE})")
_DATE_FOLDER = re.compile(rf"(?<!\d){_DATE}(?!\d)")
_DATE_FOLDERS = re.compile(r"(?<!\d)((?:19|20)\d\d)/([01]?\d)/([0-3]?\d)(?!\d)")
_TIME_NAME = re.compile(rf"(?<!\d){_TIME}(?!\d)(?:{_ZONE})")
_FRIGATE = re.compile(
    rf"{_DATE}/(?P<hour>[0-2]\d)/(?:[^/]+/)?(?P<minute>[0-5]\d)\.(?P<second>[0-5]\d)\.\w+$"
)
_UNIX = re.compile(r"(?<![\d.])(?P<s>1\d{9})(?:\.(?P<fraction>\d{1,6})|(?P<ms>\d{3}))?(?!\d)")


def _named(path: PurePath, zone: tzinfo | None) -> RecordingStart | None:
    text = path.as_posix()
    if match := _FRIGATE.search(text):  # its folders are in UTC
        moment = _moment(match, UTC)
        if moment is not None:
            return RecordingStart(moment, "its folders")
    if (wall_s := _named_time(path.name, zone)) is not None:
        return RecordingStart(wall_s, "its name")
    folders, name = path.parent.as_posix(), path.name
    day = _folder_day(folders)
    if day is not None:
        for match in _TIME_NAME.finditer(name):
            if (wall_s := _moment(match, zone, day)) is not None:
                return RecordingStart(wall_s, "its name and folder")
    return None


def _named_time(text: str, zone: tzinfo | None) -> float | None:
    for match in _BOTH.finditer(text):
        if (wall_s := _moment(match, zone)) is not None:
            return wall_s
    if (unix := _UNIX.search(text)) is None:
        return None
    return _plausible(float(f"{unix['s']}.{unix['fraction'] or unix['ms'] or '0'}"))


def _folder_day(folders: str) -> tuple[int, int, int] | None:
    """The day that the last folder with one names, as ``2026-11-29``, ``20261129`` or
    ``2026/11/29``."""
    found = [match.group("year", "month", "day") for match in _DATE_FOLDER.finditer(folders)]
    found += [match.group(1, 2, 3) for match in _DATE_FOLDERS.finditer(folders)]
    if not found:
        return None
    year, month, day = found[-1]
    return int(year), int(month), int(day)


def _moment(
    match: re.Match[str], zone: tzinfo | None, day: tuple[int, int, int] | None = None
) -> float | None:
    parts = match.groupdict()
    year, month, date = day or (int(parts["year"]), int(parts["month"]), int(parts["day"]))
    hour = int(parts["hour"])
    if half := parts.get("half"):
        hour = hour % 12 + (12 if half.lower() == "pm" else 0)
    digits = parts.get("fraction") or parts.get("ms") or "0"
    try:
        moment = datetime(year, month, date, hour, int(parts["minute"]), int(parts["second"]))
    except ValueError:
        return None
    named = parts.get("zone")
    if named:
        text = "+0000" if named == "Z" else named.replace(":", "").replace(".", "")
        aware = datetime.strptime(f"{moment:%Y%m%d%H%M%S}{text}", "%Y%m%d%H%M%S%z")
    else:
        aware = _in_zone(moment, zone)
    wall_s = _seconds(aware)
    return None if wall_s is None else wall_s + float(f"0.{digits}")


# ---- both


def _in_zone(moment: datetime, zone: tzinfo | None) -> datetime:
    return moment.replace(tzinfo=zone) if zone is not None else moment.astimezone()


def _seconds(moment: datetime) -> float | None:
    try:
        return _plausible(moment.timestamp())
    except (OverflowError, OSError):
        return None


def _plausible(wall_s: float) -> float | None:
    return wall_s if math.isfinite(wall_s) and wall_s >= _EARLIEST_S else None


def _told(wall_s: float, zone: tzinfo | None) -> str:
    return f"{datetime.fromtimestamp(wall_s, UTC).astimezone(zone):%Y-%m-%d %H:%M:%S}"
