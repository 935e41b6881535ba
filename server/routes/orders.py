"""Standing orders: watches over labels."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response
from pydantic import ValidationError

from onlooker.core.errors import Conflict, OnlookerError
from onlooker.core.ids import new_id
from onlooker.core.protocol.base import ErrorBody, ErrorReply, StreamObject
from onlooker.core.protocol.orders import (
    OrderChanges,
    OrderConfig,
    OrderedStream,
    OrderList,
    OrderObject,
)
from onlooker.core.protocol.watches import WatchChanges, WatchConfig
from onlooker.server.access import CallerGrant, CallerStreams, ReadyGateway, error_docs
from onlooker.server.bodies import JsonRoute
from onlooker.server.errors import body_of, hide
from onlooker.server.gateway import Gateway
from onlooker.server.rights import Action
from onlooker.server.surveys.anywhere import ask_anywhere
from onlooker.server.surveys.called import NoReply
from onlooker.server.surveys.roll import StreamRoll, call_roll, each
from onlooker.server.watch_wire import option_changes, watch_options, watch_wire_options
from onlooker.streams.nameplate import checked_labels
from onlooker.streams.standing_orders import ORDER_PREFIX, StandingOrder
from onlooker.streams.stream import Stream
from onlooker.streams.tenants import TenantStreams
from onlooker.watches.options import check_options

router = APIRouter(prefix="/v1/watches", tags=["watches"], route_class=JsonRoute)

WATCHES = "/v1/streams/{stream_id}/watches"

MAX_STREAMS = 10_000
"""Streams of one server that an order is given to when it is made."""

_CHANGE_EXAMPLES: dict[str, Any] = {
    "pause": {"summary": "Pause it at every camera", "value": {"paused": True}},
    "reword": {
        "summary": "Ask for something else",
        "value": {"condition": "tell me when a parcel is left", "cooldown_s": 30},
    },
}

_EXAMPLES: dict[str, Any] = {
    "outside": {
        "summary": "Tell me of every camera outside",
        "value": {"labels": ["outside"], "condition": "tell me when somebody comes"},
    }
}


@router.post(
    "",
    status_code=201,
    summary="Leave a standing order",
    responses=error_docs(400, 403, 413, 429),
)
async def create_order(
    gateway: ReadyGateway,
    streams: CallerStreams,
    grant: CallerGrant,
    call: Request,
    request: Annotated[OrderConfig, Body(openapi_examples=_EXAMPLES)],
) -> OrderObject:
    """Leave a watch with every stream that has some labels: those that are open, on whichever
    server, and those that open later or are given the labels later. It alerts whoever follows those
    streams; `GET /v1/alerts` has the alerts of all."""
    labels = checked_labels(request.labels, gateway.settings.streams.nameplates)
    asked = request.model_dump(mode="json", exclude={"labels"}, exclude_unset=True)
    options = watch_options(WatchConfig.model_validate(asked), grant)
    heads = gateway.hub.info.of_checks.score_heads
    check_options(options, gateway.settings.watches, score_heads=heads)
    await gateway.hub.webhooks.check(options.webhook)
    order = StandingOrder(new_id(ORDER_PREFIX[:-1]), labels, options, gateway.clock.wall_s())
    await gateway.hub.orders.add(streams.tenant, order)

    async def here(stream: Stream) -> None:
        with suppress(Conflict):  # it was opened meanwhile, and found the order by itself
            await stream.make_watch(options, order.order_id)

    roll = await call_roll(gateway, call, streams.tenant, labels, limit=MAX_STREAMS)
    asking = partial(
        ask_anywhere,
        gateway,
        call,
        streams,
        method="POST",
        path=WATCHES,
        body={**asked, "id": order.order_id},
        here=here,
    )
    return _told(order, await _at_each(roll, asking), roll)


@router.patch(
    "/{order_id}",
    summary="Change or pause a standing order",
    responses=error_docs(400, 403, 404, 413),
)
async def change_order(
    gateway: ReadyGateway,
    streams: CallerStreams,
    grant: CallerGrant,
    call: Request,
    order_id: str,
    request: Annotated[OrderChanges, Body(openapi_examples=_CHANGE_EXAMPLES)],
) -> OrderObject:
    """Change options or labels; null takes an option back. The watches that streams have of it
    follow at once, and are then as the order says, also where one was changed for itself; those of
    streams that are not open follow when these are opened. Where other labels are given, streams
    that have them get the watch, and those that had the old ones only lose it."""
    orders, tenant = gateway.hub.orders, streams.tenant
    before = await orders.get(tenant, order_id)
    if before.options.webhook is not None:
        grant.require(Action.HAVE_WEBHOOK)
    asked = request.model_dump(mode="json", exclude={"labels"}, exclude_unset=True)
    changes = option_changes(WatchChanges.model_validate(asked), grant)
    labels = before.labels
    if request.labels is not None:
        labels = checked_labels(request.labels, gateway.settings.streams.nameplates)
    order = replace(
        before,
        labels=labels,
        options=replace(before.options, **changes),
        changed_wall_s=gateway.clock.wall_s(),
    )
    heads = gateway.hub.info.of_checks.score_heads
    check_options(order.options, gateway.settings.watches, score_heads=heads)
    await gateway.hub.webhooks.check(changes.get("webhook"))
    await orders.change(tenant, order)
    roll = await call_roll(gateway, call, tenant, labels, limit=MAX_STREAMS)
    given = await _at_each(roll, partial(_follow, gateway, call, streams, order))
    if labels != before.labels:
        had = await call_roll(gateway, call, tenant, before.labels, limit=MAX_STREAMS)
        has = {one.id for one in roll.streams}
        had.streams = [one for one in had.streams if one.id not in has]
        await _at_each(had, partial(_take_back, gateway, call, streams, order_id))
    return _told(order, given, roll)


@router.get("", summary="List standing orders", responses=error_docs())
async def list_orders(gateway: ReadyGateway, streams: CallerStreams) -> OrderList:
    """All standing orders, oldest first."""
    orders = await gateway.hub.orders.orders(streams.tenant)
    return OrderList(data=[_told(order) for order in orders])


@router.get("/{order_id}", summary="Inspect a standing order", responses=error_docs(404))
async def get_order(gateway: ReadyGateway, streams: CallerStreams, order_id: str) -> OrderObject:
    """One standing order."""
    return _told(await gateway.hub.orders.get(streams.tenant, order_id))


@router.delete(
    "/{order_id}",
    status_code=204,
    response_class=Response,
    summary="Delete a standing order",
    responses=error_docs(403, 404),
)
async def delete_order(
    gateway: ReadyGateway,
    streams: CallerStreams,
    grant: CallerGrant,
    call: Request,
    order_id: str,
) -> None:
    """Take a standing order back, and its watches from the streams that have them."""
    order = await gateway.hub.orders.get(streams.tenant, order_id)
    if order.options.webhook is not None:
        grant.require(Action.HAVE_WEBHOOK)
    await gateway.hub.orders.drop(streams.tenant, order_id)
    roll = await call_roll(gateway, call, streams.tenant, order.labels, limit=MAX_STREAMS)
    await _at_each(roll, partial(_take_back, gateway, call, streams, order_id))


# ---- inside


async def _follow(
    gateway: Gateway, call: Request, streams: TenantStreams, order: StandingOrder, name: str
) -> tuple[int, Any]:
    """Have the stream of a name follow an order that was changed."""
    body = watch_wire_options(order.options)

    async def here(stream: Stream) -> None:
        if order.order_id in stream.watches.ids():
            stream.watches.update(order.order_id, order.option_values())
            await stream.keep_watches()
        else:
            with suppress(Conflict):
                await stream.make_watch(order.options, order.order_id)

    asking = partial(ask_anywhere, gateway, call, streams, name, here=here)
    status, reply = await asking(
        method="PATCH", path=f"{WATCHES}/{{watch_id}}", body=body, watch_id=order.order_id
    )
    if status != 404:
        return status, reply
    named = {option: value for option, value in body.items() if value is not None}
    return await asking(method="POST", path=WATCHES, body={**named, "id": order.order_id})


async def _take_back(
    gateway: Gateway, call: Request, streams: TenantStreams, order_id: str, name: str
) -> tuple[int, Any]:
    """Take the watch of an order, which is meant for it no more, from the stream of a name."""
    return await ask_anywhere(
        gateway,
        call,
        streams,
        name,
        method="DELETE",
        path=f"{WATCHES}/{{watch_id}}",
        here=gateway.hub.orders.apply,
        watch_id=order_id,
    )


async def _at_each(
    roll: StreamRoll, asking: Callable[[str], Awaitable[tuple[int, Any]]]
) -> list[OrderedStream]:
    """What came of a call about every stream of a roll."""

    async def one(stream: StreamObject) -> OrderedStream:
        error: ErrorBody | None = None
        try:
            status, reply = await asking(stream.id)
            if status >= 400 and status != 409:
                error = ErrorReply.model_validate_json(reply).error
        except OnlookerError as failure:
            error = body_of(failure)
        except (NoReply, ValidationError) as failure:
            error = body_of(hide(failure, where="standing order"))
        return OrderedStream(
            stream=stream.id, name=stream.name or stream.id, has_watch=error is None, error=error
        )

    return await each(roll.streams, one)


def _told(
    order: StandingOrder, given: list[OrderedStream] | None = None, roll: StreamRoll | None = None
) -> OrderObject:
    options = order.options
    return OrderObject(
        id=order.order_id,
        labels=list(order.labels),
        kind=options.kind,
        condition=options.condition,
        instruction=options.instruction,
        question=options.question,
        paused=options.paused,
        changed_at=order.changed_wall_s or None,
        created_at=order.created_wall_s,
        streams=given,
        unreached=[] if roll is None else roll.unreached,
    )
