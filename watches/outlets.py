"""`Outlets`: the ways by which alerts leave a server: webhooks, phones and chats, a broker of MQTT.

Each way is an `AlertOutlet` with a queue of its own, so that one that is slow or away holds up
neither the streams nor the others. What is kept of a stream's alerts says which outlets each still
waits for, so that its next owner, here or on another server, tells those and no other.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Protocol

from onlooker.core.ids import StreamId, split_stream_id
from onlooker.watches.alert import Alert
from onlooker.watches.watch import Watch


@dataclass(frozen=True, slots=True)
class AlertPicture:
    """The picture of an alert's evidence."""

    data: bytes
    media_type: str
    """``image/jpeg`` or ``image/webp``."""


FindPicture = Callable[[], Awaitable[AlertPicture | None]]
"""Finds the picture of an alert; None where there is none."""


async def no_picture() -> AlertPicture | None:
    """There is no picture."""
    return None


@dataclass(frozen=True, slots=True)
class OutgoingAlert:
    """An alert on its way out of the server."""

    stream_id: StreamId
    watch: Watch
    alert: Alert
    has_album: bool = False
    """Whether the stream's album has the evidence, so that a link to it leads somewhere."""
    picture: FindPicture = no_picture
    is_again: bool = False
    """Whether an earlier owner of the stream may have told it."""

    def touches(self, stream_id: StreamId, start_s: float, end_s: float) -> bool:
        """Whether its evidence lies in a span of a stream's time."""
        alert = self.alert
        return self.stream_id == stream_id and alert.start_s <= end_s and alert.end_s >= start_s


def is_chosen(stream_id: StreamId, tenants: Iterable[str], streams: Iterable[str]) -> bool:
    """Whether a stream is one of those that settings choose by tenants (``*`` is every one) and by
    patterns of names."""
    tenant, name = split_stream_id(stream_id)
    of_tenant = any(chosen in ("*", tenant) for chosen in tenants)
    return of_tenant and any(fnmatchcase(name, pattern) for pattern in streams)


class AlertOutlet(Protocol):
    """One way out. Called on the event loop; only `let_go` and `close` may wait."""

    @property
    def name(self) -> str:
        """A word by which what is kept of an alert names the outlet. It never changes."""

    def takes(self, stream_id: StreamId, watch: Watch) -> bool:
        """Whether alerts of this watch go out here."""

    def send(self, outgoing: OutgoingAlert, served: Callable[[], None]) -> None:
        """Queue an alert. `served` is called once it is delivered, given up or let go."""

    def forget(self, stream_id: StreamId, start_s: float, end_s: float) -> int:
        """Let go of what waits and tells of a span of stream time; returns how many alerts."""

    def is_busy(self, stream_id: StreamId) -> bool:
        """Whether the stream has to stay open for alerts of it that wait."""

    async def let_go(self, stream_id: StreamId) -> None:
        """Tell nothing more of a stream: its next owner does."""

    async def close(self) -> None:
        """Stop, and let go of what waits."""


class Outlets:
    """All outlets of a server."""

    def __init__(self, outlets: Iterable[AlertOutlet] = ()) -> None:
        self._outlets = {outlet.name: outlet for outlet in outlets}

    def that_take(self, stream_id: StreamId, watch: Watch) -> tuple[str, ...]:
        """The names of the outlets by which alerts of a watch go out."""
        return tuple(n for n, one in self._outlets.items() if one.takes(stream_id, watch))

    def send(
        self, outgoing: OutgoingAlert, names: Iterable[str], served: Callable[[str], None]
    ) -> None:
        """Queue an alert for each of these outlets. `served` is called with the name of each that
        is done with it, and at once for one that this server does not have."""
        for name in names:
            outlet = self._outlets.get(name)
            if outlet is None or not outlet.takes(outgoing.stream_id, outgoing.watch):
                served(name)
            else:
                outlet.send(outgoing, partial(served, name))

    def forget(self, stream_id: StreamId, start_s: float, end_s: float) -> int:
        """See `AlertOutlet.forget`. One alert that waits for two outlets counts twice."""
        return sum(one.forget(stream_id, start_s, end_s) for one in self._all)

    def is_busy(self, stream_id: StreamId) -> bool:
        """See `AlertOutlet.is_busy`."""
        return any(one.is_busy(stream_id) for one in self._all)

    async def let_go(self, stream_id: StreamId) -> None:
        """See `AlertOutlet.let_go`."""
        await asyncio.gather(*(one.let_go(stream_id) for one in self._all))

    async def close(self) -> None:
        """Close each of them."""
        await asyncio.gather(*(one.close() for one in self._all))

    @property
    def _all(self) -> Sequence[AlertOutlet]:
        return tuple(self._outlets.values())
