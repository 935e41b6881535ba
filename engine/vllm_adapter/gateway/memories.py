"""`StreamMemories`: what the engine remembers of every stream, and the keeping of it.

The clips that prompts are made of are known here; their KV stays with the workers, which are asked.
"""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from onlooker.cache_store.key import SegmentKind, StreamKey, parse_key
from onlooker.cache_store.leases import Claim
from onlooker.core.clock import Clock
from onlooker.core.ids import StreamId, new_id, split_stream_id
from onlooker.core.media import Clip, Cover
from onlooker.engine.interface import Forgotten, Held, Remembered, Stock, Waiting
from onlooker.engine.memory.clip_tokens import ClipTokens
from onlooker.engine.memory.notes import Note
from onlooker.engine.memory.plan import BEFORE_UNTIL
from onlooker.engine.memory.rotary_layout import RotaryLayout
from onlooker.engine.memory.shown import cover_until_s
from onlooker.engine.memory.stream_memory import StreamMemory
from onlooker.engine.memory.timeline import RememberedClip
from onlooker.engine.vllm_adapter import wire
from onlooker.engine.vllm_adapter.gateway.runner import VllmRunner

R = TypeVar("R")

_log = logging.getLogger("onlooker.engine.vllm")

DELETION_WAIT_S = 2.0
"""How long a deletion waits until it is done in every tier. After that the
workers go on with it by themselves."""
WRITE_WAIT_S = 5.0
"""How long the closing of a stream that is not forgotten waits until what it remembers is in the
tier that outlives the process. After that it is written as long as the process lives."""
_POLL_S = 0.02


class StreamMemories:
    """The memories of all open streams."""

    def __init__(
        self,
        runner: VllmRunner,
        clock: Clock,
        *,
        fingerprint: str,
        layout: RotaryLayout,
        is_shared: bool = False,
        tells_workers: bool = True,
    ) -> None:
        """`is_shared`: whether other gateways use the workers, too; then one of them, which
        `tells_workers`, tells what the workers hold and have done, lest it be counted by each."""
        self._runner = runner
        self._clock = clock
        self._fingerprint = fingerprint
        self._layout = layout
        self._is_shared, self._tells_workers = is_shared, tells_workers
        self._memories: dict[StreamId, StreamMemory] = {}
        self._newest: dict[StreamId, Clip] = {}
        self._claimed: set[StreamId] = set()
        self.holds_all = True
        """Whether the workers hold all segments ready, as far as is known; else some have to be
        brought up from the store below."""
        self.bytes_per_token = 0
        """Bytes of keys and values that one token takes in all layers."""
        self.max_clips = 1
        """The most clips of all streams together, which the index bounds; the oldest of the stream
        that has the most clips make room."""
        self.max_tokens: float = math.inf
        """The most tokens of all clips together, which the store bounds; the oldest clips of the
        stream that has the most tokens make room."""
        self._sure_clips, self._sure_tokens = 0, 0.0
        """Room that there is at least, so that not every clip has all streams counted."""

    def __getitem__(self, stream_id: StreamId) -> StreamMemory:
        return self._memories[stream_id]

    def __iter__(self) -> Iterator[StreamMemory]:
        return iter(self._memories.values())

    def newest(self, stream_id: StreamId) -> Clip | None:
        """A stream's newest clip with its pixels: a question may ask for its first half."""
        return self._newest.get(stream_id)

    async def open(self, stream_id: StreamId, claim: Claim | None = None) -> Remembered:
        """Make room for a stream, or remember what an earlier server stored of it. `claim`: the
        right by which the stream is written; None where there is but one server."""
        tenant, name = split_stream_id(stream_id)
        if claim is not None:
            self._claimed.add(stream_id)
            await self._runner.ask_workers(wire.own_stream(f"{tenant}/{name}", claim))
        lives_of = f"{self._fingerprint}/{tenant}/{name}/"
        stored = await self.answers(lambda is_first: wire.stored_lives(lives_of, is_first=is_first))
        # Only what every worker has is whole; the newest life is the one to go on with.
        lives = set.intersection(*(set(one.generations) for one in stored))
        generation = max(lives) if lives else int(self._clock.wall_s() * 1000)
        key = StreamKey(self._fingerprint, tenant, name, generation)
        epoch = 0 if claim is None else claim.epoch
        memory = self._memories[stream_id] = StreamMemory(key, epoch=epoch)
        memory.is_unsure = True  # until it is known what there is
        if lives:
            await self._restore(memory)
        else:
            memory.is_unsure = False
        memory.is_unsure |= not all(one.is_complete for one in stored)
        gaps = memory.note_gaps()
        if not len(memory):
            return Remembered()
        first, last = memory.ends
        return Remembered(last.clip_index + 1, last.end_s, first.clip_index, gaps)

    async def close(self, stream_id: StreamId, *, forget: bool) -> None:
        """Let go of a stream; with `forget`, of what is stored of it too."""
        memory = self._memories.pop(stream_id, None)
        is_claimed = stream_id in self._claimed
        self._claimed.discard(stream_id)
        self._newest.pop(stream_id, None)
        if memory is not None and self._runner.healthy():
            if not forget and is_claimed:
                await self._wait_written(memory.prefix)
            dropping = wire.drop_stream(memory.prefix, memory.epoch, forget=forget)
            await self._runner.ask_workers(dropping)
            if forget:
                await self._unreached(memory.prefix)

    async def forget(
        self,
        stream_id: StreamId,
        start_s: float,
        end_s: float,
        *,
        is_aged: bool,
        max_clips: int | None,
    ) -> Forgotten:
        """Delete what a stream remembers of a span of time; see `Engine.forget`."""
        memory = self._memories[stream_id]
        clips, has_more = memory.forget_span(start_s, end_s, max_clips)
        indices = frozenset(clip.clip_index for clip in clips)
        newest = self._newest.get(stream_id)
        if newest is not None and newest.clip_index in indices:
            del self._newest[stream_id]
        notes = memory.notes.forget_asked(start_s, end_s if is_aged else math.inf)
        keys = [*memory.all_keys(clips), *notes]
        unreached: tuple[str, ...] = ()
        if keys:
            await self.delete(memory, keys)
            unreached = () if is_aged else await self._unreached(memory.prefix)
        num_tokens = sum(len(clip.tokens.token_ids) for clip in clips)
        return Forgotten(
            clip_indices=indices,
            num_notes=len(notes),
            num_bytes=num_tokens * self.bytes_per_token,
            unreached=unreached,
            has_more=has_more,
        )

    async def delete(self, memory: StreamMemory, keys: list[str]) -> None:
        """Delete segments of a stream in every tier, without waiting for slow ones."""
        deleting = wire.delete_segments(memory.prefix, memory.epoch, keys)
        await self._runner.ask_workers(deleting)

    async def drop(self, memory: StreamMemory, keys: list[str]) -> None:
        """Have the workers hold segments of a stream ready no more."""
        dropping = wire.drop_segments(memory.prefix, memory.epoch, keys)
        await self._runner.ask_workers(dropping)

    async def add(self, clip: Clip, tokens: ClipTokens) -> None:
        """Remember a clip whose segment was saved; makes room where there are too many."""
        remembered = RememberedClip(
            tokens, clip.clip_index, clip.start_s, clip.end_s, until_s=cover_until_s(clip)
        )
        self._memories[clip.stream_id].add(remembered)
        if self._memories[clip.stream_id].ends[1] is remembered:  # else it came late
            self._newest[clip.stream_id] = clip
        self._sure_clips -= 1
        self._sure_tokens -= len(tokens.token_ids)
        if self._sure_clips < 0 or self._sure_tokens < 0:
            await self._make_room()

    async def take_stock(self, waiting: Waiting) -> Stock:
        """Which clips every worker has stored for good, and what all workers hold, where it is told
        here."""
        keys = {
            (stream_id, index): self._memories[stream_id].stored_key(index)
            for stream_id, indices in waiting.items()
            if stream_id in self._memories
            for index in indices
        }
        stocks = await self._runner.ask_workers(wire.worker_stock([*keys.values()]))
        undurable = {key for stock in stocks for key in stock.undurable}
        durable: dict[StreamId, list[int]] = {}
        for (stream_id, index), key in keys.items():
            if key not in undurable:
                durable.setdefault(stream_id, []).append(index)
        stats = [stock.stats for stock in stocks]
        held = Held(
            num_segments=max(worker.segments for worker in stats),
            num_bytes=sum(worker.bytes for worker in stats),
            num_indexed=max(worker.index_rows for worker in stats),
            index_bytes=sum(worker.index_bytes for worker in stats),
        )
        tiers = {
            tier: _merged([worker.tiers.get(tier, {}) for worker in stats])
            for tier in dict.fromkeys(tier for worker in stats for tier in worker.tiers)
        }
        moves = _merged([worker.moves for worker in stats])
        num_known = sum(memory.num_segments + len(memory.twins) for memory in self)
        if self._is_shared:  # then the workers hold what others know of, too
            num_known = max(num_known, *(worker.index_rows for worker in stats))
        self.holds_all = min(worker.segments for worker in stats) >= num_known
        is_kept = all(stock.is_kept for stock in stocks)
        remembered = {
            stream_id: memory.num_tokens * self.bytes_per_token
            for stream_id, memory in self._memories.items()
        }
        stock = Stock(durable, tiers, moves, held, remembered, is_kept)
        return stock if self._tells_workers else replace(stock, tiers={}, moves={}, held=None)

    async def forget_missing(self, memory: StreamMemory) -> bool:
        """Compare what should be stored with what is, and forget what is gone; returns whether
        anything was."""
        keys = [*memory.keys()]
        name = new_id("missing")
        answers = await self.answers(
            lambda is_first: wire.missing_segments(name, keys if is_first else None)
        )
        missing = {key for answer in answers for key in answer}
        memory.forget(missing)
        if missing:
            _log.warning("segments are missing", extra={"count": len(missing)})
        return bool(missing)

    async def make_room(self, num_twins: int) -> None:
        """Have room in the index for so many second segments of clips."""
        num_twins = min(num_twins, self.max_clips // 2)
        self._sure_clips -= num_twins
        if self._sure_clips < 0:
            await self._make_room(num_twins)

    async def ask(self, call: wire.WorkerCall[R]) -> list[R]:
        """What all workers answer."""
        return await self._runner.ask_workers(call)

    async def answers(self, call: Callable[[bool], wire.WorkerCall[R | None]]) -> list[R]:
        """What all workers answer to a call that they work on beside the steps. `call` makes it, to
        begin with and to ask again."""
        answers = await self._runner.ask_workers(call(True))
        while any(answer is None for answer in answers):
            await self._clock.sleep(_POLL_S)
            answers = await self._runner.ask_workers(call(False))
        return [answer for answer in answers if answer is not None]

    async def _wait_written(self, prefix: str) -> None:
        """Who opens the stream next, perhaps on another server, is to find all of it."""
        until_s = self._clock.now_s() + WRITE_WAIT_S
        while True:
            answers = await self._runner.ask_workers(wire.is_writing(prefix))
            if not any(answers):
                return
            if self._clock.now_s() >= until_s:
                _log.warning("a stream is let go before all of it was written")
                return
            await self._clock.sleep(_POLL_S)

    async def _unreached(self, prefix: str) -> tuple[str, ...]:
        """Wait a while until what was deleted of a stream is in no tier; returns the tiers that
        were not reached. The workers' steps never wait for a tier, so that is done here."""
        until_s = self._clock.now_s() + DELETION_WAIT_S
        while True:
            answers = await self._runner.ask_workers(wire.unreached_tiers(prefix))
            tiers = tuple(dict.fromkeys(tier for answer in answers for tier in answer))
            if not tiers:
                return ()
            if self._clock.now_s() >= until_s:
                _log.warning(
                    "something is deleted later: a tier could not be reached",
                    extra={"tiers": tiers},
                )
                return tiers
            await self._clock.sleep(_POLL_S)

    async def _restore(self, memory: StreamMemory) -> None:
        stored = await self._stored(memory)
        listed = [{one.key for one in segments} for segments in stored]
        known = set.intersection(*listed)
        if strays := set.union(*listed) - known:
            _log.warning("segments are not whole", extra={"count": len(strays)})
            await self.drop(memory, sorted(strays))
        self.holds_all = self.holds_all and not known
        clips: dict[int, wire.StoredSegment] = {}
        for segment in sorted(stored[0], key=lambda one: one.key):
            parsed = parse_key(segment.key)
            if segment.key not in known:
                continue
            if parsed.kind is SegmentKind.SINK:
                memory.sinks.add(segment.key)
            elif parsed.kind is SegmentKind.TEXT:
                memory.notes.add(Note.restored(segment.key, segment.meta), index=parsed.index)
            else:  # what is compacted comes last, and takes the place of the whole clip
                if parsed.index in clips:
                    memory.twins[parsed.index] = clips[parsed.index].key
                clips[parsed.index] = segment
        self._add_restored(memory, clips)
        _log.info("a stream's memory was found again", extra={"clips": len(memory)})

    def _add_restored(self, memory: StreamMemory, clips: Mapping[int, wire.StoredSegment]) -> None:
        """Remember stored clips, by their indices."""
        covers: list[Cover] = []
        for index, segment in sorted(clips.items()):
            tokens = ClipTokens.restored(segment.key, segment.meta, self._layout)
            start_s, end_s = segment.start_s, segment.end_s
            memory.add(RememberedClip(tokens, index, start_s, end_s, until_s=end_s))
            if BEFORE_UNTIL in segment.meta:
                covers.append(Cover(index - 1, float(segment.meta[BEFORE_UNTIL])))
        memory.cover(covers)
        self._sure_clips, self._sure_tokens = 0, 0.0  # the room is counted anew

    async def _stored(self, memory: StreamMemory) -> list[list[wire.StoredSegment]]:
        """What each worker has of a stream, piece by piece, between the steps of others."""
        found: list[list[wire.StoredSegment]] = []
        memory.is_unsure = False
        is_first = True
        while True:
            pieces = await self._runner.ask_workers(
                wire.restore_stream(memory.prefix, is_first=is_first)
            )
            found = found or [[] for _ in pieces]
            for segments, piece in zip(found, pieces, strict=True):
                segments += piece.segments
            memory.is_unsure |= not all(piece.is_complete for piece in pieces)
            if all(piece.is_done for piece in pieces):
                return found
            if not any(piece.segments for piece in pieces):
                await self._clock.sleep(_POLL_S)
            is_first = False

    async def _make_room(self, num_twins: int = 0) -> None:
        # Where only twins are left, of clips that are gone, nothing can be let go.
        while (longest := self._longest(num_twins)) is not None and len(longest):
            keys = longest.forget_oldest(max(1, len(longest) // 20))
            await self.drop(longest, keys)

    def _longest(self, num_twins: int) -> StreamMemory | None:
        """The stream whose oldest clips are to make room; None where there is room, also for
        `num_twins` more. Clips may differ in size, so that what fills the index need not be what
        fills the store."""
        num_clips = sum(len(memory) + len(memory.twins) for memory in self)
        self._sure_clips = self.max_clips - num_clips - num_twins
        self._sure_tokens = self.max_tokens - sum(memory.num_tokens for memory in self)
        if self._sure_clips < 0:
            return max(self, key=len)
        if self._sure_tokens < 0:
            return max(self, key=lambda memory: memory.num_tokens)
        return None


def _merged(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """What all workers count, as one: each has its heads of the same segments, so that bytes add
    up, and segments and what became of them do not."""
    names = dict.fromkeys(name for one in counts for name in one)
    return {
        name: (sum if name.endswith("_bytes") else max)(one.get(name, 0) for one in counts)
        for name in names
    }
