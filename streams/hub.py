"""All streams of a server: which are open, running them, reaping and closing them; every task."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import replace
from typing import Any

from onlooker.core.drawer import StreamDrawer
from onlooker.core.errors import (
    Conflict,
    EngineDead,
    EngineRestarting,
    InvalidRequest,
    NoRoom,
    NotFound,
    OnlookerError,
    ShuttingDown,
)
from onlooker.core.guarantee import Guarantee
from onlooker.core.ids import STREAM_ID_PATTERN, StreamId, is_stream_id, new_id, split_stream_id
from onlooker.core.log import stream_id_var
from onlooker.core.waiting import cancel
from onlooker.engine.interface import EngineInfo, Progress
from onlooker.scheduler.room import Room
from onlooker.streams.departures import Departures
from onlooker.streams.journaling import JournalKeeper
from onlooker.streams.opener import StreamOpener
from onlooker.streams.quality.governor import GOVERN_S, Governor
from onlooker.streams.question_slots import QuestionSlots
from onlooker.streams.retention import Retention
from onlooker.streams.shared import Shared
from onlooker.streams.sources.puller import Puller
from onlooker.streams.sources.spec import SourceSpec
from onlooker.streams.standing_orders import OrderBook
from onlooker.streams.stock import StockTaker
from onlooker.streams.stream import Parting, Stream, StreamOptions
from onlooker.watches.keeper import MakeKeeper
from onlooker.watches.outlets import Outlets
from onlooker.watches.webhooks import WebhookSender

_log = logging.getLogger("onlooker.streams.hub")

DRAIN_POLL_S = 0.05
"""Seconds between two looks, at shutdown, at whether answers are still under way."""


def check_name(name: str) -> None:
    """Refuse what cannot name a stream. Raises `InvalidRequest`."""
    if not is_stream_id(name):
        raise InvalidRequest(
            f"a stream id is 1 to 64 letters, digits, '.', '_' or '-' ({STREAM_ID_PATTERN})",
            param="id",
        )


def not_found(name: str) -> NotFound:
    """Return an error that says how a stream comes to be."""
    return NotFound(
        f"there is no stream '{name}': create it with POST /v1/streams or connect to "
        f"/v1/realtime?stream={name}",
        param="stream",
    )


class StreamHub:
    """Every stream of this server. Made once, started once, closed once; all on the event loop."""

    def __init__(
        self,
        shared: Shared,
        *,
        governor: Governor,
        puller: Puller,
        webhooks: WebhookSender,
        outlets: Outlets,
        make_keeper: MakeKeeper,
        journal: JournalKeeper | None = None,
        drawer: StreamDrawer | None = None,
    ) -> None:
        """`outlets`, `journal` and `drawer` are closed with the hub, as are the engine and the
        pool. `outlets`: all ways out for alerts, `webhooks` among them. `journal`: keeps frames
        until their clips are durable. `drawer`: keeps what belongs to streams that outlive their
        connections beside their memory."""
        self._shared, self._engine = shared, shared.engine
        self._clock, self._settings, self._metrics = shared.clock, shared.settings, shared.metrics
        self.accounts = shared.accounts
        """What tenants may have and do, and what they have and did."""
        self._stock = StockTaker(
            shared.engine,
            journal,
            clock=shared.clock,
            metrics=shared.metrics,
            note_remembered=self.accounts.note_remembered,
        )
        self._journal, self._drawer = journal, drawer
        self._slots = QuestionSlots(shared.settings.max_questions, shared.metrics)
        self._opener = StreamOpener(
            shared,
            governor=governor,
            slots=self._slots,
            outlets=outlets,
            make_keeper=make_keeper,
            journal=journal,
            drawer=drawer,
        )
        self.orders = OrderBook(
            drawer, max_orders=shared.settings.max_orders, metrics=shared.metrics
        )
        """Watches over labels."""
        self._albums, self._diaries = shared.albums, shared.diaries
        self._retention = Retention(
            shared,
            streams=self.streams,
            closed=self._taken,
            journal=journal,
            drawer=drawer,
            epoch_of=self._opener.epoch_of,
        )
        self._swept: dict[StreamId, asyncio.Event] = {}
        """Streams that are not open and of which something is being deleted; each event is set when
        that is done."""
        self._governor, self._puller = governor, puller
        self.webhooks = webhooks
        """The sender that posts alerts to webhooks."""
        self._outlets = outlets
        self._streams: dict[StreamId, Stream] = {}
        self._opening: dict[StreamId, asyncio.Event] = {}
        """Streams that are being opened; each event is set when that has ended, well or badly."""
        self._closing: dict[StreamId, asyncio.Event] = {}
        """Streams that are being closed; each event is set when nothing of that is left to do."""
        self.departures = Departures(
            step_s=self._settings.move_every_s,
            clock=self._clock,
            streams=self.streams,
            move=self._move,
            spawn=self._spawn,
        )
        """How streams leave for other servers when this one is drained."""
        self.takes_new = True
        """Whether streams are opened; not while the server is drained."""
        self._runs: dict[StreamId, asyncio.Task[None]] = {}
        self._pulls: dict[StreamId, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_started = False
        self._is_closing = False
        self._ownership = shared.ownership
        if self._ownership is not None:
            self._ownership.on_lost = self._lose
            self._ownership.on_restored = self._keep_again

    @property
    def info(self) -> EngineInfo:
        """What the engine says of itself and of its model."""
        return self._engine.info

    def ready(self) -> bool:
        """Whether streams and questions are taken at once."""
        return self.alive() and self._engine.ready() and not self.is_stalled

    def alive(self) -> bool:
        """Whether streams and questions are taken, now or once the engine is started again."""
        return self._is_started and not self._is_closing and self._engine.healthy()

    @property
    def is_stalled(self) -> bool:
        """Whether what comes in has not been decoded for far too long."""
        return self._shared.decoding.is_stalled

    @property
    def is_decoding_idle(self) -> bool:
        """Whether nothing is being decoded, and nothing waits for it."""
        return self._shared.decoding.turns.is_idle

    @property
    def guarantee(self) -> Guarantee:
        """What a kept frame of a stream that outlives its connections survives at best."""
        if self._journal is None:
            return Guarantee.NONE
        return self._journal.at_best(self._engine.info.survives)

    @property
    def num_answers(self) -> int:
        """Answers under way, of all streams and whoever asked."""
        return self._slots.num_taken

    @property
    def room(self) -> Room:
        """What could still be let in here; nothing while streams are not taken at once."""
        num_streams = len(self._streams) + len(self._opening)
        room = self._governor.room(
            1 / self._settings.perception.clip_interval_s,
            num_streams=num_streams,
            max_streams=self._settings.max_streams,
        )
        return room if self.ready() else replace(room, streams=0)

    @property
    def load_ratio(self) -> float:
        """Share in use of what is in shortest supply here."""
        return self._governor.load_ratio

    async def start(self, progress: Progress) -> None:
        """Load the model and begin; `progress` is told what is being waited for.

        Raises:
            ConfigError: the model cannot be served.
            ServiceError: decoder processes do not start.
        """
        decoding = self._shared.decoding
        decoding.start()  # first, and so beside the model
        await self._engine.start(progress)
        await decoding.check()
        self._is_started = True
        self._spawn(self._reap())
        self._spawn(self._govern())
        self._spawn(self._stock.run())
        self._spawn(self.accounts.run())
        if self._ownership is not None:
            self._spawn(self._ownership.run())
        self._spawn(self._retention.run())

    async def close(self, *, deadline_s: float = 5.0) -> None:
        """Refuse what is new, let answers end for `deadline_s` seconds, then stop everything."""
        if self._is_closing:
            return
        self._is_closing = self._slots.is_closing = True
        until_s = self._clock.now_s() + deadline_s
        while self._slots.num_taken and self._clock.now_s() < until_s:
            await self._clock.sleep(DRAIN_POLL_S)
        for stream_id in list(self._streams):
            stream = self._streams.get(stream_id)
            if stream is not None:
                await self._stop(stream, "the server is shutting down", outcome="shutdown")
        await asyncio.gather(*map(cancel, list(self._tasks)), return_exceptions=True)
        self._shared.decoding.close()
        await self.accounts.close()
        await self._outlets.close()
        await self._engine.close()
        if self._ownership is not None:
            await self._ownership.close()
        if self._journal is not None:
            await self._journal.close()
        if self._albums is not None:
            await self._albums.close()
        if self._diaries is not None:
            await self._diaries.close()
        await self._opener.close()
        if self._drawer is not None:
            await self._drawer.close()
        self._shared.pool.shutdown(wait=False, cancel_futures=True)

    # ---- streams

    async def open_stream(
        self, stream_id: StreamId | None = None, options: StreamOptions | None = None
    ) -> Stream:
        """Open a stream; without an id, one is made.

        Raises:
            Conflict: a stream of this id exists already.
            InvalidRequest: the id cannot name a stream.
            NoRoom: as many streams are open as this server takes.
            LimitReached: the tenant has as many open as it may.
            OwnedElsewhere: another server has the stream.
            EngineRestarting: the engine is being started again, and it takes long.
            ShuttingDown, EngineDead: nothing new is taken.
            TooLarge: too many masks, or corners of one; a nameplate that is too long.
        """
        options = options or StreamOptions()
        stream_id = StreamId(new_id("stream")) if stream_id is None else stream_id
        await self._done_with(stream_id, self._closing, self._swept)
        self._check_may_open(stream_id)
        self._governor.admit_stream(1 / self._settings.perception.clip_interval_s)
        done = self._opening[stream_id] = asyncio.Event()
        try:
            stream = await self._opener.open(stream_id, options)
        except BaseException:
            await asyncio.shield(self._opener.undo(stream_id))
            raise
        finally:
            del self._opening[stream_id]
            done.set()
        self._streams[stream_id] = stream
        self._metrics.streams.set(len(self._streams))
        self._runs[stream_id] = asyncio.create_task(self._run(stream), name=f"stream {stream_id}")
        stream.nameplate.on_change.append(lambda: self._follow_orders(stream))
        self._follow_orders(stream)
        return stream

    def get(self, stream_id: StreamId | str) -> Stream:
        """The open stream of this id.

        Raises:
            NotFound: no stream of this id is open.
        """
        stream = self._streams.get(StreamId(stream_id))
        if stream is None:
            raise not_found(split_stream_id(StreamId(stream_id))[1])
        return stream

    def has(self, stream_id: StreamId) -> bool:
        """Whether a stream is open here, or is being opened."""
        return stream_id in self._streams or stream_id in self._opening

    async def settled(self, stream_id: StreamId) -> None:
        """Return when a stream is not just being opened, closed, swept, or let go for another
        server."""
        await self.departures.settled(stream_id)
        await self._done_with(stream_id, self._opening, self._closing, self._swept)

    def streams(self) -> list[Stream]:
        """All open streams, oldest first."""
        return list(self._streams.values())

    async def close_stream(self, stream_id: StreamId | str, reason: str) -> None:
        """Close a stream and forget what is remembered of it; its viewers are told `reason`.

        Raises:
            NotFound: no stream of this id is open.
        """
        stream = self.get(stream_id)
        await self._stop(stream, reason, outcome="closed")

    async def move_all(self, *, deadline_s: float) -> None:
        """Let every stream go, for another server to go on with: each once its answers have ended,
        or `deadline_s` seconds from now."""
        await self.departures.run(deadline_s=deadline_s, is_done=lambda: not self._opening)

    async def pull(self, stream: Stream, source: SourceSpec) -> None:
        """Let the server itself feed `stream` from `source`, in the background.

        Returns once the address has been checked; connecting, losing and finding it again are told
        as `SourceChanged` events. Ends with the source, or with the stream.

        Raises:
            Conflict: another source feeds the stream.
            Forbidden: the address or path is not allowed.
            InvalidRequest, Overloaded: a bad URL; too many sources.
        """
        pull = await self._puller.prepare(stream, source)
        task = self._pulls[stream.id] = self._spawn(pull.run())
        task.add_done_callback(lambda _: pull.close())  # also where it never took a step

    # ---- inside

    @staticmethod
    async def _done_with(stream_id: StreamId, *under_way: Mapping[StreamId, asyncio.Event]) -> None:
        """Return when nothing of that is under way with a stream."""
        while ends := [busy[stream_id] for busy in under_way if stream_id in busy]:
            await ends[0].wait()

    def _check_may_open(self, stream_id: StreamId) -> None:
        if self._is_closing:
            raise ShuttingDown("the server is shutting down and opens no more streams")
        if not self.takes_new:
            raise ShuttingDown("the server is drained and opens no more streams; try another one")
        if not self._engine.healthy():
            raise EngineDead("the engine is gone; the server must be restarted")
        tenant, name = split_stream_id(stream_id)
        check_name(name)
        check_name(tenant)
        if stream_id in self._streams or stream_id in self._opening:
            raise Conflict(f"stream '{name}' exists already", param="id")
        if len(self._streams) + len(self._opening) >= self._settings.max_streams:
            raise NoRoom(
                f"{self._settings.max_streams} streams are open, which is this server's limit "
                "(setting streams.max_streams): close one or try again later"
            )

    @contextlib.asynccontextmanager
    async def _taken(self, stream_id: StreamId) -> AsyncIterator[bool]:
        """Keep a closed stream from being opened while the block runs; False where it is open, here
        or on another server, or this one is closing."""
        is_busy = any(stream_id in busy for busy in (self._streams, self._opening, self._closing))
        if self._is_closing or is_busy:
            yield False
            return
        done = self._swept[stream_id] = asyncio.Event()
        is_left = False
        try:
            if self._ownership is not None:
                try:
                    is_left = await self._ownership.check_elsewhere(stream_id)
                    await self._ownership.claim(stream_id)
                except OnlookerError:
                    yield False
                    return
            try:
                yield True
            finally:  # one that waits for its next owner goes on waiting
                await self._opener.release(stream_id, is_left=is_left)
        finally:
            del self._swept[stream_id]
            done.set()

    async def _run(self, stream: Stream) -> None:
        """The root of a stream's task: whatever goes wrong ends this stream only."""
        stream_id_var.set(stream.id)
        try:
            await stream.run()
        except* EngineDead:
            self._spawn(self._stop(stream, "the engine is gone", outcome="engine_dead"))
        except* Exception as errors:
            _log.error("a stream failed", exc_info=errors)
            self._spawn(self._stop(stream, "internal error in this stream", outcome="failed"))

    async def _stop(self, stream: Stream, reason: str, *, outcome: str) -> None:
        """Close a stream. Until all of it is let go, nobody opens it here again: what the next
        opening takes would be let go of with it."""
        if self._streams.get(stream.id) is not stream:
            return
        del self._streams[stream.id]
        done = self._closing[stream.id] = asyncio.Event()
        try:
            await self._end(stream, reason, outcome=outcome)
        finally:
            del self._closing[stream.id]
            done.set()

    async def _end(self, stream: Stream, reason: str, *, outcome: str) -> None:
        goes_on = outcome in ("moved", "shutdown") and stream.options.persistent
        is_moved = outcome == "moved" or (goes_on and self._ownership is not None)
        stream.mark_closed(reason, is_moved=is_moved)
        self._governor.leave(stream.id)
        run = self._runs.pop(stream.id)
        if (pull := self._pulls.pop(stream.id, None)) is not None:
            pull.cancel()
        if run is not asyncio.current_task():
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)
        # Only who closes a stream on purpose wants it forgotten; others may come back to it.
        is_forgotten = outcome == "closed"
        parting = Parting.FORGET if is_forgotten else Parting.KEEP
        parting = parting if self._opener.is_ours(stream.id) else Parting.CUT
        await stream.account.close_stream(stream.name, goes_on=goes_on)
        await stream.close(parting)
        # Who is told that a stream goes on elsewhere comes there at once: it must be free by then.
        is_told_last = is_moved and parting is Parting.KEEP
        if not is_told_last:
            stream.tell_end()
        try:
            self._metrics.streams.set(len(self._streams))
            self._metrics.streams_total.labels(reason=outcome).inc()
            if not await self._opener.let_go(stream, is_forgotten=is_forgotten, goes_on=goes_on):
                self._spawn(self._forget_later(stream.id))
        finally:
            if is_told_last:
                stream.tell_end()

    async def _move(self, stream: Stream) -> None:
        await self._stop(stream, "this server is drained", outcome="moved")

    def _lose(self, stream_id: StreamId, why: str) -> None:
        """Another server has, or may have, one of our streams: let it go at once."""
        if (stream := self._streams.get(stream_id)) is not None:
            self._spawn(self._stop(stream, f"moved: {why}", outcome="moved"))

    def _keep_again(self, stream_id: StreamId) -> None:
        """Redis came back without what it had: its masks and watches must not be lost with it."""
        if (stream := self._streams.get(stream_id)) is not None:
            _log.warning("what belongs to a stream is kept again, since Redis has lost it")
            stream.keep_again()

    async def _forget_later(self, stream_id: StreamId) -> None:
        """Forget a stream that was closed while the engine was away."""
        life = 0
        while stream_id not in self._streams and stream_id not in self._opening:
            life = await self._engine.next_life(life)
            with contextlib.suppress(EngineRestarting):
                await self._engine.open_stream(stream_id)
                await self._engine.close_stream(stream_id)
                return

    async def _reap(self) -> None:
        """Close streams that nobody feeds, watches or asks."""
        idle_s = self._settings.stream_idle_s
        while True:
            await self._clock.sleep(idle_s / 4)
            now_s = self._clock.now_s()
            for stream in self.streams():
                if stream.is_in_use:
                    stream.active_at_s = now_s
                elif now_s - stream.active_at_s >= idle_s:
                    await self._stop(stream, f"idle for {idle_s:g} s", outcome="idle")

    async def _govern(self) -> None:
        """Keep quality in step with the load."""
        while True:
            await self._clock.sleep(GOVERN_S)
            try:
                self._governor.tick()
            except Exception:
                _log.exception("the governor failed; quality stays as it is")
                return

    def _follow_orders(self, stream: Stream) -> None:
        """Have a stream's watches brought up to date with the standing orders."""
        if stream.closed_reason is None:
            self._spawn(self.orders.apply(stream))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a background task failed", exc_info=task.exception())
