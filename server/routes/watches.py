"""Standing questions to a stream, and what they said."""

from typing import Annotated

from fastapi import APIRouter, Body, Query, Response

from onlooker.core.protocol.watches import (
    AlertList,
    WatchChanges,
    WatchConfig,
    WatchList,
    WatchObject,
)
from onlooker.server.access import CallerGrant, CallerStreams, ReadyGateway, error_docs
from onlooker.server.relay.route import StreamRoute
from onlooker.server.watch_wire import (
    check_hook,
    option_changes,
    retained_alerts,
    watch_object,
    watch_options,
)

router = APIRouter(prefix="/v1/streams", tags=["watches"], route_class=StreamRoute)

_EXAMPLES = {
    "alert": {
        "summary": "Tell me when",
        "value": {
            "id": "red-circle",
            "condition": "tell me when a red circle appears",
            "include_frame": True,
        },
    },
    "commentary": {
        "summary": "Comment on what changes",
        "value": {"instruction": "What just changed?", "cooldown_s": 2},
    },
    "question": {
        "summary": "Ask now, be answered later",
        "value": {"question": "What colour is the circle?"},
    },
    "answer": {
        "summary": "Say what is there when something happens",
        "value": {"condition": "the sign changes", "answer_prompt": "What does the sign show?"},
    },
}

_CHANGE_EXAMPLES = {
    "pause": {"summary": "Pause it", "value": {"paused": True}},
    "go on": {"summary": "Let it go on, less often", "value": {"paused": False, "cooldown_s": 30}},
}


@router.post(
    "/{stream_id}/watches",
    status_code=201,
    summary="Leave a standing question",
    responses=error_docs(400, 403, 404, 409, 413, 429),
)
async def create_watch(
    gateway: ReadyGateway,
    streams: CallerStreams,
    grant: CallerGrant,
    stream_id: str,
    request: Annotated[WatchConfig, Body(openapi_examples=_EXAMPLES)],
) -> WatchObject:
    """Leave a watch with a stream: it alerts everyone who follows the stream, until it ends, is
    deleted, or the stream closes.

    Its alerts can be posted to a URL too:
    `{"webhook": {"url": "https://hooks.example.org/onlooker", "secret": "a-long-secret"}}`.
    """
    stream, options = streams.get(stream_id), watch_options(request, grant)
    await gateway.hub.webhooks.check(options.webhook)
    watch = await stream.make_watch(options, request.id)
    return watch_object(watch)


@router.get("/{stream_id}/watches", summary="List watches", responses=error_docs(404))
async def list_watches(gateway: ReadyGateway, streams: CallerStreams, stream_id: str) -> WatchList:
    """All watches of a stream, oldest first."""
    watches = streams.get(stream_id).watches.watches()
    return WatchList(data=[watch_object(watch) for watch in watches])


@router.get("/{stream_id}/watches/{watch_id}", summary="Inspect a watch", responses=error_docs(404))
async def get_watch(
    gateway: ReadyGateway, streams: CallerStreams, stream_id: str, watch_id: str
) -> WatchObject:
    """One watch, with its counters now."""
    return watch_object(streams.get(stream_id).watches.get(watch_id))


@router.patch(
    "/{stream_id}/watches/{watch_id}",
    summary="Change or pause a watch",
    responses=error_docs(400, 403, 404, 413),
)
async def update_watch(
    gateway: ReadyGateway,
    streams: CallerStreams,
    grant: CallerGrant,
    stream_id: str,
    watch_id: str,
    request: Annotated[WatchChanges, Body(openapi_examples=_CHANGE_EXAMPLES)],
) -> WatchObject:
    """Change options; null takes one back. Looking begins anew only where what it looks for
    changes."""
    stream, changes = streams.get(stream_id), option_changes(request, grant)
    await gateway.hub.webhooks.check(changes.get("webhook"))
    check_hook(stream.watches.get(watch_id), grant)
    watch = stream.watches.update(watch_id, changes)
    await stream.keep_watches()
    return watch_object(watch)


@router.delete(
    "/{stream_id}/watches/{watch_id}",
    status_code=204,
    response_class=Response,
    summary="Delete a watch",
    responses=error_docs(403, 404),
)
async def delete_watch(
    gateway: ReadyGateway,
    streams: CallerStreams,
    grant: CallerGrant,
    stream_id: str,
    watch_id: str,
) -> None:
    """Take a watch away; a text that it is writing is broken off."""
    stream = streams.get(stream_id)
    check_hook(stream.watches.get(watch_id), grant)
    await stream.drop_watch(watch_id)


@router.get("/{stream_id}/alerts", summary="List alerts", responses=error_docs(404))
async def list_alerts(
    gateway: ReadyGateway,
    streams: CallerStreams,
    stream_id: str,
    after: Annotated[int, Query(ge=0, description="Only those after this event number.")] = 0,
) -> AlertList:
    """Alerts that are still retained, oldest first."""
    stream = streams.get(stream_id)
    alerts = retained_alerts(stream, gateway.settings.streams, after=after)
    return AlertList(data=alerts, last_event=stream.last_event)
