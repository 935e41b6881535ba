"""Read a stream's diary: what the model wrote down while it watched, and summaries of it."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from onlooker.cache_store.diary import LEVELS, DiaryEntry, DiaryQuery, Level
from onlooker.core.errors import NotFound
from onlooker.core.protocol.album import picture_url
from onlooker.core.protocol.timeline import DiaryLevel, DiaryPage, TimelineEntry
from onlooker.server.access import CallerStreams, ReadyGateway, error_docs
from onlooker.server.relay.route import StreamRoute
from onlooker.server.stream_times import TIME_WORDS, stream_span
from onlooker.streams.diary.stream_diary import StreamDiary
from onlooker.streams.stream import Stream

router = APIRouter(prefix="/v1/streams", tags=["timeline"], route_class=StreamRoute)

HEADERS = {"Cache-Control": "private, no-store"}
"""What was deleted must not live on in caches."""

_MARKDOWN: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/markdown": {"schema": {"type": "string"}}}}
}


@router.get(
    "/{stream_id}/timeline",
    summary="Read a stream's diary",
    response_model=DiaryPage,
    responses={**error_docs(400, 404), **_MARKDOWN},
)
async def read_timeline(
    gateway: ReadyGateway,
    streams: CallerStreams,
    stream_id: str,
    from_: Annotated[
        str | None,
        Query(alias="from", max_length=64, description=f"{TIME_WORDS}; default: the beginning."),
    ] = None,
    to: Annotated[
        str | None, Query(max_length=64, description=f"{TIME_WORDS}; default: now.")
    ] = None,
    level: Annotated[
        DiaryLevel | None,
        Query(description="Only sentences (`scene`), or summaries of so much time."),
    ] = None,
    q: Annotated[
        str | None,
        Query(max_length=256, description="Words that the text must hold, in any form and order."),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many at most.")] = 100,
    order: Annotated[Literal["asc", "desc"], Query(description="Oldest or newest first.")] = "asc",
    format: Annotated[
        Literal["json", "markdown"], Query(description="`markdown` is for people to read and keep.")
    ] = "json",
) -> Response:
    """What the diary says of a span of time, an entry by the time at which it begins. Where there
    is more, ask again from `next_s` (or, newest first, up to it)."""
    stream = streams.get(stream_id)
    if stream.diary is None:
        raise NotFound("this server writes no diary (setting cache_store.diary.enabled)")
    start_s, end_s = stream_span(stream, from_, to)
    query = DiaryQuery(
        start_s=start_s,
        end_s=end_s,
        levels=LEVELS if level is None else (Level(level),),
        words=q or "",
        limit=limit + 1,
        newest_first=order == "desc",
    )
    if stream.writer is not None:
        await stream.writer.settle()
    timeline = await _timeline(stream, stream.diary, query)
    if format == "json":
        return JSONResponse(timeline.model_dump(), headers=HEADERS)
    text = _markdown(stream, timeline)
    return Response(text, media_type="text/markdown; charset=utf-8", headers=HEADERS)


# ---- inside


async def _timeline(stream: Stream, diary: StreamDiary, query: DiaryQuery) -> DiaryPage:
    """A page of the diary; `query` asks for one entry more than a page has."""
    found = await diary.find(query)
    has_more, page = len(found) >= query.limit, found[: query.limit - 1]
    next_s = None
    if has_more:
        # Entries of several levels may begin at once: the page ends before those that it has not
        # all of, unless they fill it.
        page = [one for one in page if one.start_s != found[-1].start_s] or page
        last_s = page[-1].start_s
        next_s = math.nextafter(last_s, -math.inf if query.newest_first else math.inf)
    return DiaryPage(
        stream=stream.name, data=_entries(stream, page), has_more=has_more, next_s=next_s
    )


def _entries(stream: Stream, found: Sequence[DiaryEntry]) -> list[TimelineEntry]:
    pictured_from_s = None if stream.album is None else stream.album.first_s
    return [
        TimelineEntry(
            level=one.level.value,
            start_s=one.start_s,
            end_s=one.end_s,
            wall_time=one.wall_s if stream.wall.is_known else None,
            text=one.text,
            picture=None
            if pictured_from_s is None or one.start_s < pictured_from_s
            else picture_url(stream.name, one.start_s),
        )
        for one in found
    ]


def _markdown(stream: Stream, timeline: DiaryPage) -> str:
    lines = [f"# Diary of {stream.name}", ""]
    day = ""
    for entry in timeline.data:
        time = f"{entry.start_s:.1f} s"
        if entry.wall_time is not None:
            moment = datetime.fromtimestamp(entry.wall_time, UTC).astimezone(stream.wall.zone)
            time = f"{moment:%H:%M:%S}"
            if f"{moment:%d %B %Y}" != day:
                day = f"{moment:%d %B %Y}"
                lines += ["", f"## {day}", ""]
        name = "" if entry.level == "scene" else f" ({entry.level})"
        lines.append(f"- **{time}**{name} {_escaped(entry.text)}")
    if timeline.has_more:
        lines += ["", f"There is more, from {timeline.next_s:g} s on."]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """A model's words as they are: it read what was held before the camera."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>#|!" else letter for letter in text)
