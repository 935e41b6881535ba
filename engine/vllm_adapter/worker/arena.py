"""The arena: segments that the worker holds ready, and the index of all that it knows.

Below it may lie a tiered store (RAM, disk, Redis). Then the arena keeps what was used last, within
its budget, and fetches the rest when a prompt needs it; the index row of every segment stays here,
so that retrieval can rank what is not here itself.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from onlooker.engine.memory.plan import DEVICE, Reads
from onlooker.engine.vllm_adapter.worker.index import Index, Likeness
from onlooker.engine.vllm_adapter.worker.index_room import IndexRoom
from onlooker.engine.vllm_adapter.worker.pool import TokenRun
from onlooker.engine.vllm_adapter.worker.rotary import Rotary
from onlooker.engine.vllm_adapter.worker.scores import SCORES, RetrievalScore


@dataclass(frozen=True, slots=True)
class Segment:
    """A clip's or text's KV in all layers, as it was computed at position `base`.

    `keys`, `values`: [layers, tokens, kv_heads, head_dim]. `plain_keys`: the keys without rotary
    position, for retrieval; None where retrieval may not pick the segment, or where they are made
    when they are asked for. `offsets`: then, the rotary offsets of its tokens from `base`,
    [3][tokens]. `run`: where the segment lies in the pool; None where it has memory of its own.
    """

    keys: torch.Tensor
    values: torch.Tensor
    base: int
    plain_keys: torch.Tensor | None
    offsets: Sequence[Sequence[int]] = ()
    run: TokenRun | None = None

    @property
    def num_tokens(self) -> int:
        return int(self.keys.shape[1])

    @property
    def kv_bytes(self) -> int:
        """Bytes of keys and values, which are what a prompt needs."""
        return sum(t.numel() * t.element_size() for t in (self.keys, self.values))

    @property
    def num_bytes(self) -> int:
        tensors = [self.keys, self.values]
        if self.plain_keys is not None:
            tensors.append(self.plain_keys)
        return sum(t.numel() * t.element_size() for t in tensors)

    def plain_in(self, layer: int, rotary: Rotary) -> torch.Tensor | None:
        """The keys of one layer without rotary position, [tokens, kv_heads, head_dim]; None where
        retrieval may not pick the segment."""
        if self.plain_keys is not None:
            return self.plain_keys[layer]
        if not self.offsets:
            return None
        return rotary.remove(self.keys[layer], torch.tensor(self.offsets) + self.base)


class Backing(Protocol):
    """Where segments go that do not fit the arena."""

    def load(self, keys: Sequence[str]) -> dict[str, tuple[Segment, str]]:
        """Those of the segments of `keys` that can be read, each with the tier where it was; may
        block for the slowest tier. Never raises."""
        ...

    def forget(self, keys: Sequence[str]) -> None:
        """Note that the segments of these keys are not wanted any more."""
        ...


class SegmentArena:
    """All segments of this worker.

    Args:
        budget_bytes: the most bytes of segments that are held here; None: no limit. Without a
            `backing` it bounds nothing, since what is dropped is lost: then the gateway's half
            bounds how many clips are remembered.
        backing: the store below.
        score: the score whose entries the index holds.
        likeness: what of long streams the index keeps by likeness, where the score allows that.
        index_layers: the layers of which the index keeps entries; None: all.
    """

    def __init__(
        self,
        *,
        budget_bytes: int | None = None,
        backing: Backing | None = None,
        score: RetrievalScore = SCORES["mean_key"],
        likeness: Likeness | None = None,
        index_layers: tuple[int, ...] | None = None,
    ) -> None:
        self._budget_bytes = budget_bytes
        self._backing = backing
        self._segments: OrderedDict[str, Segment] = OrderedDict()
        self.score = score
        self._index_layers = index_layers
        likeness = likeness if score.is_linear or score.is_packed else None
        self.index = Index(likeness=likeness, layers=index_layers, means=score.means)
        """Entries of all segments that retrieval may pick, also of those that only the store below
        holds."""
        self.num_bytes = 0
        self.token_bytes = 0
        """Bytes of keys and values that one token of a segment takes in all layers."""
        self.num_fetched = 0
        """Segments that came from the store below."""
        self.num_read_in_step = 0
        """Segments that were not held when a step needed them, so that it had to ask below."""
        self._changes: dict[str, bool] = {}

    def place_index(self, room: IndexRoom) -> None:
        """Have the index lie on a device, before there is anything in it."""
        assert not len(self.index), "an index that is filled stays where it is"
        self.index = Index(room, layers=self._index_layers)

    def entries(self, keys: torch.Tensor, queries: torch.Tensor | None = None) -> torch.Tensor:
        """What the index keeps of a segment with these keys (and, where they are known, queries)
        without rotary position, [layers, tokens, heads, head_dim]."""
        return self.score.entries(
            self.indexed(keys), None if queries is None else self.indexed(queries)
        )

    def indexed(self, x: torch.Tensor) -> torch.Tensor:
        """Of `x`, [layers, ...], the layers of which the index keeps something."""
        if self._index_layers is None:
            return x
        # A list of numbers as index would have to be brought to a device first.
        return torch.stack([x[layer] for layer in self._index_layers])

    def put(self, key: str, segment: Segment, entries: torch.Tensor | None = None) -> None:
        """Keep a segment; those that were not used for longest make room. `entries`: what the index
        shall keep of the segment; None: what it has already, or what can be made of the segment's
        keys alone."""
        self._remove(key)
        self._segments[key] = segment
        self._note_change(key, True)
        self.num_bytes += segment.num_bytes
        self.token_bytes = segment.kv_bytes // max(1, segment.num_tokens)
        if entries is None and segment.plain_keys is not None and key not in self.index:
            entries = self.entries(segment.plain_keys)
        if entries is not None:
            self.index.put(key, entries)
        if self._budget_bytes is not None:
            while self.num_bytes > self._budget_bytes and self.drop_oldest():
                pass

    def exchange(self, key: str, segment: Segment, other: Segment) -> None:
        """Have `other`, which is the same in other memory, take the place of `segment`, if that is
        still held."""
        if self._segments.get(key) is segment:
            self._segments[key] = other
            self.num_bytes += other.num_bytes - segment.num_bytes

    def bring(self, key: str, segment: Segment) -> None:
        """Keep a segment that came from the store below."""
        self.num_fetched += 1
        self.put(key, segment)

    def take_changes(self) -> dict[str, bool]:
        """Which segments are held here since the last call, or no longer are; where there is a
        store below."""
        changes, self._changes = self._changes, {}
        return changes

    def drop_oldest(self) -> bool:
        """Let go of the segment that was used longest ago, if it can be had from below and is not
        the only one; returns whether."""
        if self._backing is None or len(self._segments) < 2:
            return False
        return self._remove(next(iter(self._segments)))

    def ready(self, keys: Iterable[str]) -> list[Segment] | None:
        """The segments of `keys` that are all held here; None when one is not. Asks nobody below,
        and uses none."""
        found = [self._segments.get(key) for key in keys]
        segments = [segment for segment in found if segment is not None]
        return segments if len(segments) == len(found) else None

    def use(self, keys: Iterable[str]) -> None:
        """Note that segments were used that are held here."""
        for key in keys:
            if key in self._segments:
                self._segments.move_to_end(key)

    def found_here(self, keys: Iterable[str]) -> dict[str, Segment]:
        """Those of the segments of `keys` that are held here."""
        return {key: self._segments[key] for key in keys if key in self._segments}

    def get(self, key: str) -> Segment | None:
        """One segment, from here or from below; None where it is gone."""
        return self._found([key]).get(key)

    def get_all(self, keys: Sequence[str], reads: Reads | None = None) -> list[Segment] | None:
        """The segments of all `keys`, or None when one is missing; notes them in `reads`."""
        found = self._found(keys, reads)
        return [found[key] for key in keys] if len(found) == len(set(keys)) else None

    def get_held(
        self, keys: Sequence[str], reads: Reads, beside: Mapping[str, Segment] | None = None
    ) -> list[Segment] | None:
        """The segments of all `keys`, or None when one is not held here, nor `beside`; notes them
        in `reads`. Asks nobody below."""
        found = {**self.found_here(keys), **(beside or {})}
        if any(key not in found for key in keys):
            return None
        self.use(keys)
        for key in keys:
            reads.setdefault(key, (DEVICE, found[key].kv_bytes))
        return [found[key] for key in keys]

    def add_entries(self, key: str, entries: torch.Tensor) -> None:
        """Know a segment that only the store below holds, by what the index keeps of it."""
        self.index.put(key, entries)

    def drop(self, keys: Iterable[str]) -> int:
        """Forget segments, here and below; returns how many were here."""
        keys = list(keys)
        for key in keys:
            self.index.discard(key)
        if self._backing is not None:
            self._backing.forget(keys)
        return sum(self._remove(key) for key in keys)

    def drop_prefix(self, prefix: str) -> int:
        """Forget every segment whose key begins with `prefix`."""
        known = {*self._segments, *self.index}
        return self.drop([key for key in known if key.startswith(prefix)])

    def __len__(self) -> int:
        return len(self._segments)

    def _found(self, keys: Sequence[str], reads: Reads | None = None) -> dict[str, Segment]:
        reads = {} if reads is None else reads
        found = self.found_here(keys)
        self.use(found)
        for key, segment in found.items():
            reads.setdefault(key, (DEVICE, segment.kv_bytes))
        missing = [key for key in dict.fromkeys(keys) if key not in found]
        if missing and self._backing is not None:
            self.num_read_in_step += len(missing)
            for key, (segment, tier) in self._backing.load(missing).items():
                found[key] = segment
                reads.setdefault(key, (tier, segment.kv_bytes))
                self.bring(key, segment)
        return found

    def _remove(self, key: str) -> bool:
        segment = self._segments.pop(key, None)
        if segment is not None:
            self.num_bytes -= segment.num_bytes
            self._note_change(key, False)
        return segment is not None

    def _note_change(self, key: str, is_held: bool) -> None:
        if self._backing is not None:
            self._changes[key] = is_held
