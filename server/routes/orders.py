"""Standing orders: watches over labels."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response

from onlooker.core.errors import NotFound
from onlooker.core.ids import new_id
from onlooker.core.protocol.orders import OrderChanges, OrderConfig, OrderList, OrderObject
from onlooker.core.protocol.watches import WatchChanges, WatchConfig
from onlooker.server.access import CallerGrant, CallerStreams, ReadyGateway, error_docs
from onlooker.server.bodies import JsonRoute
from onlooker.server.order_round import HandedOut, OrderRound
from onlooker.server.rights import Action
from onlooker.server.watch_wire import option_changes, watch_options
from onlooker.streams.nameplate import checked_labels
from onlooker.streams.standing_orders import ORDER_PREFIX, StandingOrder
from onlooker.watches.options import check_options

router = APIRouter(prefix="/v1/watches", tags=["watches"], route_class=JsonRoute)

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
    check_options(options, gateway.settings.watches, gateway.hub.info)
    await gateway.hub.webhooks.check(options.webhook)
    order = StandingOrder(new_id(ORDER_PREFIX[:-1]), labels, options, gateway.clock.wall_s())
    await gateway.hub.orders.add(streams.tenant, order)
    return _told(await OrderRound(gateway, call, streams).hand_out(order))


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
    asked = request.model_dump(mode="json", exclude={"labels"}, exclude_unset=True)
    changes = option_changes(WatchChanges.model_validate(asked), grant)
    labels: tuple[str, ...] | None = None
    if request.labels is not None:
        labels = checked_labels(request.labels, gateway.settings.streams.nameplates)

    def altered(order: StandingOrder) -> StandingOrder:
        if order.options.webhook is not None:
            grant.require(Action.HAVE_WEBHOOK)
        options = replace(order.options, **changes)
        check_options(options, gateway.settings.watches, gateway.hub.info)
        return order.changed(options, labels, now_wall_s=gateway.clock.wall_s())

    await gateway.hub.webhooks.check(changes.get("webhook"))
    before, order = await gateway.hub.orders.alter(streams.tenant, order_id, altered)
    assert order is not None, "it was altered, not dropped"
    return _told(await OrderRound(gateway, call, streams).follow(order, had=before.labels))


@router.get("", summary="List standing orders", responses=error_docs())
async def list_orders(gateway: ReadyGateway, streams: CallerStreams) -> OrderList:
    """All standing orders, oldest first."""
    orders = await gateway.hub.orders.orders(streams.tenant)
    return OrderList(data=[_told(HandedOut(order)) for order in orders])


@router.get("/{order_id}", summary="Inspect a standing order", responses=error_docs(404))
async def get_order(gateway: ReadyGateway, streams: CallerStreams, order_id: str) -> OrderObject:
    """One standing order."""
    return _told(HandedOut(await gateway.hub.orders.get(streams.tenant, order_id)))


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
    """Take a standing order back, and its watches from the streams that have them. A watch that an
    order has left behind, as where the reply to an earlier call was lost, goes too, though there is
    no order any more (404)."""

    def dropped(order: StandingOrder) -> None:
        if order.options.webhook is not None:
            grant.require(Action.HAVE_WEBHOOK)

    orders, order_round = gateway.hub.orders, OrderRound(gateway, call, streams)
    try:
        order, _ = await orders.alter(streams.tenant, order_id, dropped)
    except NotFound:
        if order_id.startswith(ORDER_PREFIX):
            await order_round.take_back_left(order_id)
        raise
    await order_round.take_back(order)


def _told(handed_out: HandedOut) -> OrderObject:
    order = handed_out.order
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
        streams=handed_out.streams,
        unreached=handed_out.unreached,
    )
