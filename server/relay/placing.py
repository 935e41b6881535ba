"""Where a new stream is to be opened: here, or at the server of the fleet with the most room.

Who opens a stream asks `check_placed` before; who was refused for want of room asks
`another_place`. What was passed on once stays where it arrives.
"""

from starlette.requests import HTTPConnection

from onlooker.core.errors import CapacityError, OwnedElsewhere
from onlooker.core.protocol.http import ServerObject
from onlooker.server.gateway import Gateway

STAYS = "onlooker.stays"
"""Set in the ASGI scope of a call that was sent to another server and refused there: what it opens
is opened here."""


class PlacedElsewhere(OwnedElsewhere):
    """Another server is to open the stream that a call is about; nobody has it yet."""


def check_placed(
    gateway: Gateway, connection: HTTPConnection, tenant: str, name: str | None
) -> None:
    """Return where a new stream is to be opened here. Call it only for a stream that no server has.

    Raises:
        PlacedElsewhere: another server has so much more room that it is to open the stream.
    """
    chosen = _chosen(gateway, connection, must=False)
    if chosen is not None:
        raise _placed(chosen, tenant, name)


def another_place(
    gateway: Gateway,
    connection: HTTPConnection,
    refusal: CapacityError,
    tenant: str,
    name: str | None = None,
) -> PlacedElsewhere:
    """Where a call goes that this server has refused, as it is full or drained. `name`: of the
    stream that it is about, where that is known.

    Raises: `refusal`, where there is no such server.
    """
    chosen = _chosen(gateway, connection, must=True)
    if chosen is None:
        raise refusal
    return _placed(chosen, tenant, name)


def _chosen(gateway: Gateway, connection: HTTPConnection, *, must: bool) -> ServerObject | None:
    relay, placer = gateway.relay, gateway.placer
    if relay is None or placer is None or relay.was_passed_on(connection.headers):
        return None
    if connection.scope.get(STAYS):
        return None
    return placer.elsewhere(gateway.hub.room, model=gateway.hub.info.model, must=must)


def _placed(chosen: ServerObject, tenant: str, name: str | None) -> PlacedElsewhere:
    return PlacedElsewhere(
        f"the server '{chosen.name}' at {chosen.url} has more room: connect there",
        stream=(tenant, name or ""),
        server=chosen.name,
        url=chosen.url,
    )
