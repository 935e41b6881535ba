"""`Desk`: where one sender has its messages decoded. `Decoding`: what all desks share."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Protocol, TypeVar

from onlooker.core.clock import Clock
from onlooker.core.errors import Overloaded
from onlooker.core.media import Codec, DropReason, Pixels
from onlooker.core.metrics import Metrics
from onlooker.streams.config import DecodingSection
from onlooker.streams.decoding.assessors import StillToAssess
from onlooker.streams.decoding.pull_wire import PullOrder
from onlooker.streams.decoding.pulled_video import OpenOther, PulledFile, PulledVideo
from onlooker.streams.decoding.seat import Seat
from onlooker.streams.decoding.turns import Place, Turns
from onlooker.streams.perception.decoders import Decoders, LentPicture, Shape, VideoDecoder
from onlooker.streams.perception.perceiver import Decoded
from onlooker.streams.perception.stills import Undecodable

T = TypeVar("T")


class Workshop(Protocol):
    """Where the decoding is done; see `WorkerPool`."""

    def start(self) -> None:
        """Make ready; returns soon."""
        ...

    def check(self) -> None:
        """Wait until pictures can be decoded. Raises `ServiceError` when they cannot."""
        ...

    def close(self) -> None:
        """End what is being decoded, whatever it is."""
        ...

    def decoders(self, spend: Callable[[float], None]) -> Decoders:
        """For one sender; `spend` is told of processor seconds."""
        ...

    def assess(
        self,
        asked: StillToAssess,
        spend: Callable[[float], None],
        tell: Callable[[LentPicture | Undecodable], None],
    ) -> None:
        """Have a still assessed, on the event loop; see `Assessors.assess`."""
        ...

    def pulled(
        self,
        order: PullOrder,
        seat: Seat,
        *,
        file: PulledFile | None,
        open_other: OpenOther | None,
        patience_s: float,
        now_s: Callable[[], float],
    ) -> PulledVideo:
        """For one opening of a pulled source; see `PulledVideo`."""
        ...


class Decoding:
    """Made once for a server, by `server.wiring`. All calls on the event loop.

    Args:
        workshop: decodes.
        pool: threads that wait for it, and compare pictures.
    """

    def __init__(
        self,
        settings: DecodingSection,
        *,
        workshop: Workshop,
        pool: Executor,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self.settings, self.clock, self.metrics, self.pool = settings, clock, metrics, pool
        self.turns = Turns(num_turns=settings.num_workers, share=settings.share, clock=clock)
        self.workshop = workshop
        self.note_wait = metrics.note_decode_wait
        """Told for how long each message waited for its turn."""
        self.patience = AsideTimer(settings.patience_s)

    def start(self) -> None:
        """Begin the processes; they make themselves ready in the background."""
        self.workshop.start()

    async def check(self) -> None:
        """Wait until pictures can be decoded. Raises `ServiceError` when they cannot."""
        await asyncio.get_running_loop().run_in_executor(self.pool, self.workshop.check)

    def close(self) -> None:
        """End what is being decoded, whatever it is. Idempotent."""
        self.workshop.close()

    def desk(self, tenant: str, *, is_judged: bool = True) -> "Desk":
        """For a new sender of a tenant. `is_judged`: whether one whose messages cost too much is
        refused for a while; what is read from a journal comes once, and must not be."""
        return Desk(self, tenant, is_judged=is_judged)

    @property
    def is_stalled(self) -> bool:
        """Whether messages have waited far too long without one of them being done."""
        return self.turns.stalled_s > self.settings.stall_s


class Desk:
    """One sender's: a stream's, or that of a tenant's question pictures.

    Its decoders may be used within `begin` only, by one thread at a time.
    """

    def __init__(self, decoding: Decoding, tenant: str, *, is_judged: bool = True) -> None:
        self._decoding, self._tenant = decoding, tenant
        self._record = _Record(decoding.settings, decoding.clock, decoding.metrics)
        decoders = decoding.workshop.decoders(self._spend)
        self.decoders: Decoders = _Judged(decoders, self._record) if is_judged else decoders
        self._is_judged = is_judged
        self._spent_s = 0.0

    async def begin(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        """Wait for a turn and begin `work`, which uses `decoders`, on a thread. Whoever waits for
        the result shields it: the turn is over when the work is, and not before."""
        turn = await self._turn()
        try:
            job = asyncio.get_running_loop().run_in_executor(self._decoding.pool, work)
        except BaseException:  # the pool is closed
            turn.end(0.0)
            raise
        return self._until(job, turn)

    def assess(
        self,
        asked: StillToAssess,
        tell: Callable[[LentPicture | Undecodable], None],
        fail: Callable[[Exception], None],
    ) -> Place | None:
        """Have a still assessed when it is its turn, without a thread. `tell` is called with it, or
        with why there is none, on the event loop, perhaps before this returns; it raises nothing.
        The turn is over then, and not before.

        Returns the place in the line for the turn, which whoever wants the still no more leaves;
        None where there was no line.

        Args:
            fail: is called in place of `tell` with a fault of ours that kept it from being asked
                for.

        Raises:
            Undecodable: TOO_COSTLY at once, while the sender is refused.
        """
        assess = partial(self._decoding.workshop.assess, asked, self._spend)
        return self._in_turn(assess, lambda found: found, tell, fail)

    def decode(
        self,
        ask: Callable[[Callable[[Decoded], None]], None],
        tell: Callable[[Decoded], None],
        fail: Callable[[Exception], None],
    ) -> Place | None:
        """The same for a message of coded video, which `ask` has decoded.

        Raises:
            Undecodable: as `assess`.
        """
        return self._in_turn(ask, lambda decoded: decoded.found, tell, fail)

    def _in_turn(
        self,
        ask: Callable[[Callable[[T], None]], None],
        found_in: Callable[[T], object],
        tell: Callable[[T], None],
        fail: Callable[[Exception], None],
    ) -> Place | None:
        """Have `ask` ask for something when there is a turn, and `tell` told of it."""
        if self._is_judged:
            self._record.check()

        def begin(turn: _Turn) -> None:
            def end(told: T) -> None:
                self._end(turn)
                self._note(found_in(told))
                tell(told)

            try:
                ask(end)
            except Exception as error:
                if not turn.is_over:
                    self._end(turn)
                fail(error)

        if (turn := self._turn_at_once()) is not None:
            begin(turn)
            return None
        decoding, since_s = self._decoding, self._decoding.clock.now_s()

        def begin_at_last() -> None:
            decoding.note_wait(decoding.clock.now_s() - since_s)
            begin(self._taken())

        return decoding.turns.queue(self._tenant, begin_at_last)

    def _note(self, found: object) -> None:
        if self._is_judged and isinstance(found, Undecodable):
            self._record.note(found)

    def _until(self, job: "asyncio.Future[T]", turn: "_Turn") -> "asyncio.Future[T]":
        """Have the turn end with the job."""

        def end(job: "asyncio.Future[T]") -> None:
            self._end(turn)
            if not job.cancelled():
                job.exception()  # it may be that nobody waits for the result any more

        job.add_done_callback(end)
        return job

    def _end(self, turn: "_Turn") -> None:
        spent_s, self._spent_s = self._spent_s, 0.0
        turn.end(spent_s)

    async def begin_if_room(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        """The same for senders that may have any number of messages.

        Raises:
            Overloaded: too many of the tenant's messages wait.
        """
        limit = self._decoding.settings.max_waiting
        if self._decoding.turns.num_waiting(self._tenant) >= limit:
            raise Overloaded(f"{limit} pictures wait to be decoded; try again later")
        return await self.begin(work)

    def seat(self) -> Seat:
        """For a thread of its own that decodes on and on, as that of a pulled source does."""
        return Seat(self._turn, self._turn_at_once)

    def pulled(
        self,
        order: PullOrder,
        seat: Seat,
        *,
        file: PulledFile | None,
        open_other: OpenOther | None,
        patience_s: float,
    ) -> PulledVideo:
        """For one opening of a pulled source; use it within `judging`."""
        return self._decoding.workshop.pulled(
            order,
            seat,
            file=file,
            open_other=open_other,
            patience_s=patience_s,
            now_s=self._decoding.clock.now_s,
        )

    def judging(self) -> AbstractContextManager[None]:
        """Around what is decoded of a pulled source.

        Raises:
            Undecodable: TOO_COSTLY at once, while the sender is refused.
        """
        return self._record.judging()

    async def _turn(self) -> "_Turn":
        """Wait for a turn."""
        if (turn := self._turn_at_once()) is not None:
            return turn
        decoding, clock = self._decoding, self._decoding.clock
        since_s = clock.now_s()
        await decoding.turns.take(self._tenant)
        decoding.note_wait(clock.now_s() - since_s)
        return self._taken()

    def _turn_at_once(self) -> "_Turn | None":
        """A turn, where one is free."""
        decoding = self._decoding
        if not decoding.turns.take_at_once(self._tenant):
            return None
        decoding.note_wait(0.0)
        return self._taken()

    def _taken(self) -> "_Turn":
        turn = _Turn(self._decoding.turns, self._tenant)
        self._decoding.patience.have_with(turn)
        return turn

    def _spend(self, spent_s: float) -> None:
        self._spent_s += spent_s


class _Turn:
    """A turn that was taken, while the work goes on. It steps aside when that takes long."""

    def __init__(self, turns: Turns, tenant: str) -> None:
        self._turns, self._tenant = turns, tenant
        self._is_aside = False
        self.is_over = False

    def step_aside(self) -> None:
        """The work takes long: let others begin beside it."""
        self._is_aside = self._turns.step_aside(self._tenant)

    def end(self, spent_s: float) -> None:
        """The work is done, and took so much processor time."""
        self.is_over = True
        end = self._turns.come_back if self._is_aside else self._turns.give_back
        end(self._tenant, spent_s=spent_s)


class MayStepAside(Protocol):
    """A turn, as far as patience is had with it."""

    is_over: bool

    def step_aside(self) -> None:
        """Let others begin beside it."""
        ...


LOOKS_A_PATIENCE = 2
"""So often it is looked at most, within the time for which there is patience with a turn."""


class AsideTimer:
    """Has turns step aside that last for longer than `patience_s`, or a little more. One timer for
    all of them: most are over long before, and to set one for each, or to be woken when the time of
    each has come, would cost more than what it is for."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._turns: deque[tuple[float, MayStepAside]] = deque()
        """With the loop time at which each is to step aside; the oldest first."""
        self._timer: asyncio.TimerHandle | None = None
        """The one that is set, or rings; None while there are no turns."""

    def have_with(self, turn: MayStepAside) -> None:
        """A turn begins, perhaps in the place of one that steps aside."""
        loop = asyncio.get_running_loop()
        self._turns.append((loop.time() + self._patience_s, turn))
        if self._timer is None:
            self._timer = loop.call_later(self._patience_s, self._look)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while self._turns:
            due_at_s, turn = self._turns[0]
            if not turn.is_over:
                now_s = loop.time()
                if due_at_s > now_s:
                    soonest_s = now_s + self._patience_s / LOOKS_A_PATIENCE
                    self._timer = loop.call_at(max(due_at_s, soonest_s), self._look)
                    return
                turn.step_aside()
            self._turns.popleft()
        self._timer = None


class _Record:
    """A sender's messages that cost too much, lately."""

    def __init__(self, settings: DecodingSection, clock: Clock, metrics: Metrics) -> None:
        self._settings, self._clock, self._metrics = settings, clock, metrics
        self._offences_s: deque[float] = deque(maxlen=settings.max_offences)
        self._refused_until_s = 0.0

    @contextmanager
    def judging(self) -> Iterator[None]:
        """Around the decoding of a message.

        Raises:
            Undecodable: TOO_COSTLY without a look at it, while the sender is refused.
        """
        self.check()
        try:
            yield
        except Undecodable as error:
            self.note(error)
            raise

    def check(self) -> None:
        """Raises `Undecodable`, as `judging`."""
        now_s = self._clock.now_s()
        if now_s < self._refused_until_s:
            raise Undecodable(
                DropReason.TOO_COSTLY,
                f"refused for {self._refused_until_s - now_s:.0f} s more: too many messages before "
                "it took too much processor time",
            )

    def note(self, error: Undecodable) -> None:
        """A message could not be decoded."""
        if error.reason is DropReason.TOO_COSTLY:
            self._note_offence()

    def _note_offence(self) -> None:
        now_s, settings = self._clock.now_s(), self._settings
        self._offences_s.append(now_s)
        is_full = len(self._offences_s) == settings.max_offences
        if is_full and now_s - self._offences_s[0] <= settings.offence_window_s:
            self._refused_until_s = now_s + settings.refuse_s
            self._offences_s.clear()
            self._metrics.senders_refused.inc()


class _Judged:
    """Decoders whose user has a record."""

    def __init__(self, decoders: Decoders, record: _Record) -> None:
        self._decoders, self._record = decoders, record

    def still(self, payload: bytes, codec: Codec, shape: Shape) -> Pixels:
        with self._record.judging():
            return self._decoders.still(payload, codec, shape)

    def open_video(self, codec: Codec, shape: Shape) -> VideoDecoder:
        return self._decoders.open_video(codec, shape)  # judged by `Desk.decode`
