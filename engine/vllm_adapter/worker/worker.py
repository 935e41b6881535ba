"""`SegmentWorker`: moves KV between vLLM's cache and the arena.

Order in a step: `begin` → `load` (before the forward pass) → per layer: it writes this step's KV
(captured for saves), retrieval fills its slots, it attends → `end` (saves become segments).
"""

import logging
from functools import partial

import torch

from onlooker.engine.memory.plan import Reads
from onlooker.engine.vllm_adapter.seams import AttentionLayer, RotaryParameters
from onlooker.engine.vllm_adapter.wire import (
    AdapterSettings,
    LoadOp,
    Refusal,
    SaveOp,
    WorkerPlan,
    WorkerReport,
)
from onlooker.engine.vllm_adapter.worker.arena import Segment, SegmentArena
from onlooker.engine.vllm_adapter.worker.partial import PartialSegment, saved_positions
from onlooker.engine.vllm_adapter.worker.retrieval import LayerRetriever
from onlooker.engine.vllm_adapter.worker.rotary import Rotary
from onlooker.engine.vllm_adapter.worker.scores import SCORES
from onlooker.engine.vllm_adapter.worker.vault import Vault

_log = logging.getLogger("onlooker.engine.vllm")


class SegmentWorker:
    """One per worker process; holds the arena."""

    def __init__(self, settings: AdapterSettings, rotary: RotaryParameters) -> None:
        self.policy = settings.policy
        score = self.policy.ranking.score
        self._rotary = Rotary.of(rotary)
        self.vault: Vault | None = None
        if settings.store is not None:
            self.vault = Vault(settings.store, self._rotary, score=score)
        self.arena = SegmentArena(
            budget_bytes=settings.arena_bytes, backing=self.vault, score=SCORES[score]
        )
        self._layers: list[AttentionLayer] = []
        self._plan = WorkerPlan()
        self._report = WorkerReport()
        self._bad_blocks: set[int] = set()
        self._slot_mapping: torch.Tensor | None = None
        self._rows: torch.Tensor | None = None
        self._taken: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._queries: list[torch.Tensor] = []
        self._partial: dict[tuple[str, str], PartialSegment] = {}
        self._retriever: LayerRetriever | None = None

    # ---- attaching ----

    def attach(self, layers: list[AttentionLayer]) -> None:
        """Work with the model's attention layers: all of them, in order."""
        self._layers = layers
        for index, layer in enumerate(layers):
            layer.watch(
                written=partial(self._note_written, index),
                before_attention=partial(self._retrieve, index),
            )

    def _note_written(
        self, index: int, key: torch.Tensor, value: torch.Tensor, slot_mapping: torch.Tensor
    ) -> None:
        """Note that layer `index` has put this step's KV into its cache, and take what is to be
        saved of it."""
        if self._slot_mapping is None:
            self._slot_mapping = slot_mapping
        if self._plan.saves:
            self._take(key, value)

    def _retrieve(self, index: int, query: torch.Tensor) -> None:
        """Fill the slots of retrievals in layer `index`, which is about to attend."""
        if self._plan.saves and self.arena.score.needs_queries:
            self._queries.append(self._saved_rows(query))
        if self._retriever is None:
            return
        for place in self._retriever.choose(index, query, self._find_rows):
            self._write(index, place.keys, place.values, place.slots)
            self._report.picked.setdefault(place.request_id, []).append(place.chosen)
        self._report.traced.update(self._retriever.traced)
        for request_id, chosen in self._retriever.probed.items():
            self._report.picked[request_id] = [chosen]
        for request_id, blocks in self._retriever.lost:
            self._report.missing.setdefault(request_id, [])
            self._bad_blocks.update(blocks)

    # ---- one step ----

    def begin(self, plan: WorkerPlan) -> None:
        """Take the step's plan."""
        self._plan, self._rows, self._slot_mapping = plan, None, None
        self._taken, self._queries, self._retriever = [], [], None
        for request_id in plan.dropped_requests:
            self._forget_parts(request_id)

    def load(self) -> None:
        """Load what this step needs; a segment that is missing makes its own request fail, and no
        other."""
        plan = self._plan
        for refusal in plan.refusals:
            self._fail(refusal)
        self._load(plan.loads)
        if plan.retrievals:
            self._retriever = LayerRetriever(
                plan.retrievals,
                self.arena,
                self._rotary,
                num_layers=len(self._layers),
                policy=self.policy,
                reads=self._report.read,
            )
            for request_id, missing, blocks in self._retriever.refused:
                self._report.missing[request_id] = missing
                self._bad_blocks.update(blocks)

    def end(self) -> None:
        """Turn what was captured in this step into segments, and make sure that all was done that
        the layers were to do. A graph that is replayed goes past them without a word."""
        if self._plan.saves:
            self._keep_saves()
        self._check_retrievals()
        self._taken, self._queries, self._rows, self._plan = [], [], None, WorkerPlan()
        self._retriever = None

    def take_report(self) -> WorkerReport:
        """What happened since the last call."""
        report, self._report = self._report, WorkerReport()
        return report

    def close(self) -> None:
        """Write down what the store has queued, and close it."""
        if self.vault is not None:
            self.vault.close()

    def take_bad_blocks(self) -> set[int]:
        """Blocks that hold garbage because a segment was missing."""
        bad, self._bad_blocks = self._bad_blocks, set()
        return bad

    # ---- what did not happen ----

    def _check_retrievals(self) -> None:
        """Fail the requests whose slots some layer has not filled: they keep whatever was in their
        blocks."""
        lacking = self._plan.retrievals
        if self._retriever is not None:
            lacking = self._retriever.unseen(len(self._layers))
        for op in lacking:
            reason = "a retrieval did not run in all layers, though its step did"
            self._fail(Refusal(op.request_id, reason, op.block_ids))

    def _fail(self, refusal: Refusal) -> None:
        """Make a request fail, and no other: vLLM fails those that have blocks which hold
        garbage."""
        detail = {"request": refusal.request_id}
        _log.error("a request is given up: %s", refusal.reason, extra=detail)
        self._bad_blocks.update(refusal.block_ids)

    # ---- loads ----

    def _load(self, ops: list[LoadOp]) -> None:
        """Place what all requests of a step need, with one write a layer."""
        pieces: list[tuple[torch.Tensor, torch.Tensor]] = []
        deltas: list[int] = []
        slots: list[int] = []
        for op in ops:
            segments = self._found(op)
            if segments is None:
                continue
            skip = op.skip
            for segment, position in zip(segments, op.positions, strict=True):
                pieces.append((segment.keys[:, skip:], segment.values[:, skip:]))
                deltas.append(position - segment.base)
                skip = 0
            slots += op.slots
        if not pieces:
            return
        device = self._layers[0].device
        keys = torch.cat([piece[0] for piece in pieces], dim=1).to(device)
        values = torch.cat([piece[1] for piece in pieces], dim=1).to(device)
        if any(deltas):
            lengths = torch.tensor([piece[0].shape[1] for piece in pieces])
            delta = torch.tensor(deltas).repeat_interleave(lengths)
            keys = self._rotary.shift(keys, delta.to(device))
        if keys.shape[1] != len(slots):
            raise ValueError(
                f"segments of {keys.shape[1]} tokens for places of {len(slots)} tokens"
            )
        for index in range(len(self._layers)):
            self._write(index, keys[index], values[index], slots)

    def _found(self, op: LoadOp) -> list[Segment] | None:
        """The segments that `op` places; None when one is missing, which the report then tells."""
        reads: Reads | None = None
        if op.tells_reads:
            reads = self._report.read.setdefault(op.request_id, {})
        segments = self.arena.get_all(op.keys, reads)
        if segments is None:
            self._report.missing[op.request_id] = self.arena.missing(op.keys)
            self._bad_blocks.update(op.block_ids)
        return segments

    def _write(
        self, index: int, keys: torch.Tensor, values: torch.Tensor, slots: list[int]
    ) -> None:
        """Put `keys` and `values`, each [tokens, kv_heads, head_dim], into the `slots` of layer
        `index`."""
        layer = self._layers[index]
        layer.write(
            keys.to(layer.device).contiguous(),
            values.to(layer.device).contiguous(),
            torch.tensor(slots, dtype=torch.int64).to(layer.device),
        )

    # ---- saves ----

    def _keep_saves(self) -> None:
        """Add what was taken in this step to its segments."""
        if len(self._taken) != len(self._layers):
            for op in self._plan.saves:
                self._forget_parts(op.request_id)
                _log.error(
                    "a segment was not kept: not all layers gave its keys and values",
                    extra={"request": op.request_id, "key": op.span.key},
                )
            return
        keys = torch.stack([taken[0] for taken in self._taken])
        values = torch.stack([taken[1] for taken in self._taken])
        positions = saved_positions(self._plan.saves)
        parts = [keys, values, self._rotary.remove(keys, positions)]
        if self._queries:
            parts.append(self._rotary.remove(torch.stack(self._queries), positions))
        row = 0
        for op in self._plan.saves:
            rows = slice(row, row + len(op.slots))
            self._save(op, [part[:, rows] for part in parts])
            row = rows.stop

    def _forget_parts(self, request_id: str) -> None:
        """Forget what there is of segments that `request_id` has not saved whole."""
        for name in [name for name in self._partial if name[0] == request_id]:
            del self._partial[name]

    def _take(self, key: torch.Tensor, value: torch.Tensor) -> None:
        self._taken.append((self._saved_rows(key), self._saved_rows(value)))

    def _saved_rows(self, x: torch.Tensor) -> torch.Tensor:
        """The rows of `x` that are to be saved, [saved tokens, heads, head_dim]. `x` has one row
        for each token of this step."""
        if self._rows is None:
            self._rows = self._find_rows([slot for op in self._plan.saves for slot in op.slots])
        return x[self._rows].reshape(len(self._rows), -1, self._layers[0].head_size).cpu()

    def _find_rows(self, slots: list[int]) -> torch.Tensor:
        """Which rows of this step's batch belong to KV `slots`, in the order of the slots."""
        mapping = self._slot_mapping
        assert mapping is not None
        wanted = torch.tensor(slots, dtype=mapping.dtype).to(mapping.device)
        order = torch.argsort(mapping)
        found = torch.searchsorted(mapping[order], wanted)
        rows = order[found.clamp(max=len(order) - 1)]
        assert torch.equal(mapping[rows], wanted), "a slot of this step was not written"
        return rows

    def _save(self, op: SaveOp, parts: list[torch.Tensor]) -> None:
        """Add what this step computed of a segment, and keep the segment once it is whole. `parts`:
        see `PartialSegment.add`."""
        name = (op.request_id, op.span.key)
        found = self._partial.setdefault(name, PartialSegment())
        if not found.add(op.first, *parts):
            return  # a part was lost to preemption; the whole span comes again
        if found.num_tokens == op.span.num_tokens:
            del self._partial[name]
            segment, queries = found.segment(op.span)
            entries = None
            if segment.plain_keys is not None:
                entries = self.arena.score.entries(segment.plain_keys, queries)
            self.arena.put(op.span.key, segment, entries)
            if self.vault is not None:
                self.vault.save(op.span, segment, entries)
            self._report.saved.setdefault(op.request_id, []).append(op.span.key)
