"""`StridedMover`: moves KV of all layers at once, and never waits for the device.

Saving: when the layers are done, one operation gathers what they wrote, on the main queue, since
the next step may write there again. Index entries are made on the device. The copy into the pool
runs beside the model; whatever the device reads of the pool comes after it, so that a segment
counts as kept at once.

Loading: groups of layers are read from the pool, turned to their new places and written into the
cache in a queue beside the model, and each layer waits for its own group only.

Segments that the pool has no room for get to ordinary memory by a ring (see `SaveRing`). To be
placed from there, or from a store below, they take the slow way: the processor waits for one copy
of all of them.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from onlooker.engine.memory.plan import Filling
from onlooker.engine.vllm_adapter.wire import SaveOp
from onlooker.engine.vllm_adapter.worker.arena import Segment, SegmentArena
from onlooker.engine.vllm_adapter.worker.cache_view import CacheView
from onlooker.engine.vllm_adapter.worker.device_shelf import DeviceShelf
from onlooker.engine.vllm_adapter.worker.filling import filled
from onlooker.engine.vllm_adapter.worker.index_room import UNBOUNDED, IndexBudget, IndexRoom
from onlooker.engine.vllm_adapter.worker.mover import Piece, SavedSegment
from onlooker.engine.vllm_adapter.worker.partial import PartialSegments, saved_positions
from onlooker.engine.vllm_adapter.worker.pool import TokenPool, TokenRun
from onlooker.engine.vllm_adapter.worker.rotary import Rotary
from onlooker.engine.vllm_adapter.worker.save_ring import SaveRing
from onlooker.engine.vllm_adapter.worker.streams import DeviceEvent, DeviceStreams

_log = logging.getLogger("onlooker.engine.vllm")

_NUM_GROUPS = 6
"""Groups of layers in which segments are loaded: few enough that giving them to the device takes
no time, many enough that the first layers need not wait for the last."""

_MAX_DROPS = 16
"""The most old segments that make room for a new one. Where they are being loaded, dropping more
gives none."""


@dataclass(frozen=True, slots=True)
class _Source:
    """Tokens that are to be placed, all on the device."""

    kv: torch.Tensor
    """Some memory of KV, [any tokens, layers, kv_heads, 2 * head_dim]."""
    rows: torch.Tensor
    """Which of its tokens."""
    deltas: torch.Tensor | None
    """By how many positions each is moved; None: none is."""
    slots: torch.Tensor


class StridedMover:
    """See the module, and `KvMover`.

    Args:
        rotary: on the device.
        shelf: keeps the newest segments on the device.
        ring: takes what the pool has no room for.
        arena: lets go of old segments when the pool has no room for new ones.
    """

    def __init__(
        self,
        view: CacheView,
        rotary: Rotary,
        arena: SegmentArena,
        pool: TokenPool,
        streams: DeviceStreams,
        shelf: DeviceShelf,
        ring: SaveRing,
    ) -> None:
        self._shelf = shelf
        self._ring = ring
        self._view = view
        self._rotary = rotary
        self._arena = arena
        self._pool = pool
        self._streams = streams
        size = -(-view.num_layers // _NUM_GROUPS)
        self._groups = [
            slice(first, min(first + size, view.num_layers))
            for first in range(0, view.num_layers, size)
        ]
        self._loading: dict[int, DeviceEvent] = {}
        """Events of what is being loaded, by the first layer of the group."""
        self._held: list[Segment | TokenRun] = []
        """Segments and runs that are being loaded, so that their runs are not given away before."""
        self._partial = PartialSegments()
        self.num_unpooled = 0
        """How often the pool had no room for a segment."""

    def begin(self, saves: list[SaveOp]) -> None:
        self.reach(None)
        self._ring.tidy()

    def load(self, pieces: Sequence[Piece], slots: list[int]) -> None:
        sources = self._sources(pieces, slots)
        for group in self._groups:
            self._loading[group.start] = self._streams.beside(
                "load",
                partial(self._place, group, sources),
                reads=[
                    tensor
                    for one in sources
                    for tensor in (one.kv, one.rows, one.deltas, one.slots)
                    if tensor is not None
                    and tensor is not self._pool.device
                    and tensor is not self._shelf.memory
                ],
            )

    def reach(self, index: int | None) -> None:
        if index is None:
            for event in self._loading.values():
                self._streams.join(event)
            self._loading.clear()
            self._held.clear()
        elif (found := self._loading.pop(index, None)) is not None:
            self._streams.join(found)

    def written(self, index: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """What was written is read from the cache."""

    def queried(self, index: int, query: torch.Tensor) -> None:
        """Keys stand in for the queries of a segment's own tokens."""

    def save(self, saves: list[SaveOp]) -> Iterator[SavedSegment]:
        slots = np.concatenate([np.asarray(op.slots, np.int64) for op in saves])
        taken = self._view.gather(self._streams.up(slots))
        turns = self._rotary.removals(self._streams.up(saved_positions(saves).numpy()))
        row = 0
        for op in saves:
            rows = slice(row, row + len(op.slots))
            row = rows.stop
            kv = taken[rows].transpose(0, 1)
            parts = [kv]
            if op.span.retrievable:
                parts.append(turns.of(rows).apply(kv[..., : self._view.width // 2]))
            whole = self._partial.add(op, parts)
            if whole is None:
                continue
            made: list[torch.Tensor] | None = whole.parts
            if (filling := op.span.filling) is not None:
                made = self._filled(op, filling, whole.parts[0])
            if made is not None:
                yield self._saved(op, *made)

    def forget(self, request_id: str) -> None:
        self._partial.forget(request_id)

    def adopt(self, key: str, segment: Segment) -> Segment:
        """Take a segment with memory of its own into the pool, where there is room."""
        both = torch.cat([segment.keys, segment.values], -1).transpose(0, 1).contiguous()
        run = self._kept(both.to(self._pool.device.device))
        if run is None:
            return segment
        found = self._in_pool(run, segment.base, segment.offsets)
        if segment.plain_keys is not None and not segment.offsets:
            found = Segment(found.keys, found.values, segment.base, segment.plain_keys, run=run)
        self._arena.put(key, found)
        return found

    def _saved(
        self, op: SaveOp, kv: torch.Tensor, plain_keys: torch.Tensor | None = None
    ) -> SavedSegment:
        """`kv`: [layers, tokens, kv_heads, 2 * head_dim], on the device; so are `plain_keys`, keys
        without position, where retrieval may pick the segment."""
        span = op.span
        entries = stored = None
        if plain_keys is not None:
            entries = self._arena.entries(plain_keys)
            stored = entries.to("cpu", non_blocking=True)
        offsets = span.offsets if plain_keys is not None else ()
        kv = kv.transpose(0, 1).contiguous()
        run = self._kept(kv)
        if run is not None:
            self._shelf.put(span.key, run, kv)
            segment = self._in_pool(run, span.position, offsets)
            return SavedSegment(op, segment, entries, stored, self._pool.written)
        if (run := self._ring.put(kv)) is not None:
            segment = self._in_pool(run, span.position, offsets)
            moved = self._ring.move_on(span.key, segment)
            return SavedSegment(op, segment, entries, stored, self._pool.written, moved=moved)
        host = kv.cpu().transpose(0, 1)
        keys, values = (half.contiguous() for half in host.chunk(2, -1))
        segment = Segment(keys, values, span.position, None, offsets)
        return SavedSegment(op, segment, entries, stored, None)

    def _filled(self, op: SaveOp, filling: Filling, kv: torch.Tensor) -> list[torch.Tensor] | None:
        """What `_saved` takes of the whole segment of `kv`, which was computed; None where that
        which fills it is gone."""
        span = op.span
        sources = self._arena.get_all([filling.key])
        if sources is None:
            _log.error(
                "a segment was not kept: the one that it is filled from is gone",
                extra={"request": op.request_id, "key": span.key},
            )
            return None
        self._pool.join()
        there = self._rows_of(sources[0], [*filling.from_rows, *filling.from_anchors])
        keys, values = kv.chunk(2, -1)
        both, base = (keys, values), sources[0].base
        keys, values = filled(span, filling, both, there, base, self._rotary, self._streams.up)
        found = [torch.cat([keys, values], -1)]
        if span.retrievable:
            places = np.asarray(span.offsets, np.int64) + span.position
            found.append(self._rotary.removals(self._streams.up(places)).apply(keys))
        return found

    def _rows_of(self, segment: Segment, rows: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of some rows of a segment, on the device."""
        chosen = np.asarray(rows, np.int64)
        if segment.run is not None:
            kv = self._pool.device.index_select(0, self._streams.up(chosen + segment.run.first))
        else:
            both = torch.cat([segment.keys, segment.values], -1)[:, torch.from_numpy(chosen)]
            kv = both.transpose(0, 1).to(self._pool.device.device)
        keys, values = kv.transpose(0, 1).chunk(2, -1)
        return keys, values

    def _kept(self, kv: torch.Tensor) -> TokenRun | None:
        """A run of the pool that gets `kv`; older segments make room where they can be had from
        below."""
        for _ in range(_MAX_DROPS):
            if (run := self._pool.put(kv)) is not None:
                return run
            if not self._arena.drop_oldest():
                break
        self.num_unpooled += 1
        if self.num_unpooled == 1:
            _log.warning(
                "there is no room for more segments in the memory that the device reaches "
                "(memory.arena_gib): others are kept, and slower to place"
            )
        return None

    def _in_pool(self, run: TokenRun, base: int, offsets: Sequence[Sequence[int]]) -> Segment:
        keys, values = run.kv.transpose(0, 1).chunk(2, -1)
        return Segment(keys, values, base, None, offsets, run)

    def _sources(self, pieces: Sequence[Piece], slots: list[int]) -> list[_Source]:
        """What is read from the shelf, from the pool, and what has to be brought to the device."""
        placed = np.asarray(slots, np.int64)
        rows: list[list[NDArray[np.int64]]] = [[], [], []]
        deltas: list[list[NDArray[np.int64]]] = [[], [], []]
        places: list[list[NDArray[np.int64]]] = [[], [], []]
        brought: list[torch.Tensor] = []
        at = num_brought = 0
        for piece in pieces:
            segment = piece.segment
            if segment.run is None:
                segment = self.adopt(piece.key, segment)
            self._held.append(segment)
            chosen = piece.chosen
            count = len(chosen)
            if segment.run is not None:
                here = self._shelf.find(piece.key, segment.run)
                side, run = (0, segment.run) if here is None else (2, here)
                self._held.append(run)
                rows[side].append(run.first + chosen)
            else:
                side = 1
                kept = torch.cat([segment.keys, segment.values], -1)[:, torch.from_numpy(chosen)]
                brought.append(kept.transpose(0, 1))
                rows[side].append(np.arange(num_brought, num_brought + count))
                num_brought += count
            deltas[side].append(np.full(count, piece.position - segment.base))
            places[side].append(placed[at : at + count])
            at += count
        self._pool.join()
        self._shelf.join()
        sources = []
        for side, memory in ((0, self._pool.device), (1, None), (2, self._shelf.memory)):
            if not rows[side]:
                continue
            if memory is None:
                memory = torch.cat(brought).to(self._pool.device.device)
            moved = np.concatenate(deltas[side])
            sources.append(
                _Source(
                    memory,
                    self._streams.up(np.concatenate(rows[side])),
                    self._streams.up(moved) if moved.any() else None,
                    self._streams.up(np.concatenate(places[side])),
                )
            )
        return sources

    def _place(self, layers: slice, sources: Sequence[_Source]) -> None:
        half = self._view.width // 2
        for source in sources:
            kv = source.kv[:, layers].index_select(0, source.rows)
            if source.deltas is not None:
                keys = self._rotary.shift(kv[..., :half].transpose(0, 1), source.deltas)
                kv[..., :half] = keys.transpose(0, 1)
            self._view.scatter(layers, source.slots, kv)


@dataclass(frozen=True, slots=True)
class DeviceSide:
    """What a worker has on a device whose caches can be read as one."""

    streams: DeviceStreams
    pool: TokenPool
    rotary: Rotary
    mover: StridedMover
    shelf: DeviceShelf
    ring: SaveRing
    index_room: IndexRoom

    @classmethod
    def of(
        cls,
        caches: Sequence[torch.Tensor],
        arena: SegmentArena,
        rotary: Rotary,
        streams: DeviceStreams,
        *,
        num_bytes: int,
        shelf_bytes: int = 0,
        ring_bytes: int = 0,
        index: IndexBudget = UNBOUNDED,
    ) -> "DeviceSide | None":
        """Make all of it, with a pool of at most `num_bytes`, a ring of `ring_bytes` and a shelf of
        `shelf_bytes`, and have the arena's index lie on the device within its budget; None where
        the caches cannot be read as one."""
        view = CacheView.of(caches)
        if view is None:
            return None
        device = caches[0].device
        room = IndexRoom(
            device,
            streams,
            index,
            score=arena.score,
            kv_heads=view.num_kv_heads,
            head_dim=view.width // 2,
        )
        arena.place_index(room)
        pool = TokenPool(
            view,
            num_bytes // view.token_bytes,
            streams,
            ring_tokens=ring_bytes // view.token_bytes,
        )
        there = rotary.to(device)
        shelf = DeviceShelf(view, shelf_bytes // view.token_bytes, streams)
        ring = SaveRing(pool, arena.exchange)
        mover = StridedMover(view, there, arena, pool, streams, shelf, ring)
        return cls(streams, pool, there, mover, shelf, ring, room)
