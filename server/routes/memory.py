"""Delete part of what a stream remembers."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from onlooker.core.errors import InvalidRequest
from onlooker.core.protocol.http import ForgetReply
from onlooker.server.access import CallerStreams, error_docs
from onlooker.server.relay.route import StreamRoute
from onlooker.server.stream_times import TIME_WORDS, stream_s

router = APIRouter(prefix="/v1/streams", tags=["streams"], route_class=StreamRoute)


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
        Query(alias="from", max_length=64, description=f"{TIME_WORDS}; default: the beginning."),
    ] = None,
    to: Annotated[
        str | None, Query(max_length=64, description=f"{TIME_WORDS}; default: the newest frame.")
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
    report = await stream.forget(stream_s(stream, from_, "from"), stream_s(stream, to, "to"))
    return ForgetReply(
        stream=stream.name,
        from_s=report.start_s,
        to_s=report.end_s,
        clips=report.num_clips,
        notes=report.num_notes,
        journal_frames=report.num_frames,
        pictures=report.num_pictures,
        diary_entries=report.num_entries,
        alerts=report.num_alerts,
        bytes=report.num_bytes,
        pending_in=list(report.unreached),
    )
