"""What the scheduler tells the worker about one engine step, and what the worker tells back.

Everything is resolved to KV slots (``block_id * block_size + offset``) on the scheduler's side, so
that the worker needs no request state.
"""

from dataclasses import dataclass, field
from typing import Any

from vllm.distributed.kv_transfer.kv_connector.v1.base import (
    KVConnectorMetadata,
    KVConnectorWorkerMetadata,
)

from onlooker.engine.vllm_adapter.spec import RetrievalSpec, SaveSpan
from onlooker.engine.vllm_adapter.worker.arena import Reads
from onlooker.engine.vllm_adapter.worker.tracing import LayerTrace


@dataclass(slots=True)
class LoadOp:
    """Place stored segments: `keys[i]` at position `positions[i]`, all into `slots` in order, but
    for the first `skip` tokens."""

    request_id: str
    keys: list[str]
    positions: list[int]
    skip: int
    slots: list[int]
    block_ids: list[int]
    """Blocks that would hold garbage if a segment is missing."""
    tells_reads: bool
    """Whether the request's output says what was read, and where."""


@dataclass(slots=True)
class SaveOp:
    """Keep tokens computed in this step: rows `first` to `first + len(slots)` of the span."""

    request_id: str
    span: SaveSpan
    first: int
    slots: list[int]


@dataclass(slots=True)
class RetrieveOp:
    """Fill the slots of one request in each layer before it attends."""

    request_id: str
    retrieval: RetrievalSpec
    place_slots: list[list[int]]
    """KV slots of each memory slot."""
    question_slots: list[int]
    question_positions: list[int]
    block_ids: list[int]


@dataclass(slots=True)
class StepPlan(KVConnectorMetadata):
    """All of a step's work for the worker."""

    loads: list[LoadOp] = field(default_factory=list)
    saves: list[SaveOp] = field(default_factory=list)
    retrievals: list[RetrieveOp] = field(default_factory=list)
    dropped_requests: list[str] = field(default_factory=list)
    """Requests that ended: whatever was saved of them in part is forgotten."""


@dataclass(slots=True)
class StepReport(KVConnectorWorkerMetadata):
    """What came of it, by request."""

    saved: dict[str, list[str]] = field(default_factory=dict)
    """Keys of segments that are now whole."""
    durable: dict[str, list[str]] = field(default_factory=dict)
    """Of these, the ones on their way to a tier that outlives the process."""
    missing: dict[str, list[str]] = field(default_factory=dict)
    """Keys that were asked for and are gone."""
    picked: dict[str, list[list[str]]] = field(default_factory=dict)
    """Per layer, the keys that retrieval placed."""
    read: dict[str, Reads] = field(default_factory=dict)
    """What an answer read of the stored segments, and where."""
    traced: dict[str, list[LayerTrace]] = field(default_factory=dict)
    """All scores, by layer, where a request wants them."""
    index_bytes: int = 0
    """That the index takes, all streams together."""

    def aggregate(self, other: KVConnectorWorkerMetadata) -> "StepReport":
        """Join the reports of two workers; each holds its own heads of the same segments."""
        assert isinstance(other, StepReport)
        for mine, theirs in (
            (self.saved, other.saved),
            (self.durable, other.durable),
            (self.missing, other.missing),
        ):
            for request_id, keys in theirs.items():
                known = mine.setdefault(request_id, [])
                known += [key for key in keys if key not in known]
        for request_id, traces in other.traced.items():
            self.traced.setdefault(request_id, traces)
        for request_id, layers in other.picked.items():
            self.picked.setdefault(request_id, layers)
        self.index_bytes += other.index_bytes
        for request_id, reads in other.read.items():
            mine_read = self.read.setdefault(request_id, {})
            for key, (tier, num_bytes) in reads.items():
                first_tier, known_bytes = mine_read.get(key, (tier, 0))
                mine_read[key] = (first_tier, known_bytes + num_bytes)
        return self

    def of(self, request_id: str) -> dict[str, Any]:
        """What one request's output carries."""
        told: dict[str, Any] = {
            name: found[request_id]
            for name, found in (
                ("saved", self.saved),
                ("durable", self.durable),
                ("missing", self.missing),
                ("picked", self.picked),
                ("read", self.read),
                ("traced", self.traced),
            )
            if request_id in found
        }
        if request_id in self.saved:
            told["index_bytes"] = self.index_bytes
        return told
