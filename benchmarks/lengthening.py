"""Streams of days without days of watching: the index of a stream is lengthened.

A minute is watched as it is. What is added are rows of the index, and clips that the server knows
of; their segments are those of the minute, over and over. Rows are made of those that were
watched: scenes of about a minute, each a row that was seen moved by half of how rows differ, and
every clip in it by a tenth of that. So ranking has as much to do as in a stream of that length.
Reading what was chosen has not: it is held ready, however long the stream.
"""

import functools
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onlooker.cache_store.key import SegmentKind
from onlooker.core.ids import StreamId
from onlooker.engine.memory.timeline import RememberedClip
from onlooker.engine.vllm_adapter.entry.extension import SegmentExtension
from onlooker.engine.vllm_adapter.families.family import Family
from onlooker.engine.vllm_adapter.gateway.segment_engine import SegmentEngine
from onlooker.engine.vllm_adapter.wire import WorkerCall
from onlooker.engine.vllm_adapter.worker.arena import Segment, SegmentArena
from onlooker.engine.vllm_adapter.worker.ranker import Ranker
from onlooker.engine.vllm_adapter.worker.selection import Ranked

SCENE_CLIPS = 60
SCENE_SHARE, CLIP_SHARE = 0.5, 0.1
"""How far scenes lie from the rows that were seen, and clips from their scene; as shares of how
those rows differ."""

_AT_ONCE = 4096


class LengtheningExtension(SegmentExtension):
    """What a worker can be asked for beside its usual answers."""

    def lengthen(self, prefix: str, num_clips: int, seed: int) -> int:
        """Lengthen a stream to `num_clips`; returns the bytes that the index then holds."""
        arena = self._worker().arena
        stem = f"{prefix}{SegmentKind.CLIP.value}/"
        seen = sorted(key for key in arena.index if key.startswith(stem))
        (group,) = arena.index.groups(seen)
        entries_of = [group.entries(layer) for layer in group.layers]
        rows = np.stack([entries.float().numpy() for entries in entries_of], 1)
        scenes = _Scenes(rows, np.random.default_rng(seed))
        for first in range(len(seen), num_clips, _AT_ONCE):
            some = entries_of[0].new_tensor(scenes.next(min(_AT_ONCE, num_clips - first)))
            for number, entries in enumerate(some, first):
                arena.add_entries(f"{stem}{number:010d}", entries)
        _alias(arena, stem, seen)
        return arena.index.num_bytes

    def watch_ranking(self) -> None:
        """Remember from now on what was ranked last."""
        rank = Ranker.rank

        @functools.wraps(rank)
        def watched(ranker: Ranker, *args: Any, **options: Any) -> Ranked:
            found = rank(ranker, *args, **options)
            self._last = ranker, args, options, found
            return found

        setattr(Ranker, "rank", watched)  # noqa: B010 - a method is replaced on purpose

    def last_ranking(self) -> tuple[float, int]:
        """The share of the best of what was ranked last that was found, and how many vectors were
        compared for it; 0: all."""
        ranker, args, options, found = self._last
        whole = ranker.rank_all(*args, is_vote=options["is_vote"])
        best, mine = (
            set(one.best(options["count"], mass=None, temperature=1)) for one in (whole, found)
        )
        return len(best & mine) / len(best), found.num_compared


class _Scenes:
    """Rows, [layers, entries, kv_heads, head_dim] each, scene by scene."""

    def __init__(self, seen: NDArray[np.float32], random: np.random.Generator) -> None:
        self._seen = seen
        self._deviation = seen.std(0)
        self._random = random

    def next(self, count: int) -> NDArray[np.float32]:
        """The rows of the next clips, the first of which begins a scene."""
        begins = self._random.random(count) < 1 / SCENE_CLIPS
        begins[0] = True
        places = self._random.integers(len(self._seen), size=int(begins.sum()))
        scenes = self._seen[places] + self._noise(len(places), SCENE_SHARE)
        clips: NDArray[np.float32] = self._noise(count, CLIP_SHARE)
        clips += scenes[begins.cumsum() - 1]
        return clips

    def _noise(self, count: int, share: float) -> NDArray[np.float32]:
        drawn = self._random.standard_normal((count, *self._deviation.shape), np.float32)
        noise: NDArray[np.float32] = np.float32(share) * self._deviation * drawn
        return noise


def _alias(arena: SegmentArena, stem: str, seen: list[str]) -> None:
    """Have the arena give the segments of `seen`, over and over, for all clips of the stream."""
    segments = arena.get_all(seen)
    assert segments is not None
    found = arena.found_here

    def found_here(keys: Any) -> dict[str, Segment]:
        here: dict[str, Segment] = found(keys)
        for key in keys:
            if key not in here and key.startswith(stem):
                here[key] = segments[int(key.rpartition("/")[2]) % len(segments)]
        return here

    arena.found_here = found_here  # type: ignore[method-assign]


class LengtheningEngine(SegmentEngine):
    """A segments engine whose streams can be lengthened."""

    async def lengthen(self, stream_id: StreamId, num_clips: int, seed: int) -> int:
        """Lengthen a stream to `num_clips` clips of one size, a second apart; returns the bytes
        that the index then holds, of all streams."""
        memory = self._streams[stream_id]
        (num_bytes,) = await self.runner.ask_workers(
            WorkerCall("lengthen", (memory.prefix, num_clips, seed), int)
        )
        last = memory.recent(1)[0]
        for index in range(last.clip_index + 1, num_clips):
            tokens = replace(last.tokens, key=memory.clip_key(index))
            memory.add(RememberedClip(tokens, index, float(index), index + 0.5, index + 0.5))
        return num_bytes

    async def watch_ranking(self) -> None:
        """Remember from now on what was ranked last."""
        await self.runner.ask_workers(WorkerCall("watch_ranking", (), lambda _: None))

    async def last_ranking(self) -> tuple[float, int]:
        """See `LengtheningExtension.last_ranking`."""
        (found,) = await self.runner.ask_workers(WorkerCall("last_ranking", (), tuple))
        recall, num_compared = found
        return float(recall), int(num_compared)

    def _arguments(self, family: Family) -> dict[str, Any]:
        name = f"{LengtheningExtension.__module__}.{LengtheningExtension.__name__}"
        return {**super()._arguments(family), "worker_extension_cls": name}
