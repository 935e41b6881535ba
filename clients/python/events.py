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
    """The stream is connected, for the first time or again."""

    session: SessionObject


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection is gone. Another attempt follows in `retry_in_s` seconds; None: none does."""

    reason: str
    retry_in_s: float | None


@dataclass(frozen=True, slots=True)
class Problem:
    """An error that the server reported and that belongs to no question or watch."""

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
"""Anything that a stream tells; from `VideoAck` on they are the protocol's own events."""


class EventLine:
    """The events that wait for one reader, bounded in number.

    A reader that is too slow loses the oldest; `num_lost` counts them.
    """

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
        """Let the iteration end once the events that wait have been read."""
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
