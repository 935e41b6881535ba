"""What happens on a stream, as server-sent events."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from onlooker.core.errors import InvalidRequest
from onlooker.core.protocol.server_event import ServerEvent
from onlooker.server.access import (
    EVENT_STREAM,
    CallerGrant,
    CallerStreams,
    ReadyGateway,
    error_docs,
)
from onlooker.server.relay.route import StreamRoute
from onlooker.server.sse import EventResponse, sse_text
from onlooker.server.stream_events import followed

router = APIRouter(prefix="/v1/streams", tags=["streams"], route_class=StreamRoute)


@router.get(
    "/{stream_id}/events",
    summary="Follow a stream",
    response_class=Response,
    responses={
        **error_docs(400, 404),
        200: {
            "description": "`input_video.ack`, `input_video.pace`, `stream.updated`, "
            "`stream.answer` and, last, `stream.closed`.",
            "content": EVENT_STREAM,
        },
    },
)
async def follow_stream(
    gateway: ReadyGateway,
    streams: CallerStreams,
    grant: CallerGrant,
    stream_id: str,
    last_event_id: Annotated[
        str | None,
        Header(alias="Last-Event-ID", description="The last `id` seen, to go on from there."),
    ] = None,
    after: Annotated[str | None, Query(description="The same as `Last-Event-ID`.")] = None,
) -> Response:
    """Follow what happens on a stream until it closes.

    Browsers reconnect by themselves and send `Last-Event-ID`; what was missed follows, as far as it
    is retained (acknowledgements are not).
    """
    stream = streams.get(stream_id)
    server = gateway.settings.server
    events = followed(
        stream,
        after=_number(last_event_id or after),
        interval_s=server.ack_interval_s,
        max_listed_acks=server.max_listed_acks,
        max_queued=server.max_queued_events,
    )
    return EventResponse(
        events,
        _encoded,
        clock=gateway.clock,
        settings=server,
        stopping=gateway.stopping,
        grant=grant,
    )


def _encoded(numbered: tuple[int | None, ServerEvent]) -> bytes:
    number, event = numbered
    return sse_text(event, event_id=number)


def _number(text: str | None) -> int | None:
    if text is None or text == "":
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InvalidRequest(
            f"Last-Event-ID is a number that came as an event's id; got '{text[:80]}'",
            param="Last-Event-ID",
        )
    return int(text)
