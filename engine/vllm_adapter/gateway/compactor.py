"""`Compactor`: makes clips smaller in the background, once they have left the recent window.

Nothing waits for it, and nothing is queued: what is to be compacted stands in the timelines, and a
few clips are taken at a time, of one stream after the other, while the engine has time. A clip is
stored a second time, smaller and under another key; from then on prompts are made of that one. The
first is deleted when the second is where the first was, and when nobody who saw the first is left.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onlooker.core.clock import Clock
from onlooker.core.metrics import Metrics
from onlooker.engine.memory.clip_tokens import ClipTokens
from onlooker.engine.memory.compaction import (
    COMPACTIONS,
    ClipShape,
    Compaction,
    CompactionSection,
    left_of,
)
from onlooker.engine.memory.plan import BEFORE_UNTIL, SaveSpan
from onlooker.engine.memory.stream_memory import StreamMemory
from onlooker.engine.memory.timeline import RememberedClip
from onlooker.engine.vllm_adapter import wire
from onlooker.engine.vllm_adapter.gateway.gauge import LoadGauge
from onlooker.engine.vllm_adapter.gateway.memories import StreamMemories

_log = logging.getLogger("onlooker.engine.vllm")

PAUSE_S = 0.25
"""How long compaction is put off each time."""

REST_S = 30.0
"""How long a stream is left alone of whose clips some could not be read."""

FAILED_PAUSE_S = 5.0
"""How long all streams are left alone after a failure."""

MAX_RETIRING = 8
"""Batches whose first segments are not deleted yet; with so many, nothing more is compacted."""


@dataclass(frozen=True, slots=True)
class _Retiring:
    """Segments that have been replaced and are to be deleted."""

    memory: StreamMemory
    old: dict[int, str]
    """Their keys, by clip index."""
    new: list[str]
    readers: frozenset[object]
    """Those who may still read them."""


class Compactor:
    """See the module.

    Args:
        recent_clips: the most clips of the recent window.
        merge: see `RotaryLayout.merge`.
        name: what the workers call the work; there is one at a time of that name, of which each of
            the gateways that share them has its own.
        is_lasting: whether segments outlive the process, so that the second must be as safe as the
            first before that is deleted.
    """

    def __init__(
        self,
        settings: CompactionSection,
        streams: StreamMemories,
        gauge: LoadGauge,
        clock: Clock,
        metrics: Metrics,
        *,
        recent_clips: int,
        merge: int,
        name: str = "compaction",
        is_lasting: bool,
    ) -> None:
        self._settings = settings
        self._streams = streams
        self._gauge = gauge
        self._clock = clock
        self._metrics = metrics
        self.behind = max(recent_clips, settings.behind_clips or 2 * recent_clips)
        """So many of the newest clips stay as they are."""
        self._merge = merge
        self._name = name
        self._is_lasting = is_lasting
        self._waiting: dict[str, tuple[StreamMemory, str]] = {}
        """Streams of which a batch is to be compacted, or is being compacted, by their prefix,
        each with its method."""
        self._resting: dict[str, float] = {}
        """Until when streams are left alone."""
        self._passed: dict[str, int] = {}
        """The newest clip that was passed over in streams of whose clips some could not be read;
        it goes on behind it."""
        self._retiring: list[_Retiring] = []
        self._has_work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def note(self, memory: StreamMemory, name: str | None) -> None:
        """A clip was added. `name`: the method that the stream chose; None: the server's."""
        name = name or self._settings.method
        if name not in COMPACTIONS or memory.prefix in self._waiting:
            return
        if len(self._due(memory)) < self._settings.batch_clips:
            return
        if self._clock.now_s() < self._resting.get(memory.prefix, -math.inf):
            return
        self._waiting[memory.prefix] = memory, name
        self._start()

    def opened(self, memory: StreamMemory) -> None:
        """A stream was opened. Where the process that had it before was stopped while it compacted,
        clips are stored twice: the first segments are deleted once the others are as safe."""
        if not memory.twins:
            return
        old = dict(memory.twins)
        new = [memory.stored_key(index) for index in old]
        self._retiring.append(_Retiring(memory, old, new, memory.readers))
        self._start()

    async def settled(self) -> None:
        """Wait until there is nothing to do."""
        while self._waiting or self._retiring:
            await self._clock.sleep(PAUSE_S)

    async def close(self) -> None:
        """Stop. What is left is as whole as it was."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def _start(self) -> None:
        self._has_work.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    # ---- in the background

    async def _run(self) -> None:
        while True:
            if not self._waiting and not self._retiring:
                self._has_work.clear()
                await self._has_work.wait()
            try:
                has_done = await self._one_round()
            except Exception as error:  # nothing depends on it, and it must go on
                self._waiting.clear()  # the next clip of each stream brings it back
                _log.warning("compaction failed", extra={"reason": str(error)})
                await self._clock.sleep(FAILED_PAUSE_S)
            else:
                if not has_done:
                    await self._clock.sleep(PAUSE_S)

    async def _one_round(self) -> bool:
        """Compact one batch, if there is one and time for it; returns whether it did."""
        await self._retire()
        if not self._waiting:
            return False
        is_busy = self._settings.max_load_ratio < min(1.0, self._gauge.load.load_ratio)
        if is_busy or len(self._retiring) >= MAX_RETIRING:
            self._count("put_off", self._settings.batch_clips)
            return False
        prefix = next(iter(self._waiting))
        memory, name = self._waiting[prefix]
        clips = self._due(memory)
        # It may have been closed meanwhile, or what was due may have been deleted: part of a batch
        # would leave another part that is not due by itself.
        is_whole = self._is_open(memory) and len(clips) == self._settings.batch_clips
        if is_whole:
            await self._compact(memory, COMPACTIONS[name], clips)
        self._waiting.pop(prefix, None)
        if not is_whole or not self._is_open(memory):
            return True
        # What has been deleted meanwhile is not lost.
        found = [memory.at_index(clip.clip_index) for clip in clips]
        num_lost = sum(one is not None and not one.tokens.is_compacted for one in found)
        if num_lost:
            self._count("lost", num_lost)
            now_s = self._clock.now_s()
            self._resting = {one: end_s for one, end_s in self._resting.items() if end_s > now_s}
            self._resting[prefix] = now_s + REST_S
            opened = {one.prefix for one in self._streams}
            self._passed = {one: at for one, at in self._passed.items() if one in opened}
            self._passed[prefix] = clips[-1].clip_index
        elif len(self._due(memory)) >= self._settings.batch_clips:
            self._waiting[prefix] = memory, name
        return True

    def _due(self, memory: StreamMemory) -> list[RememberedClip]:
        """The clips of the next batch. Those that could not be read come again when there is no
        batch behind them."""
        recent = memory.recent(self.behind)
        if not recent:
            return []
        before, most = recent[0].clip_index, self._settings.batch_clips
        passed = self._passed.get(memory.prefix, -1)
        behind = memory.whole_between(passed, before, most)
        return behind if len(behind) == most else memory.whole_between(-1, before, most)

    async def _compact(
        self, memory: StreamMemory, method: Compaction, clips: Sequence[RememberedClip]
    ) -> None:
        """Compact clips, as far as they can be read and nobody deletes them meanwhile."""
        shapes = {clip.tokens.key: ClipShape.of(clip.tokens, self._merge) for clip in clips}
        measured = await self._measured(memory, method, shapes)
        ops = [
            self._op(memory, clip, shapes[clip.tokens.key], method, measured[clip.tokens.key])
            for clip in clips
            if clip.tokens.key in measured
        ]
        made = await self._streams.answers(
            lambda is_first: wire.compact_segments(
                self._name, [op for op, _ in ops] if is_first else None
            )
        )
        everywhere = set.intersection(*map(set, made))
        await self._streams.make_room(len(everywhere))
        if not self._is_open(memory):
            return
        new = {
            index: tokens
            for _, (index, tokens) in ops
            if tokens.key in everywhere
            and memory.stored_key(index) == memory.clip_key(index)
            and memory.at_index(index) is not None
        }
        memory.twins.update({index: tokens.key for index, tokens in new.items()})
        await self._streams.ask(wire.take_up_segments([tokens.key for tokens in new.values()]))
        # Meanwhile clips may have been deleted, their twins with them, or may have been lost.
        gone = [index for index in new if memory.at_index(index) is None]
        strays = [memory.twins.pop(index) for index in gone if index in memory.twins]
        new = {index: tokens for index, tokens in new.items() if index not in gone}
        if new and self._is_open(memory):
            before = memory.num_tokens
            old = {index: memory.stored_key(index) for index in new}
            memory.compact(new)
            memory.twins.update(old)
            keys = [tokens.key for tokens in new.values()]
            self._retiring.append(_Retiring(memory, old, keys, memory.readers))
            saved_bytes = (before - memory.num_tokens) * self._streams.bytes_per_token
            self._metrics.compaction_saved_bytes.inc(saved_bytes)
            self._count("compacted", len(new))
        if strays:
            await self._streams.delete(memory, strays)

    def _op(
        self,
        memory: StreamMemory,
        clip: RememberedClip,
        shape: ClipShape,
        method: Compaction,
        measured: Sequence[float],
    ) -> tuple[wire.CompactOp, tuple[int, ClipTokens]]:
        """What the workers make of a clip, and the clip as it is remembered then."""
        left = left_of(method, shape, measured, self._settings)
        key = memory.compacted_key(clip.clip_index)
        tokens = clip.tokens.compacted(key, np.array([row for row, _ in left], np.int64))
        earlier = memory.at_index(clip.clip_index - 1)
        until_s = clip.start_s if earlier is None else earlier.until_s
        span = SaveSpan(
            key,
            0,
            len(left),
            0,
            tokens.offsets.tolist(),
            start_s=clip.start_s,
            end_s=clip.end_s,
            meta={**tokens.meta(), BEFORE_UNTIL: repr(until_s)},
            epoch=memory.epoch,
        )
        return wire.CompactOp(clip.tokens.key, span, left), (clip.clip_index, tokens)

    async def _measured(
        self, memory: StreamMemory, method: Compaction, shapes: dict[str, ClipShape]
    ) -> dict[str, Sequence[float]]:
        """What the workers measure of the clips, by their keys; without those that are gone."""
        if method.measure == "nothing":
            return dict.fromkeys(shapes, ())
        asked = {key: method.pairs(shape) for key, shape in shapes.items()}
        op = wire.MeasureOp(method.measure, memory.ends[1].tokens.key, asked)
        each = await self._streams.answers(
            lambda is_first: wire.measure_segments(self._name, op if is_first else None)
        )
        return {
            key: np.mean([one[key] for one in each], axis=0).tolist()
            for key in shapes
            if all(key in one for one in each)
        }

    async def _retire(self) -> None:
        """Delete segments that have been replaced, where that is safe."""
        for one in list(self._retiring):
            memory = one.memory
            if not self._is_open(memory):
                self._retiring.remove(one)
                continue
            if one.readers & memory.readers:
                continue
            if self._is_lasting:
                # Of a clip that is gone nothing is to be waited for.
                new = [clip.tokens.key for clip in memory.find(one.new)]
                unwritten = await self._streams.ask(wire.unwritten_segments(new))
                if any(unwritten):
                    continue
            self._retiring.remove(one)
            gone = [key for index, key in one.old.items() if memory.twins.get(index) == key]
            for index in one.old:
                memory.twins.pop(index, None)
            if gone:
                await self._streams.delete(memory, gone)

    def _is_open(self, memory: StreamMemory) -> bool:
        return any(one is memory for one in self._streams)

    def _count(self, outcome: str, num_clips: int) -> None:
        self._metrics.compaction.labels(outcome).inc(num_clips)
