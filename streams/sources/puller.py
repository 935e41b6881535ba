"""Feeds streams from sources that the server opens by itself: paced, looped, opened again."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

from onlooker.core.address import AddressPolicy
from onlooker.core.backoff import Backoff
from onlooker.core.clock import Clock
from onlooker.core.errors import NotFound, Overloaded
from onlooker.core.ids import split_stream_id
from onlooker.core.log import stream_id_var
from onlooker.core.media import DropReason, Frame, FrameOutcome
from onlooker.core.metrics import Metrics
from onlooker.core.network import Lookups, WaitBudget
from onlooker.core.waiting import within
from onlooker.engine.interface import EngineInfo
from onlooker.streams.config import StreamsSection
from onlooker.streams.decoding.desk import Decoding, Desk
from onlooker.streams.events import FrameAck
from onlooker.streams.lease import SourceChange, SourceLease
from onlooker.streams.perception.sampler import Sampler
from onlooker.streams.sources import reasons
from onlooker.streams.sources.listening import ListenAddress
from onlooker.streams.sources.options import check_options
from onlooker.streams.sources.reader import Sample, SourceReader
from onlooker.streams.sources.snapshots import Snapshot, SnapshotReader
from onlooker.streams.sources.source_time import SourceTime
from onlooker.streams.sources.spec import SourceBroken, SourceLost, SourceSlow, SourceSpec, redacted
from onlooker.streams.sources.way import Access
from onlooker.streams.stream import Stream

_log = logging.getLogger("onlooker.streams.sources")


class Reader(Protocol):
    """The part of `SourceReader` that pulling needs."""

    @property
    def is_recorded(self) -> bool: ...
    @property
    def comes_in_bursts(self) -> bool: ...

    def open(self) -> None: ...
    def samples(self) -> Any: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...


MakeReader = Callable[[SourceSpec, float], Reader]


class Puller:
    """All pulled sources of a server."""

    def __init__(
        self,
        *,
        settings: StreamsSection,
        clock: Clock,
        metrics: Metrics,
        info: Callable[[], EngineInfo],
        decoding: Decoding,
        make_reader: MakeReader | None = None,
        make_executor: Callable[[], Executor] = lambda: ThreadPoolExecutor(1, "source"),
    ) -> None:
        """`make_reader` and `make_executor` (one thread for each source) are for tests."""
        self._settings, self._clock, self._metrics, self._info = settings, clock, metrics, info
        self._policy = AddressPolicy(settings.sources.rules)
        self._lookups = Lookups(
            self._policy,
            num_threads=settings.sources.lookup_threads,
            timeout_s=settings.sources.lookup_timeout_s,
        )
        self._decoding = decoding
        self._make_reader = make_reader
        self._make_executor = make_executor
        self._num_active = 0

    async def prepare(self, stream: Stream, source: SourceSpec) -> "Pull":
        """Check `source`, claim `stream` for it, and return what feeds it: whoever gets it runs it,
        and closes it however that ended.

        Raises: see `StreamHub.pull`.
        """
        await self._check(source)
        if self._num_active >= self._settings.sources.max_sources:
            raise Overloaded(
                f"{self._num_active} sources are being pulled, which is this server's limit "
                "(setting streams.sources.max_sources): close a stream whose source is lost or no "
                "longer needed, or try again later"
            )
        lease = stream.claim_source(redacted(source.url), is_pulled=True)
        self._num_active += 1
        interval_s = max(1 / source.fps if source.fps else 0.0, stream.interval_s)
        desk = self._decoding.desk(split_stream_id(stream.id)[0])
        make_reader = self._make_reader or partial(self._source_reader, desk)
        return Pull(
            stream,
            lease,
            source,
            settings=self._settings,
            clock=self._clock,
            metrics=self._metrics,
            make_reader=lambda: make_reader(source, interval_s),
            executor=self._make_executor(),
            interval_s=interval_s,
            on_close=self._give_back,
        )

    def _give_back(self) -> None:
        self._num_active -= 1

    async def _check(self, source: SourceSpec) -> None:
        """Raise what is wrong with the address or its options; names that do not resolve may do so
        later."""
        settings = self._settings.sources
        check_options(source, settings)
        if source.scheme == "file":
            await asyncio.to_thread(self._policy.file, source.url)
        elif source.is_waited_for:
            self._policy.check_scheme(source.scheme)
            ListenAddress.of(source.url, settings)
        else:
            target = self._policy.parse(source.url)
            with contextlib.suppress(OSError):
                await self._lookups.find(target.host, target.port)

    def _source_reader(self, desk: Desk, source: SourceSpec, interval_s: float) -> Reader:
        sources = self._settings.sources
        budget = WaitBudget(
            self._clock, min_bytes_per_s=sources.min_bytes_per_s, window_s=sources.read_timeout_s
        )
        access = Access(sources, self._policy, self._lookups, self._clock, budget, self._metrics)
        if source.every_s is not None:
            return SnapshotReader(source, access, max_bytes=self._settings.max_frame_bytes)
        info = self._info()
        return SourceReader(
            source,
            settings=self._settings,
            access=access,
            desk=desk,
            interval_s=interval_s,
            width=info.frame_width,
            height=info.frame_height,
        )


class Pull:
    """One source that feeds one stream, from beginning to end."""

    def __init__(
        self,
        stream: Stream,
        lease: SourceLease,
        source: SourceSpec,
        *,
        settings: StreamsSection,
        clock: Clock,
        metrics: Metrics,
        make_reader: Callable[[], Reader],
        executor: Executor,
        interval_s: float,
        on_close: Callable[[], None],
    ) -> None:
        self._stream, self._lease, self._source = stream, lease, source
        self._settings, self._clock, self._metrics = settings.sources, clock, metrics
        self._make_reader, self._executor = make_reader, executor
        self._backoff = Backoff(self._settings.reconnect_min_s, self._settings.reconnect_max_s)
        self._time = SourceTime(settings)
        self._sampler = Sampler(interval_s)
        self._sequence = 0
        self._on_close: Callable[[], None] | None = on_close
        self._failures = 0
        self._lost_at_s: float | None = None
        self._is_recorded = False
        self._num_heard = 0
        """Samples of a recording that have been heard in this round."""
        self._num_opened = 0
        self._has_played = self._is_too_costly = False
        """Whether a picture has come; whether the newest cost too much where it was decoded."""

    async def run(self) -> None:
        """Feed until the source ends or fails for good, or the stream is closed."""
        stream_id_var.set(self._stream.id)
        try:
            await self._play()
            self._end("it ended", SourceChange.ENDED)
        except NotFound:
            pass  # the stream was closed
        except (SourceBroken, SourceLost) as error:
            self._end(str(error), SourceChange.FAILED)
        except Exception:
            _log.exception("pulling a source failed")
            self._end("internal error while pulling it; see the server's log", SourceChange.FAILED)
        finally:
            self.close()

    def close(self) -> None:
        """Give the place back. Idempotent; called also where `run` never began."""
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()
            self._executor.shutdown(wait=False)  # the reader's close still runs
            self._lease.release()

    def _end(self, reason: str, change: SourceChange) -> None:
        if change is SourceChange.FAILED:
            self._metrics.sources_failed.inc()
            _log.warning(
                "a source has failed", extra={"source": self._lease.owner, "reason": reason}
            )
        self._lease.release(reason, change=change, num_failures=self._failures)

    async def _play(self) -> None:
        """Play the source, again and again where it is looped or lost.

        Raises:
            SourceBroken, SourceLost: it failed for good.
        """
        while True:
            try:
                if not await self._play_once():
                    return
            except (SourceBroken, SourceLost) as error:
                await self._fail(error)

    async def _play_once(self) -> bool:
        """Open the source and feed all it gives; returns whether to open it again."""
        loop = asyncio.get_running_loop()
        reader = self._make_reader()
        self._is_too_costly = False
        self._num_opened += 1
        try:
            await self._open(loop.run_in_executor(self._executor, reader.open))
            self._is_recorded = reader.is_recorded
            is_paced = reader.is_recorded or reader.comes_in_bursts
            self._time.begin_again(
                is_live=self._stream.is_live and not is_paced, is_recorded=reader.is_recorded
            )
            samples, num_heard, num = reader.samples(), self._num_heard, 0
            begun: tuple[float, float] | None = None
            while True:
                sample = await loop.run_in_executor(self._executor, next, samples, None)
                if self._is_too_costly:
                    raise SourceLost(reasons.of_costly())
                if sample is None:
                    break
                num += 1
                if reader.is_recorded and num <= num_heard:
                    continue  # the recording broke off there, and is heard again up to there
                begun = await self._feed(sample, begun, is_paced=is_paced)
                self._num_heard = num
        finally:
            reader.stop()
            self._executor.submit(reader.close)
        if not reader.is_recorded:
            raise SourceLost("it stopped sending")
        if not self._sequence:
            raise SourceBroken(reasons.NO_PICTURES)
        self._num_heard = 0
        return self._source.loop

    async def _open(self, opening: "asyncio.Future[None]") -> None:
        """Wait until the source is open. What the reader itself does not end in time is left to
        its thread, which `stop` wakes."""
        limit_s = self._settings.open_timeout_s
        try:
            await within(self._clock, limit_s, opening)
        except TimeoutError as error:
            raise SourceSlow(
                f"it did not open within {limit_s:g} s (setting streams.sources.open_timeout_s)"
            ) from error

    async def _feed(
        self, sample: Sample | Snapshot, begun: tuple[float, float] | None, *, is_paced: bool
    ) -> tuple[float, float] | None:
        """Push one picture when its time has come; `begun` is (stream time, clock time) of the
        first since the source was opened."""
        live = self._stream.is_live
        now_s = self._clock.now_s()
        step_s = self._stream.interval_s
        if live and self._lost_at_s is not None:
            step_s = max(step_s, now_s - self._lost_at_s)
        placed = self._time.place(sample.time_s, step_s=step_s, now_s=now_s)
        self._lost_at_s = None
        if placed.jump is not None:
            self._stream.note_time(placed.jump)
        capture_s = placed.at_s
        if capture_s is None or not self._sampler.pick(capture_s):
            return begun
        if begun is None:
            begun = (capture_s, now_s)
        elif live and is_paced:
            await self._clock.sleep(begun[1] + (capture_s - begun[0]) - now_s)
        self._sequence += 1
        frame = sample.frame(self._sequence, capture_s, self._clock.now_s())
        if isinstance(frame, Frame):
            self._note_picture()
        if not live:
            self._note_ack(self._num_opened, await self._stream.push_wait(frame))
        elif isinstance(frame, Frame):
            self._stream.push(frame)
        else:
            outcome: asyncio.Future[FrameAck] = asyncio.get_running_loop().create_future()
            outcome.add_done_callback(partial(self._note_outcome, self._num_opened))
            self._stream.push(frame, outcome)
        return begun

    def _note_outcome(self, opening: int, outcome: "asyncio.Future[FrameAck]") -> None:
        if not outcome.cancelled() and outcome.exception() is None:
            self._note_ack(opening, outcome.result())

    def _note_ack(self, opening: int, ack: FrameAck) -> None:
        """A picture that is decoded only in the stream shows there what it costs. `opening`: the
        number of the opening of the source that it came from."""
        if opening != self._num_opened or self._on_close is None:
            return
        if ack.reason is DropReason.TOO_COSTLY:
            self._is_too_costly = True
        elif ack.outcome is not FrameOutcome.DROPPED:  # else nobody knows what it would have cost
            self._note_picture()

    def _note_picture(self) -> None:
        if self._failures and self._has_played:
            self._lease.tell(SourceChange.FOUND_AGAIN)
            _log.info("a source was found again", extra={"source": self._lease.owner})
        elif not self._has_played:
            self._lease.tell(SourceChange.PLAYING)
        self._has_played = True
        self._failures = 0

    async def _fail(self, error: SourceBroken | SourceLost) -> None:
        """Wait until the source is to be opened again.

        Raises:
            SourceBroken, SourceLost: `error`, where there were enough attempts.
        """
        has_worked, is_slow = self._has_played, isinstance(error, SourceSlow)
        self._failures += 1
        if is_slow:
            self._metrics.too_slow.labels(what="reading" if has_worked else "opening").inc()
        if not has_worked or self._is_recorded:
            if isinstance(error, SourceBroken) or (is_slow and not has_worked):
                raise error
            if self._failures >= self._settings.first_attempts:
                raise SourceLost(f"{error} (given up after {self._failures} attempts)") from error
        if self._lost_at_s is None:
            self._lost_at_s = self._clock.now_s()
        if self._failures == 1:
            _log.warning(
                "a source is lost, and is tried again",
                extra={"source": self._lease.owner, "reason": str(error)},
            )
        wait_s = self._backoff.wait_s(self._failures)
        self._lease.tell(
            SourceChange.LOST, str(error), num_failures=self._failures, retry_in_s=wait_s
        )
        self._metrics.source_reconnects.inc()
        await self._clock.sleep(wait_s)
