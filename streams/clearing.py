"""`Clearing`: deletes what belonged to streams that were deleted while its keeper was away.

A stream is closed within seconds, also where Redis does not answer. What is kept beside its memory
(masks, watches, its nameplate) is then deleted here, again and again until that is done: before the
stream may be opened here once more, since a new one must not begin with what was deleted.
"""

import asyncio
import logging

from onlooker.core.backoff import Backoff
from onlooker.core.clock import Clock
from onlooker.core.drawer import DrawerAway, DrawerFailed, StreamDrawer, WriteRefused
from onlooker.core.errors import Overloaded
from onlooker.core.ids import StreamId
from onlooker.core.metrics import Metrics
from onlooker.core.waiting import cancel

_log = logging.getLogger("onlooker.streams.clearing")

_AGAIN = Backoff(1.0, 60.0)


class Clearing:
    """Of one server; all on the event loop.

    Args:
        max_streams: the most that may wait; of one more the belongings stay.
    """

    def __init__(
        self, drawer: StreamDrawer, *, clock: Clock, metrics: Metrics, max_streams: int
    ) -> None:
        self._drawer, self._clock, self._metrics = drawer, clock, metrics
        self._max_streams = max_streams
        self._waiting: dict[StreamId, int] = {}
        """The epoch of the owner that deleted each."""
        self._task: asyncio.Task[None] | None = None

    def add(self, stream_id: StreamId, *, epoch: int) -> None:
        """Clear a stream that was deleted, in the background."""
        if len(self._waiting) >= self._max_streams:
            _log.error("too many deleted streams wait to be cleared; one more stays as it is")
            self._metrics.belongings_writes.labels("failed").inc()
            return
        self._waiting[stream_id] = epoch
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="clearing")

    async def before_opening(self, stream_id: StreamId, *, epoch: int) -> None:
        """Clear a stream now, if that is still to be done. `epoch`: of who opens it.

        Raises:
            Overloaded: it cannot be done now.
        """
        if stream_id in self._waiting and not await self._cleared(stream_id, epoch):
            raise Overloaded(
                "the stream is not opened, since what belonged to one of this name that was "
                "deleted cannot be deleted while Redis or the disk does not answer: try again later"
            )

    async def close(self) -> None:
        """Stop, whatever waits. Idempotent."""
        if self._task is not None:
            await cancel(self._task)
        if self._waiting:
            num_streams = len(self._waiting)
            _log.warning("deleted streams leave something", extra={"streams": num_streams})

    # ---- inside

    async def _run(self) -> None:
        num_failures = 0
        while self._waiting:
            num_failures += 1
            await self._clock.sleep(_AGAIN.wait_s(num_failures))
            for stream_id, epoch in list(self._waiting.items()):
                if self._waiting.get(stream_id) != epoch:
                    continue  # it was cleared meanwhile, and may be open again
                if not await self._cleared(stream_id, epoch):
                    break  # nor is it there for the others

    async def _cleared(self, stream_id: StreamId, epoch: int) -> bool:
        """Try it once; whether nothing is left to do."""
        try:
            await self._drawer.clear(stream_id, epoch=epoch)
            outcome = "saved"
        except (DrawerAway, DrawerFailed):
            self._metrics.belongings_writes.labels("retried").inc()
            return False
        except WriteRefused:  # it is the next owner's
            outcome = "refused"
        self._metrics.belongings_writes.labels(outcome).inc()
        self._waiting.pop(stream_id, None)
        return True
