"""`Steered`: a segments engine that is told which clips an answer sees."""

import math
from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from typing import Any

from onlooker.core.ids import StreamId
from onlooker.engine.interface import AnswerEvent, Engine, Question
from onlooker.engine.memory.stream_memory import Recall, StreamMemory, spread
from onlooker.engine.vllm_adapter.gateway.segment_engine import SegmentEngine
from onlooker.engine.vllm_adapter.wire import flush_segments

PLACED = 8
"""The most clips that the oracle is handed: as many as retrieval brings back by default."""

ROOM_TOKENS = 256
"""How many tokens of the context are left for the system prompt, the question and the answer."""


class Way(StrEnum):
    """Where the clips of an answer come from."""

    SEGMENTS = "segments"
    """The clips that the engine finds."""
    ORACLE = "oracle"
    """The clips that hold the evidence, and the recent window unless the question names a time."""
    WINDOW = "window_only"
    FULL = "full_context"
    """The newest clips, as many as the context holds."""


class Steered:
    """A segments engine in whose place this class recalls clips."""

    def __init__(self, engine: Engine) -> None:
        assert isinstance(engine, SegmentEngine)
        self.engine = engine
        self._known: dict[StreamId, int] = {}
        self._wanted: dict[str, tuple[Way, Sequence[int], bool]] = {}
        recaller: Any = engine.recaller
        self._recall = recaller.recall
        recaller.recall = self._steer

    async def open_stream(self, stream_id: StreamId) -> int:
        """Open a stream, or find it again in the store, once; returns how many clips it has."""
        if stream_id not in self._known:
            remembered = await self.engine.open_stream(stream_id)
            self._known[stream_id] = remembered.next_clip_index
        return self._known[stream_id]

    async def flush(self) -> None:
        """Wait until all segments are stored."""
        await self.engine.runner.ask_workers(flush_segments(120.0))

    async def answer(
        self, question: Question, way: Way, evidence: Sequence[int], *, is_timed: bool
    ) -> AsyncIterator[AnswerEvent]:
        """Answer from what `way` shows; `evidence` are indices of clips."""
        self._wanted[question.response_id] = (way, evidence, is_timed)
        try:
            async for event in self.engine.answer(question):
                yield event
        finally:
            del self._wanted[question.response_id]

    async def _steer(
        self, memory: StreamMemory, question: Question, *, asks: bool = False
    ) -> Recall:
        way, evidence, is_timed = self._wanted[question.response_id]
        if way is Way.SEGMENTS:
            found: Recall = await self._recall(memory, question, asks=asks)
            return found
        clips = memory.recent(len(memory), until_s=question.asked_s)
        info = self.engine.info
        num_recent = info.max_clips - PLACED
        if way is Way.FULL:
            num_recent = math.floor((self._context_tokens - ROOM_TOKENS) / info.tokens_per_clip)
        recent = clips[-num_recent:]
        if way is not Way.ORACLE:
            return Recall([], recent)
        wanted = set(evidence)
        true = [clip for clip in clips if clip.clip_index in wanted]
        if is_timed:
            return Recall(spread(true, PLACED), [], is_named=True)
        shown = {clip.clip_index for clip in recent}
        older = [clip for clip in true if clip.clip_index not in shown]
        return Recall(spread(older, PLACED), recent)

    @property
    def _context_tokens(self) -> int:
        return int(self.engine.runner.llm.model_config.max_model_len)
