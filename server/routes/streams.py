"""Create, list, inspect and close streams."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Query, Request, Response

from onlooker.core.errors import InvalidRequest
from onlooker.core.protocol.base import LabelText
from onlooker.core.protocol.http import CreateStreamRequest, StreamList, UpdateStreamRequest
from onlooker.core.protocol.stream_objects import StreamObject
from onlooker.scheduler.slo import Tier
from onlooker.server.abilities import check_keeping
from onlooker.server.access import (
    CallerGrant,
    CallerStreams,
    ReadyGateway,
    error_docs,
    the_gateway,
)
from onlooker.server.nameplates import nameplate_changes, set_reference
from onlooker.server.relay.finding import is_new
from onlooker.server.relay.placing import check_placed
from onlooker.server.relay.route import StreamRoute
from onlooker.server.rights import Action
from onlooker.server.surveys.roll import call_roll
from onlooker.server.views import masks_of, stream_object
from onlooker.streams.nameplate import checked_labels
from onlooker.streams.sources.spec import SourceSpec
from onlooker.streams.stream import StreamOptions

router = APIRouter(prefix="/v1/streams", tags=["streams"], route_class=StreamRoute)

MAX_LISTED = 10_000
"""Streams of each other server that are looked at to list some of them."""

_EXAMPLES = {
    "push": {
        "summary": "Fed by a connection or by HTTP calls",
        "value": {"id": "front-door", "metadata": {"place": "entrance"}},
    },
    "recording": {
        "summary": "For a recording: nothing is dropped, times are the recording's",
        "value": {"id": "film", "clock": "virtual"},
    },
    "dated": {
        "summary": "For a recording of which questions may name clock times and days",
        "value": {"id": "door", "clock": "virtual", "starts_at": 1764423900.0},
    },
}


_UPDATE_EXAMPLES: dict[str, Any] = {
    "masks": {
        "summary": "Black out the left half",
        "value": {"masks": [{"polygon": [[0, 0], [0.5, 0], [0.5, 1], [0, 1]], "effect": "black"}]},
    },
    "age": {"summary": "Keep it for a day", "value": {"keep_for_s": 86400}},
    "name": {
        "summary": "Say which camera it is",
        "value": {"name": "Front door", "labels": ["door", "outside"]},
    },
}


@router.post("", status_code=201, summary="Open a stream", responses=error_docs(400, 403, 409, 429))
async def create_stream(
    streams: CallerStreams,
    grant: CallerGrant,
    call: Request,
    request: Annotated[CreateStreamRequest, Body(openapi_examples=_EXAMPLES)],
) -> StreamObject:
    """Open a stream. It stays until it is closed or its idle limit passes.

    With `source` the server pulls the video itself (file, HTTP, HLS, RTSP, RTMP, UDP or a picture
    again and again), from addresses that the operator allows:
    `{"source": {"url": "rtsp://camera.example.org/live", "fps": 2}}`, or
    `{"source": {"url": "https://camera.example.org/now.jpg", "every_s": 2}}`.
    Without, frames are pushed.
    """
    if request.source is not None:
        grant.require(Action.PULL_SOURCE)
    gateway = the_gateway(call)
    check_keeping(request, gateway.hub.info)
    if request.id is None or await is_new(gateway, streams, request.id):
        check_placed(gateway, call, streams.tenant, request.id)
    options = StreamOptions(
        clock=request.clock,
        max_fps=request.max_fps,
        gate_threshold=request.gate_threshold,
        token_drop=request.token_drop,
        compaction=request.compaction,
        tier=Tier.named(request.service_tier),
        metadata=request.metadata,
        masks=None if request.masks is None else masks_of(request.masks),
        keep_for_s=request.keep_for_s,
        zero_wall_s=request.starts_at,
        nameplate=nameplate_changes(request),
    )
    if request.source is None:
        stream = await streams.open_stream(request.id, options)
    else:
        source = request.source
        spec = SourceSpec(
            url=source.url,
            fps=source.fps,
            nominal_fps=source.nominal_fps,
            loop=source.loop,
            transport=source.transport,
            every_s=source.every_s,
        )
        stream = await streams.open_pulled(request.id, options, spec)
    return stream_object(stream)


@router.get("", summary="List streams", responses=error_docs(400))
async def list_streams(
    gateway: ReadyGateway,
    caller: CallerStreams,
    call: Request,
    limit: Annotated[int, Query(ge=1, le=100, description="How many at most.")] = 20,
    after: Annotated[str | None, Query(description="Begin after the stream of this id.")] = None,
    label: Annotated[
        list[LabelText] | None,
        Query(max_length=16, description="Only those with this label; repeat it for all of them."),
    ] = None,
    servers: Annotated[
        Literal["own", "all"], Query(description="Of this server, or of all in its fleet.")
    ] = "own",
) -> StreamList:
    """List open streams, oldest first."""
    if servers == "all":
        roll = await call_roll(gateway, call, caller.tenant, label or (), limit=MAX_LISTED)
        return _page(roll.streams, limit=limit, after=after, unreached=roll.unreached)
    labels = checked_labels(label or (), gateway.settings.streams.nameplates)
    found = [one for one in caller.streams() if one.nameplate.plate.has_labels(labels)]
    names = [one.name for one in found]
    begin = 0 if after is None else _place_after(names, after)
    page = [stream_object(stream) for stream in found[begin : begin + limit]]
    return _listed(page, has_more=len(found) > begin + limit)


@router.get("/{stream_id}", summary="Inspect a stream", responses=error_docs(404))
async def get_stream(streams: CallerStreams, stream_id: str) -> StreamObject:
    """One stream, with its counters now."""
    return stream_object(streams.get(stream_id))


@router.patch(
    "/{stream_id}",
    summary="Change a stream's name, labels or privacy",
    responses=error_docs(400, 404, 413, 415),
)
async def update_stream(
    gateway: ReadyGateway,
    grant: CallerGrant,
    streams: CallerStreams,
    stream_id: str,
    request: Annotated[UpdateStreamRequest, Body(openapi_examples=_UPDATE_EXAMPLES)],
) -> StreamObject:
    """Change what a stream is called (name, description, labels, reference picture), its masks, or
    how long it is kept, which take a key with the scope `admin`. Masks hold for every picture that
    is looked at from now on; what was seen before stays, unless it is deleted
    (`DELETE /v1/streams/{stream_id}/memory`)."""
    stream = streams.get(stream_id)
    if not request.model_fields_set.isdisjoint(("keep_for_s", "masks")):
        grant.require(Action.CHANGE_PRIVACY)
    await stream.nameplate.change(nameplate_changes(request))
    if "reference" in request.model_fields_set:
        await set_reference(gateway, stream, request.reference)
    if "keep_for_s" in request.model_fields_set:
        await stream.set_keep_for(request.keep_for_s)
    if "masks" in request.model_fields_set:
        await stream.set_masks(masks_of(request.masks or []))
    return stream_object(stream)


@router.delete(
    "/{stream_id}",
    status_code=204,
    response_class=Response,
    summary="Close a stream",
    responses=error_docs(404),
)
async def delete_stream(gateway: ReadyGateway, streams: CallerStreams, stream_id: str) -> None:
    """Close a stream and forget what was remembered of it. Its events end with `stream.closed`, and
    imports into it are cancelled."""
    await gateway.importer.drop_all(streams.get(stream_id).id)
    await streams.close_stream(stream_id, "closed by a client")


# ---- inside


def _page(
    streams: Sequence[StreamObject], *, limit: int, after: str | None, unreached: list[str]
) -> StreamList:
    begin = 0 if after is None else _place_after([one.id for one in streams], after)
    page = list(streams[begin : begin + limit])
    return _listed(page, has_more=len(streams) > begin + limit, unreached=unreached)


def _place_after(names: Sequence[str], after: str) -> int:
    if after not in names:
        raise InvalidRequest(f"there is no stream '{after[:80]}' to begin after", param="after")
    return names.index(after) + 1


def _listed(
    page: list[StreamObject], *, has_more: bool, unreached: Sequence[str] = ()
) -> StreamList:
    return StreamList(
        data=page,
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
        has_more=has_more,
        unreached=list(unreached),
    )
