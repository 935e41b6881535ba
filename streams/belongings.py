"""`Belongings`: what is kept of one stream beside its memory, and follows it to its next owner.

Masks and retention, the wall clock of its time 0, its nameplate, watches, alerts and numbers of
events are named documents in one drawer: files on one machine, Redis in a fleet
(`onlooker.core.drawer`). What is to be kept waits here until it is written, the newest of each
name, in one write for all that waits.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from enum import StrEnum

from onlooker.core.backoff import Backoff
from onlooker.core.clock import Clock
from onlooker.core.drawer import DrawerAway, DrawerFailed, StreamDrawer, WriteRefused
from onlooker.core.errors import Overloaded, ServiceError
from onlooker.core.ids import StreamId
from onlooker.core.metrics import Metrics
from onlooker.core.waiting import within

_log = logging.getLogger("onlooker.streams.belongings")

PRIVACY, ORIGIN, WATCHES, ALERTS = "privacy", "origins", "watches", "alerts"
NAMEPLATE, REFERENCE = "nameplates", "references"
"""The first words of the names of documents."""

SETTLE_S = 5.0
"""How long a call waits for what it changed to be written."""

_AGAIN = Backoff(0.1, 2.0)


class Saved(StrEnum):
    """What became of a write."""

    SAVED = "saved"
    FAILED = "failed"
    """It is not kept, and the server goes on without."""
    REFUSED = "refused"
    """Another server owns the stream, or this one let it go before the write was done."""


Told = Callable[[Saved], None]


class Belongings:
    """Of one stream, from when it is opened. Everything runs on the event loop.

    Args:
        drawer: where they are kept; None keeps nothing, as for streams that end with their
            connection.
        documents: what was found there.
        epoch: of this server's ownership of the stream; 0 where it is alone.
    """

    def __init__(
        self,
        stream_id: StreamId,
        drawer: StreamDrawer | None,
        *,
        clock: Clock,
        metrics: Metrics,
        documents: Mapping[str, bytes] | None = None,
        epoch: int = 0,
    ) -> None:
        self._stream_id, self._drawer, self._epoch = stream_id, drawer, epoch
        self._clock, self._metrics = clock, metrics
        self.documents = dict(documents or {})
        """What an earlier owner kept. It is not changed by `keep`."""
        self._newest = dict(self.documents)
        """All documents as they should be kept."""
        self._pending: dict[str, bytes] = {}
        self._told: list[Told] = []
        self._clears = False
        self.must_be_cleared = False
        """Whether they were to be deleted, and may still be there."""
        self._task: asyncio.Task[None] | None = None
        self._is_cut = False

    @property
    def are_kept(self) -> bool:
        """Whether anything is kept at all."""
        return self._drawer is not None

    def keep(self, name: str, content: bytes, told: Told | None = None) -> None:
        """Have a document kept; empty content deletes it. Never waits. `told` is called once it is
        written or is known not to be, in the order of the calls."""
        if self._drawer is None or self._is_cut:
            if told is not None:
                told(Saved.REFUSED if self._is_cut else Saved.SAVED)
            return
        self._pending[name] = content
        self._newest[name] = content
        if not content:
            del self._newest[name]
        if told is not None:
            self._told.append(told)
        self._begin()

    def keep_again(self) -> None:
        """Have all documents kept once more, since what kept them has lost them. Never waits."""
        if self._drawer is not None and not self._is_cut and self._newest and not self._clears:
            self._pending = {**self._newest, **self._pending}
            self._begin()

    async def settle(self, what: str, *, limit_s: float = SETTLE_S) -> None:
        """Return when all that was to be kept until now is written. `what` names it for people.

        Raises:
            Overloaded: it is not written yet, and will be once that can be done; or another server
                owns the stream.
            ServiceError: it cannot be written.
        """
        if self._task is None and not self._is_cut:
            return
        written: asyncio.Future[Saved] = asyncio.get_running_loop().create_future()

        def note(saved: Saved) -> None:
            if not written.done():
                written.set_result(saved)

        if self._is_cut:
            note(Saved.REFUSED)
        else:
            self._told.append(note)
            self._begin()
        try:
            saved = await within(self._clock, limit_s, written)
        except TimeoutError as error:
            raise Overloaded(
                f"{what} of the stream cannot be kept now, since Redis or the disk does not "
                "answer: a change of what there was is in force, and kept once that can be done; "
                "what is new must be tried again"
            ) from error
        if saved is Saved.REFUSED:
            raise Overloaded("another server owns the stream now: try again", retry_after_s=1.0)
        if saved is Saved.FAILED:
            raise ServiceError(f"{what} of the stream could not be kept: the server's log says why")

    async def flush(self, *, limit_s: float = SETTLE_S) -> None:
        """Wait for a while until all is written, then give up what is not, and all that comes."""
        if self._task is not None and not self._is_cut:
            try:
                await within(self._clock, limit_s, asyncio.shield(self._task))
            except TimeoutError:
                _log.error("what belongs to a stream could not be kept before it was closed")
                self._count(Saved.FAILED)
                await self.cut()

    async def close(self, *, limit_s: float = SETTLE_S) -> None:
        """Flush, and write nothing any more. Idempotent."""
        await self.flush(limit_s=limit_s)
        await self.cut()

    async def cut(self) -> None:
        """Write nothing any more: another server has, or may have, the stream. Idempotent."""
        self._is_cut = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._pending.clear()
        self._tell(Saved.REFUSED)

    def clear(self) -> None:
        """Have all documents deleted, since the stream is to be forgotten. Never waits. Where that
        is not done before they are closed, they must be cleared by somebody else."""
        self.must_be_cleared = self._drawer is not None
        if self._drawer is not None and not self._is_cut:
            self._pending.clear()
            self._newest.clear()
            self._clears = True
            self._begin()

    # ---- inside

    def _begin(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"belongings {self._stream_id}")
            self._task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("what belongs to a stream could not be kept", exc_info=error)
            self._tell(Saved.FAILED)
        if not self._is_cut and (self._pending or self._told or self._clears):
            self._begin()  # it came when all had been written and the task had not ended yet

    async def _run(self) -> None:
        num_failures = 0
        while self._pending or self._told or self._clears:
            clears, batch, told = self._clears, self._pending, self._told
            self._clears, self._pending, self._told = False, {}, []
            try:
                saved = await self._written(batch, clears=clears)
            except (DrawerAway, asyncio.CancelledError) as error:
                if not self._clears:  # what came meanwhile is newer
                    self._pending = {**batch, **self._pending}
                self._clears, self._told = self._clears or clears, [*told, *self._told]
                if not isinstance(error, DrawerAway):
                    raise
                if num_failures == 0:
                    _log.warning("what belongs to a stream waits", extra={"detail": str(error)})
                num_failures += 1
                self._metrics.belongings_writes.labels("retried").inc()
                await self._clock.sleep(_AGAIN.wait_s(num_failures))
                continue
            num_failures = 0
            self._count(saved)
            for tell in told:
                tell(saved)

    async def _written(self, batch: Mapping[str, bytes], *, clears: bool) -> Saved:
        assert self._drawer is not None
        try:
            if clears:
                await self._drawer.clear(self._stream_id, epoch=self._epoch)
                self.must_be_cleared = False
            if batch:
                await self._drawer.write(self._stream_id, batch, epoch=self._epoch)
        except WriteRefused:
            self.must_be_cleared = False  # they are the next owner's
            _log.warning("a write for a stream that another server owns was refused")
            return Saved.REFUSED
        except DrawerFailed as error:
            _log.error("what belongs to a stream is not kept", extra={"detail": str(error)})
            return Saved.FAILED
        return Saved.SAVED

    def _count(self, saved: Saved) -> None:
        self._metrics.belongings_writes.labels(saved.value).inc()

    def _tell(self, saved: Saved) -> None:
        told, self._told = self._told, []
        for tell in told:
            tell(saved)


async def find_belongings(
    stream_id: StreamId,
    drawer: StreamDrawer | None,
    *,
    epoch: int,
    clock: Clock,
    metrics: Metrics,
) -> Belongings:
    """What earlier owners kept of a stream that is being opened.

    Raises:
        Overloaded: the drawer cannot be reached. The stream must not be opened without its masks.
        ServiceError: it cannot be read.
    """
    documents: dict[str, bytes] = {}
    if drawer is not None:
        try:
            documents = await drawer.read(stream_id)
        except DrawerAway as error:
            raise Overloaded(
                "the stream is not opened, since its masks cannot be read while Redis does not "
                "answer: try again later"
            ) from error
        except DrawerFailed as error:
            _log.error("what belongs to a stream cannot be read", extra={"detail": str(error)})
            raise ServiceError(
                "the stream is not opened, since its masks cannot be read: the server's log says "
                "why"
            ) from error
    return Belongings(
        stream_id, drawer, clock=clock, metrics=metrics, documents=documents, epoch=epoch
    )
