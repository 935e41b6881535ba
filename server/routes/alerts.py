"""The alerts of several streams in one list."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from pydantic import ValidationError

from onlooker.core.errors import Overloaded
from onlooker.core.protocol.base import LabelText
from onlooker.core.protocol.http import ServerObject
from onlooker.core.protocol.orders import AlertOfStream, AlertsOfAll
from onlooker.core.waiting import within
from onlooker.server.access import CallerStreams, ReadyGateway, error_docs
from onlooker.server.surveys.called import NoReply, get_at
from onlooker.server.surveys.roll import UNKNOWN, each, other_servers
from onlooker.server.watch_wire import retained_alerts
from onlooker.streams.nameplate import checked_labels

router = APIRouter(prefix="/v1/alerts", tags=["watches"])


@router.get("", summary="List the alerts of all streams", responses=error_docs(400))
async def list_all_alerts(
    gateway: ReadyGateway,
    streams: CallerStreams,
    call: Request,
    label: Annotated[
        list[LabelText] | None,
        Query(
            max_length=16, description="Only streams with this label; repeat it for all of them."
        ),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many at most.")] = 100,
) -> AlertsOfAll:
    """The newest alerts that are still retained, of all open streams or of those with the labels,
    on all servers; newest first, without the frames that watches may have asked for."""
    labels = checked_labels(label or (), gateway.settings.streams.nameplates)
    found: list[AlertOfStream] = []
    for stream in streams.streams():
        plate = stream.nameplate.plate
        if plate.has_labels(labels):
            found += [
                AlertOfStream(
                    stream=stream.name,
                    name=plate.name or stream.name,
                    alert=alert.model_copy(update={"frame": None}),
                )
                for alert in retained_alerts(stream, gateway.settings.streams)[-limit:]
            ]
    unreached: list[str] = []

    async def ask(server: ServerObject) -> None:
        assert gateway.relay is not None, "who hears of other servers can reach them"
        query = "".join(f"&label={quote(one)}" for one in labels)
        path = f"/v1/alerts?limit={limit}{query}".encode()
        limit_s = gateway.settings.server.surveys.servers_timeout_s
        try:
            asking = get_at(gateway.relay, server.url, path, call.scope["headers"])
            told = AlertsOfAll.model_validate(await within(gateway.clock, limit_s, asking))
        except (NoReply, TimeoutError, ValidationError):
            unreached.append(server.name)
        else:
            found.extend(told.data)

    try:
        await each(await other_servers(gateway, call), ask)
    except Overloaded:
        unreached.append(UNKNOWN)
    found.sort(key=lambda one: -one.alert.decided_at)
    return AlertsOfAll(data=found[:limit], unreached=sorted(unreached))
