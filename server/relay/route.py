"""`StreamRoute`: HTTP routes about a stream, which any server of a fleet takes.

Where the path or a header names the stream, who owns it is asked before anything of the body is
read. Where the body names it, the route finds out and raises `OwnedElsewhere`; the body is then at
hand.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response

from onlooker.core.errors import Conflict, NotFound, OwnedElsewhere
from onlooker.core.ids import is_stream_id, tenant_stream_id
from onlooker.core.protocol.http import STREAM_HEADER
from onlooker.server.access import grant_of, the_gateway
from onlooker.server.bodies import JsonRequest, JsonRoute
from onlooker.server.doors import ROUTES
from onlooker.server.fleet.fleet_relay import FleetRelay, OwnerGone
from onlooker.server.gateway import Gateway
from onlooker.server.relay.call import RelayedCall
from onlooker.streams.stream import Stream, StreamOptions
from onlooker.streams.tenants import TenantStreams

NAMED_BY_HEADER = ("/v1/chat/", "/v1/responses")
"""Calls of which `STREAM_HEADER` may name the stream."""

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class StreamRoute(JsonRoute):
    """A route that is passed on where another server owns the stream."""

    def get_route_handler(self) -> Handler:
        handler = super().get_route_handler()

        async def handle(plain: Request) -> Response:
            request, gateway = JsonRequest(plain.scope, plain.receive), the_gateway(plain)
            relay = gateway.relay
            if relay is None or _call_of(request) not in ROUTES:
                return await handler(request)
            try:
                await _check_path(gateway, request)
                return await handler(request)
            except OwnedElsewhere as owner:
                return await _passed_on(relay, gateway, request, owner, handler)

        return handle


async def found(gateway: Gateway, streams: TenantStreams, name: str) -> Stream:
    """The open stream of this name.

    Raises:
        NotFound: no server has it.
        OwnedElsewhere: another server has it.
        Overloaded: it is not known.
    """
    try:
        return streams.get(name)
    except NotFound:
        await check_elsewhere(gateway, streams.tenant, name)
        raise


async def check_elsewhere(gateway: Gateway, tenant: str, name: str) -> None:
    """Return unless another server owns a stream. Raises what `Ownership.check_elsewhere` does."""
    if gateway.relay is not None and is_stream_id(name):
        await gateway.relay.check_elsewhere(tenant_stream_id(tenant, name))


async def take_over(gateway: Gateway, tenant: str, name: str) -> None:
    """Open a stream whose owner is gone, with all that is remembered of it.

    Raises: what `StreamHub.open_stream` does, `OwnedElsewhere` where its owner is there after all.
    """
    try:
        await gateway.streams_of(tenant).open_stream(name, StreamOptions(persistent=True))
    except Conflict:  # another call has just done so
        return


async def _check_path(gateway: Gateway, request: JsonRequest) -> None:
    """Raises `OwnedElsewhere` for a caller who may make the call, about a stream of another server
    that the path or a header names; and what refuses callers."""
    name = request.path_params.get("stream_id")
    if name is None and _call_of(request).partition(" ")[2].startswith(NAMED_BY_HEADER):
        name = request.headers.get(STREAM_HEADER)
    grant = grant_of(request, gateway)
    gateway.check_ready()
    if name is not None:
        try:
            await found(gateway, gateway.streams_of(grant.tenant), name)
        except NotFound:  # the route knows what to say
            return


async def _passed_on(
    relay: FleetRelay,
    gateway: Gateway,
    request: JsonRequest,
    owner: OwnedElsewhere,
    handler: Handler,
) -> Response:
    if not relay.may_pass_on(request.headers, owner):
        raise owner
    try:
        return await RelayedCall(relay, request, owner).ask()
    except OwnerGone:
        if _call_of(request) != "POST /v1/streams":  # which opens it itself
            await take_over(gateway, *owner.stream)
        return await handler(request)


def _call_of(request: Request) -> str:
    return f"{request.method} {request.scope['route'].path_format}"
