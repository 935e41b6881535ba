"""Delete part of what a stream remembers."""

import math
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request

from onlooker.core.errors import InvalidRequest
from onlooker.core.protocol.http import ForgetReply
from onlooker.server.access import CallerStreams, error_docs
from onlooker.server.relay.route import StreamRoute
from onlooker.streams.stream import Stream

router = APIRouter(prefix="/v1/streams", tags=["streams"], route_class=StreamRoute)

_TIME = (
    "Seconds of stream time, or a wall time as ISO 8601 (`2026-05-01T12:30:00Z`; UTC where no zone "
    "is named)"
)


@router.delete(
    "/{stream_id}/memory",
    summary="Delete part of what a stream remembers",
    responses=error_docs(400, 404),
)
async def delete_memory(
    streams: CallerStreams,
    request: Request,
    stream_id: str,
    from_: Annotated[
        str | None,
        Query(alias="from", max_length=64, description=f"{_TIME}; default: the beginning."),
    ] = None,
    to: Annotated[
        str | None, Query(max_length=64, description=f"{_TIME}; default: the newest frame.")
    ] = None,
) -> ForgetReply:
    """Delete every clip that shows anything of the span from all tiers, with what was noted,
    journaled and raised of it. The stream goes on; answers under way are broken off.

    What a tier that hangs still holds is hidden at once, and deleted when the tier can be reached.
    """
    for name in request.query_params:
        if name not in ("from", "to", "token"):  # a slip of the pen must not delete everything
            raise InvalidRequest(f"a span is 'from' and 'to', and not '{name}'", param=name)
    stream = streams.get(stream_id)
    report = await stream.forget(_stream_s(stream, from_, "from"), _stream_s(stream, to, "to"))
    return ForgetReply(
        stream=stream.name,
        from_s=report.start_s,
        to_s=report.end_s,
        clips=report.num_clips,
        notes=report.num_notes,
        journal_frames=report.num_frames,
        alerts=report.num_alerts,
        bytes=report.num_bytes,
        pending_in=list(report.unreached),
    )


def _stream_s(stream: Stream, text: str | None, param: str) -> float | None:
    """The stream time that a client has named. Raises `InvalidRequest`."""
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            named = datetime.fromisoformat(text)
        except ValueError:
            raise InvalidRequest(
                f"'{param}' is seconds of stream time or an ISO 8601 time such as "
                f"2026-05-01T12:30:00Z; got '{text}'",
                param=param,
            ) from None
        if named.tzinfo is None:
            named = named.replace(tzinfo=UTC)
        return stream.stream_s(named.timestamp(), param=param)
    if not (math.isfinite(seconds) and seconds >= 0):
        raise InvalidRequest(f"'{param}' is 0 or more seconds; got {text}", param=param)
    return seconds
