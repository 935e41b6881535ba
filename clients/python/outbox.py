"""What waits to be sent: questions and frames, both bounded."""

import asyncio
from collections import OrderedDict, deque

from onlooker.core.errors import Overloaded

MAX_EVENTS = 256


class FrameOutbox:
    """The queue between callers and the one task that writes to the socket.

    Live: events go before frames, and a frame never waits: the oldest unsent one gives way.
    Virtual: everything goes in the order it was handed in, so that a question follows its frames;
    `put_frame` waits for room, and frames stay until they are acknowledged: a new connection sends
    them again.
    """

    def __init__(self, *, max_frames: int, keep_unacknowledged: bool) -> None:
        self._max_frames = max_frames
        self._keep = keep_unacknowledged
        self._events: deque[tuple[int, str]] = deque()
        self._last_sequence = 0
        self._frames: OrderedDict[int, bytes] = OrderedDict()
        self._sent: OrderedDict[int, bytes] = OrderedDict()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._closed = False
        self.emptied = asyncio.Event()
        """Set while everything has been written to the socket."""
        self.emptied.set()
        self.num_frames_replaced = 0
        """Frames that gave way to newer ones before they could be sent."""

    def put_event(self, text: str) -> None:
        """Queue a JSON event.

        Raises:
            Overloaded: the connection takes nothing and the queue is full.
        """
        if len(self._events) >= MAX_EVENTS:
            raise Overloaded("the connection to the server takes nothing more just now")
        self._events.append((self._last_sequence, text))
        self._wake()

    def put_newest(self, sequence: int, message: bytes) -> None:
        """Queue a live frame in place of the oldest where there is no room."""
        while len(self._frames) >= self._max_frames:
            self._frames.popitem(last=False)
            self.num_frames_replaced += 1
        self._frames[sequence] = message
        self._last_sequence = sequence
        self._wake()

    async def put_frame(self, sequence: int, message: bytes) -> None:
        """Queue a frame once there is room for it."""
        while not self._closed and len(self._frames) + len(self._sent) >= self._max_frames:
            self._room.clear()
            await self._room.wait()
        self._frames[sequence] = message
        self._last_sequence = sequence
        self._wake()

    def acknowledged_until(self, sequence: int) -> None:
        """Forget this frame and all sent before it: the server has said what became of them."""
        while self._sent and next(iter(self._sent)) <= sequence:
            self._sent.popitem(last=False)
            self._room.set()

    async def take(self) -> str | bytes:
        """The next thing to send; waits for it."""
        while not self._events and not self._frames:
            self.emptied.set()  # whoever takes has sent what it took before
            self._news.clear()
            await self._news.wait()
        if self._events and self._is_events_turn(self._events[0][0]):
            return self._events.popleft()[1]
        sequence, message = self._frames.popitem(last=False)
        if self._keep:
            self._sent[sequence] = message
        else:
            self._room.set()
        return message

    def _is_events_turn(self, after: int) -> bool:
        return not self._keep or not self._frames or next(iter(self._frames)) > after

    def connection_lost(self) -> None:
        """Drop the events of the old connection and queue unacknowledged frames again."""
        self._events.clear()
        for sequence in reversed(self._sent):
            self._frames[sequence] = self._sent[sequence]
            self._frames.move_to_end(sequence, last=False)
        self._sent.clear()
        if self._frames:
            self._wake()

    def close(self) -> None:
        """Let nobody wait for room, or for the last frame to leave, any more."""
        self._closed = True
        self._room.set()
        self.emptied.set()

    def _wake(self) -> None:
        self.emptied.clear()
        self._news.set()

    @property
    def num_waiting(self) -> int:
        """The number of frames that have not been sent yet."""
        return len(self._frames)
