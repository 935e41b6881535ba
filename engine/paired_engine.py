"""`PairedEngine`: a large model that answers, and beside it a small one that decides when to speak.

This is Dispider's split. Both see every clip. The checks of watches run on the decider, and with
them all that is asked again and again; answers, and the texts of alerts, come from the answerer.
The decider looks at the newest clips only, so that it remembers few, and nothing over a restart.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import replace

import numpy as np
from msgspec import structs
from PIL import Image

from onlooker.cache_store.leases import Claim
from onlooker.core.errors import ConfigError, EngineFailed, OnlookerError
from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Frame
from onlooker.engine.care import NO_CARE, Care
from onlooker.engine.checks import Check, CheckResult
from onlooker.engine.interface import (
    AnswerEvent,
    Engine,
    EngineInfo,
    Forgotten,
    Held,
    IngestResult,
    Progress,
    Question,
    Remembered,
    Stock,
    Waiting,
)
from onlooker.scheduler.load import EngineLoad

_log = logging.getLogger("onlooker.engine.pair")


@contextlib.contextmanager
def as_decider() -> Iterator[None]:
    """Have what is wrong with a model's settings say that it is the decider's."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"the decider (engine.decider): {error.message}") from error


class PairedEngine:
    """An `onlooker.engine.interface.Engine` of two. They live and die together: where one has died
    neither takes work, and a start starts both."""

    def __init__(self, answerer: Engine, decider: Engine) -> None:
        self._answerer, self._decider = answerer, decider
        self._behind: dict[StreamId, str] = {}
        """Streams whose newest clip the decider has lost, and why."""

    @property
    def info(self) -> EngineInfo:
        decider = self._decider.info
        return replace(self._answerer.info, decider=decider, score_heads=decider.score_heads)

    async def start(self, progress: Progress) -> None:
        self._behind.clear()
        try:
            await self._answerer.start(progress)
            with as_decider():
                await self._decider.start(lambda line: progress(f"decider: {line}"))
        except BaseException:
            await self.close()  # also what has started half
            raise

    async def close(self) -> None:
        closed = (self._answerer.close(), self._decider.close())
        for error in await asyncio.gather(*closed, return_exceptions=True):
            if error is not None:
                raise error

    def healthy(self) -> bool:
        return self._answerer.healthy() and self._decider.healthy()

    def load(self) -> EngineLoad:
        """A clip is seen by one after the other, so what it costs adds up; questions go to the
        answerer alone; and who is busier bounds what both can take."""
        load, other = self._answerer.load(), self._decider.load()
        return replace(
            load,
            busy_ratio=max(load.busy_ratio, other.busy_ratio),
            load_ratio=max(load.load_ratio, other.load_ratio),
            frames_ratio=max(load.frames_ratio, other.frames_ratio),
            room_ratio=min(load.room_ratio, other.room_ratio),
            frame_wait_s=load.frame_wait_s + other.frame_wait_s,
            clip_s=load.clip_s + other.clip_s,
            context_s=load.context_s + other.context_s,
            kv_free_ratio=min(load.kv_free_ratio, other.kv_free_ratio),
            encoder_free_ratio=min(load.encoder_free_ratio, other.encoder_free_ratio),
            has_fallen_back=load.has_fallen_back or other.has_fallen_back,
        )

    async def open_stream(self, stream_id: StreamId, claim: Claim | None = None) -> Remembered:
        """Open it in both; what is remembered is what the answerer does. The decider begins with
        the next clip."""
        remembered = await self._answerer.open_stream(stream_id, claim)
        try:
            await self._decider.open_stream(stream_id)
        except BaseException:
            with contextlib.suppress(OnlookerError):  # what went wrong first is what is told
                await self._answerer.close_stream(stream_id, forget=False)
            raise
        return remembered

    async def close_stream(self, stream_id: StreamId, *, forget: bool = True) -> None:
        self._behind.pop(stream_id, None)
        try:
            await self._decider.close_stream(stream_id, forget=True)
        finally:
            await self._answerer.close_stream(stream_id, forget=forget)

    async def ingest(self, clip: Clip, care: Care = NO_CARE) -> IngestResult:
        """Have both see it, the answerer first: what it has lost is lost to both, and may be shown
        to both again. A clip that the decider alone has lost is remembered; checks of it fail."""
        result = await self._answerer.ingest(clip, care)
        info = self._decider.info
        fitted = await asyncio.to_thread(_fitted, clip, info.frame_width, info.frame_height)
        try:
            await self._decider.ingest(fitted, care)
        except EngineFailed as error:
            if clip.stream_id not in self._behind:
                _log.warning("the decider has lost a clip", extra={"detail": error.message})
            self._behind[clip.stream_id] = error.message
        else:
            self._behind.pop(clip.stream_id, None)
        return result

    async def forget(
        self,
        stream_id: StreamId,
        start_s: float,
        end_s: float,
        *,
        is_aged: bool = False,
        max_clips: int | None = None,
    ) -> Forgotten:
        """Delete it from both. Of a large span the decider deletes all at once, as it remembers
        few."""
        short = await self._decider.forget(stream_id, start_s, end_s, is_aged=is_aged)
        found = await self._answerer.forget(
            stream_id, start_s, end_s, is_aged=is_aged, max_clips=max_clips
        )
        return replace(found, num_bytes=found.num_bytes + short.num_bytes)

    async def take_stock(self, waiting: Waiting) -> Stock:
        """What is durable is what the answerer has stored; memory is that of both."""
        stock = await self._answerer.take_stock(waiting)
        other = await self._decider.take_stock({})
        remembered = {
            stream_id: stock.remembered.get(stream_id, 0) + other.remembered.get(stream_id, 0)
            for stream_id in {**stock.remembered, **other.remembered}
        }
        return replace(stock, held=_both(stock.held, other.held), remembered=remembered)

    async def answer(self, question: Question) -> AsyncIterator[AnswerEvent]:
        events = self._answerer.answer(question)
        try:
            async for event in events:
                yield event
        finally:
            if isinstance(events, AsyncGenerator):
                await events.aclose()

    async def check(self, check: Check) -> CheckResult:
        if not check.decides:
            return await self._answerer.check(check)
        if (lost := self._behind.get(check.stream_id)) is not None:
            raise EngineFailed(f"the decider has not seen the newest clip: {lost}")
        return await self._decider.check(check)


def _both(one: Held | None, other: Held | None) -> Held | None:
    if one is None or other is None:
        return one or other
    return Held(
        num_segments=one.num_segments + other.num_segments,
        num_bytes=one.num_bytes + other.num_bytes,
        num_indexed=one.num_indexed + other.num_indexed,
        index_bytes=one.index_bytes + other.index_bytes,
    )


def _fitted(clip: Clip, width: int, height: int) -> Clip:
    """`clip` with pictures of this size. One frame that is there twice stays one."""
    first, second = clip.frames
    if first.pixels.shape[:2] == (height, width):
        return clip
    small = _resized(first, width, height)
    frames = (small, small if second is first else _resized(second, width, height))
    return structs.replace(clip, frames=frames)


def _resized(frame: Frame, width: int, height: int) -> Frame:
    picture = Image.fromarray(frame.pixels).resize((width, height), Image.Resampling.BICUBIC)
    return structs.replace(frame, pixels=np.asarray(picture))
