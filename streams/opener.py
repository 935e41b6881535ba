"""`StreamOpener`: takes a stream wherever something of it is, and lets go of it everywhere.

That is the lease, the tenant's account, what belongs to the stream, the engine, the journal, the
album and the diary. Which streams are open, and when one is closed, is the hub's.
"""

import contextlib
from dataclasses import replace

from onlooker.core.drawer import StreamDrawer
from onlooker.core.errors import EngineDead, EngineRestarting
from onlooker.core.guarantee import Guarantee
from onlooker.core.ids import StreamId, split_stream_id
from onlooker.streams.album.stream_album import StreamAlbum
from onlooker.streams.alert_ledger import AlertLedger
from onlooker.streams.belongings import PRIVACY, Belongings, find_belongings
from onlooker.streams.clearing import Clearing
from onlooker.streams.diary.stream_diary import StreamDiary
from onlooker.streams.journaling import JournalKeeper
from onlooker.streams.kept_privacy import privacy_document, read_privacy
from onlooker.streams.nameplate import NameplateHolder
from onlooker.streams.origins import settle_origin
from onlooker.streams.privacy import NOTHING_KEPT, StreamPrivacy
from onlooker.streams.quality.governor import Governor
from onlooker.streams.question_slots import QuestionSlots
from onlooker.streams.restorer import Opened, Restorer, open_with
from onlooker.streams.shared import Shared
from onlooker.streams.state import StreamTerms
from onlooker.streams.stream import Stream, StreamOptions
from onlooker.watches.keeper import MakeKeeper
from onlooker.watches.outlets import Outlets


class StreamOpener:
    """One for all streams of a server; all on the event loop."""

    def __init__(
        self,
        shared: Shared,
        *,
        governor: Governor,
        slots: QuestionSlots,
        outlets: Outlets,
        make_keeper: MakeKeeper,
        journal: JournalKeeper | None,
        drawer: StreamDrawer | None,
    ) -> None:
        self._shared, self._engine, self._accounts = shared, shared.engine, shared.accounts
        self._clock, self._settings, self._metrics = shared.clock, shared.settings, shared.metrics
        self._governor, self._outlets, self._make_keeper = governor, outlets, make_keeper
        self._journal, self._drawer, self._ownership = journal, drawer, shared.ownership
        self._albums, self._diaries = shared.albums, shared.diaries
        self._slots = slots
        self._clearing: Clearing | None = None
        if drawer is not None:
            self._clearing = Clearing(
                drawer,
                clock=self._clock,
                metrics=self._metrics,
                max_streams=self._settings.max_kept_streams,
            )

    async def open(self, stream_id: StreamId, options: StreamOptions) -> Stream:
        """A stream that is open everywhere but does not run yet.

        Raises:
            LimitReached: the tenant has as many open as it may.
            OwnedElsewhere: another server has the stream.
            EngineRestarting: the engine is being started again, and it takes long.
            Overloaded, ServiceError: what belongs to it cannot be read, or what belonged to a
                deleted one of its name is still there.
            TooLarge: too many masks, or corners of one; a nameplate that is too long.
        """
        if self._ownership is not None:
            await self._ownership.claim(stream_id)
        account = self._accounts.of_stream(stream_id)
        await account.open_stream(split_stream_id(stream_id)[1])
        if self._clearing is not None:
            await self._clearing.before_opening(stream_id, epoch=self.epoch_of(stream_id))
        belongings = await find_belongings(
            stream_id,
            self._drawer if options.persistent else None,
            epoch=self.epoch_of(stream_id),
            clock=self._clock,
            metrics=self._metrics,
        )
        try:
            return await self._begun_with(belongings, stream_id, options)
        except BaseException:
            await belongings.cut()
            raise

    async def undo(self, stream_id: StreamId) -> None:
        """Let go of a stream whose opening failed half-way. What it remembered stays."""
        self._governor.leave(stream_id)
        if self._journal is not None:
            self._journal.let_go(stream_id)
        if self._albums is not None:
            self._albums.let_go(stream_id)
        claim = None if self._ownership is None else self._ownership.claim_of(stream_id)
        async with contextlib.AsyncExitStack() as last_to_first:  # each, whatever the others do
            # One that was left for whoever is asked next goes on waiting for that.
            is_left = claim is not None and claim.was_open
            last_to_first.push_async_callback(self.release, stream_id, is_left=is_left)
            account, name = self._accounts.of_stream(stream_id), split_stream_id(stream_id)[1]
            last_to_first.push_async_callback(account.close_stream, name)
            with contextlib.suppress(EngineRestarting, EngineDead):
                await self._engine.close_stream(stream_id, forget=False)

    async def let_go(self, stream: Stream, *, is_forgotten: bool, goes_on: bool) -> bool:
        """Let the journal, the engine and the lease of a closed stream go; False where the engine
        was away, and what it has of a stream that is to be forgotten is to be deleted later."""
        if self._clearing is not None and stream.must_be_cleared:
            self._clearing.add(stream.id, epoch=self.epoch_of(stream.id))
        if self._journal is not None:
            self._journal.let_go(stream.id)
            if is_forgotten:
                await self._journal.forget(stream.id, epoch=self.epoch_of(stream.id) or None)
        if self._albums is not None:
            self._albums.let_go(stream.id)
            if is_forgotten or not stream.options.persistent:
                await self._albums.delete(stream.id, epoch=self.epoch_of(stream.id) or None)
        if self._diaries is not None and (is_forgotten or not stream.options.persistent):
            await self._diaries.delete(stream.id, epoch=self.epoch_of(stream.id) or None)
        is_done = True
        try:
            await self._engine.close_stream(stream.id, forget=is_forgotten)
        except (EngineRestarting, EngineDead):
            is_done = not is_forgotten or not self._engine.healthy()
        await self.release(stream.id, is_left=goes_on)
        return is_done

    async def close(self) -> None:
        """Stop what is done in the background. Idempotent."""
        if self._clearing is not None:
            await self._clearing.close()

    async def release(self, stream_id: StreamId, *, is_left: bool = False) -> None:
        """Let go of the lease. `is_left`: the stream waits for its next owner."""
        if self._ownership is not None:
            await self._ownership.release(stream_id, is_left=is_left)

    def is_ours(self, stream_id: StreamId) -> bool:
        """Whether no other server can have the stream."""
        return self._ownership is None or self._ownership.holds(stream_id)

    def epoch_of(self, stream_id: StreamId) -> int:
        """The number of this server's ownership; 0 where it is alone."""
        claim = None if self._ownership is None else self._ownership.claim_of(stream_id)
        return 0 if claim is None else claim.epoch

    # ---- inside

    async def _begun_with(
        self, belongings: Belongings, stream_id: StreamId, options: StreamOptions
    ) -> Stream:
        if self._engine.info.survives is not Guarantee.NONE:  # else nothing is found again
            zero_wall_s = await settle_origin(belongings, options.zero_wall_s)
            options = replace(options, zero_wall_s=zero_wall_s)
        ledger = AlertLedger(belongings, max_alerts=self._settings.alerts_retained)
        privacy = self._privacy_of(belongings, options)
        nameplate = NameplateHolder(belongings, self._settings.nameplates)
        nameplate.begin(options.nameplate)
        await ledger.begin()  # with it the masks are kept that the stream is opened with
        opened = await self._opened(stream_id, options, privacy)
        stream = Stream(
            stream_id,
            options,
            self._shared,
            opened=opened,
            governor=self._governor,
            make_keeper=self._make_keeper,
            slots=self._slots,
            outlets=self._outlets,
            belongings=belongings,
            nameplate=nameplate,
            ledger=ledger,
        )
        stream.go_on()
        self._governor.join(stream.ingest)
        return stream

    def _privacy_of(self, belongings: Belongings, options: StreamOptions) -> StreamPrivacy:
        """What an earlier owner kept of the stream's privacy, with what it is opened with."""
        kept = read_privacy(belongings.documents.get(PRIVACY, b""))
        privacy = StreamPrivacy(
            self._settings.privacy,
            is_live=(options.clock or self._settings.clock) == "live",
            kept=kept or NOTHING_KEPT,
            save=lambda changed: belongings.keep(PRIVACY, privacy_document(changed)),
        )
        if options.masks is not None:
            privacy.set_masks(options.masks)
        if options.keep_for_s is not None:
            privacy.set_keep_for(options.keep_for_s)
        return privacy

    async def _opened(
        self, stream_id: StreamId, options: StreamOptions, privacy: StreamPrivacy
    ) -> Opened:
        """Open the stream with the engine and with the journal."""
        await self._engine.wait_ready()
        life, info = self._engine.life, self._engine.info
        remembered = await open_with(self._engine, stream_id, privacy)
        if remembered.seen_until_s is not None and not privacy.wall.anchors:
            # Nobody noted when it was: it ages from now on.
            privacy.note_seen(remembered.seen_until_s, self._clock.wall_s())
        opened = Opened(life, remembered, privacy=privacy)
        if self._journal is not None and info.survives is not Guarantee.NONE and options.persistent:
            restorer = await self._restorer(stream_id, options)
            opened = replace(opened, restorer=restorer)
        # A stream that ends with its connection cannot be opened again: it needs no journal.
        forgotten, epoch = privacy.forgotten, self.epoch_of(stream_id) or None
        if self._albums is not None:
            album = StreamAlbum(stream_id, self._albums, is_forgotten=forgotten.touch, epoch=epoch)
            album.begin(opened.newest_s, forgotten.all_spans)
            opened = replace(opened, album=album)
        if self._diaries is not None:
            diary = StreamDiary(stream_id, self._diaries, is_forgotten=forgotten.touch, epoch=epoch)
            diary.begin(opened.newest_s, forgotten.all_spans)
            opened = replace(opened, diary=diary)
        return opened

    async def _restorer(self, stream_id: StreamId, options: StreamOptions) -> Restorer:
        """What finds again what the journal has of a stream."""
        assert self._journal is not None, "the caller has looked"
        if self._is_handed_over(stream_id) and not self._journal.is_shared:
            # The last owner went on from what was shared; these frames are from before that.
            await self._journal.forget(stream_id)
        epoch = self.epoch_of(stream_id) or None
        journal = await self._journal.open(stream_id, self._engine.info.survives, epoch=epoch)
        terms = StreamTerms.of(stream_id, options, self._settings)
        return Restorer(terms, journal, self._shared)

    def _is_handed_over(self, stream_id: StreamId) -> bool:
        claim = None if self._ownership is None else self._ownership.claim_of(stream_id)
        return claim is not None and claim.is_handed_over
