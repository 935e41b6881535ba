"""`PassingEngine`: passes every call on to another engine; others change a few of them."""

from collections.abc import AsyncIterator

from onlooker.cache_store.leases import Claim
from onlooker.core.ids import StreamId
from onlooker.core.media import Clip
from onlooker.engine.care import NO_CARE, Care
from onlooker.engine.checks import Check, CheckResult
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


class PassingEngine:
    """All calls as `Engine` has them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def info(self) -> EngineInfo:
        return self._engine.info

    async def start(self, progress: Progress) -> None:
        await self._engine.start(progress)

    async def close(self) -> None:
        await self._engine.close()

    def healthy(self) -> bool:
        return self._engine.healthy()

    def load(self) -> EngineLoad:
        return self._engine.load()

    async def open_stream(self, stream_id: StreamId, claim: Claim | None = None) -> Remembered:
        return await self._engine.open_stream(stream_id, claim)

    async def close_stream(self, stream_id: StreamId, *, forget: bool = True) -> None:
        await self._engine.close_stream(stream_id, forget=forget)

    async def forget(
        self,
        stream_id: StreamId,
        start_s: float,
        end_s: float,
        *,
        is_aged: bool = False,
        max_clips: int | None = None,
    ) -> Forgotten:
        return await self._engine.forget(
            stream_id, start_s, end_s, is_aged=is_aged, max_clips=max_clips
        )

    async def ingest(self, clip: Clip, care: Care = NO_CARE) -> IngestResult:
        return await self._engine.ingest(clip, care)

    async def take_stock(self, waiting: Waiting) -> Stock:
        return await self._engine.take_stock(waiting)

    async def answer(self, question: Question) -> AsyncIterator[AnswerEvent]:
        async for event in self._engine.answer(question):
            yield event

    async def check(self, check: Check) -> CheckResult:
        return await self._engine.check(check)
