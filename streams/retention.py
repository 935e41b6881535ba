"""`Retention`: deletes what is older than streams are kept, of open streams and of closed ones."""

import contextlib
import logging
import math
from collections.abc import Callable, Iterable

from onlooker.core.clock import Clock
from onlooker.core.drawer import DrawerAway, DrawerFailed, StreamDrawer
from onlooker.core.errors import EngineDead, EngineRestarting, OnlookerError
from onlooker.core.ids import StreamId
from onlooker.engine.supervisor import EngineSupervisor
from onlooker.streams.belongings import PRIVACY, Belongings, find_belongings
from onlooker.streams.config import PrivacySection
from onlooker.streams.journaling import JournalKeeper
from onlooker.streams.kept_privacy import privacy_document, read_privacy
from onlooker.streams.privacy import StreamPrivacy
from onlooker.streams.shared import Shared
from onlooker.streams.stream import Stream

_log = logging.getLogger("onlooker.streams.retention")

PAUSE_S = 0.2
"""Seconds between two parts of what is deleted of one stream: others come first."""

CLOSED_SHARE, CLOSED_MAX_S = 0.05, 3600.0
"""A closed stream has to be read to delete anything of it, so it is left until more is due: until
this share of the time for which it is kept has passed, and no longer than these seconds."""


class Retention:
    """Of all streams of a server. Everything runs on the event loop.

    Args:
        streams: tells the open streams.
        closed: takes a stream that is not open for itself, so that nobody opens it meanwhile;
            the context manager gives False where it is open, here or on another server.
        drawer: knows the streams that are not open; None: only open ones are looked after.
        epoch_of: the epoch of this server's ownership of a stream; 0 where it has none.
    """

    def __init__(
        self,
        shared: Shared,
        *,
        streams: Callable[[], Iterable[Stream]],
        closed: Callable[[StreamId], contextlib.AbstractAsyncContextManager[bool]],
        journal: JournalKeeper | None,
        drawer: StreamDrawer | None,
        epoch_of: Callable[[StreamId], int],
    ) -> None:
        self._settings: PrivacySection = shared.settings.privacy
        self._engine: EngineSupervisor = shared.engine
        self._clock: Clock = shared.clock
        self._metrics = shared.metrics
        self._albums, self._diaries = shared.albums, shared.diaries
        self._streams, self._closed = streams, closed
        self._journal, self._drawer, self._epoch_of = journal, drawer, epoch_of

    async def run(self) -> None:
        """Sweep until cancelled, at once and then now and then."""
        while True:
            try:
                await self.sweep()
            except EngineDead:
                return
            except EngineRestarting:
                pass
            except OnlookerError as error:
                _log.warning("what is too old could not be deleted", exc_info=error)
            await self._clock.sleep(self._settings.sweep_interval_s)

    async def sweep(self) -> None:
        """Delete once what is too old.

        Raises:
            EngineRestarting, EngineDead: the engine is away.
        """
        for stream in self._streams():
            while await stream.forget_aged(max_clips=self._settings.max_clips_per_sweep):
                await self._clock.sleep(PAUSE_S)
        if self._albums is not None:
            await self._albums.sweep()
        if self._diaries is not None:
            await self._diaries.sweep()
        if self._drawer is None:
            return
        try:
            stream_ids = await self._drawer.stream_ids()
        except (DrawerAway, DrawerFailed) as error:
            _log.warning("closed streams are not looked after", extra={"detail": str(error)})
            return
        for stream_id in stream_ids:
            await self._sweep_closed(stream_id)

    async def _sweep_closed(self, stream_id: StreamId) -> None:
        """Delete what is too old of a stream that nobody has open."""
        if self._due_until_s(await self._found(stream_id, epoch=0)) is None:
            return
        async with self._closed(stream_id) as is_closed:
            if not is_closed:
                return
            # Another server may have had it since: what it kept counts.
            belongings = await self._found(stream_id, epoch=self._epoch_of(stream_id))
            if (due := self._due_until_s(belongings)) is None:
                return
            privacy, until_s = due
            try:
                await self._delete_aged(stream_id, privacy, until_s)
                await belongings.settle("what was deleted")
            finally:
                await belongings.cut()

    async def _found(self, stream_id: StreamId, *, epoch: int) -> Belongings:
        return await find_belongings(
            stream_id, self._drawer, epoch=epoch, clock=self._clock, metrics=self._metrics
        )

    def _due_until_s(self, belongings: Belongings) -> tuple[StreamPrivacy, float] | None:
        """The privacy of a closed stream, and the stream time until which all is to be deleted;
        None where it is not time."""
        kept = read_privacy(belongings.documents.get(PRIVACY, b""))
        if kept is None:
            return None
        privacy = StreamPrivacy(
            self._settings,
            is_live=kept.is_live,
            kept=kept,
            save=lambda changed: belongings.keep(PRIVACY, privacy_document(changed)),
        )
        until_s = privacy.aged_at(self._clock.wall_s())
        if until_s is None or privacy.keep_for_s is None:
            return None
        patience_s = min(CLOSED_SHARE * privacy.keep_for_s, CLOSED_MAX_S)
        is_due = until_s > privacy.forgotten.aged_until_s + patience_s
        return (privacy, until_s) if is_due else None

    async def _delete_aged(
        self, stream_id: StreamId, privacy: StreamPrivacy, until_s: float
    ) -> None:
        remembered = await self._engine.open_stream(stream_id)
        try:
            newest_s = remembered.seen_until_s
            if self._journal is not None:
                journaled_s = await self._journal.newest_s(stream_id)
                newest_s = max((x for x in (newest_s, journaled_s) if x is not None), default=None)
            if newest_s is None or newest_s < until_s:
                privacy.wall.clear()  # nothing will be left
            if newest_s is not None:
                until_s = min(until_s, math.nextafter(newest_s, math.inf))
                await self._delete(stream_id, math.nextafter(until_s, -math.inf))
                privacy.note_aged(until_s, remembered.next_clip_index)
            else:
                privacy.save()
        finally:
            with contextlib.suppress(EngineRestarting, EngineDead):
                await self._engine.close_stream(stream_id, forget=False)

    async def _delete(self, stream_id: StreamId, end_s: float) -> None:
        """Delete all up to a stream time of a stream that only the engine has open."""
        has_more = True
        while has_more:
            forgotten = await self._engine.forget(
                stream_id,
                -math.inf,
                end_s,
                is_aged=True,
                max_clips=self._settings.max_clips_per_sweep,
            )
            self._metrics.forgotten_clips.labels("age").inc(len(forgotten.clip_indices))
            has_more = forgotten.has_more
            await self._clock.sleep(PAUSE_S if has_more else 0.0)
        if self._journal is not None:
            await self._journal.forget_span(stream_id, -math.inf, end_s, ())
        epoch = self._epoch_of(stream_id) or None
        if self._diaries is not None:
            await self._diaries.forget(stream_id, -math.inf, end_s, epoch=epoch)
        if self._albums is not None:
            await self._albums.forget(stream_id, -math.inf, end_s, epoch=epoch)
        _log.info("what was too old of a closed stream was deleted")
