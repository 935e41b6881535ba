"""`ClipMaker`: from one stream's mailbox to its clips.

Live, it takes no picture from the mailbox while the model is busy with earlier ones: the picture
waits there, where the newest wins. Coded video has to be decoded on, but its pictures are passed
over then, so that it does not fall behind either. On the virtual clock everything waits instead.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, TypeGuard

from onlooker.core.guarantee import Guarantee
from onlooker.core.ids import split_stream_id
from onlooker.core.media import (
    Clip,
    Codec,
    Cover,
    DropReason,
    EncodedFrame,
    FrameMessage,
    FrameOutcome,
)
from onlooker.streams.decoding.assessors import StillToAssess
from onlooker.streams.decoding.turns import Place
from onlooker.streams.ingest.frame_spans import FrameSpans
from onlooker.streams.ingest.lazy_alarm import LazyAlarm
from onlooker.streams.ingest.mailbox import Barrier, Entry, Mailbox, Reached, SourceEnd
from onlooker.streams.ingest.presenter import Presenter
from onlooker.streams.ingest.tally import Tally
from onlooker.streams.journaling import KeptPicture, StreamJournal, as_pictures
from onlooker.streams.perception.decoders import LentPicture
from onlooker.streams.perception.perceiver import Decoded, Perceiver, Seen
from onlooker.streams.perception.picker import Picker
from onlooker.streams.perception.sampler import Sampler
from onlooker.streams.perception.stills import Undecodable
from onlooker.streams.privacy import StreamPrivacy
from onlooker.streams.quality.stream_quality import StreamQuality
from onlooker.streams.shared import Shared
from onlooker.streams.state import StreamTerms

_log = logging.getLogger("onlooker.streams.ingest")

MAX_LIGHT_PICTURES = 2
"""So many pictures of one message are looked at on the event loop; more keep it too long."""


class ClipMaker:
    """Has messages decoded and compared, one at a time, and hands on the clips.

    Args:
        presenter: takes the clips, and tells how far the model is behind.
        journal: keeps what was kept; None where nothing does.
        spans: traces frames; None where nothing does.
    """

    def __init__(
        self,
        terms: StreamTerms,
        shared: Shared,
        *,
        mailbox: Mailbox,
        presenter: Presenter,
        quality: StreamQuality,
        tally: Tally,
        journal: StreamJournal | None,
        privacy: StreamPrivacy,
        spans: FrameSpans | None = None,
    ) -> None:
        self._spans = spans
        self._is_live, self._shared = terms.is_live, shared
        self._mailbox, self._presenter, self._quality = mailbox, presenter, quality
        self._tally, self._journal, self._privacy = tally, journal, privacy
        info = shared.engine.info
        self._desk = shared.decoding.desk(split_stream_id(terms.stream_id)[0])
        self._perceiver = Perceiver(
            terms,
            shared.settings,
            decoders=self._desk.decoders,
            width=info.frame_width,
            height=info.frame_height,
            privacy=privacy,
        )
        self._observes: dict[Codec, Callable[[float], None]] = {}
        """What notes how long each codec takes: a look-up by labels costs more than to note it."""
        self._is_looking = False
        self._job: asyncio.Future[_Looked] | None = None
        self._patience = LazyAlarm(shared.clock, self._note_expired)
        """With a frame that waits for its partner, while nothing comes."""
        self._is_expired = False
        self._lone: Clip | None = None
        self.covers: tuple[Cover, ...] = ()
        """How long the newest clips stand for what was there, the one of the frame that waits for
        its partner among them; empty before the first."""

    @property
    def newest_s(self) -> float | None:
        """Stream time of the newest picture that was looked at."""
        return self._perceiver.newest_s

    @property
    def pending(self) -> Clip | None:
        """The frame that waits for its partner, or whose partner is being looked at, as the clip it
        would be alone; None where the model has it, or it was deleted."""
        lone = self._lone
        if lone is None or lone.clip_index < self._presenter.next_clip_index:
            return None
        return None if self._privacy.forgotten.touch(lone.start_s, lone.end_s) else lone

    @property
    def is_busy(self) -> bool:
        """Whether a message is being looked at."""
        return self._is_looking

    async def run(self) -> None:
        """Make clips until cancelled, from where the stream was when the engine had caught up."""
        found = await self._presenter.wait_begun()
        self._perceiver.resume(
            found.next_clip_index, found.waiting, found.newest_s, found.before_until_s
        )
        self.covers = self._perceiver.covers
        while True:
            self._lone = self._perceiver.pending
            if self._is_live and self._mailbox.is_still_next():
                while self._is_ahead_of_engine:
                    await self._presenter.wait_moved()
            self._perceiver.set_pacing(self._quality.pacing)
            item = self._mailbox.take()
            if item is None:
                await self._wait_for_more()
            elif isinstance(item, Barrier):
                self._reach(item)
            elif isinstance(item, SourceEnd):
                seen, pictures = await self._source_ended()
                await self._keep(pictures)
                for change in seen.health:
                    self._tally.note_health(change)
                await self._hand_on(seen.clips)
            else:
                await self._look_at(item)

    async def close(self) -> None:
        """Let go of the decoders once they are done with what they do, without waiting for that.
        Call it after `run` has ended."""
        self._patience.close()
        if self._job is None or self._job.done():
            self._perceiver.close()
        else:
            self._job.add_done_callback(lambda _: self._perceiver.close())

    async def _wait_for_more(self) -> None:
        """Wait for something in the mailbox. On a live stream wait no longer than a lone frame may
        wait for its partner, and then make a clip of it."""
        expires_s, newest_s = self._perceiver.expires_s, self._perceiver.newest_s
        if not self._is_live or expires_s is None or newest_s is None:
            await self._mailbox.wait()
            return
        self._is_expired = False
        self._patience.set(expires_s - newest_s)
        try:
            await self._mailbox.wait_nudged()
        finally:
            self._patience.unset()
        if self._is_expired and not self._mailbox.has_items:
            clips = self._perceiver.flush()
            self.covers = self._perceiver.covers
            await self._hand_on(clips)

    def _note_expired(self) -> None:
        self._is_expired = True
        self._mailbox.nudge()

    @property
    def _is_ahead_of_engine(self) -> bool:
        """Whether a clip waits for the engine, or the next one would come too late."""
        presenter = self._presenter
        return presenter.is_full or self._quality.should_hold(presenter.num_ahead)

    def _reach(self, barrier: Barrier) -> None:
        pending = self._perceiver.pending
        if pending is not None and (
            pending.end_s > barrier.at_s
            or self._privacy.forgotten.touch(pending.start_s, pending.end_s)
        ):
            pending = None
        if not barrier.reached.done():
            newest_s = self._perceiver.newest_s or 0.0
            barrier.reached.set_result(
                Reached(self._presenter.num_made, pending, newest_s, self.covers)
            )

    async def _look_at(self, entry: Entry) -> None:
        is_live_video = self._is_live and not entry.message.is_still
        if self._is_live and not is_live_video and self._is_late(entry.message):
            self._tally.settle(entry, FrameOutcome.DROPPED, DropReason.LATE)
            return
        taken_at_s = 0.0 if self._spans is None else self._spans.now_s()
        try:
            seen, pictures = await self._seen(entry)
            guarantee = await self._keep(pictures)
        except BaseException:
            self._tally.settle(entry, FrameOutcome.DROPPED, DropReason.STREAM_CLOSED)
            raise
        if seen.reason in (DropReason.UNDECODABLE, DropReason.TOO_COSTLY):
            _log.info("a message could not be decoded", extra={"detail": seen.detail})
        is_kept = seen.outcome is FrameOutcome.KEPT
        self._tally.settle(entry, seen.outcome, seen.reason, guarantee if is_kept else None)
        for jump in seen.jumps:
            self._tally.note_jump(jump)
        for at_s in seen.scenes_s:
            self._tally.note_scene(at_s)
        for change in seen.health:
            self._tally.note_health(change)
        if not seen.kept and seen.outcome is FrameOutcome.SKIPPED:
            self._note_alike()
        if self._spans is not None:
            self._spans.looked(entry.message, seen.clips, taken_at_s)
        await self._hand_on(seen.clips)

    def _note_alike(self) -> None:
        """The pictures that were looked at are nearly the same as the newest clip's: what is known
        of that reaches further now."""
        newest_s = self._perceiver.newest_s
        if not self.covers or newest_s is None or self._perceiver.pending is not None:
            return
        clip_index = self.covers[-1].clip_index
        if self._presenter.has_shown(clip_index):
            self._tally.note_alike(newest_s)
        if self._journal is not None:
            self._journal.note_alike(clip_index, newest_s)

    async def _keep(self, pictures: list[KeptPicture]) -> Guarantee:
        """Have what was kept survive as far as may be, before anybody is told that it was kept."""
        if self._journal is None:
            return Guarantee.NONE
        forgotten = self._privacy.forgotten
        kept = [one for one in pictures if not forgotten.touch(one.capture_s, one.capture_s)]
        return await self._journal.append(kept)

    def _is_late(self, message: FrameMessage) -> bool:
        waited_s = self._shared.clock.now_s() - message.received_at_s
        return waited_s > self._shared.settings.max_lag_s or self._quality.is_too_late(
            age_s=waited_s, has_newer=len(self._mailbox) > 0, num_ahead=self._presenter.num_ahead
        )

    async def _seen(self, entry: Entry) -> "_Looked":
        message = entry.message
        try:
            if isinstance(message, EncodedFrame) and not message.is_still:
                return await self._video_looked(message, follows_gap=entry.follows_gap)
            if self._is_light(message):
                return await self._still_looked(message)
            self._perceiver.begin_still(message)
        except Undecodable as error:
            return Seen.lost(error), []
        return await self._looked(
            partial(self._see, message), decodes=isinstance(message, EncodedFrame)
        )

    def _is_light(self, message: FrameMessage) -> TypeGuard[EncodedFrame]:
        """Whether nothing but decoding and comparing is to be done for a picture, which decoder
        processes do without a thread of ours."""
        if not isinstance(message, EncodedFrame):
            return False
        shape = self._perceiver.shape
        is_kept_as_it_came = len(message.payload) <= 3 * shape.width * shape.height
        return self._perceiver.is_light and (self._journal is None or is_kept_as_it_came)

    async def _still_looked(self, message: EncodedFrame) -> "_Looked":
        """Have a still assessed. Raises `Undecodable`."""
        perceiver, clock = self._perceiver, self._shared.clock
        perceiver.begin_still(message)
        started_s = clock.now_s()

        looked: asyncio.Future[_Looked] = asyncio.get_running_loop().create_future()
        place: Place | None = None

        def take(found: LentPicture | Undecodable) -> None:
            self._note_decoded(message.codec, clock.now_s() - started_s)
            if looked.done():  # the stream was closed meanwhile
                return
            if isinstance(found, Undecodable):
                looked.set_result((Seen.lost(found), []))
                return
            try:
                seen = perceiver.see_still(message, found)
                self.covers = perceiver.covers
                kept = [] if self._journal is None else as_pictures(seen.kept, message)
            except Exception as error:  # a fault of ours ends the stream, not the decoding
                looked.set_exception(error)
            else:
                looked.set_result((seen, kept))

        self._is_looking = True
        try:
            asked = StillToAssess(
                payload=message.payload,
                codec=message.codec,
                shape=perceiver.shape,
                before=perceiver.before,
                least=perceiver.least_news(message),
            )
            place = self._desk.assess(asked, take, partial(_fail, looked))
            return await looked
        finally:
            self._is_looking = False
            if place is not None:
                place.leave()

    async def _video_looked(self, message: EncodedFrame, *, follows_gap: bool) -> "_Looked":
        """Have a message of coded video decoded, and look at what came of it: nothing, for most. A
        thread is needed only where that takes long. Raises `Undecodable`."""
        started_s = self._shared.clock.now_s()
        decoded = await self._decoded(
            partial(
                self._perceiver.decode,
                message,
                follows_gap=follows_gap,
                is_hurried=self._is_live and self._presenter.is_full,
            )
        )
        self._note_decoded(message.codec, self._shared.clock.now_s() - started_s)
        is_light = self._perceiver.is_light and self._journal is None
        if decoded.num_pictures > (MAX_LIGHT_PICTURES if is_light else 0):
            return await self._looked(partial(self._see_decoded, message, decoded), decodes=False)
        looked = self._see_decoded(message, decoded)
        self.covers = self._perceiver.covers
        return looked

    async def _decoded(self, ask: Callable[[Callable[[Decoded], None]], None]) -> Decoded:
        """What comes of coded video. Raises `Undecodable`."""
        found: asyncio.Future[Decoded] = asyncio.get_running_loop().create_future()
        place: Place | None = None

        def tell(decoded: Decoded) -> None:
            if not found.done():  # else the stream was closed meanwhile
                found.set_result(decoded)

        self._is_looking = True
        try:
            place = self._desk.decode(ask, tell, partial(_fail, found))
            return await found
        finally:
            self._is_looking = False
            if place is not None:
                place.leave()

    def _see_decoded(self, message: EncodedFrame, decoded: Decoded) -> "_Looked":
        seen = self._perceiver.see_decoded(message, decoded)
        return seen, [] if self._journal is None else as_pictures(seen.kept, message)

    def _see(self, message: FrameMessage) -> "_Looked":
        clock = self._shared.clock
        started_s = clock.now_s()
        seen = self._perceiver.see(message)
        if isinstance(message, EncodedFrame):
            self._note_decoded(message.codec, clock.now_s() - started_s)
        return seen, [] if self._journal is None else as_pictures(seen.kept, message)

    def _note_decoded(self, codec: Codec, took_s: float) -> None:
        observe = self._observes.get(codec)
        if observe is None:
            observe = self._shared.metrics.note_decoded(codec.name.lower())
            self._observes[codec] = observe
        observe(took_s)

    async def _source_ended(self) -> "_Looked":
        """What was held back of a source that has ended. Its decoder goes."""
        try:
            held_back = await self._decoded(self._perceiver.finish)
        except Undecodable as error:  # its sender is refused
            held_back = Decoded(error, Picker(Sampler(1.0), None))
        self._perceiver.close()
        return await self._looked(partial(self._end_source, held_back), decodes=False)

    def _end_source(self, held_back: Decoded) -> "_Looked":
        seen = self._perceiver.end_source(held_back)
        return seen, [] if self._journal is None else as_pictures(seen.kept, None)

    async def _looked(self, work: Callable[[], "_Looked"], *, decodes: bool) -> "_Looked":
        """Have `work` done off the event loop; where it decodes, when it is this stream's turn."""
        self._is_looking = True
        try:
            if decodes:
                self._job = await self._desk.begin(work)
            else:
                self._job = asyncio.get_running_loop().run_in_executor(self._shared.pool, work)
            looked = await asyncio.shield(self._job)
            self.covers = self._perceiver.covers
            return looked
        finally:
            self._is_looking = False

    async def _hand_on(self, clips: list[Clip]) -> None:
        for clip in clips:
            await self._presenter.put(clip)


def _fail(awaited: "asyncio.Future[Any]", error: Exception) -> None:
    if not awaited.done():  # else the stream was closed meanwhile
        awaited.set_exception(error)


_Looked = tuple[Seen, list[KeptPicture]]
