"""What waits to be sent to one connection: bounded, in order, acknowledgements merged."""

import asyncio
from collections import deque
from collections.abc import Callable

from onlooker.core.guarantee import weakest
from onlooker.core.protocol.server_event import ServerEvent
from onlooker.core.protocol.server_events import VideoAck, is_openai


class SlowReader(Exception):
    """More waits for the peer than may; it does not read fast enough."""


class Outbox:
    """A queue of events between a session, which never waits, and the connection's writer.

    Acknowledgements of one slot are merged while they wait. Everything else is kept in order. When
    the queue is over its bounds it is emptied, `on_overflow` is called, and `get` raises.
    """

    def __init__(
        self,
        *,
        max_events: int,
        max_bytes: int,
        max_listed_acks: int,
        on_overflow: Callable[[], None],
        on_arrival: Callable[[], None] | None = None,
        tells_all: bool = True,
    ) -> None:
        """`on_arrival` is called when something waits where nothing did, in place of waking whoever
        waits in `get`; see `wake`. `tells_all`: as the attribute of the same name."""
        self.tells_all = tells_all
        """Whether the peer is told events that OpenAI does not have; else they are left out."""
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._max_listed_acks = max_listed_acks
        self._on_overflow, self._on_arrival = on_overflow, on_arrival
        self._waiting: deque[ServerEvent] = deque()
        self._sizes: deque[int] = deque()
        self._acks: dict[int, VideoAck] = {}
        self._num_bytes = 0
        self._arrived = asyncio.Event()
        self._is_over = False
        self._is_closed = False
        self._num_sent = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, event: ServerEvent) -> None:
        """Queue an event; never waits, never raises. Nothing is taken after `close`."""
        if self._is_over or self._is_closed:
            return
        if not self.tells_all and not is_openai(event.type):  # type: ignore[attr-defined]
            return
        if isinstance(event, VideoAck):
            waiting = self._acks.get(event.slot)
            if waiting is not None and waiting.stream == event.stream:
                merge_acks(waiting, event, max_listed=self._max_listed_acks)
                return
            self._acks[event.slot] = event
        size = _size_of(event)
        is_first = not self._waiting
        self._waiting.append(event)
        self._sizes.append(size)
        self._num_bytes += size
        if len(self._waiting) > self._max_events or self._num_bytes > self._max_bytes:
            self._is_over = True
            self._waiting.clear()
            self._sizes.clear()
            self._acks.clear()
            self._on_overflow()
        if self._on_arrival is None or self._is_over:
            self._arrived.set()
        elif is_first:
            self._on_arrival()

    def wake(self) -> None:
        """Have whoever waits in `get` see to what waits."""
        self._arrived.set()

    def close(self) -> None:
        """Take nothing more; `get` ends when what waits is sent."""
        self._is_closed = True
        self._arrived.set()

    async def get(self) -> str | None:
        """Return the next event as JSON, numbered; None when closed and empty.

        Raises:
            SlowReader: more was queued than the bounds allow.
        """
        while not self._waiting:
            if self._is_over:
                raise SlowReader
            if self._is_closed:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        return self.take()

    def take(self) -> str | None:
        """As `get`, but None, too, where nothing waits; never waits, and raises nothing."""
        if not self._waiting:
            return None
        event = self._waiting.popleft()
        self._num_bytes -= self._sizes.popleft()
        if isinstance(event, VideoAck) and self._acks.get(event.slot) is event:
            del self._acks[event.slot]
        self._num_sent += 1
        event.sequence_number = self._num_sent
        event.event_id = f"event_{self._num_sent}"
        return event.model_dump_json()


def merge_acks(older: VideoAck, newer: VideoAck, *, max_listed: int) -> None:
    """Let `older` tell what `newer` does, too."""
    room = max_listed - len(older.kept) - len(older.skipped) - len(older.dropped)
    older.omitted += newer.omitted
    for mine, theirs in ((older.dropped, newer.dropped), (older.kept, newer.kept),
                         (older.skipped, newer.skipped)):  # fmt: skip
        taken = theirs[: max(0, room)]
        mine.extend(taken)  # type: ignore[arg-type]  # both lists of a pair hold the same type
        room -= len(taken)
        older.omitted += len(theirs) - len(taken)
    if newer.last_sequence is not None:
        older.last_sequence = newer.last_sequence
    if promised := [ack.guarantee for ack in (older, newer) if ack.guarantee is not None]:
        older.guarantee = weakest(promised)
    older.seen_until_s, older.lag_s, older.totals = newer.seen_until_s, newer.lag_s, newer.totals


def _size_of(event: ServerEvent) -> int:
    """Roughly how many bytes an event holds: its texts count, the rest is small."""
    size = 300
    if isinstance(event, VideoAck):
        return size
    for value in (getattr(event, "delta", None), getattr(event, "text", None)):
        size += len(value) if isinstance(value, str) else 0
    return size
