"""What a stream tells its owner, besides answers; and the bounded line in which events wait."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

from onlooker.core.errors import OnlookerError
from onlooker.core.protocol.server_events import (
    SessionObject,
    StreamAlert,
    StreamClosed,
    StreamWatch,
    VideoAck,
    VideoPace,
)


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection stands; also after each reconnection."""

    session: SessionObject


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection is gone; unless the stream ended with it, another attempt follows."""

    reason: str
    retry_in_s: float | None


@dataclass(frozen=True, slots=True)
class Problem:
    """An error the server reported that belongs to no question."""

    error: OnlookerError


Event = (
    Connected
    | Disconnected
    | Problem
    | VideoAck
    | VideoPace
    | StreamAlert
    | StreamWatch
    | StreamClosed
)
"""Acknowledgements, pace and alerts are the wire's own (`onlooker.core.protocol.server_events`)."""


class EventLine:
    """One reader's events: bounded; a reader that is too slow loses the oldest, counted."""

    def __init__(self, max_events: int) -> None:
        self._waiting: deque[Event] = deque()
        self._max_events = max_events
        self._news = asyncio.Event()
        self._closed = False
        self.num_lost = 0

    def put(self, event: Event) -> None:
        if len(self._waiting) >= self._max_events:
            self._waiting.popleft()
            self.num_lost += 1
        self._waiting.append(event)
        self._news.set()

    def close(self) -> None:
        """What waits is still read; then the iteration ends."""
        self._closed = True
        self._news.set()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if self._closed:
                return
            self._news.clear()
            await self._news.wait()
