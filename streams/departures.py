"""`Departures`: the streams of a server that is drained leave for other servers, a few at a time.

All at once would be a crowd: every camera and every question would come to the other servers in the
same moment, and each stream would wait for all. So they go one after the other, evenly spread over
the first part of the time that a drain has. A stream that waits for its turn is fed and answered as
before; the time in which nobody has it is that of its own hand-over.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from onlooker.core.clock import Clock
from onlooker.core.ids import StreamId
from onlooker.core.waiting import within
from onlooker.streams.stream import Stream

CALM_SHARE = 0.5
"""Part of a drain's time in which streams leave between two answers. Those that are still asked
then take no more questions, and leave once their answers have ended."""

POLL_S = 0.02


def pause_s(num_left: int, left_s: float, *, at_most_s: float) -> float:
    """How long to wait before the next of `num_left` things is done, for all of them to be done
    `left_s` seconds from now, evenly spread."""
    return max(0.0, min(at_most_s, left_s / max(1, num_left)))


class Departures:
    """Of one server; all on the event loop.

    Args:
        step_s: between two streams, where the time allows.
        streams: gives the open streams.
        move: lets one of them go; returns when another server may have it.
        spawn: runs something in the background.
    """

    def __init__(
        self,
        *,
        step_s: float,
        clock: Clock,
        streams: Callable[[], list[Stream]],
        move: Callable[[Stream], Coroutine[Any, Any, None]],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._step_s, self._clock = step_s, clock
        self._streams, self._move, self._spawn = streams, move, spawn
        self._leaving: dict[StreamId, asyncio.Event] = {}
        """Streams that are being let go; each event is set when that has ended."""

    async def run(self, *, deadline_s: float, is_done: Callable[[], bool]) -> None:
        """Let every stream go: each between two answers, or `deadline_s` seconds from now. Returns
        when there are none and `is_done` says that none comes any more."""
        began_s = self._clock.now_s()
        calm_until_s, until_s = began_s + deadline_s * CALM_SHARE, began_s + deadline_s
        try:
            while (streams := self._streams()) or self._leaving or not is_done():
                now_s = self._clock.now_s()
                is_calm, is_late = now_s < calm_until_s, now_s >= until_s
                for stream in streams:
                    stream.is_leaving = not is_calm
                free = [
                    one
                    for one in streams
                    if one.id not in self._leaving and (is_late or not one.num_answers)
                ]
                for stream in free[:1] if is_calm else free:
                    self._begin(stream)
                pause = pause_s(len(streams), calm_until_s - now_s, at_most_s=self._step_s)
                await self._clock.sleep(pause if is_calm and free else POLL_S)
        finally:
            for stream in self._streams():
                stream.is_leaving = False

    async def settled(self, stream_id: StreamId) -> None:
        """Return when a stream is not just being let go."""
        while (gone := self._leaving.get(stream_id)) is not None:
            await gone.wait()

    async def left(self, stream: Stream, *, limit_s: float) -> None:
        """Return when a stream that takes no more questions has left, or after `limit_s`
        seconds."""
        with suppress(TimeoutError):
            await within(self._clock, limit_s, self._left(stream))

    async def _left(self, stream: Stream) -> None:
        while stream.is_leaving and stream.closed_reason is None:
            await self._clock.sleep(POLL_S)
        await self.settled(stream.id)

    def _begin(self, stream: Stream) -> None:
        self._leaving[stream.id] = asyncio.Event()
        self._spawn(self._let_go(stream))

    async def _let_go(self, stream: Stream) -> None:
        try:
            await self._move(stream)
        finally:
            self._leaving.pop(stream.id).set()
