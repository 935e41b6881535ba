"""What waits to be sent: events first, then frames, both bounded."""

import asyncio
from collections import OrderedDict, deque

from onlooker.core.errors import Overloaded

MAX_EVENTS = 256


class Outbox:
    """The queue between callers and the one task that writes to the socket.

    Live: a frame never waits for room, the oldest unsent one gives way. Virtual: `put_frame` waits
    for room, and frames stay until they are acknowledged: a new connection sends them again.
    """

    def __init__(self, *, max_frames: int, keep_unacknowledged: bool) -> None:
        self._max_frames = max_frames
        self._keep = keep_unacknowledged
        self._events: deque[str] = deque()
        self._frames: OrderedDict[int, bytes] = OrderedDict()
        self._sent: OrderedDict[int, bytes] = OrderedDict()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._closed = False
        self.num_frames_replaced = 0
        """Frames that gave way to newer ones before they could be sent."""

    def put_event(self, text: str) -> None:
        """Queue a JSON event.

        Raises:
            Overloaded: the connection takes nothing and the queue is full.
        """
        if len(self._events) >= MAX_EVENTS:
            raise Overloaded("the connection to the server takes nothing more just now")
        self._events.append(text)
        self._news.set()

    def put_newest(self, sequence: int, message: bytes) -> None:
        """Queue a live frame in place of the oldest where there is no room."""
        while len(self._frames) >= self._max_frames:
            self._frames.popitem(last=False)
            self.num_frames_replaced += 1
        self._frames[sequence] = message
        self._news.set()

    async def put_frame(self, sequence: int, message: bytes) -> None:
        """Queue a frame once there is room for it."""
        while not self._closed and len(self._frames) + len(self._sent) >= self._max_frames:
            self._room.clear()
            await self._room.wait()
        self._frames[sequence] = message
        self._news.set()

    def acknowledged_until(self, sequence: int) -> None:
        """The server knows what became of this frame and of all sent before it."""
        while self._sent and next(iter(self._sent)) <= sequence:
            self._sent.popitem(last=False)
            self._room.set()

    async def take(self) -> str | bytes:
        """The next thing to send; waits for it."""
        while not self._events and not self._frames:
            self._news.clear()
            await self._news.wait()
        if self._events:
            return self._events.popleft()
        sequence, message = self._frames.popitem(last=False)
        if self._keep:
            self._sent[sequence] = message
        else:
            self._room.set()
        return message

    def connection_lost(self) -> None:
        """Events of the old connection are void; unacknowledged frames are to go again."""
        self._events.clear()
        for sequence in reversed(self._sent):
            self._frames[sequence] = self._sent[sequence]
            self._frames.move_to_end(sequence, last=False)
        self._sent.clear()
        if self._frames:
            self._news.set()

    def close(self) -> None:
        """Let nobody wait for room any more."""
        self._closed = True
        self._room.set()

    @property
    def num_waiting(self) -> int:
        """Frames that have not left yet."""
        return len(self._frames)
