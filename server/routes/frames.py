"""Push one picture over HTTP."""

import math
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request

from onlooker.core.errors import Conflict, InvalidRequest, TooLarge, UnsupportedMedia
from onlooker.core.media import Codec, DropReason, EncodedFrame
from onlooker.core.protocol.frame_header import MAX_CAPTURE_US, MAX_SEQUENCE
from onlooker.core.protocol.http import FrameReply
from onlooker.server.access import CallerStreams, ReadyGateway, error_docs
from onlooker.server.gateway import Gateway
from onlooker.server.pictures import MEDIA_TYPES
from onlooker.server.relay.route import StreamRoute
from onlooker.streams.stream import Stream

router = APIRouter(prefix="/v1/streams", tags=["streams"], route_class=StreamRoute)

_PICTURE = {"schema": {"type": "string", "format": "binary"}}


@router.post(
    "/{stream_id}/frames",
    summary="Push one picture",
    responses=error_docs(400, 404, 408, 409, 413, 415, 429),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"image/jpeg": _PICTURE, "image/png": _PICTURE, "image/webp": _PICTURE},
        }
    },
)
async def push_frame(
    gateway: ReadyGateway,
    streams: CallerStreams,
    request: Request,
    stream_id: str,
    capture_time: Annotated[
        float | None,
        Header(alias="X-Capture-Time-S", description="Stream time of capture, in seconds."),
    ] = None,
    t: Annotated[float | None, Query(description="The same as `X-Capture-Time-S`.")] = None,
    sequence: Annotated[
        int | None,
        Query(ge=0, le=MAX_SEQUENCE, description="Your number for it; default: the next one."),
    ] = None,
) -> FrameReply:
    """Push one picture and learn what became of it.

    The answer comes when the picture has been looked at: `kept`, `skipped` (a near-duplicate of
    the last kept one) or `dropped` with the reason. Without a time, a live stream takes the seconds
    since it was opened.
    """
    stream = streams.get(stream_id)
    codec = _codec(request.headers.get("content-type"))
    capture_s = _capture_s(capture_time if capture_time is not None else t, stream, gateway)
    payload = await request.body()
    if not payload:
        raise InvalidRequest("the body is empty; it should be a JPEG, PNG or WebP picture")
    frame = EncodedFrame(
        sequence=stream.status().received + 1 if sequence is None else sequence,
        capture_s=capture_s,
        codec=codec,
        payload=payload,
        received_at_s=gateway.clock.now_s(),
    )
    ack = await gateway.pushers.push(stream, frame)
    if ack.reason is DropReason.UNDECODABLE:
        raise UnsupportedMedia(f"the body cannot be decoded as {codec.name}")
    if ack.reason is DropReason.TOO_LARGE:
        raise TooLarge(
            f"a frame may have {gateway.settings.streams.max_frame_bytes} bytes and "
            f"{gateway.settings.streams.max_frame_pixels} pixels"
        )
    if ack.reason is DropReason.TOO_COSTLY:
        raise TooLarge(
            "the picture takes more processor time to decode than one may, or too many of this "
            "stream's did before (settings streams.decoding)"
        )
    if ack.reason in (DropReason.TENANT_FPS, DropReason.TENANT_MEMORY):
        raise stream.account.refusal(ack.reason)
    if ack.reason is DropReason.STREAM_CLOSED:
        raise Conflict(f"stream '{stream.name}' was closed meanwhile", param="stream")
    status = stream.status()
    return FrameReply(
        sequence=ack.sequence,
        outcome=ack.outcome.value,
        reason=ack.reason.value if ack.reason is not None else None,
        guarantee=ack.guarantee,
        capture_s=ack.capture_s,
        seen_until_s=status.seen_until_s,
        lag_s=status.lag_s if status.clips else None,
    )


def _codec(content_type: str | None) -> Codec:
    media_type = (content_type or "").partition(";")[0].strip().lower()
    if media_type not in MEDIA_TYPES:
        raise UnsupportedMedia(
            f"Content-Type '{media_type[:80]}' is not taken here; send one of image/jpeg, "
            "image/png, image/webp",
            param="Content-Type",
        )
    return MEDIA_TYPES[media_type]


def _capture_s(given_s: float | None, stream: Stream, gateway: Gateway) -> float:
    if given_s is None:
        if not stream.is_live:
            raise InvalidRequest(
                "on the virtual clock every frame carries its time: X-Capture-Time-S or ?t=",
                param="X-Capture-Time-S",
            )
        return max(0.0, gateway.clock.wall_s() - stream.created_wall_s)
    if not (math.isfinite(given_s) and 0 <= given_s <= MAX_CAPTURE_US / 1e6):
        raise InvalidRequest(
            f"a capture time is in seconds of stream time, 0 or more; got {given_s}",
            param="X-Capture-Time-S",
        )
    return given_s
