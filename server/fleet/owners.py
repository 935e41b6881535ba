"""`KnownOwners`: who was just found to own streams, so that Redis need not be asked by each call.

It may be wrong for `KNOWN_S`: then the server that is called says so (421, or 404 where nobody has
the stream), since what was passed on once is not passed on again. What is wrong is forgotten.
"""

from onlooker.core.clock import Clock
from onlooker.core.errors import OwnedElsewhere
from onlooker.core.ids import StreamId

KNOWN_S = 1.0
"""How long a server is taken for a stream's owner without asking again."""

MAX_KNOWN = 10_000
"""Streams whose owners are known at a time; with more, the oldest is forgotten."""


class KnownOwners:
    """Owners by stream. All on the event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[StreamId, tuple[float, OwnedElsewhere]] = {}

    def check(self, stream_id: StreamId) -> None:
        """Return where it is not known who owns a stream. Raises `OwnedElsewhere`."""
        until_s, owner = self._known.get(stream_id, (0.0, None))
        if owner is None:
            return
        if self._clock.now_s() >= until_s:
            del self._known[stream_id]
            return
        raise _again(owner)

    def note(self, stream_id: StreamId, owner: OwnedElsewhere) -> None:
        """Another server was found to own a stream just now."""
        self._known.pop(stream_id, None)
        self._known[stream_id] = (self._clock.now_s() + KNOWN_S, _again(owner))
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]

    def forget(self, stream_id: StreamId) -> None:
        """It is not known any more who owns a stream."""
        self._known.pop(stream_id, None)


def _again(owner: OwnedElsewhere) -> OwnedElsewhere:
    """The same without where it was raised, which an error collects each time."""
    return OwnedElsewhere(
        owner.message,
        stream=owner.stream,
        server=owner.server,
        url=owner.url,
        retry_after_s=owner.retry_after_s,
    )
