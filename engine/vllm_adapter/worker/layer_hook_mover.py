"""`LayerHookMover`: moves KV layer by layer, through the layers' own writing of it.

It copies keys and values from the arguments with which a layer writes them, and writes by the same
call. So it depends on no layout, and works on a CPU, whose attention packs its cache privately. On
a GPU the processor would wait for the device several times in each layer.
"""

import logging
from collections.abc import Iterator, Sequence

import torch

from onlooker.engine.memory.plan import Filling
from onlooker.engine.vllm_adapter.seams import AttentionLayer
from onlooker.engine.vllm_adapter.wire import SaveOp
from onlooker.engine.vllm_adapter.worker.arena import Segment, SegmentArena
from onlooker.engine.vllm_adapter.worker.filling import filled, rows_at_hand
from onlooker.engine.vllm_adapter.worker.mover import Piece, SavedSegment
from onlooker.engine.vllm_adapter.worker.partial import PartialSegments, saved_positions
from onlooker.engine.vllm_adapter.worker.rotary import Rotary
from onlooker.engine.vllm_adapter.worker.rows import StepRows

_log = logging.getLogger("onlooker.engine.vllm")

LOADED_AT_ONCE = 1024
"""Tokens that are placed at once, or one piece. What many windows together take is too much memory
for the allocator to keep: the system would have to give it anew, page by page, for each load."""


class LayerHookMover:
    """See the module, and `KvMover`.

    Args:
        keeps_queries: whether the queries of what is saved are wanted, whatever the index keeps.
    """

    def __init__(
        self,
        layers: Sequence[AttentionLayer],
        rotary: Rotary,
        arena: SegmentArena,
        step_rows: StepRows,
        *,
        keeps_queries: bool = False,
    ) -> None:
        self._keeps_queries = keeps_queries
        self._layers = layers
        self._rotary = rotary
        self._arena = arena
        self._step_rows = step_rows
        self._saves: list[SaveOp] = []
        self._rows: torch.Tensor | None = None
        self._taken: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._queries: list[torch.Tensor] = []
        self._partial = PartialSegments()

    def begin(self, saves: list[SaveOp]) -> None:
        self._saves, self._rows, self._taken, self._queries = saves, None, [], []

    def load(self, pieces: Sequence[Piece], slots: list[int]) -> None:
        places = torch.tensor(slots, dtype=torch.int64).to(self._layers[0].device)
        first = 0
        for part in _parts(pieces):
            end = first + sum(piece.num_tokens for piece in part)
            self._place(part, places[first:end])
            first = end

    def _place(self, pieces: Sequence[Piece], places: torch.Tensor) -> None:
        """Put `pieces`, one after the other, into the slots `places`."""
        kept = [_placed(one) for one in pieces]
        deltas = [one.position - one.segment.base for one in pieces]
        keys = torch.cat([piece[0] for piece in kept], dim=1).to(places.device).contiguous()
        values = torch.cat([piece[1] for piece in kept], dim=1).to(places.device)
        if any(deltas):
            lengths = torch.tensor([piece[0].shape[1] for piece in kept])
            delta = torch.tensor(deltas).repeat_interleave(lengths)
            self._rotary.move(keys, delta.to(places.device))
        for index, layer in enumerate(self._layers):
            layer.write(keys[index].contiguous(), values[index].contiguous(), places)

    def reach(self, index: int | None) -> None:
        """All is loaded when `load` returns."""

    def written(self, index: int, key: torch.Tensor, value: torch.Tensor) -> None:
        if self._saves:
            self._taken.append((self._saved_rows(key), self._saved_rows(value)))

    def queried(self, index: int, query: torch.Tensor) -> None:
        if self._saves and (self._keeps_queries or self._arena.score.needs_queries):
            self._queries.append(self._saved_rows(query))

    def save(self, saves: list[SaveOp]) -> list[SavedSegment]:
        if len(self._taken) != len(self._layers):
            for op in saves:
                self.forget(op.request_id)
                _log.error(
                    "a segment was not kept: not all layers gave its keys and values",
                    extra={"request": op.request_id, "key": op.span.key},
                )
            return []
        keys = torch.stack([taken[0] for taken in self._taken])
        values = torch.stack([taken[1] for taken in self._taken])
        positions = saved_positions(saves)
        parts = [keys, values, self._rotary.remove(keys, positions)]
        if self._queries:
            parts.append(self._rotary.remove(torch.stack(self._queries), positions))
        self._taken, self._queries = [], []
        found = []
        row = 0
        for op in saves:
            rows = slice(row, row + len(op.slots))
            row = rows.stop
            whole = self._partial.add(op, [part[:, rows] for part in parts])
            if whole is None:
                continue
            segment, queries = whole.segment(op.span)
            if op.span.filling is not None:
                # The queries of rows that were not computed are not known: keys stand in for all.
                queries, made = None, self._filled(op, op.span.filling, segment)
                if made is None:
                    continue
                segment = made
            entries = None
            if segment.plain_keys is not None:
                entries = self._arena.entries(segment.plain_keys, queries)
            wanted = queries if self._keeps_queries else None
            found.append(SavedSegment(op, segment, entries, entries, None, wanted))
        return found

    def _filled(self, op: SaveOp, filling: Filling, computed: Segment) -> Segment | None:
        """The whole segment of what was computed; None where that which fills it is gone."""
        span = op.span
        sources = self._arena.get_all([filling.key])
        if sources is None:
            _log.error(
                "a segment was not kept: the one that it is filled from is gone",
                extra={"request": op.request_id, "key": span.key},
            )
            return None
        there = rows_at_hand(sources[0], [*filling.from_rows, *filling.from_anchors])
        both = (computed.keys, computed.values)
        keys, values = filled(span, filling, both, there, sources[0].base, self._rotary)
        plain = None
        if span.retrievable:
            plain = self._rotary.remove(keys, torch.tensor(span.offsets) + span.position)
        return Segment(keys, values, span.position, plain)

    def forget(self, request_id: str) -> None:
        self._partial.forget(request_id)

    def _saved_rows(self, x: torch.Tensor) -> torch.Tensor:
        """The rows of `x` that are to be saved, [saved tokens, heads, head_dim]. `x` has one row
        for each token of this step."""
        if self._rows is None:
            slots = [slot for op in self._saves for slot in op.slots]
            self._rows = self._step_rows.find(slots)
        return x[self._rows].reshape(len(self._rows), -1, self._layers[0].head_size).cpu()


def _parts(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """`pieces` in their order, as many at a time as may be placed at once."""
    part: list[Piece] = []
    num_tokens = 0
    for piece in pieces:
        if part and num_tokens + piece.num_tokens > LOADED_AT_ONCE:
            yield part
            part, num_tokens = [], 0
        part.append(piece)
        num_tokens += piece.num_tokens
    if part:
        yield part


def _placed(piece: Piece) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values of the tokens that are placed, [layers, tokens, kv_heads, head_dim] each."""
    keys, values = piece.segment.keys, piece.segment.values
    if piece.rows is None:
        return keys[:, piece.skip :], values[:, piece.skip :]
    return rows_at_hand(piece.segment, piece.rows[piece.skip :])
