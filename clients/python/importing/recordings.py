"""Recordings: files with the time at which each began, in the order of that time."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path, PurePath

from onlooker.clients.python.importing.beginnings import TimeSource, beginning
from onlooker.core.errors import InvalidRequest, NotFound, UnsupportedMedia
from onlooker.core.recordings.crew import Crew
from onlooker.core.recordings.recording import Recording

SUFFIXES = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg"),
        *(".3gp", ".flv", ".wmv", ".dav", ".h264", ".264", ".h265", ".265", ".hevc"),
        *(".mjpeg", ".mjpg"),
    }
)
"""What is taken for a recording in a folder; a file that is named itself is taken as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyedFiles:
    """What was found of the files that were named."""

    recordings: tuple[Recording, ...]
    """In the order of their beginnings."""
    unreadable: tuple[tuple[str, str], ...]
    """Names of files that hold no video that can be read, and why."""
    doubts: tuple[tuple[str, str], ...]
    """Names of recordings of whose times something speaks against, and what."""


def find_files(places: Sequence[Path]) -> list[tuple[Path, PurePath]]:
    """Files in folders and files that were named, each with its place below what was named.

    Raises:
        NotFound: a place does not exist, or there is no recording in all of them.
    """
    found: dict[Path, PurePath] = {}
    for place in places:
        if place.is_file():
            found.setdefault(place, PurePath(place.name))
        elif place.is_dir():
            for path in sorted(place.rglob("*")):
                if path.suffix.lower() in SUFFIXES and path.is_file():
                    # The folder that was named may hold the date itself.
                    found.setdefault(path, PurePath(place.name, path.relative_to(place)))
        else:
            raise NotFound(f"there is no file or folder '{place}'", param="folder")
    if not found:
        raise NotFound(
            f"there is no recording in {', '.join(map(str, places))}: looked for files that end in "
            f"{', '.join(sorted(SUFFIXES))}",
            param="folder",
        )
    return list(found.items())


async def survey(
    files: Sequence[tuple[Path, PurePath]],
    crew: Crew,
    *,
    num_at_a_time: int,
    zone: tzinfo | None,
    prefer: TimeSource = "auto",
    start_wall_s: float | None = None,
    tell: Callable[[int], None] = lambda num: None,
) -> SurveyedFiles:
    """Read what the files say of themselves and put them in order. `tell` is told how many are
    done.

    Raises:
        InvalidRequest: files do not say when they began; all of them are named.
    """
    recordings: list[Recording] = []
    unreadable: list[tuple[str, str]] = []
    undated: list[str] = []
    doubts: list[tuple[str, str]] = []
    if start_wall_s is not None and len(files) > 1:
        raise InvalidRequest(
            f"--start says when one file began, and there are {len(files)}: import them one by one",
            param="start",
        )
    waiting = iter(files)
    num_done = 0

    async def read() -> None:
        nonlocal num_done
        for path, place in waiting:
            name = str(place)
            try:
                facts = await crew.facts(str(path))
            except UnsupportedMedia as error:
                unreadable.append((name, error.message))
                continue
            finally:
                num_done += 1
                tell(num_done)
            modified_s = (await asyncio.to_thread(path.stat)).st_mtime
            begun = beginning(
                place,
                facts.tags,
                duration_s=facts.duration_s,
                modified_s=modified_s,
                zone=zone,
                prefer=prefer,
            )
            wall_s, source = start_wall_s, "--start"
            if wall_s is None and begun is not None:
                wall_s, source = begun.wall_s, begun.source
                if begun.doubt:
                    doubts.append((name, begun.doubt))
            if wall_s is None:
                undated.append(name)
                continue
            recordings.append(
                Recording(
                    path, name, wall_s, source, facts.duration_s, facts.is_timed, facts.fingerprint
                )
            )

    async with asyncio.TaskGroup() as tasks:
        for _ in range(num_at_a_time):
            tasks.create_task(read())
    if undated:
        raise InvalidRequest(_told_undated(sorted(undated)), param="start")
    recordings.sort(key=lambda one: (one.start_wall_s, one.name))
    return SurveyedFiles(
        recordings=tuple(recordings),
        unreadable=tuple(sorted(unreadable)),
        doubts=tuple(sorted(doubts)),
    )


_MOST_NAMED = 10


def _told_undated(names: Sequence[str]) -> str:
    listed = ", ".join(f"'{name}'" for name in names[:_MOST_NAMED])
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return (
        f"nothing says when these began: {listed}{more}. A recording needs a creation_time tag or "
        "a name such as 2026-11-29_13-45-00.mp4; or give --start for one file, or take the time at "
        "which files were last written for their end: --times modified"
    )
