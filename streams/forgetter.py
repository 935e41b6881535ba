"""`Forgetter`: deletes a span of one stream's time wherever something of it is kept."""

import contextlib
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

from onlooker.core.errors import EngineDead, EngineRestarting, Overloaded
from onlooker.core.ids import StreamId
from onlooker.engine.interface import Forgotten
from onlooker.streams.album.stream_album import StreamAlbum
from onlooker.streams.asker import Asker
from onlooker.streams.diary.diary_writer import DiaryWriter
from onlooker.streams.diary.stream_diary import StreamDiary
from onlooker.streams.events import MemoryForgotten
from onlooker.streams.fanout import EventLog
from onlooker.streams.ingest.ingest import Ingest
from onlooker.streams.journaling import StreamJournal
from onlooker.streams.privacy import StreamPrivacy
from onlooker.streams.shared import Shared
from onlooker.watches.keeper import WatchKeeper

_log = logging.getLogger("onlooker.streams.forgetter")

ENGINE_WAIT_S = 5.0
"""How long a deletion waits for an engine that is being started again; it is done then when the
stream is opened with that engine."""


ForgetAlerts = Callable[[StreamId, float, float], int]
"""A function that lets go of a stream's alerts that wait for outlets and whose clips touch a span
of stream time; returns how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetReport:
    """What was deleted of a stream."""

    start_s: float
    end_s: float
    num_clips: int = 0
    num_notes: int = 0
    num_frames: int = 0
    """Pictures in the journal."""
    num_pictures: int = 0
    """Pictures in the album."""
    num_entries: int = 0
    """Entries of the diary."""
    num_alerts: int = 0
    """Alerts that were retained for subscribers, or waited for a webhook."""
    num_bytes: int = 0
    """Bytes of the clips' keys and values, one copy counted, and of the journal."""
    unreached: tuple[str, ...] = ()
    """Places that could not be reached now: tiers, ``journal``, ``album``, ``diary``, ``engine`` or
    ``belongings``. What they hold is hidden, and deleted once they can be."""
    has_more: bool = False
    """Whether the call's limit left something for the next one."""


class Forgetter:
    """One stream's. All calls are made on the event loop."""

    def __init__(
        self,
        stream_id: StreamId,
        shared: Shared,
        *,
        privacy: StreamPrivacy,
        journal: StreamJournal | None,
        album: StreamAlbum | None,
        diary: StreamDiary | None,
        writer: DiaryWriter | None,
        ingest: Ingest,
        asker: Asker,
        events: EventLog,
        watches: WatchKeeper,
        forget_alerts: ForgetAlerts,
    ) -> None:
        self._stream_id, self._shared, self._privacy = stream_id, shared, privacy
        self._album, self._diary, self._writer = album, diary, writer
        self._journal, self._ingest, self._asker = journal, ingest, asker
        self._events, self._watches, self._forget_alerts = events, watches, forget_alerts

    async def forget(self, start_s: float, end_s: float) -> ForgetReport:
        """Delete a span on request. Answers under way are broken off: they may have seen it."""
        # From this line on nothing of the span that is still on its way is taken in.
        self._privacy.note_forgotten(start_s, end_s, self._ingest.next_clip_index)
        self._asker.break_off("part of what the stream remembers was deleted: ask again")
        async with self._ingest.held():
            report = await self._done(start_s, end_s, is_aged=False, max_clips=None)
        self._shared.metrics.forgotten_clips.labels("asked").inc(report.num_clips)
        self._events.publish(MemoryForgotten(start_s, end_s))
        _log.info(
            "a span of a stream was deleted",
            extra={"clips": report.num_clips, "unreached": report.unreached},
        )
        return report

    async def forget_aged(self, until_s: float, *, max_clips: int) -> ForgetReport:
        """Delete what was captured before `until_s`, since it is old: the oldest `max_clips`
        clips."""
        end_s = math.nextafter(until_s, -math.inf)
        async with self._ingest.held():
            self._privacy.note_aged(until_s, self._ingest.next_clip_index)
            report = await self._done(-math.inf, end_s, is_aged=True, max_clips=max_clips)
        self._shared.metrics.forgotten_clips.labels("age").inc(report.num_clips)
        return report

    async def _done(
        self, start_s: float, end_s: float, *, is_aged: bool, max_clips: int | None
    ) -> ForgetReport:
        num_alerts = self._events.forget(start_s, end_s, is_aged=is_aged)
        num_alerts += self._forget_alerts(self._stream_id, start_s, end_s)
        if not is_aged:
            self._watches.forget(start_s, end_s)
        unreached: list[str] = []
        forgotten = Forgotten()
        engine = self._shared.engine
        try:
            with contextlib.suppress(EngineRestarting):
                await engine.wait_ready(ENGINE_WAIT_S)
            forgotten = await engine.forget(
                self._stream_id, start_s, end_s, is_aged=is_aged, max_clips=max_clips
            )
        except (EngineRestarting, EngineDead):
            unreached.append("engine")
        unreached += forgotten.unreached
        num_frames = num_bytes = 0
        if self._journal is not None:
            found = await self._journal.forget(start_s, end_s, forgotten.clip_indices)
            if found is None:
                unreached.append("journal")
            else:
                num_frames, num_bytes = found
        num_pictures: int | None = 0
        if self._album is not None:
            num_pictures = await self._album.forget(start_s, end_s, forgotten.clip_indices)
            if num_pictures is None:
                unreached.append("album")
        num_entries = await self._forget_diary(start_s, end_s, is_aged=is_aged)
        if num_entries is None:
            unreached.append("diary")
        return ForgetReport(
            start_s=start_s,
            end_s=end_s,
            num_clips=len(forgotten.clip_indices),
            num_notes=forgotten.num_notes,
            num_frames=num_frames,
            num_pictures=num_pictures or 0,
            num_entries=num_entries or 0,
            num_alerts=num_alerts,
            num_bytes=forgotten.num_bytes + num_bytes,
            unreached=tuple(dict.fromkeys(unreached)),
            has_more=forgotten.has_more,
        )

    async def _forget_diary(self, start_s: float, end_s: float, *, is_aged: bool) -> int | None:
        """Delete what the diary tells of a span, and sum up again what is left of its periods.
        None: the diary cannot be reached."""
        if self._diary is None:
            return 0
        if self._writer is not None:
            self._writer.forget(start_s, end_s)
        num_entries = await self._diary.forget(start_s, end_s)
        if num_entries and self._writer is not None and not is_aged:
            with contextlib.suppress(Overloaded):
                await self._writer.summaries.redo(start_s, end_s)
        return num_entries
