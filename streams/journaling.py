"""The frame journal as streams use it: off the event loop, and never in the way.

What is journaled is what the model is shown: the kept pictures, each under the index of the clip
that it belongs to. A picture that came encoded stands as it came; one that came as pixels, out of
coded video, or has a mask on it, as PNG of the model's size. So a replay needs no key frame and no
decoder's state, makes the very same clips, and takes nothing for what was skipped but, now and
then, a look: until when the picture has stayed the same.
"""

import asyncio
import contextlib
import logging
import math
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from onlooker.cache_store.config import JournalSection
from onlooker.cache_store.daemon_pool import DaemonPool
from onlooker.cache_store.journal import (
    DurableMark,
    FrameJournal,
    JournalReceipt,
    JournalStats,
    JournalUnreachable,
    NewEntry,
)
from onlooker.cache_store.journal_entry import JournalEntry
from onlooker.core.clock import Clock
from onlooker.core.errors import Overloaded
from onlooker.core.guarantee import Guarantee, weakest
from onlooker.core.ids import StreamId
from onlooker.core.media import Codec, EncodedFrame, FrameMessage
from onlooker.core.metrics import Metrics
from onlooker.core.waiting import within
from onlooker.streams.journal_writer import JournalWriter
from onlooker.streams.perception.perceiver import KeptFrame
from onlooker.streams.perception.stills import encode_png

T = TypeVar("T")

_log = logging.getLogger("onlooker.streams.journaling")

CLOSE_S = 10.0
"""How long the closing of the journal is waited for."""

REPLAY_BYTES = 16 << 20
"""Bytes of pictures of a replay that are in memory at once."""

RETRY_S = 1.0
"""Seconds until a replay asks again where the journal could not be reached."""


@dataclass(frozen=True, slots=True)
class KeptPicture:
    """A picture that became part of a clip, as the journal takes it."""

    clip_index: int
    capture_s: float
    codec: Codec
    payload: bytes
    is_last: bool = False
    """Whether the clip is whole with this picture."""


def as_pictures(kept: Sequence[KeptFrame], message: FrameMessage | None) -> list[KeptPicture]:
    """The frames that were kept of `message` (None: of the end of a source) as the journal takes
    them. It encodes, so it must be called off the event loop."""
    pictures = []
    for one in kept:
        frame = one.frame
        codec, payload = Codec.PNG, b""
        if isinstance(message, EncodedFrame) and message.is_still and not one.is_masked:
            codec, payload = message.codec, message.payload
        if not 0 < len(payload) <= frame.pixels.nbytes:  # none, or more than its pixels take
            codec, payload = Codec.PNG, encode_png(frame.pixels)
        pictures.append(KeptPicture(one.clip_index, frame.capture_s, codec, payload, one.is_last))
    return pictures


class JournalKeeper:
    """The journals of all streams. All calls are made on the event loop.

    One thread does all the writing. While a write hangs, whatever else comes is taken without a
    guarantee at once: a stuck disk must not keep streams from being watched.
    """

    def __init__(
        self,
        journal: FrameJournal,
        *,
        settings: JournalSection,
        clock: Clock,
        metrics: Metrics,
        executor: Executor | None = None,
    ) -> None:
        """`executor`: has one thread, and does all the work on `journal`; given by tests."""
        self._journal = journal
        self._settings, self._clock, self._metrics = settings, clock, metrics
        self._executor = executor or DaemonPool(1, name="journal")
        self._writer = JournalWriter(journal, self._executor, batch_bytes=settings.batch_bytes)
        self._tasks: set[asyncio.Future[Any]] = set()
        self._open: dict[StreamId, StreamJournal] = {}
        self._num_overdue = 0
        self._stats = journal.stats()
        self._is_store_kept = True

    @property
    def guarantee(self) -> Guarantee:
        """What a frame survives that the journal would take now."""
        return self._journal.guarantee

    @property
    def is_shared(self) -> bool:
        """Whether another server that opens a stream finds what this one kept of it."""
        return self._journal.is_shared

    @property
    def settle_s(self) -> float:
        """Seconds between two questions of what is durable."""
        return self._settings.settle_s

    async def stats(self) -> JournalStats:
        """The journal's totals and what it holds now; as last told while the journal is stuck."""
        with contextlib.suppress(TimeoutError):
            self._stats = await self._run_briefly(self._journal.stats)
        return self._stats

    async def open(
        self, stream_id: StreamId, survives: Guarantee, *, epoch: int | None = None
    ) -> "StreamJournal":
        """Open the journal of a stream; `survives`: what its durable clips survive, `epoch`: in
        which it is written, where streams have owners.

        Raises:
            Overloaded: the journal is stuck, and what it has of the stream cannot be told.
        """
        try:
            newest_s = await self._run_briefly(partial(self._journal.newest_s, stream_id))
        except (TimeoutError, JournalUnreachable) as error:
            raise Overloaded(
                "the journal of frames does not answer, since its disk hangs or its Redis is away: "
                "try again later"
            ) from error
        found = self._open[stream_id] = StreamJournal(stream_id, self, survives, newest_s, epoch)
        return found

    async def newest_s(self, stream_id: StreamId) -> float | None:
        """Capture time of a stream's newest picture that is not durable; None where there is none,
        or the journal is stuck."""
        try:
            return await self._run_briefly(partial(self._journal.newest_s, stream_id))
        except (TimeoutError, JournalUnreachable):
            return None

    def let_go(self, stream_id: StreamId) -> None:
        """Let go of a stream that was closed; what is pending of it stays in the journal."""
        self._open.pop(stream_id, None)

    async def forget(self, stream_id: StreamId, *, epoch: int | None = None) -> None:
        """Delete all that the journal has of a stream; later, while the journal is stuck. `epoch`:
        as of `open`."""
        self.let_go(stream_id)
        try:
            await self._run_briefly(partial(self._journal.delete, stream_id, epoch=epoch))
        except TimeoutError:
            _log.warning("the journal is stuck; a stream's frames are deleted later")

    def waiting(self) -> dict[StreamId, list[int]]:
        """By stream, the indices of clips that were seen and are not known to be durable."""
        return {
            stream_id: indices
            for stream_id, journal in self._open.items()
            if (indices := journal.waiting())
        }

    def rely(self, is_kept: bool) -> None:
        """Note whether the engine's store can be relied on to have what was told to be durable.
        Where it cannot, whatever the journal still has is asked about again."""
        if is_kept is not self._is_store_kept:
            _log.warning(
                "the guarantee of streams has changed, since the store "
                + ("can be relied on again" if is_kept else "may have lost segments")
            )
        self._is_store_kept = is_kept
        if not is_kept:
            for journal in self._open.values():
                journal.doubt()

    def at_best(self, survives: Guarantee) -> Guarantee:
        """What a kept frame survives now, where a durable clip normally `survives` this."""
        if not self._is_store_kept:
            return Guarantee.NONE
        return weakest((self._journal.guarantee, survives))

    def settle(self, stream_id: StreamId, clip_indices: Collection[int]) -> None:
        """Note that some clips of a stream are durable now."""
        if (journal := self._open.get(stream_id)) is not None:
            journal.settle(clip_indices)

    async def close(self) -> None:
        """Write everything down and close the journal, which ends with the process if it is
        stuck."""
        closed = asyncio.ensure_future(self._run(self._journal.close))
        await asyncio.wait((closed,), timeout=CLOSE_S)  # of real time: nothing else goes on
        if closed.done():
            closed.result()
        else:
            _log.warning("the journal is stuck at the end")
        self._executor.shutdown(wait=False)

    # ---- for `StreamJournal`

    async def append(
        self, entries: Sequence[NewEntry], note: Callable[[Sequence[JournalReceipt]], None]
    ) -> Guarantee:
        """Write pictures of one stream; return the least guarantee that one of them got. `note`
        hears of the places that they got, even when that comes too late for a guarantee."""
        if self._num_overdue:
            return self._counted(Guarantee.NONE, len(entries))
        written = self._writer.write(entries)
        written.add_done_callback(lambda done: note(done.result()))
        try:
            receipts = await within(self._clock, self._settings.stall_s, asyncio.shield(written))
        except TimeoutError:
            _log.warning("the journal is stuck; frames go on without a guarantee")
            self._num_overdue += 1
            written.add_done_callback(self._arrived_late)
            return self._counted(Guarantee.NONE, len(entries))
        return self._counted(weakest(receipt.guarantee for receipt in receipts), len(entries))

    async def forget_span(
        self,
        stream_id: StreamId,
        start_s: float,
        end_s: float,
        clip_indices: Collection[int],
        *,
        epoch: int | None = None,
    ) -> tuple[int, int] | None:
        """Delete the pictures of clips that touch a span of time, or have these indices; returns
        how many pictures and bytes. None: the journal is stuck, and does it later, or its disk
        or Redis fails."""
        indices = frozenset(clip_indices)
        work = partial(self._journal.forget, stream_id, start_s, end_s, indices, epoch=epoch)
        try:
            return await self._run_briefly(work)
        except (TimeoutError, JournalUnreachable) as error:
            _log.warning("pictures in the journal are deleted later", extra={"error": str(error)})
            return None

    def mark(self, mark: DurableMark) -> None:
        """Note that a stream's entries up to a position are durable elsewhere."""
        self._writer.note(mark)

    def note_alike(self, look: NewEntry) -> None:
        """Write down, later, that the picture was like a clip's. Nothing is written while the
        journal is stuck."""
        if not self._num_overdue:
            self._writer.note(look)

    @property
    def alike_s(self) -> float:
        """Seconds of stream time, at least, between two looks that are written down."""
        return self._settings.alike_s

    async def read(self, stream_id: StreamId, after: int) -> list[JournalEntry]:
        """The next entries of a stream's replay, after position `after`; empty at the end. A
        journal that is away is waited for: what it has was acknowledged."""
        work = partial(self._journal.replay, stream_id, after=after, max_bytes=REPLAY_BYTES)
        while True:
            try:
                return await self._run(work)
            except JournalUnreachable as error:
                _log.warning("the journal cannot be read yet", extra={"error": str(error)})
            await self._clock.sleep(RETRY_S)

    def _counted(self, guarantee: Guarantee, num_pictures: int) -> Guarantee:
        self._metrics.journal_frames.labels(guarantee.value).inc(num_pictures)
        return guarantee

    def _arrived_late(self, done: object) -> None:
        self._num_overdue -= 1

    async def _run_briefly(self, work: Callable[[], T]) -> T:
        """As `_run`. Raises TimeoutError when it takes longer than a frame waits for the journal;
        the work is then done later."""
        done = asyncio.ensure_future(self._run(work))
        self._tasks.add(done)
        done.add_done_callback(self._ended)
        return await within(self._clock, self._settings.stall_s, asyncio.shield(done))

    async def _run(self, work: Callable[[], T]) -> T:
        """Do `work` after all that was written before it."""
        await self._writer.written()
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def _ended(self, done: "asyncio.Future[Any]") -> None:
        self._tasks.discard(done)
        if not done.cancelled():
            done.exception()  # whoever still waits for it hears of it


class StreamJournal:
    """One stream's part of the journal."""

    def __init__(
        self,
        stream_id: StreamId,
        keeper: JournalKeeper,
        survives: Guarantee,
        newest_s: float | None,
        epoch: int | None,
    ) -> None:
        self._stream_id, self._keeper, self._survives = stream_id, keeper, survives
        self._epoch = epoch
        self.newest_s = newest_s
        """Capture time of the newest picture found at opening; None where there was none."""
        self.seen_below = 0
        """Clips of a lower index have been shown to the model."""
        self._places: OrderedDict[int, int] = OrderedDict()
        self._durable: set[int] = set()
        self._written = keeper.guarantee
        self._noted_s = -math.inf

    @property
    def guarantee(self) -> Guarantee:
        """What the newest picture survives now; before the first, what it would."""
        return weakest((self._written, self._keeper.at_best(self._survives)))

    async def append(self, pictures: Sequence[KeptPicture]) -> Guarantee:
        """Write pictures down; returns what the newest of them survives from now on."""
        if pictures:
            self._noted_s = pictures[-1].capture_s
            entries = [self._entry(picture) for picture in pictures]
            note = partial(self._note_places, pictures)
            self._written = await self._keeper.append(entries, note)
        return self.guarantee

    def note_alike(self, clip_index: int, until_s: float) -> None:
        """Write down now and then that the picture was still like the newest clip's at
        `until_s`."""
        if until_s - self._noted_s >= self._keeper.alike_s:
            self._noted_s = until_s
            look = KeptPicture(clip_index, until_s, Codec.PNG, b"", is_last=True)
            self._keeper.note_alike(replace(self._entry(look), is_look=True))

    async def forget(
        self, start_s: float, end_s: float, clip_indices: Collection[int]
    ) -> tuple[int, int] | None:
        """Delete the pictures of a span of time; see `JournalKeeper.forget_span`."""
        self.settle(clip_indices)
        return await self._keeper.forget_span(
            self._stream_id, start_s, end_s, clip_indices, epoch=self._epoch
        )

    async def groups(self) -> AsyncIterator[tuple[int, list[JournalEntry]]]:
        """Yield clips that are not durable as (index, entries), in order; note their places."""
        index, group, after = -1, list[JournalEntry](), -1
        while part := await self._keeper.read(self._stream_id, after):
            for entry in part:
                if entry.sequence != index and group:
                    yield index, group
                    group = []
                index = entry.sequence
                group.append(entry)
                if not entry.is_look:  # looks stay until the next clip is durable
                    self._places[index] = entry.position
            after = part[-1].position
        if group:
            yield index, group

    def waiting(self) -> list[int]:
        """The indices of clips that the model has seen and that are not known to be durable."""
        return [
            index
            for index in self._places
            if index < self.seen_below and index not in self._durable
        ]

    def doubt(self) -> None:
        """What was taken for durable may be lost: it is waited for once more."""
        self._durable.clear()

    def settle(self, clip_indices: Collection[int]) -> None:
        """Note that clips are durable, or lost for good. The journal lets go of the oldest clips as
        long as they are either."""
        self._durable.update(index for index in clip_indices if index in self._places)
        position = None
        while self._places and (first := next(iter(self._places))) in self._durable:
            position = self._places.pop(first)
            self._durable.discard(first)
        if position is not None:
            self._keeper.mark(
                DurableMark(stream=self._stream_id, position=position, epoch=self._epoch)
            )

    def _entry(self, picture: KeptPicture) -> NewEntry:
        return NewEntry(
            stream=self._stream_id,
            sequence=picture.clip_index,
            capture_s=picture.capture_s,
            codec=picture.codec,
            payload=picture.payload,
            is_last=picture.is_last,
            epoch=self._epoch,
        )

    def _note_places(
        self, pictures: Sequence[KeptPicture], receipts: Sequence[JournalReceipt]
    ) -> None:
        for picture, receipt in zip(pictures, receipts, strict=True):
            if receipt.position is not None:
                self._places[picture.clip_index] = receipt.position
