"""Which stream a connection is about: an open one, or one that is opened for it."""

from onlooker.core.errors import Conflict, NotFound
from onlooker.server.gateway import Gateway
from onlooker.server.relay.finding import found
from onlooker.server.rights import Action, Grant
from onlooker.streams.stream import Stream, StreamOptions
from onlooker.streams.tenants import TenantStreams


async def stream_for_session(
    gateway: Gateway, streams: TenantStreams, name: str | None, grant: Grant
) -> tuple[Stream, bool]:
    """Return the stream that a connection is about, and whether it ends with the connection.

    Raises: what `found_or_opened` does.
    """
    if name is None:
        return await streams.open_stream(options=StreamOptions(persistent=False)), True
    return await found_or_opened(gateway, streams, name, grant), False


async def found_or_opened(
    gateway: Gateway, streams: TenantStreams, name: str, grant: Grant
) -> Stream:
    """Return the stream of this id, made if need be; it outlives its connections.

    Raises:
        Forbidden: there is none, and the caller may open none.
        OwnedElsewhere: another server has it.
        what `StreamHub.open_stream` does.
    """
    try:
        return await found(gateway, streams, name)
    except NotFound:
        grant.require(Action.OPEN_STREAM)
    try:
        return await streams.open_stream(name, StreamOptions(persistent=True))
    except Conflict:  # somebody else opens it meanwhile
        return await found(gateway, streams, name)
