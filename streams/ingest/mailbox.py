"""What waits to be decoded, per stream: bounded, in order, one consumer.

Live, nothing ever waits for room: of pictures the newest win; coded video, whose messages build on
each other, drops to its next key frame. Virtual, the sender waits and nothing is dropped.
Questions stand in the same line as *barriers*, each before the first frame captured after it, so
that "everything up to t has been looked at" is a place in the line.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

from onlooker.core.media import Clip, Cover, DropReason, Frame, FrameMessage
from onlooker.streams.config import StreamsSection
from onlooker.streams.events import FrameAck
from onlooker.streams.perception.keyframes import is_key_frame


@dataclass(slots=True, eq=False)
class Entry:
    """A frame message in the line."""

    message: FrameMessage
    outcome: "asyncio.Future[FrameAck] | None" = None
    """A future that is told what became of the message; None when nobody waits for it."""
    follows_gap: bool = False
    """Whether messages of the same byte stream were dropped just before it."""


@dataclass(frozen=True, slots=True)
class Reached:
    """Where perception stood when it came to a barrier."""

    num_clips: int
    """Clips made so far; all that the question may see are among them."""
    pending: Clip | None
    newest_s: float
    """Stream time of the newest picture looked at; 0 before the first."""
    covers: tuple[Cover, ...] = ()
    """How long the newest clips stand for what was there, the pending one among them."""


@dataclass(slots=True, eq=False)
class Barrier:
    """A question's place in the line."""

    at_s: float
    reached: "asyncio.Future[Reached]"


class SourceEnd:
    """A mark in the line: nothing more comes from the source that fed the stream so far."""


Item = Entry | Barrier | SourceEnd


class Mailbox:
    """The line of what waits to be decoded. All calls are made on the event loop; only `wait` and
    `wait_room` wait."""

    def __init__(self, *, max_stills: int, max_chunks: int, max_bytes: int) -> None:
        self._max_stills, self._max_chunks, self._max_bytes = max_stills, max_chunks, max_bytes
        self._items: deque[Item] = deque()
        self._num_messages = 0
        self._num_bytes = 0
        self._has_gap = False
        self._arrived = asyncio.Event()
        self._left = asyncio.Event()

    @classmethod
    def of(cls, settings: StreamsSection) -> "Mailbox":
        """A mailbox with the bounds of the settings."""
        return cls(
            max_stills=settings.mailbox_frames,
            max_chunks=settings.mailbox_chunks,
            max_bytes=settings.mailbox_bytes,
        )

    def __len__(self) -> int:
        """The number of messages that wait."""
        return self._num_messages

    @property
    def num_bytes(self) -> int:
        return self._num_bytes

    def offer(self, entry: Entry) -> list[tuple[Entry, DropReason]]:
        """Put a message in at once; return what was dropped for it, possibly itself."""
        message = entry.message
        if isinstance(message, Frame) or message.is_still:
            dropped = []
            while not self.has_room(entry):
                dropped.append((self._drop_oldest(), DropReason.MAILBOX_FULL))
        elif message.codec.is_container:
            if not self.has_room(entry):
                self._has_gap = True
                return [(entry, DropReason.MAILBOX_FULL)]
            entry.follows_gap, self._has_gap, dropped = self._has_gap, False, []
        else:
            is_key = is_key_frame(message.codec, message.payload)
            if self._has_gap and not is_key:
                return [(entry, DropReason.NO_KEYFRAME)]
            if not self.has_room(entry) and not is_key:
                self._has_gap = True
                return [(entry, DropReason.MAILBOX_FULL)]
            dropped = []
            while not self.has_room(entry):
                dropped.append((self._drop_oldest(), DropReason.MAILBOX_FULL))
            if dropped:  # the rest of what waits builds on what just went
                while self._num_messages:
                    dropped.append((self._drop_oldest(), DropReason.MAILBOX_FULL))
            self._has_gap = False
        self.put(entry)
        return dropped

    def note_gap(self, message: FrameMessage) -> None:
        """Note that a message was dropped before it came here: what builds on it is of no use."""
        if not (isinstance(message, Frame) or message.is_still):
            self._has_gap = True

    def lacks_key(self, message: FrameMessage) -> bool:
        """Whether `offer` would drop a message since it builds on one that was dropped."""
        if not self._has_gap or isinstance(message, Frame) or message.is_still:
            return False
        return not message.codec.is_container and not is_key_frame(message.codec, message.payload)

    def put(self, item: Item) -> None:
        """Put `item` at the end of the line, whatever the limits: who puts a message has made sure
        of room."""
        if isinstance(item, Entry):
            self._num_messages += 1
            self._num_bytes += item.message.num_bytes
        self._items.append(item)
        self._arrived.set()

    def put_barrier(self, barrier: Barrier) -> None:
        """Put a question in line, before the first frame captured after it."""
        for place, item in enumerate(self._items):
            if isinstance(item, Entry) and item.message.capture_s > barrier.at_s:
                self._items.insert(place, barrier)
                break
        else:
            self._items.append(barrier)
        self._arrived.set()

    def has_room(self, entry: Entry) -> bool:
        """Whether one more message fits; an empty line takes any."""
        if not self._num_messages:
            return True
        limit = self._max_stills if entry.message.is_still else self._max_chunks
        num_bytes = self._num_bytes + entry.message.num_bytes
        return self._num_messages < limit and num_bytes <= self._max_bytes

    async def wait_room(self, entry: Entry) -> None:
        """Return when `entry` fits. Callers take turns by a lock of their own."""
        while not self.has_room(entry):
            self._left.clear()
            await self._left.wait()

    async def wait(self) -> None:
        """Return when something waits in the line."""
        while not self._items:
            self._arrived.clear()
            await self._arrived.wait()

    async def wait_nudged(self) -> None:
        """Return when something waits in the line, or `nudge` is called."""
        if not self._items:
            self._arrived.clear()
            await self._arrived.wait()

    def nudge(self) -> None:
        """Have `wait_nudged` return."""
        self._arrived.set()

    @property
    def has_items(self) -> bool:
        """Whether anything stands in the line, barriers among it."""
        return bool(self._items)

    def is_still_next(self) -> bool:
        """Whether the first in line is a picture."""
        first = self._items[0] if self._items else None
        return isinstance(first, Entry) and first.message.is_still

    def take(self) -> Item | None:
        """Take the first in line, or None when there is none."""
        if not self._items:
            return None
        item = self._items.popleft()
        if isinstance(item, Entry):
            self._forget(item)
        return item

    def clear(self) -> list[Item]:
        """Empty the line and return what stood in it."""
        items = list(self._items)
        self._items.clear()
        self._num_messages = self._num_bytes = 0
        self._left.set()
        return items

    def _drop_oldest(self) -> Entry:
        for place, item in enumerate(self._items):
            if isinstance(item, Entry):
                del self._items[place]
                self._forget(item)
                return item
        raise AssertionError("no message to drop")

    def _forget(self, entry: Entry) -> None:
        self._num_messages -= 1
        self._num_bytes -= entry.message.num_bytes
        self._left.set()
