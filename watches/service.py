"""`WatchService`: what the watches of all streams share.

It gives checks and replies their room on the model, lends threads for work that takes time, and is
the one that counts what became of checks and alerts.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from typing import TypeVar

from onlooker.core.clock import Clock
from onlooker.core.errors import (
    CapacityError,
    ClientError,
    EngineFailed,
    InvalidRequest,
    ServiceError,
)
from onlooker.core.ids import ResponseId, StreamId, new_id
from onlooker.core.metrics import Metrics
from onlooker.core.tracer import Tracer
from onlooker.core.waiting import within
from onlooker.engine.care import Care
from onlooker.engine.checks import Check, CheckResult
from onlooker.engine.interface import AnswerDelta, Engine, EngineInfo, Question
from onlooker.scheduler.request_class import RequestClass
from onlooker.scheduler.ticket import Ticket
from onlooker.watches.config import WatchesSection
from onlooker.watches.triggers.interface import CheckLost

_log = logging.getLogger("onlooker.watches")

T = TypeVar("T")


class WatchService:
    """One for the whole server. Everything runs on the event loop but for `in_pool`."""

    def __init__(
        self,
        engine: Engine,
        *,
        clock: Clock,
        settings: WatchesSection,
        metrics: Metrics,
        pool: Executor,
        tracer: Tracer | None = None,
    ) -> None:
        """`pool`: threads for the comparison of pictures and the reading of replies. `tracer`:
        records alerts; None where there are no traces."""
        self.clock, self.settings, self.tracer = clock, settings, tracer
        self._engine, self._metrics, self._pool = engine, metrics, pool
        self._checks = asyncio.Semaphore(settings.max_checks)
        self._replies = asyncio.Semaphore(settings.max_replies)

    @property
    def model(self) -> EngineInfo:
        """The served model: how it is asked, and whether it can be held to JSON."""
        return self._engine.info

    # ---- the model

    async def check(self, check: Check, *, is_live: bool) -> CheckResult:
        """Run a check as soon as there is room.

        Raises:
            CheckLost: live, there was none for too long; or the engine failed on it (whether the
                stream goes on is for its ingest to find out).
        """
        await self._wait_for_room(is_live)
        begun_s = self.clock.now_s()
        try:
            result = await self._engine.check(check)
        except (ServiceError, ClientError, CapacityError) as error:
            self.count_checks("failed")
            raise CheckLost(error.message) from error
        finally:
            self._checks.release()
        self.count_checks("done")
        self._metrics.check_seconds.observe(self.clock.now_s() - begun_s)
        return result

    async def reply(self, question: Question) -> str:
        """Run a question to its end, as soon as there is room; returns the answer's text.

        Raises:
            CheckLost: the engine failed on it.
        """
        async with self._replies:
            try:
                return await self._answer(question)
            except (ServiceError, ClientError, CapacityError) as error:
                raise CheckLost(error.message) from error

    def care(self, stream_id: StreamId, request_class: RequestClass) -> Care:
        """What the scheduler is told of a watch's request."""
        now_s = self.clock.now_s()
        due_s = now_s + self.settings.check_target_s
        return Care(Ticket(request_class, now_s, due_s, stream=stream_id))

    async def in_pool(self, work: Callable[[], T]) -> T:
        """What `work` returns, done in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    # ---- counters

    def count_watches(self, change: int) -> None:
        """So many watches came; a negative number of them went."""
        self._metrics.watches.inc(change)

    def count_checks(self, outcome: str, count: int = 1) -> None:
        """That became of checks; see the metric's description for the outcomes."""
        self._metrics.checks.labels(outcome=outcome).inc(count)

    def count_alert(self, outcome: str) -> None:
        """That became of an alert that was not raised; see the metric's description."""
        self._metrics.alerts.labels(outcome=outcome).inc()

    def count_raised(self, staleness_s: float) -> None:
        """An alert was raised, so long after its evidence arrived."""
        self.count_alert("raised")
        self._metrics.alert_staleness_seconds.observe(staleness_s)

    # ---- inside

    async def _answer(self, question: Question) -> str:
        """The text of an answer. A schema that the engine cannot hold an answer to is let go: the
        prompt asks for JSON in words as well, and the reply is compared with the schema anyway."""
        try:
            return await self._text(question)
        except (InvalidRequest, EngineFailed) as error:
            if question.json_schema is None:
                raise
            _log.warning(
                "a reply could not be held to its JSON schema, which is now asked for in words",
                extra={"detail": error.message},
            )
        again = ResponseId(new_id("alert"))
        return await self._text(replace(question, response_id=again, json_schema=None))

    async def _text(self, question: Question) -> str:
        events = self._engine.answer(question)
        return "".join([event.text async for event in events if isinstance(event, AnswerDelta)])

    async def _wait_for_room(self, is_live: bool) -> None:
        if not self._checks.locked():
            await self._checks.acquire()
            return
        self.count_checks("skipped")
        try:
            if is_live:
                limit_s = self.settings.max_check_wait_s
                await within(self.clock, limit_s, self._checks.acquire())
            else:
                await self._checks.acquire()
        except TimeoutError as error:
            self.count_checks("lost")
            raise CheckLost("there was no room for this check") from error
        self.count_checks("made_up")
