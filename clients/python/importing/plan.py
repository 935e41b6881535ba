"""`ImportPlan`: what is to be imported and how, from what was said at the command line."""

import os
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import get_args
from zoneinfo import ZoneInfo

from onlooker.clients.python.importing.beginnings import TimeSource, parse_time
from onlooker.clients.python.options import ClientOptions, Reconnect
from onlooker.core.errors import InvalidRequest

MOST_JOBS = 8
PENDING_FRAMES = 32
"""Pictures for which the server may owe an answer, over eight: it answers a few times a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportPlan:
    """What to import, and how."""

    places: tuple[Path, ...]
    """Folders and files."""
    stream_id: str
    times: TimeSource = "auto"
    start_wall_s: float | None = None
    """When the one file began; None: it says so itself."""
    zone: tzinfo | None = None
    """The time zone of names, and in which times are told; None: the machine's own."""
    fps: float | None = None
    """Pictures a second of recorded time; None: as many as the server looks at."""
    jobs: int = 1
    """Decoder processes."""
    patience_s: float = 120.0
    """How long a decoder process may do nothing before it is killed."""
    is_dry: bool = False
    """Whether only to tell what would be imported."""


def default_jobs() -> int:
    """Decoder processes where nobody says how many."""
    return max(1, min(MOST_JOBS, (os.cpu_count() or 1) - 1))


def import_options(ca_file: Path | None) -> ClientOptions:
    """Options of a client that imports. It does not connect again by itself, since what the server
    has taken decides with what to go on."""
    return ClientOptions(
        ca_file=ca_file, reconnect=Reconnect(attempts=0), max_pending_frames=PENDING_FRAMES
    )


def time_source(text: str) -> TimeSource:
    """What says when files began.

    Raises:
        InvalidRequest: it is none of the choices.
    """
    for known in get_args(TimeSource):
        if text == known:
            return known  # type: ignore[no-any-return] # one of the literals
    raise InvalidRequest(
        f"--times is one of {', '.join(get_args(TimeSource))}; got '{text}'", param="times"
    )


def zone_of(name: str | None) -> tzinfo | None:
    """A time zone by its name.

    Raises:
        InvalidRequest: there is none of this name.
    """
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise InvalidRequest(
            f"there is no time zone '{name}'; expected a name such as Europe/Berlin or UTC",
            param="zone",
        ) from error


def start_of(text: str | None, zone: tzinfo | None) -> float | None:
    """A time that was written down, in seconds since the Unix epoch.

    Raises:
        InvalidRequest: it is no time.
    """
    if text is None:
        return None
    if (wall_s := parse_time(text, zone)) is None:
        raise InvalidRequest(
            "--start is a time such as '2026-11-29 13:45:00' or 2026-11-29T12:45:00Z; got "
            f"'{text}'",
            param="start",
        )
    return wall_s
