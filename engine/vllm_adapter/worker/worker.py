"""`SegmentWorker`: moves KV between vLLM's cache and the arena.

Order in a step: `begin` → `load` (before the forward pass) → per layer: it writes this step's KV
(captured for saves), retrieval fills its slots, it attends → `end` (saves become segments). How KV
is moved is a `KvMover`'s business.
"""

import logging
import zlib
from collections.abc import Callable, Sequence
from functools import partial

import torch

from onlooker.engine.memory.plan import Reads
from onlooker.engine.memory.ranking import RetrievalPolicy
from onlooker.engine.vllm_adapter.seams import AttentionLayer, RotaryParameters
from onlooker.engine.vllm_adapter.wire import (
    AdapterSettings,
    LoadOp,
    Refusal,
    RetrieveOp,
    WorkerPlan,
    WorkerReport,
)
from onlooker.engine.vllm_adapter.worker.arena import Segment, SegmentArena
from onlooker.engine.vllm_adapter.worker.claims import Claims
from onlooker.engine.vllm_adapter.worker.compacting import Compacting
from onlooker.engine.vllm_adapter.worker.device_retrieval import DeviceRetriever
from onlooker.engine.vllm_adapter.worker.fetcher import Fetcher
from onlooker.engine.vllm_adapter.worker.head_group import ALONE, HeadGroup
from onlooker.engine.vllm_adapter.worker.head_reader import HeadReader
from onlooker.engine.vllm_adapter.worker.index import Likeness
from onlooker.engine.vllm_adapter.worker.index_room import IndexBudget
from onlooker.engine.vllm_adapter.worker.inquiries import Inquiries
from onlooker.engine.vllm_adapter.worker.layer_hook_mover import LayerHookMover
from onlooker.engine.vllm_adapter.worker.mover import KvMover, Piece
from onlooker.engine.vllm_adapter.worker.retrieval import LayerRetriever
from onlooker.engine.vllm_adapter.worker.rotary import Rotary
from onlooker.engine.vllm_adapter.worker.rows import StepRows
from onlooker.engine.vllm_adapter.worker.scores import SCORES
from onlooker.engine.vllm_adapter.worker.stored_streams import StoredStreams
from onlooker.engine.vllm_adapter.worker.streams import DeviceStreams, streams_of
from onlooker.engine.vllm_adapter.worker.strided_mover import DeviceSide
from onlooker.engine.vllm_adapter.worker.vault import Vault

_log = logging.getLogger("onlooker.engine.vllm")

_AT_ONCE = 64
"""The most segments that are read together to see whether they are there."""


class SegmentWorker:
    """One per worker process; holds the arena.

    Args:
        streams: makes the queues of the device that has the layers.
        group: the workers over which the model's heads are split; the budgets of `settings` are for
            all of them together.
    """

    def __init__(
        self,
        settings: AdapterSettings,
        rotary: RotaryParameters,
        streams: Callable[[torch.device], DeviceStreams] = streams_of,
        group: HeadGroup = ALONE,
    ) -> None:
        self._settings = settings
        self._group = group
        self._make_streams = streams
        self.policy = settings.policy
        score = self.policy.ranking.score
        self._rotary = Rotary.of(rotary)
        self.vault: Vault | None = None
        if settings.store is not None:
            self.vault = Vault(
                settings.store,
                self._rotary,
                score=score,
                index_layers=self.policy.index_layers,
                share=group.share,
                max_behind=settings.write_behind_segments,
            )
        budget_bytes = settings.arena_bytes
        self.arena = SegmentArena(
            budget_bytes=None if budget_bytes is None else group.share.part(budget_bytes),
            backing=self.vault,
            score=SCORES[score],
            likeness=_likeness(self.policy) if group.is_alone else None,
            index_layers=self.policy.index_layers,
        )
        self.stored_streams = (
            None if self.vault is None else StoredStreams(self.vault.rows, self.arena)
        )
        self._fetcher = None if self.vault is None else Fetcher(self.arena, self.vault.load)
        self._kept: dict[str, dict[str, Segment]] = {}
        """What the requests that start in this step need, also where the arena has no room for
        it."""
        self.inquiries = Inquiries()
        self._heads = HeadReader(settings.heads)
        self.claims = Claims()
        """By what right the gateways write streams; several may share this worker."""
        self.compacting = Compacting(
            self.arena, self.vault, self._rotary, self.inquiries, self._wait_saved, self.claims
        )
        self._layers: list[AttentionLayer] = []
        self._plan = WorkerPlan()
        self._report = WorkerReport()
        self._bad_blocks: set[int] = set()
        self._step_rows = StepRows()
        self._mover: KvMover | None = None
        self._device: DeviceSide | None = None
        self._retriever: LayerRetriever | None = None
        self._device_retriever: DeviceRetriever | None = None

    # ---- attaching ----

    def attach(self, layers: list[AttentionLayer]) -> None:
        """Work with the model's attention layers: all of them, in order."""
        self._layers = layers
        self._numbers = {layer.name: index for index, layer in enumerate(layers)}
        self._mover = self._made_mover()
        for index, layer in enumerate(layers):
            layer.watch(
                written=partial(self._note_written, index),
                before_attention=partial(self._retrieve, index),
            )

    def _made_mover(self) -> KvMover:
        if self._settings.mover == "strided":
            self._device = DeviceSide.of(
                [layer.cache for layer in self._layers],
                self.arena,
                self._rotary,
                self._make_streams(self._layers[0].device),
                num_bytes=self._group.share.part(self._settings.pool_bytes),
                shelf_bytes=self._group.share.part(self._settings.shelf_bytes),
                ring_bytes=self._group.share.part(self._settings.ring_bytes),
                saving_bytes=self._group.share.part(self._settings.saving_bytes),
                index=self._index_budget,
            )
            if self._device is not None:
                return self._device.mover
            _log.warning(
                "the KV caches of the layers cannot be read as one: their KV is moved layer by "
                "layer, for which everybody waits"
            )
        return LayerHookMover(
            self._layers,
            self._rotary,
            self.arena,
            self._step_rows,
            keeps_queries=self._settings.keeps_queries,
        )

    def _wait_saved(self) -> None:
        """Wait, in a thread, until what was saved so far can be read."""
        if self._device is not None:
            self._device.pool.wait()

    @property
    def _index_budget(self) -> IndexBudget:
        bound, host = self._settings.index_bytes, self._settings.index_host_bytes
        part = self._group.share.part
        return IndexBudget(
            device_bytes=None if bound is None else part(bound),
            host_bytes=part(host) if host else 0,
            scan_rows=self.policy.scan_clips,
        )

    @property
    def _moving(self) -> KvMover:
        assert self._mover is not None, "the worker has been attached to its layers"
        return self._mover

    def _note_written(
        self, index: int, key: torch.Tensor, value: torch.Tensor, slot_mapping: torch.Tensor
    ) -> None:
        """Note that layer `index` has put this step's KV into its cache, and take what is to be
        saved of it."""
        self._step_rows.note(slot_mapping)
        self._moving.written(index, key, value)

    def reach(self, name: str) -> None:
        """The layer that vLLM calls `name` is about to read what is loaded."""
        self._moving.reach(self._numbers.get(name))

    def reach_end(self, hidden: torch.Tensor) -> None:
        """The model has run: `hidden` is what its last norm gives, [tokens of the step, hidden
        size]. A graph that is replayed whole does not call this."""
        self._heads.read(hidden, self._step_rows)

    def _retrieve(self, index: int, query: torch.Tensor) -> None:
        """Fill the slots of retrievals in layer `index`, which is about to attend."""
        self._moving.queried(index, query)
        if self._device_retriever is not None and self._device is not None:
            write = self._device.view.scatter_in
            self._device_retriever.choose(index, query, self._step_rows, write)
        if self._retriever is None:
            return
        for place in self._retriever.choose(index, query, self._step_rows.find):
            slots = torch.tensor(place.slots, dtype=torch.int64)
            self._write(index, place.keys, place.values, slots)
            self._report.picked.setdefault(place.request_id, []).append(place.chosen)
        self._report.traced.update(self._retriever.traced)
        for request_id, chosen in self._retriever.probed.items():
            self._report.picked[request_id] = [chosen]
        self._note_away()

    # ---- one step ----

    def begin(self, plan: WorkerPlan) -> None:
        """Take the step's plan."""
        self._plan, self._retriever, self._device_retriever = plan, None, None
        self._step_rows.reset()
        for request_id in plan.dropped_requests:
            self._moving.forget(request_id)
        if self._fetcher is not None:
            for op in plan.loads:  # before what others have fetched takes its room
                self._kept.setdefault(op.request_id, {}).update(self.arena.found_here(op.keys))
            self._fetcher.drop(plan.dropped_requests)
            self._fetcher.begin(plan.fetches)
            if done := self._fetcher.take():
                self._report.fetched[self._group.share.rank] = done
        self._moving.begin(plan.saves)
        self._heads.begin(plan.heads)

    def load(self, *, is_whole_graph: bool = False) -> None:
        """Load what this step needs; a segment that is missing makes its own request fail, and no
        other.

        Args:
            is_whole_graph: whether the layers will not say when they are about to read it.
        """
        plan = self._plan
        for refusal in plan.refusals:
            self._fail(refusal)
        self._load(plan.loads)
        if plan.retrievals:
            self._retrieve_for(plan.retrievals)
        if is_whole_graph:
            self._moving.reach(None)

    def _retrieve_for(self, ops: list[RetrieveOp]) -> None:
        """Make ready to retrieve: on the device what can be, the rest layer by layer."""
        if (device := self._device) is not None:
            self._device_retriever = DeviceRetriever(
                ops,
                self.arena,
                device.pool,
                device.rotary,
                device.streams,
                num_layers=len(self._layers),
                policy=self.policy,
                group=self._group,
            )
            ops = self._device_retriever.others
            if not ops:
                return
            device.pool.wait()
        self._retriever = LayerRetriever(
            ops,
            self.arena,
            self._rotary,
            num_layers=len(self._layers),
            policy=self.policy,
            reads=self._report.read,
            group=self._group,
            beside=self._kept,
        )
        self._note_away()

    def end(self) -> None:
        """Turn what was captured in this step into segments, and make sure that all was done that
        the layers were to do. A graph that is replayed goes past them without a word."""
        self._moving.reach(None)
        if self._plan.saves:
            self._keep_saves()
        if self._device_retriever is not None:
            self._note_outcomes(self._device_retriever)
        self._report.heads.update(self._heads.take())
        self._check_retrievals()
        self._check_agreement()
        self._plan, self._retriever, self._device_retriever = WorkerPlan(), None, None
        self._kept = {}
        self._step_rows.reset()

    def take_report(self) -> WorkerReport:
        """What happened since the last call."""
        if changes := self.arena.take_changes():
            self._report.held[self._group.share.rank] = changes
        report, self._report = self._report, WorkerReport()
        return report

    def close(self) -> None:
        """Write down what the store has queued, and close it."""
        self.inquiries.close()
        for reader in (self.stored_streams, self._fetcher):
            if reader is not None:
                reader.close()
        if self.vault is not None:
            self.vault.close()
        if self._device is not None:
            self._device.ring.close()

    def moves(self) -> dict[str, int]:
        """Segments that found no room where they were to be, by what became of them; see
        `WorkerStats.moves`."""
        found = {} if self.vault is None else self.vault.moves()
        if self._fetcher is not None:
            found["read_in_step"] = self.arena.num_read_in_step
            found["fetch_waited"] = self._fetcher.num_waited
        if self._device is not None:
            found["unpooled"] = self._device.mover.num_unpooled
            found["ring_waited"] = self._device.ring.num_waited
            found["index_sunk"] = self._device.index_room.num_sunk
            found["index_over"] = self._device.index_room.num_over
            found["shelf_read"] = self._device.shelf.num_read
            found["shelf_let_go"] = self._device.shelf.num_let_go
        return found

    def missing(self, keys: Sequence[str]) -> Callable[[], list[str]]:
        """A function that says which of `keys` can be read neither here nor below. It reads them
        all and may take long; it may be called in another thread."""
        held = self.arena.found_here(keys)
        lacking = [key for key in keys if key not in held]
        vault = self.vault

        def find() -> list[str]:
            missing: list[str] = []
            for start in range(0, len(lacking), _AT_ONCE):
                some = lacking[start : start + _AT_ONCE]
                found = {} if vault is None else vault.load(some)
                missing += [key for key in some if key not in found]
            return missing

        return find

    def take_bad_blocks(self) -> set[int]:
        """Blocks that hold garbage because a segment was missing."""
        bad, self._bad_blocks = self._bad_blocks, set()
        return bad

    # ---- what did not happen ----

    def _check_retrievals(self) -> None:
        """Fail the requests whose slots some layer has not filled: they keep whatever was in their
        blocks."""
        lacking: list[RetrieveOp] = []
        if self._retriever is None and self._device_retriever is None:
            lacking = self._plan.retrievals
        if self._retriever is not None:
            lacking += self._retriever.unseen(len(self._layers))
            for refusal in self._retriever.unfit.values():
                self._fail(refusal)
        if self._device_retriever is not None:
            lacking += self._device_retriever.unseen()
        for op in lacking:
            reason = "a retrieval did not run in all layers, though its step did"
            self._fail(Refusal(op.request_id, reason, op.block_ids))

    def _check_agreement(self) -> None:
        """Fail the requests for which workers with other heads have placed other segments: each
        would attend to something else."""
        ops = self._plan.retrievals
        if self._group.is_alone or not ops:
            return
        picked = [repr(self._report.picked.get(op.request_id)) for op in ops]
        alike = self._group.agree([zlib.crc32(text.encode()) for text in picked])
        for op, is_alike in zip(ops, alike, strict=True):
            if not is_alike:
                reason = "the workers of a model that is split placed different segments"
                self._fail(Refusal(op.request_id, reason, op.block_ids))

    def _note_away(self) -> None:
        """Tell what probes lack, and fail the requests of which something was chosen that is not
        held ready: no step waits for the store below, so they are to ask first."""
        assert self._retriever is not None
        self._report.away.update(self._retriever.away)
        for request_id, (blocks, lacking) in self._retriever.lost.items():
            self._report.missing.setdefault(request_id, lacking)
            self._bad_blocks.update(blocks)

    def _fail(self, refusal: Refusal) -> None:
        """Make a request fail, and no other: vLLM fails those that have blocks which hold
        garbage."""
        detail = {"request": refusal.request_id}
        _log.error("a request is given up: %s", refusal.reason, extra=detail)
        self._bad_blocks.update(refusal.block_ids)

    def _note_outcomes(self, retriever: DeviceRetriever) -> None:
        """Report what the device has chosen."""
        for found in retriever.outcomes():
            request_id = found.op.request_id
            if found.is_torn:
                reason = "a token of a question was not computed in its step"
                self._fail(Refusal(request_id, reason, found.op.block_ids))
            if found.picked:
                self._report.picked[request_id] = found.picked
            if found.reads:
                known = self._report.read.setdefault(request_id, {})
                for key, read in found.reads.items():
                    known.setdefault(key, read)
                self.arena.use(found.reads)

    # ---- loads ----

    def _load(self, ops: list[LoadOp]) -> None:
        """Place what all requests of a step need."""
        pieces: list[Piece] = []
        slots: list[int] = []
        for op in ops:
            segments = self._found(op)
            if segments is None:
                continue
            num_tokens = sum(segment.num_tokens for segment in segments) - op.skip
            if op.rows is not None:
                num_tokens = len(op.rows) - op.skip
            if num_tokens != len(op.slots):
                reason = f"segments of {num_tokens} tokens for places of {len(op.slots)} tokens"
                self._fail(Refusal(op.request_id, reason, op.block_ids))
                continue
            skip = op.skip
            for key, segment, position in zip(op.keys, segments, op.positions, strict=True):
                pieces.append(Piece(key, segment, position, skip, op.rows))
                skip = 0
            slots += op.slots
        if pieces:
            self._moving.load(pieces, slots)

    def _found(self, op: LoadOp) -> list[Segment] | None:
        """The segments that `op` places; None when one is missing, which the report then tells."""
        fetch = None if self._fetcher is None else self._fetcher.collect(op.request_id)
        reads: Reads = {}
        if op.tells_reads:
            reads = self._report.read.setdefault(op.request_id, reads)
        kept = self._kept.setdefault(op.request_id, {})
        if fetch is not None:
            kept |= fetch.segments
            reads |= fetch.reads  # also of what a probe looks into and does not place
        segments = self.arena.get_held(op.keys, reads, kept)
        if segments is None and fetch is None:
            segments = self.arena.get_all(op.keys, reads)
        if segments is None:
            held = {*kept, *self.arena.found_here(op.keys)}
            self._report.missing[op.request_id] = [key for key in op.keys if key not in held]
            self._bad_blocks.update(op.block_ids)
        return segments

    def _write(
        self, index: int, keys: torch.Tensor, values: torch.Tensor, slots: torch.Tensor
    ) -> None:
        """Put `keys` and `values`, each [tokens, kv_heads, head_dim], into the `slots` of layer
        `index`."""
        layer = self._layers[index]
        device = layer.device
        layer.write(keys.to(device).contiguous(), values.to(device).contiguous(), slots.to(device))

    # ---- saves ----

    def _keep_saves(self) -> None:
        """Keep the segments that are whole since this step."""
        for saved in self._moving.save(self._plan.saves):
            span = saved.op.span
            if self.claims.has_passed(span.key, span.epoch):
                _log.warning("a segment of a former owner is not kept", extra={"key": span.key})
                continue
            self.arena.put(span.key, saved.segment, saved.entries)
            if saved.queries is not None and span.retrievable:
                self.compacting.note_queries(span.key, saved.queries)
            if self.vault is not None:
                segment = saved.moved or saved.segment
                self.vault.save(span, segment, saved.stored_entries, after=saved.written)
            self._report.saved.setdefault(saved.op.request_id, []).append(span.key)


def _likeness(policy: RetrievalPolicy) -> Likeness:
    """What of long streams is searched: the layers that vote together, else each by itself."""
    voters = policy.ranking.voting_layers
    return Likeness(None if voters is None else tuple(sorted(voters)), policy.scan_clips)
