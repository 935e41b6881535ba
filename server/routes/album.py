"""Look at a stream's album: pictures of what was seen, contact sheets and films."""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from onlooker.cache_store.album import PictureFacts
from onlooker.core.errors import InvalidRequest, NotFound
from onlooker.core.protocol.album import PictureList, PictureObject, picture_url
from onlooker.server.access import CallerStreams, ReadyGateway, error_docs
from onlooker.server.relay.route import StreamRoute
from onlooker.server.stream_times import TIME_WORDS, check_not_ahead, stream_s, stream_span
from onlooker.streams.album.films import FilmFormat, FilmLook
from onlooker.streams.album.stream_album import StreamAlbum
from onlooker.streams.stream import Stream

router = APIRouter(prefix="/v1/streams", tags=["pictures"], route_class=StreamRoute)

HEADERS = {"Cache-Control": "private, no-store"}
"""What was deleted must not live on in caches."""

MAX_SHEET = 120
"""The most pictures on one contact sheet."""

_From = Annotated[
    str | None,
    Query(alias="from", max_length=64, description=f"{TIME_WORDS}; default: the beginning."),
]
_To = Annotated[str | None, Query(max_length=64, description=f"{TIME_WORDS}; default: now.")]


def _content(*media_types: str) -> dict[int | str, dict[str, Any]]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"content": dict.fromkeys(media_types, binary)}}


@router.get(
    "/{stream_id}/pictures",
    summary="List the pictures of a stream",
    responses=error_docs(400, 404),
)
async def list_pictures(
    gateway: ReadyGateway,
    streams: CallerStreams,
    stream_id: str,
    from_: _From = None,
    to: _To = None,
    at: Annotated[
        str | None,
        Query(max_length=64, description=f"{TIME_WORDS}: the one picture that stands for it."),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many at most.")] = 100,
    order: Annotated[Literal["asc", "desc"], Query(description="Oldest or newest first.")] = "asc",
) -> PictureList:
    """What the album has of a span of time, without the pictures' bytes. Where there is more, ask
    again from `next_s` (or, newest first, up to it)."""
    stream, album = _album_of(streams, stream_id)
    if at is not None:
        if from_ is not None or to is not None:
            raise InvalidRequest("give 'at', or 'from' and 'to', not both", param="at")
        found = [await _at(stream, album, at)]
        return _listed(stream, found, has_more=False, newest_first=False)
    span = stream_span(stream, from_, to)
    newest_first = order == "desc"
    found = await album.between(*span, limit=limit + 1, newest_first=newest_first)
    has_more = len(found) > limit
    return _listed(stream, found[:limit], has_more=has_more, newest_first=newest_first)


@router.get(
    "/{stream_id}/picture",
    summary="See what a stream showed",
    response_class=Response,
    responses={**error_docs(400, 404), **_content("image/jpeg", "image/webp")},
)
async def get_picture(
    streams: CallerStreams,
    stream_id: str,
    at: Annotated[
        str | None, Query(max_length=64, description=f"{TIME_WORDS}; default: now.")
    ] = None,
) -> Response:
    """The picture that stands for a time: of the clip that was seen last before it."""
    stream, album = _album_of(streams, stream_id)
    facts = await _at(stream, album, at)
    picture = await album.picture(facts)
    if picture is None:
        raise NotFound("the picture has just been deleted", param="at")
    headers = {**HEADERS, "X-Onlooker-Start-S": f"{facts.start_s:g}"}
    return Response(picture.data, media_type=facts.media_type, headers=headers)


@router.get(
    "/{stream_id}/strip",
    summary="See a span of time at a glance",
    response_class=Response,
    responses={**error_docs(400, 404), **_content("image/jpeg")},
)
async def get_strip(
    streams: CallerStreams,
    stream_id: str,
    from_: _From = None,
    to: _To = None,
    limit: Annotated[int, Query(ge=1, le=MAX_SHEET, description="How many at most.")] = 12,
    columns: Annotated[int, Query(ge=1, le=MAX_SHEET, description="Pictures side by side.")] = 4,
) -> Response:
    """A contact sheet: pictures of a span, spread evenly over it, with their times."""
    stream, album = _album_of(streams, stream_id)
    chosen = await _some(stream, album, from_, to, limit=limit)
    look = FilmLook(columns=columns, caption=_caption(stream))
    return Response(await album.sheet(chosen, look), media_type="image/jpeg", headers=HEADERS)


@router.get(
    "/{stream_id}/clips",
    summary="See a span of time as a film",
    response_class=Response,
    responses={**error_docs(400, 404), **_content("video/mp4", "image/webp")},
)
async def get_film(
    gateway: ReadyGateway,
    streams: CallerStreams,
    stream_id: str,
    from_: _From = None,
    to: _To = None,
    fps: Annotated[float, Query(ge=0.1, le=30, description="Pictures a second.")] = 4.0,
    format: Annotated[FilmFormat, Query(description="`mp4` (H.264) or `webp` (animated).")] = "mp4",
) -> Response:
    """The pictures of a span one after the other; of a long span some, spread evenly. The header
    `X-Onlooker-Pictures` says how many."""
    stream, album = _album_of(streams, stream_id)
    limit = gateway.settings.cache_store.album.max_pictures
    chosen = await _some(stream, album, from_, to, limit=limit)
    look = FilmLook(fps=fps, format=format)
    data = await album.film(chosen, look)
    headers = {**HEADERS, "X-Onlooker-Pictures": str(len(chosen))}
    return Response(data, media_type=look.media_type, headers=headers)


# ---- inside


def _album_of(streams: CallerStreams, stream_id: str) -> tuple[Stream, StreamAlbum]:
    stream = streams.get(stream_id)
    if stream.album is None:
        raise NotFound("this server keeps no pictures (setting cache_store.album.enabled)")
    return stream, stream.album


async def _at(stream: Stream, album: StreamAlbum, at: str | None) -> PictureFacts:
    at_s = stream_s(stream, at, "at")
    check_not_ahead(stream, at_s, "at")
    facts = await album.at(math.inf if at_s is None else at_s)
    if facts is None:
        raise NotFound(f"stream '{stream.name}' has no picture from before that time", param="at")
    return facts


async def _some(
    stream: Stream, album: StreamAlbum, from_: str | None, to: str | None, *, limit: int
) -> list[PictureFacts]:
    """Some pictures of a span, of which there is one at least."""
    start_s, end_s = stream_span(stream, from_, to)
    found = await album.spread(start_s, end_s, limit=limit)
    if not found:
        raise NotFound(f"stream '{stream.name}' has no pictures of that span", param="from")
    return found


def _wall(stream: Stream) -> Callable[[PictureFacts], float | None]:
    is_known = stream.is_live or stream.options.zero_wall_s is not None
    return lambda facts: facts.wall_s if is_known else None


def _caption(stream: Stream) -> Callable[[PictureFacts], str]:
    wall = _wall(stream)

    def caption(facts: PictureFacts) -> str:
        wall_s = wall(facts)
        told = "" if wall_s is None else f"  {datetime.fromtimestamp(wall_s, UTC):%d %b %H:%M:%S}"
        return f"{facts.start_s:.1f} s{told}"

    return caption


def _listed(
    stream: Stream, found: list[PictureFacts], *, has_more: bool, newest_first: bool
) -> PictureList:
    wall = _wall(stream)
    next_s = None
    if has_more:
        last_s = found[-1].start_s
        next_s = math.nextafter(last_s, -math.inf if newest_first else math.inf)
    return PictureList(
        stream=stream.name,
        data=[
            PictureObject(
                clip=one.clip_index,
                start_s=one.start_s,
                end_s=one.end_s,
                taken_at=wall(one),
                width=one.width,
                height=one.height,
                bytes=one.num_bytes,
                media_type=one.media_type,
                url=picture_url(stream.name, one.start_s),
            )
            for one in found
        ],
        has_more=has_more,
        next_s=next_s,
    )
