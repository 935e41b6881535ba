"""`StreamRoute`: HTTP routes about a stream, which any server of a fleet takes.

Where the path or a header names the stream, who owns it is asked before anything of the body is
read. Where the body names it, the route finds out and raises `OwnedElsewhere`; the body is then at
hand.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response

from onlooker.core.errors import NoRoom, NotFound, OwnedElsewhere, ShuttingDown
from onlooker.core.protocol.http import STREAM_HEADER
from onlooker.server.access import grant_of, the_gateway
from onlooker.server.bodies import JsonRequest, JsonRoute
from onlooker.server.doors import ROUTES
from onlooker.server.fleet.fleet_relay import FleetRelay, OwnerGone, OwnerUnreached
from onlooker.server.gateway import Gateway
from onlooker.server.relay.call import RelayedCall
from onlooker.server.relay.finding import TRIES, between_servers, found
from onlooker.server.relay.placing import another_place
from onlooker.server.relay.pursuit import Pursuit
from onlooker.streams.stream import Stream

NAMED_BY_HEADER = ("/v1/chat/", "/v1/responses")
"""Calls of which `STREAM_HEADER` may name the stream."""

OPENING = ("POST /v1/streams",)
"""Calls that open the stream themselves, and as they say."""

REPEATABLE_BYTES = 256 << 10
"""A body of so many bytes is read whole before it is passed on, and can be passed on again."""

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class StreamRoute(JsonRoute):
    """A route that is passed on where another server owns the stream, or is to open it."""

    def get_route_handler(self) -> Handler:
        handler = super().get_route_handler()

        async def handle(plain: Request) -> Response:
            request, gateway = JsonRequest(plain.scope, plain.receive), the_gateway(plain)
            relay = gateway.relay
            if relay is None or _call_of(request) not in ROUTES:
                return await handler(request)
            try:
                return await _served_here(gateway, request, handler)
            except OwnedElsewhere as owner:
                target = owner
            except (NoRoom, ShuttingDown) as refusal:
                tenant = grant_of(request, gateway).tenant
                target = another_place(gateway, request, refusal, tenant, _name_in(request))
            return await passed_on(relay, gateway, request, target, handler)

        return handle


async def _served_here(gateway: Gateway, request: JsonRequest, handler: Handler) -> Response:
    """The reply of this server. A stream that leaves between being found and being used is looked
    for again.

    Raises: what `_check_path` and the handler do.
    """
    for _ in range(TRIES):
        stream = await _check_path(gateway, request)
        try:
            return await handler(request)
        except NotFound:
            if stream is None or stream.closed_reason is None:
                raise
    assert stream is not None
    raise between_servers(stream.name)


async def _check_path(gateway: Gateway, request: JsonRequest) -> Stream | None:
    """The stream that the path or a header names, if there is one.

    Raises `OwnedElsewhere` for a caller who may make the call, where another server has it; and
    what refuses callers."""
    name = _name_in(request)
    grant = grant_of(request, gateway)
    gateway.check_open()
    if name is None:
        return None
    try:
        return await found(gateway, gateway.streams_of(grant.tenant), name)
    except NotFound:  # the route knows what to say
        return None
    except OwnedElsewhere:
        gateway.check_door()
        raise


async def passed_on(
    relay: FleetRelay,
    gateway: Gateway,
    request: JsonRequest,
    owner: OwnedElsewhere,
    handler: Handler,
) -> Response:
    """The reply of another server to a call about its stream, wherever that moves meanwhile;
    `handler` makes that of this server, where it is to have the stream after all.

    Raises: what `Pursuit`, `RelayedCall.ask` and `handler` do.
    """
    opens_itself = _call_of(request) in OPENING
    pursuit = Pursuit(gateway, relay, request, owner, opens_itself=opens_itself)
    await pursuit.begin()
    is_repeatable = await _is_repeatable(request)
    while pursuit.owner is not None:
        call = RelayedCall(relay, request, pursuit.owner)
        try:
            reply = await call.ask()
        except OwnerGone:
            await pursuit.gone()
            continue
        except OwnerUnreached as error:
            pursuit.unreached(error)
            continue
        if reply is not call or not is_repeatable or (code := await call.refusal()) is None:
            return reply
        try:
            goes_on = await pursuit.refused(code)
        except BaseException:
            await call.give_up()
            raise
        if not goes_on:
            return reply
        await call.give_up()
    # What is refused here too is refused for what it is.
    return await _served_here(gateway, request, handler)


async def _is_repeatable(request: JsonRequest) -> bool:
    """Whether the call can be made again; its body is read for that, where it is not large."""
    if "transfer-encoding" in request.headers:
        return False
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > REPEATABLE_BYTES:
        return False
    await request.body()
    return True


def _name_in(request: Request) -> str | None:
    """The stream that the path or a header names."""
    name: str | None = request.path_params.get("stream_id")
    if name is None and _call_of(request).partition(" ")[2].startswith(NAMED_BY_HEADER):
        name = request.headers.get(STREAM_HEADER)
    return name


def _call_of(request: Request) -> str:
    return f"{request.method} {request.scope['route'].path_format}"
