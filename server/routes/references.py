"""A stream's reference picture: how its view usually looks."""

from fastapi import APIRouter, Response

from onlooker.server.access import CallerStreams, ReadyGateway, error_docs
from onlooker.server.nameplates import shown_reference
from onlooker.server.relay.route import StreamRoute

router = APIRouter(prefix="/v1/streams", tags=["pictures"], route_class=StreamRoute)


@router.get(
    "/{stream_id}/reference",
    summary="See how a stream usually looks",
    response_class=Response,
    responses={
        **error_docs(404),
        200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
    },
)
async def get_reference(gateway: ReadyGateway, streams: CallerStreams, stream_id: str) -> Response:
    """The picture that the stream was given as its reference (`PATCH /v1/streams/{stream_id}` with
    `reference`), with the stream's masks on it."""
    picture = await shown_reference(streams.get(stream_id))
    headers = {"Cache-Control": "private, no-store"}
    return Response(picture.data, media_type=picture.media_type, headers=headers)
