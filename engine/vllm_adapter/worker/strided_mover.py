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

from onlooker.engine.memory.plan import Filling, SaveSpan
from onlooker.engine.vllm_adapter.wire import SaveOp
from onlooker.engine.vllm_adapter.worker.arena import Segment, SegmentArena
from onlooker.engine.vllm_adapter.worker.cache_view import CacheView
from onlooker.engine.vllm_adapter.worker.device_shelf import DeviceShelf
from onlooker.engine.vllm_adapter.worker.filling import filled
from onlooker.engine.vllm_adapter.worker.index_room import UNBOUNDED, IndexBudget, IndexRoom
from onlooker.engine.vllm_adapter.worker.mover import Piece, SavedSegment
from onlooker.engine.vllm_adapter.worker.partial import PartialSegments
from onlooker.engine.vllm_adapter.worker.pool import TokenPool, TokenRun
from onlooker.engine.vllm_adapter.worker.rotary import Rotary, Rotation
from onlooker.engine.vllm_adapter.worker.save_ring import SaveRing
from onlooker.engine.vllm_adapter.worker.streams import DeviceEvent, DeviceStreams

_log = logging.getLogger("onlooker.engine.vllm")

_NUM_GROUPS = 6
"""Groups of layers in which segments are loaded: few enough that giving them to the device takes
no time, many enough that the first layers need not wait for the last."""

_MAX_DROPS = 16
"""The most old segments that make room for a new one. Where they are being loaded, dropping more
gives none."""


_Entries = tuple[torch.Tensor | None, torch.Tensor | None]
"""What the index keeps of a segment: on the device, and on the host."""


@dataclass(frozen=True, slots=True)
class _Source:
    """Tokens that are to be placed, all on the device."""

    kv: torch.Tensor
    """Some memory of KV, [any tokens, layers, kv_heads, 2 * head_dim]."""
    rows: torch.Tensor
    """Which of its tokens."""
    turns: Rotation | None
    """What moves each to its place; None: none is moved."""
    slots: torch.Tensor

    @property
    def made(self) -> list[torch.Tensor]:
        """What was made for this step, beside `kv`."""
        return [self.rows, self.slots, *([] if self.turns is None else [self.turns.turns])]


class StridedMover:
    """See the module, and `KvMover`.

    Args:
        rotary: on the device.
        shelf: keeps the newest segments on the device.
        ring: takes what the pool has no room for.
        arena: lets go of old segments when the pool has no room for new ones.
        saving_bytes: memory of the device for the keys of new segments, as float32, of which index
            entries are made at once; what one segment takes is taken in any case.
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
        *,
        saving_bytes: int,
    ) -> None:
        self._saving_bytes = saving_bytes
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
                    for tensor in (one.kv, *one.made)
                    if tensor is not self._pool.device and tensor is not self._shelf.memory
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
        row = 0
        for ops in self._together(saves):
            num_rows = sum(len(op.slots) for op in ops)
            theirs = taken[row : row + num_rows]
            row += num_rows
            found = theirs if _is_plain(ops[0]) else self._collected(ops[0], theirs)
            if found is not None:
                yield from self._saved(ops, found)

    def forget(self, request_id: str) -> None:
        self._partial.forget(request_id)

    def adopt(self, key: str, segment: Segment) -> Segment:
        """Take a segment with memory of its own into the pool, where there is room."""
        both = torch.cat([segment.keys, segment.values], -1).transpose(0, 1).contiguous()
        run = self._kept(both.to(self._pool.device.device))
        if run is None:
            return segment
        plain = None if segment.offsets else segment.plain_keys
        found = Segment(run.keys, run.values, segment.base, plain, segment.offsets, run)
        self._arena.put(key, found)
        return found

    def _together(self, saves: list[SaveOp]) -> Iterator[list[SaveOp]]:
        """`saves` in order, in runs of which each takes as many operations as one segment of it
        would: segments of one size that are computed whole in this step."""
        most = max(1, self._saving_bytes // self._view.float_key_bytes)
        ops: list[SaveOp] = []
        for op in saves:
            if ops and not (
                _is_plain(op)
                and _is_plain(ops[0])
                and len(op.slots) == len(ops[0].slots)
                and op.span.retrievable == ops[0].span.retrievable
                and (len(ops) + 1) * len(op.slots) <= most
            ):
                yield ops
                ops = []
            ops.append(op)
        yield ops

    def _collected(self, op: SaveOp, kv: torch.Tensor) -> torch.Tensor | None:
        """The whole segment of which `kv` is a part, or which is filled; None where it is not whole
        yet or that which fills it is gone. Both: [tokens, layers, kv_heads, 2 * head_dim]."""
        whole = self._partial.add(op, [kv.transpose(0, 1)])
        if whole is None:
            return None
        found: torch.Tensor | None = whole.parts[0]
        if (filling := op.span.filling) is not None:
            found = self._filled(op, filling, whole.parts[0])
        return None if found is None else found.transpose(0, 1).contiguous()

    def _saved(self, ops: list[SaveOp], kv: torch.Tensor) -> Iterator[SavedSegment]:
        """Segments of one size, whose tokens follow each other in `kv`, [tokens, layers, kv_heads,
        2 * head_dim] on the device."""
        self._partial.drop(ops)
        made = self._entries(ops, kv)
        runs = self._pooled(kv, len(ops))
        each = kv.split(len(kv) // len(ops))
        for at, (op, own, (entries, stored)) in enumerate(zip(ops, each, made, strict=True)):
            span, moved = op.span, None
            run = self._kept(own) if runs is None else runs[at]
            if run is not None:
                self._shelf.put(span.key, run, own)
                segment = _in_pool(run, span)
            elif (run := self._ring.put(own)) is not None:
                segment = _in_pool(run, span)
                moved = self._ring.move_on(span.key, segment)
            else:
                keys, values = own.cpu().transpose(0, 1).chunk(2, -1)
                segment = _segment(keys.contiguous(), values.contiguous(), span)
            written = None if run is None else self._pool.written
            yield SavedSegment(op, segment, entries, stored, written, moved=moved)

    def _entries(self, ops: list[SaveOp], kv: torch.Tensor) -> Sequence[_Entries]:
        """What the index keeps of each segment, on the device and on its way to the host; nothing
        where retrieval may not pick them."""
        if not ops[0].span.retrievable:
            return [(None, None)] * len(ops)
        keys = self._arena.indexed(kv[..., : self._view.width // 2].transpose(0, 1))
        places = np.concatenate([_places(op.span) for op in ops], axis=1)
        turns = self._rotary.removals(self._streams.up(places)).of_runs(len(ops))
        plain = turns.apply(keys.unflatten(1, (len(ops), -1)).transpose(0, 1))
        # Entries are made layer by layer, so that segments can be more layers of one segment.
        entries = self._arena.score.entries(plain.flatten(0, 1), None).unflatten(0, (len(ops), -1))
        stored = entries.to("cpu", non_blocking=True)
        return list(zip(entries.unbind(), stored.unbind(), strict=True))

    def _pooled(self, kv: torch.Tensor, count: int) -> list[TokenRun] | None:
        """Runs of the pool for `count` segments, side by side; None where each has to find one by
        itself. No older segments make room than would have to for that."""
        if len(kv) > self._pool.num_tokens:
            return None
        for _ in range(count):
            if self._pool.num_free_tokens >= len(kv) or not self._arena.drop_oldest():
                break
        return self._pool.put_all(kv, count)

    def _filled(self, op: SaveOp, filling: Filling, kv: torch.Tensor) -> torch.Tensor | None:
        """The whole segment of `kv`, which was computed; None where that which fills it is gone.
        Both: [layers, tokens, kv_heads, 2 * head_dim]."""
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
        return torch.cat([keys, values], -1)

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
                    self._rotary.shifts(self._streams.up(moved)) if moved.any() else None,
                    self._streams.up(np.concatenate(places[side])),
                )
            )
        return sources

    def _place(self, layers: slice, sources: Sequence[_Source]) -> None:
        half = self._view.width // 2
        for source in sources:
            kv = source.kv[:, layers].index_select(0, source.rows)
            if source.turns is not None:
                source.turns.apply_to(kv[..., :half].transpose(0, 1))
            self._view.scatter(layers, source.slots, kv)


def _is_plain(op: SaveOp) -> bool:
    """Whether a segment is computed whole in this step."""
    span = op.span
    return not op.first and len(op.slots) == span.num_tokens and span.filling is None


def _places(span: SaveSpan) -> NDArray[np.int64]:
    """Rotary positions of the whole segment, [3, tokens]."""
    offsets = span.computed_offsets if span.filling is None else span.offsets
    return np.asarray(offsets, np.int64) + span.position


def _segment(
    keys: torch.Tensor, values: torch.Tensor, span: SaveSpan, run: TokenRun | None = None
) -> Segment:
    offsets = span.offsets if span.retrievable else ()
    return Segment(keys, values, span.position, None, offsets, run)


def _in_pool(run: TokenRun, span: SaveSpan) -> Segment:
    return _segment(run.keys, run.values, span, run)


@dataclass(frozen=True, slots=True)
class DeviceSide:
    """What a worker has on a device whose caches can be read as one."""

    streams: DeviceStreams
    view: CacheView
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
        saving_bytes: int,
        index: IndexBudget = UNBOUNDED,
    ) -> "DeviceSide | None":
        """Make all of it, with a pool of at most `num_bytes`, a ring of `ring_bytes`, a shelf of
        `shelf_bytes` and `saving_bytes` for what is saved at once, and have the arena's index lie
        on the device within its budget; None where the caches cannot be read as one."""
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
        mover = StridedMover(
            view, there, arena, pool, streams, shelf, ring, saving_bytes=saving_bytes
        )
        return cls(streams, view, pool, there, mover, shelf, ring, room)
