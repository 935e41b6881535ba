"""`EngineSupervisor`: an engine that is started again when it dies, a bounded number of times.

Between two starts lies a *life*. Whoever keeps something with the engine notes the life in which it
did, and does it again in the next one: see `onlooker.streams.ingest.presenter`.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from typing import Any

from onlooker.cache_store.leases import Claim
from onlooker.core.backoff import Backoff
from onlooker.core.clock import Clock
from onlooker.core.errors import EngineDead, EngineFailed, EngineRestarting, OnlookerError
from onlooker.core.ids import StreamId
from onlooker.core.media import Clip
from onlooker.core.metrics import Metrics
from onlooker.core.waiting import within
from onlooker.engine.care import NO_CARE, Care
from onlooker.engine.checks import Check, CheckResult
from onlooker.engine.config import RestartSection
from onlooker.engine.interface import (
    AnswerEvent,
    Engine,
    EngineInfo,
    Forgotten,
    IngestResult,
    Progress,
    Question,
    Remembered,
    Stock,
    Waiting,
)
from onlooker.scheduler.load import EngineLoad

_log = logging.getLogger("onlooker.engine.supervisor")

RETRY_AFTER_S = 5.0
"""Seconds after which callers that are turned away may try again: about as long as a small model
takes to load."""


class EngineSupervisor:
    """An `onlooker.engine.interface.Engine` around another one. All calls are made on the event
    loop, but `ready` and `healthy` may be asked from any thread.

    While the engine is being started again its methods raise `EngineRestarting`; once it was
    started too often, `EngineDead`, for good.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        clock: Clock,
        settings: RestartSection,
        metrics: Metrics,
        claim_of: Callable[[StreamId], Claim | None] = lambda stream_id: None,
    ) -> None:
        """`claim_of`: this server's right to a stream, which the engine is told with each opening,
        in each of its lives."""
        self._engine = engine
        self._claim_of = claim_of
        self._clock, self._settings, self._metrics = clock, settings, metrics
        self._backoff = Backoff(settings.min_backoff_s, settings.max_backoff_s)
        self._life = 0
        self._is_up = self._is_gone = self._is_closing = False
        self._started_at_s: deque[float] = deque(maxlen=max(1, settings.max_restarts))
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def info(self) -> EngineInfo:
        return self._engine.info

    @property
    def life(self) -> int:
        """How often the engine has been started."""
        return self._life

    def ready(self) -> bool:
        """Whether the engine takes work now."""
        return self._is_up and self._engine.healthy()

    def healthy(self) -> bool:
        """Whether the engine takes work, now or after a restart. False is final."""
        if self._is_gone:
            return False
        return not self._is_up or self._engine.healthy() or self._wait_s() is not None

    def load(self) -> EngineLoad:
        return self._engine.load()

    async def start(self, progress: Progress) -> None:
        await self._engine.start(progress)
        self._begin_life()
        self._spawn(self._look_regularly())

    async def close(self) -> None:
        self._is_closing = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._engine.close()
        self._is_up, self._is_gone = False, True
        self._metrics.engine_up.set(0)
        self._wake()

    async def next_life(self, after: int) -> int:
        """Wait until the engine takes work in a later life than `after`; returns the number of that
        life.

        Raises:
            EngineDead: there will be no later life.
        """
        self._look()
        while not (self._is_up and self._life > after):
            if self._is_gone:
                raise self._absence()
            await self._changed.wait()
        return self._life

    @property
    def wait_limit_s(self) -> float:
        """How long a caller waits for an engine that is being started again."""
        return self._settings.wait_s

    async def wait_ready(self, limit_s: float | None = None) -> None:
        """Wait for an engine that takes work, for at most `limit_s` seconds; None: `wait_limit_s`.

        Raises:
            EngineRestarting: the engine was not ready in time.
            EngineDead: the engine is gone for good.
        """
        if not self.ready():
            try:
                wait_s = self._settings.wait_s if limit_s is None else limit_s
                await within(self._clock, wait_s, self.next_life(after=0))
            except TimeoutError:
                raise self._absence() from None

    @contextlib.contextmanager
    def at_work(self) -> Iterator[Engine]:
        """The engine itself, while the block runs; its death is noticed, and raised as one of the
        errors below.

        Raises:
            EngineRestarting: the engine is being started again, or died during the block.
            EngineDead: the engine is gone for good.
        """
        self._look()
        if not self._is_up:
            raise self._absence()
        life = self._life
        try:
            yield self._engine
        except EngineDead as error:
            self._note_death(life)
            raise self._absence() from error
        except EngineFailed as error:
            if self._engine.healthy():
                raise
            self._note_death(life)
            raise self._absence() from error

    async def open_stream(self, stream_id: StreamId, claim: Claim | None = None) -> Remembered:
        with self.at_work() as engine:
            return await engine.open_stream(stream_id, claim or self._claim_of(stream_id))

    async def close_stream(self, stream_id: StreamId, *, forget: bool = True) -> None:
        with self.at_work() as engine:
            await engine.close_stream(stream_id, forget=forget)

    async def ingest(self, clip: Clip, care: Care = NO_CARE) -> IngestResult:
        with self.at_work() as engine:
            return await engine.ingest(clip, care)

    async def forget(
        self,
        stream_id: StreamId,
        start_s: float,
        end_s: float,
        *,
        is_aged: bool = False,
        max_clips: int | None = None,
    ) -> Forgotten:
        with self.at_work() as engine:
            return await engine.forget(
                stream_id, start_s, end_s, is_aged=is_aged, max_clips=max_clips
            )

    async def answer(self, question: Question) -> AsyncGenerator[AnswerEvent, None]:
        """Answer callers that know only `Engine`. Whoever knows this class reads the engine's own
        events inside `at_work`, which spares each of them a generator."""
        with self.at_work() as engine:
            events = engine.answer(question)
            try:
                async for event in events:
                    yield event
            finally:
                if isinstance(events, AsyncGenerator):
                    await events.aclose()

    async def check(self, check: Check) -> CheckResult:
        with self.at_work() as engine:
            return await engine.check(check)

    async def take_stock(self, waiting: Waiting) -> Stock:
        with self.at_work() as engine:
            return await engine.take_stock(waiting)

    # ---- noticing that it died

    def _absence(self) -> OnlookerError:
        if self._is_gone:
            return EngineDead("the engine is gone; the server must be restarted")
        return EngineRestarting(
            "the engine died and is being started again; the stream goes on after that: "
            "ask again in a moment",
            retry_after_s=RETRY_AFTER_S,
        )

    def _look(self) -> None:
        if self._is_up and not self._engine.healthy():
            self._note_death(self._life)

    async def _look_regularly(self) -> None:
        while not self._is_gone:
            await self._clock.sleep(self._settings.check_interval_s)
            self._look()

    def _note_death(self, life: int) -> None:
        """Note that the engine died in `life`; later news of the same death changes nothing."""
        if life != self._life or not self._is_up or self._is_closing:
            return
        self._is_up = False
        self._metrics.engine_up.set(0)
        _log.error("the engine died", extra={"life": life})
        if self._wait_s() is None:
            self._give_up()
        else:
            self._spawn(self._start_again())
        self._wake()

    # ---- starting again

    def _wait_s(self) -> float | None:
        """Seconds to wait before the next start; None when there have been enough."""
        since_s = self._clock.now_s() - self._settings.window_s
        num = sum(started_at_s > since_s for started_at_s in self._started_at_s)
        if num >= self._settings.max_restarts:
            return None
        return self._backoff.wait_s(num + 1)

    async def _start_again(self) -> None:
        while (wait_s := self._wait_s()) is not None:
            await self._clock.sleep(wait_s)
            self._started_at_s.append(self._clock.now_s())
            try:
                await self._engine.close()
                await self._engine.start(_log_progress)
            except Exception as error:  # whatever it is: the server must outlive its engine
                _log.error("the engine did not start again", exc_info=error)
                self._metrics.engine_restarts.labels("failed").inc()
                continue
            self._metrics.engine_restarts.labels("started").inc()
            self._begin_life()
            return
        self._give_up()

    def _begin_life(self) -> None:
        self._life += 1
        self._is_up = True
        self._metrics.engine_up.set(1)
        self._wake()

    def _give_up(self) -> None:
        self._is_gone = True
        self._metrics.engine_restarts.labels("given_up").inc()
        _log.error(
            "the engine is gone for good: it died too often",
            extra={"restarts": len(self._started_at_s), "window_s": self._settings.window_s},
        )
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _log_progress(line: str) -> None:
    _log.info("starting the engine again", extra={"progress": line})
