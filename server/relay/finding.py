"""Finding a stream that is asked about: here, at another server, or left by its last owner."""

from onlooker.core.errors import Conflict, NotFound, Overloaded
from onlooker.core.ids import is_stream_id, tenant_stream_id
from onlooker.server.gateway import Gateway
from onlooker.streams.stream import Stream, StreamOptions
from onlooker.streams.tenants import TenantStreams

HANDOVER_S = 3.0
"""How long a stream is waited for that its owner is letting go of."""

BETWEEN_S = 1.0
"""When to come again to a stream that goes from hand to hand."""

TRIES = 3
"""How often a stream is looked for whose opening by another call fails, or that leaves at once."""


async def found(gateway: Gateway, streams: TenantStreams, name: str) -> Stream:
    """The stream of this name. One that its last owner left for another server to go on with is
    opened here; one that leaves for another server is waited for.

    Raises:
        NotFound: no server has it.
        OwnedElsewhere: another server has it.
        Overloaded: it is not known, or the stream goes from hand to hand.
        what `take_over` does.
    """
    for _ in range(TRIES):
        try:
            stream = streams.get(name)
        except NotFound:
            if not await is_left(gateway, streams.tenant, name):
                return streams.get(name)  # it may just have been opened
            await take_over(gateway, streams.tenant, name)
        else:
            if stream.is_leaving:
                await gateway.hub.departures.left(stream, limit_s=HANDOVER_S)
                if stream.closed_reason is not None:
                    continue
            return stream
    raise between_servers(name)


def between_servers(name: str) -> Overloaded:
    """What is told of a stream that there is, and that nobody could be found to have."""
    return Overloaded(
        f"stream '{name[:80]}' is just going from one server to another: try again in a moment",
        retry_after_s=BETWEEN_S,
    )


async def is_new(gateway: Gateway, streams: TenantStreams, name: str) -> bool:
    """Whether no server has a stream of this name, nor has left it for another to go on with.

    Raises: what `Ownership.check_elsewhere` does.
    """
    try:
        streams.get(name)
    except NotFound:
        return not await is_left(gateway, streams.tenant, name)
    return False


async def is_left(gateway: Gateway, tenant: str, name: str) -> bool:
    """Return unless another server owns a stream; True where its last owner left it for another
    server to go on with. Where it is just being opened here, that is waited for.

    Raises: what `Ownership.check_elsewhere` does.
    """
    if not is_stream_id(name):
        return False
    stream_id = tenant_stream_id(tenant, name)
    await gateway.hub.settled(stream_id)
    return gateway.relay is not None and await gateway.relay.check_elsewhere(stream_id)


async def take_over(gateway: Gateway, tenant: str, name: str) -> None:
    """Open a stream whose owner is gone or has left it, with all that is remembered of it.

    Raises:
        ShuttingDown: this server is draining.
        what `StreamHub.open_stream` does, `OwnedElsewhere` where its owner is there after all.
    """
    gateway.check_ready()
    try:
        await gateway.streams_of(tenant).open_stream(name, StreamOptions(persistent=True))
    except Conflict:  # another call has just done so, or does
        await gateway.hub.settled(tenant_stream_id(tenant, name))
