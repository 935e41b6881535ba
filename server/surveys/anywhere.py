"""One call about one stream, made for a caller wherever the stream is."""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from onlooker.core.errors import OwnedElsewhere
from onlooker.server.gateway import Gateway
from onlooker.server.relay.finding import found
from onlooker.server.relay.route import passed_on
from onlooker.server.surveys.called import call_for, whole_reply
from onlooker.streams.stream import Stream
from onlooker.streams.tenants import TenantStreams

Here = Callable[[Stream], Awaitable[Any]]
"""Does here what the call does; returns its JSON."""


async def ask_anywhere(
    gateway: Gateway,
    request: Request,
    streams: TenantStreams,
    name: str,
    *,
    method: str,
    path: str,
    body: Any = None,
    here: Here,
    **more: str,
) -> tuple[int, Any]:
    """The status and the reply of a call about the stream of this name: its JSON where it is made
    `here`, else the bytes that its owner gives. `path` has a place for `stream_id`, and for what is
    in `more`.

    Raises:
        NoReply: the owner's reply cannot be read.
        what finding the stream, `here` and the relay do.
    """
    try:
        return 200, await here(await found(gateway, streams, name))
    except OwnedElsewhere as owner:
        relay = gateway.relay
        assert relay is not None, "a server without others owns all there is"
        call = call_for(request, method, path, body, stream_id=name, **more)

        async def served(request: Request) -> Response:
            return JSONResponse(await here(await found(gateway, streams, name)))

        reply = await passed_on(relay, gateway, call, owner, served)
        return await whole_reply(reply, call)
