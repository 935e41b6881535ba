"""Which headers travel between a client and the server that owns its stream.

`RELAYED_BY` says that a request has been passed on once, and by whom. Whoever shows it, true or
forged, is not passed on again. It gives no right and is believed in nothing else: who asks is told
by the caller's own key or token, which the owner checks as it does everybody's.
"""

from collections.abc import Iterable

from onlooker.core.trace import TRACEPARENT, TraceParent

RELAYED_BY = b"onlooker-relayed-by"
SERVED_BY = b"onlooker-served-by"
"""In replies that were passed on: the name of the server that gave them."""

RawHeaders = list[tuple[bytes, bytes]]
"""Names in lower case, with their values."""

_OF_ONE_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization",
     b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade")
)  # fmt: skip
_OF_THE_DOOR = frozenset((b"host", b"origin", b"cookie", b"expect", RELAYED_BY))
"""What was meant for, and checked by, the server that the client called."""


def asked_on(
    headers: Iterable[tuple[bytes, bytes]],
    *,
    host: bytes,
    by: str,
    place: TraceParent | None = None,
) -> RawHeaders:
    """A client's headers as the owner of the stream at `host` gets them from the server `by`.
    `place`: where the relay is traced; None: the client's own, if any, is passed on."""
    kept = [
        (name, value)
        for name, value in headers
        if name not in _OF_ONE_HOP
        and name not in _OF_THE_DOOR
        and not name.startswith((b"sec-websocket-", b"access-control-"))
    ]
    told = [(b"host", host), (RELAYED_BY, by.encode())]
    if place is None:
        return [*told, *kept]
    mine = TRACEPARENT.encode()
    others = [(name, value) for name, value in kept if name != mine]
    return [*told, (mine, str(place).encode()), *others]


def told_back(headers: Iterable[tuple[bytes, bytes]], *, server: str) -> RawHeaders:
    """The headers of a reply of the server named `server` as the client gets them."""
    told = [(name.lower(), value) for name, value in headers]
    kept = [(n, v) for n, v in told if n not in _OF_ONE_HOP and n not in (b"date", b"server")]
    return [*kept, (SERVED_BY, server.encode())]
