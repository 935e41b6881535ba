"""All that crosses between the server, vLLM's scheduler process and vLLM's workers, with its types.

    server ──── request plans, tickets ────► scheduler ──── worker plans ───► worker
           ◄─── request reports, load ─────            ◄─── worker reports ──
    server ──────────────────────── worker calls ───────────────────────────► worker

vLLM carries it as plain data: request plans in a request's ``kv_transfer_params``, tickets in its
``extra_args``, reports in its output, calls over ``collective_rpc``, settings in the connector's
configuration. What is written in one process is read back here in the other. Nothing here imports
vLLM.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, Literal, TypeVar

from onlooker.cache_store.config import CacheStoreSection
from onlooker.cache_store.leases import Claim
from onlooker.core.settings import with_secrets
from onlooker.engine.memory.compaction import Blend, Measure, Pairs
from onlooker.engine.memory.key_runs import KeyRuns
from onlooker.engine.memory.load_runs import LoadRuns
from onlooker.engine.memory.plan import (
    DEVICE,
    Filling,
    MemorySlot,
    Reads,
    RequestPlan,
    RequestReport,
    RetrievalPlan,
    SaveSpan,
)
from onlooker.engine.memory.ranking import LayerTrace, RetrievalPolicy
from onlooker.engine.sampling import PauseRamp
from onlooker.scheduler.config import SchedulerSection
from onlooker.scheduler.load import EngineLoad
from onlooker.scheduler.request_class import RequestClass
from onlooker.scheduler.slo import Tier
from onlooker.scheduler.ticket import Served, Ticket

R = TypeVar("R")

Params = Mapping[str, Any] | None

Mover = Literal["layers", "strided"]

# ---- features of a prompt: server to model

POSITIONS_FIELD = "prompt_positions"
"""Field of a feature that holds the rotary positions of a whole prompt, [3][tokens] (t, h, w)."""

KEPT_FIELD = "kept_places"
"""Field of a clip's feature: which places of its picture are computed, where not all are; int64
numbers, ascending."""

ENCODED_FIELD = "encoded_places"
"""The same, where the vision tower is to encode these places alone."""

GRID_FIELD = "video_grid_thw"
"""Field of a clip's feature: its patches in time, height and width."""

# ---- requests: server to scheduler, and back with the output

PLAN_KEY = "onlooker_segments"
"""Where the plan stands in a request's ``kv_transfer_params``, and the report in its output."""

TICKET_KEY = "onlooker_ticket"
"""Where the ticket stands among a request's ``extra_args``."""

PAUSE_KEY = "onlooker_pause"
"""Where the rule for the model's pause stands among a request's ``extra_args``."""

SERVED_KEY = "onlooker_served"
"""Where a finished request's output says how it was served."""

LOAD_KEY = "onlooker_load"
"""Where the output of a finished request, one of those that end in a step, says how busy the engine
is."""


def plan_params(plan: RequestPlan) -> dict[str, Any]:
    """`plan` as ``kv_transfer_params``: one string, since vLLM looks at every value of nested
    ones."""
    retrieval = None
    if (asked := plan.retrieval) is not None:
        slots = [_values(slot) for slot in asked.slots]
        others = _values(asked)[3:]
        retrieval = [slots, asked.candidates.runs, asked.recent.runs, *others]
    plain = (
        plan.loads.runs,
        [_save_values(span) for span in plan.saves],
        retrieval,
        KeyRuns.of(plan.reads).runs,
        plan.reads_heads,
    )
    return {PLAN_KEY: json.dumps(plain, separators=(",", ":"))}


def read_plan(params: Params) -> RequestPlan | None:
    """Read back what `plan_params` wrote; None for a request that has no plan."""
    text = (params or {}).get(PLAN_KEY)
    if text is None:
        return None
    loads, saves, retrieval, reads, reads_heads = json.loads(text)
    found = None
    if retrieval is not None:
        slots, candidates, recent, *others = retrieval
        found = RetrievalPlan(
            [MemorySlot(*values) for values in slots],
            KeyRuns(candidates),
            KeyRuns(recent),
            *others,
        )
    return RequestPlan(
        LoadRuns(loads),
        [_read_save(values) for values in saves],
        found,
        list(KeyRuns(reads)),
        reads_heads,
    )


@dataclass(frozen=True, slots=True)
class PauseRule:
    """When an answer may have the token that is the model's pause."""

    token_id: int
    ramp: PauseRamp


def pause_params(rule: PauseRule) -> dict[str, Any]:
    """`rule` as ``extra_args`` of a request."""
    return {PAUSE_KEY: [rule.token_id, rule.ramp.threshold, rule.ramp.step]}


def read_pause(params: Params) -> PauseRule | None:
    """Read back what `pause_params` wrote; None for a request whose pause is free."""
    plain = (params or {}).get(PAUSE_KEY)
    if plain is None:
        return None
    token_id, threshold, step = plain
    return PauseRule(token_id, PauseRamp(threshold, step))


def report_params(report: RequestReport) -> dict[str, Any]:
    """`report` as a part of a request's output, without what is empty in it."""
    told = {name: getattr(report, name) for name in report.__slots__}
    return {PLAN_KEY: {name: value for name, value in told.items() if value}}


def read_report(params: Params) -> RequestReport:
    """Read back what `report_params` wrote; an empty one where there is nothing."""
    plain = dict((params or {}).get(PLAN_KEY) or {})
    plain["read"] = {key: (tier, size) for key, (tier, size) in plain.get("read", {}).items()}
    return RequestReport(**plain)


def ticket_params(ticket: Ticket) -> dict[str, Any]:
    """`ticket` as ``extra_args`` of a request."""
    return {
        TICKET_KEY: {
            "request_class": int(ticket.request_class),
            "arrived_at_s": ticket.arrived_at_s,
            "due_at_s": ticket.due_at_s,
            "tpot_s": ticket.tpot_s,
            "stream": ticket.stream,
            "tier": str(ticket.tier),
        }
    }


def read_ticket(params: Params) -> Ticket | None:
    """Read back what `ticket_params` wrote; None for a request without a ticket."""
    plain = (params or {}).get(TICKET_KEY)
    if plain is None:
        return None
    return Ticket(
        request_class=RequestClass(plain["request_class"]),
        arrived_at_s=float(plain["arrived_at_s"]),
        due_at_s=float(plain["due_at_s"]),
        tpot_s=float(plain["tpot_s"]),
        stream=str(plain["stream"]),
        tier=Tier(plain["tier"]),
    )


def served_params(served: Served) -> dict[str, Any]:
    """`served` as a part of a request's output."""
    return {SERVED_KEY: {**_fields(served), "missed": list(served.missed)}}


def read_served(params: Params) -> Served | None:
    """Read back what `served_params` wrote; None where there is nothing."""
    plain = (params or {}).get(SERVED_KEY)
    return None if plain is None else Served(**{**plain, "missed": tuple(plain["missed"])})


def load_params(load: EngineLoad) -> dict[str, Any]:
    """`load` as a part of a request's output."""
    return {LOAD_KEY: _fields(load)}


def read_load(params: Params) -> EngineLoad | None:
    """Read back what `load_params` wrote; None where there is nothing."""
    plain = (params or {}).get(LOAD_KEY)
    return None if plain is None else EngineLoad(**plain)


# ---- steps: scheduler to worker, and back
#
# Everything is resolved to KV slots (``block_id * block_size + offset``) on the scheduler's side,
# so that the worker needs no request state.


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
    rows: list[int] | None = None
    """Which tokens of the segment are placed, where only one is named; None: all of all."""


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
    retrieval: RetrievalPlan
    place_slots: list[list[int]]
    """KV slots of each memory slot."""
    question_slots: list[int]
    question_positions: list[int]
    block_ids: list[int]


@dataclass(slots=True)
class HeadOp:
    """Apply the model's score heads to the hidden state of one token of this step."""

    request_id: str
    slot: int
    """KV slot of the token."""


@dataclass(slots=True)
class Refusal:
    """A request that must fail, because the step cannot do what its plan asks."""

    request_id: str
    reason: str
    block_ids: list[int]
    """Blocks of the request; vLLM fails the requests that have blocks which hold garbage."""


@dataclass(frozen=True, slots=True)
class FetchOp:
    """Bring up from the store below what a request needs that waits to be started."""

    request_id: str
    keys: list[str]
    """Keys of all segments that it needs; some may be held ready."""
    has_waited: bool
    """Whether it had to wait until others had started (``engine.memory.fetching_requests``)."""


@dataclass(slots=True)
class WorkerPlan:
    """All of a step's work for the worker."""

    loads: list[LoadOp] = field(default_factory=list)
    saves: list[SaveOp] = field(default_factory=list)
    retrievals: list[RetrieveOp] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    dropped_requests: list[str] = field(default_factory=list)
    """Requests that ended: whatever was saved of them in part is forgotten."""
    fetches: list[FetchOp] = field(default_factory=list)
    heads: list[HeadOp] = field(default_factory=list)


@dataclass(slots=True)
class WorkerReport:
    """What came of a step, by request."""

    saved: dict[str, list[str]] = field(default_factory=dict)
    """Keys of segments that are now whole."""
    missing: dict[str, list[str]] = field(default_factory=dict)
    """Keys of segments that were asked for and are gone."""
    picked: dict[str, list[list[str]]] = field(default_factory=dict)
    """Keys that retrieval placed, one list for each layer; from a probe, one list of what it
    chose."""
    read: dict[str, Reads] = field(default_factory=dict)
    """What an answer read of the stored segments, and where."""
    traced: dict[str, list[LayerTrace]] = field(default_factory=dict)
    """All scores of the candidates, one entry for each layer, where a request wants them."""
    away: dict[str, list[str]] = field(default_factory=dict)
    """Keys of segments that a probe has to look into and that are not held ready."""
    fetched: dict[int, list[str]] = field(default_factory=dict)
    """Requests for which all was fetched that can be, by the rank of the worker."""
    held: dict[int, dict[str, bool]] = field(default_factory=dict)
    """Segments that are now held ready, or are no longer, by the rank of the worker; told where
    there is a store below."""
    heads: dict[str, dict[str, float]] = field(default_factory=dict)
    """What each of the model's score heads gives, by its name."""

    def join(self, other: "WorkerReport") -> None:
        """Add the report of another worker, which holds its own heads of the same segments. What
        one of them has not saved is not there, and what one misses is missing."""
        for request_id in list(self.saved):
            theirs = other.saved.get(request_id, [])
            self.saved[request_id] = [key for key in self.saved[request_id] if key in theirs]
        for told, news in ((self.missing, other.missing), (self.away, other.away)):
            for request_id, keys in news.items():
                known = told.setdefault(request_id, [])
                known += [key for key in keys if key not in known]
        self.fetched.update(other.fetched)
        self.held.update(other.held)
        for request_id, traces in other.traced.items():
            self.traced.setdefault(request_id, traces)
        for request_id, layers in other.picked.items():
            self.picked.setdefault(request_id, layers)
        for request_id, scores in other.heads.items():  # all have the same hidden states
            self.heads.setdefault(request_id, scores)
        for request_id, reads in other.read.items():
            mine_read = self.read.setdefault(request_id, {})
            for key, (tier, num_bytes) in reads.items():
                first_tier, known_bytes = mine_read.get(key, (DEVICE, 0))
                # The request waited for the slowest of them.
                mine_read[key] = (first_tier if tier == DEVICE else tier, known_bytes + num_bytes)

    @property
    def request_ids(self) -> set[str]:
        """Ids of the requests of which the report tells anything."""
        return {
            *self.saved, *self.missing, *self.picked, *self.read, *self.traced, *self.away,
            *self.heads,
        }  # fmt: skip

    def of(self, request_id: str) -> RequestReport:
        """What the report tells of one request."""
        return RequestReport(
            saved=self.saved.get(request_id, []),
            missing=self.missing.get(request_id, []),
            picked=self.picked.get(request_id, []),
            read=self.read.get(request_id, {}),
            traced=self.traced.get(request_id, []),
            away=self.away.get(request_id, []),
            heads=self.heads.get(request_id, {}),
        )


# ---- settings: server to scheduler and worker


@dataclass(frozen=True, slots=True)
class ScoreHead:
    """A small linear layer that a model brings along, trained to tell from a hidden state whether
    to speak."""

    name: str
    weight: str
    """Name of its tensor, [1 or 2, hidden size]. Of two rows the second one's share of the softmax
    is the score, of one the logistic function of it."""
    bias: str | None = None
    """Name of the tensor that is added, [1 or 2]; None: nothing is."""


@dataclass(frozen=True, slots=True)
class ScoreHeads:
    """The score heads of a model, and the file with their tensors."""

    file: str
    heads: tuple[ScoreHead, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(head.name for head in self.heads)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSettings:
    """Settings with which vLLM's scheduler process and workers are started."""

    scheduler: SchedulerSection = field(default_factory=lambda: SchedulerSection(policy="fcfs"))
    policy: RetrievalPolicy = field(default_factory=RetrievalPolicy)
    arena_bytes: int | None = None
    """Bytes of segments that are held ready, in all workers together; None: all that there are, as
    no store is below."""
    mover: Mover = "layers"
    """How KV is moved: layer by layer, or in all layers at once (see `worker.mover`)."""
    pool_bytes: int = 2 << 30
    """Bytes of the memory that the devices reach, for segments that are held ready, in all workers
    together; where KV is moved in all layers at once."""
    shelf_bytes: int = 0
    """Bytes of the devices' own memory for the newest segments, in all workers together; where KV
    is moved in all layers at once."""
    index_bytes: int | None = None
    """Bytes of the devices' own memory for the index, in all workers together; None: as many as it
    needs."""
    index_host_bytes: int = 0
    """Bytes of the memory that the devices reach for the index entries of older segments."""
    ring_bytes: int = 0
    """Bytes of the memory that the devices reach for segments that the other has no room for, until
    they have been brought to ordinary memory, in all workers together."""
    saving_bytes: int = 256 << 20
    """Bytes of the devices' own memory for keys of new segments, as float32, of which index entries
    are made at once, in all workers together; where KV is moved in all layers at once."""
    write_behind_segments: int = 256
    """Segments that may wait to be handed to the store."""
    fetching_requests: int = 8
    """Requests for which segments are brought up from the store at once."""
    keeps_queries: bool = False
    """Whether queries of each stream's newest clip are kept, by which others are measured."""
    store: CacheStoreSection | None = None
    heads: ScoreHeads | None = None
    """The score heads of the model; None where it brings none."""

    def to_config(self) -> dict[str, Any]:
        """The settings as the connector's ``kv_connector_extra_config``. Secrets are readable in
        it."""
        found: dict[str, Any] = {
            "scheduler": self.scheduler.model_dump(),
            "retrieval": self.policy.model_dump(mode="json"),
            "mover": self.mover,
            "pool_bytes": self.pool_bytes,
            "shelf_bytes": self.shelf_bytes,
            "index_bytes": self.index_bytes,
            "index_host_bytes": self.index_host_bytes,
            "ring_bytes": self.ring_bytes,
            "saving_bytes": self.saving_bytes,
            "write_behind_segments": self.write_behind_segments,
            "fetching_requests": self.fetching_requests,
            "keeps_queries": self.keeps_queries,
        }
        if self.arena_bytes is not None:
            found["arena_bytes"] = self.arena_bytes
        if self.store is not None:
            found["store"] = with_secrets(self.store)
        if self.heads is not None:
            found["heads"] = asdict(self.heads)
        return found

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "AdapterSettings":
        """Read back what `to_config` wrote; defaults for what is not there."""
        store, heads = config.get("store"), config.get("heads")
        return cls(
            scheduler=SchedulerSection.model_validate(config.get("scheduler", {"policy": "fcfs"})),
            policy=RetrievalPolicy.model_validate(config.get("retrieval", {})),
            arena_bytes=config.get("arena_bytes"),
            mover=config.get("mover", "layers"),
            pool_bytes=config.get("pool_bytes", 2 << 30),
            shelf_bytes=config.get("shelf_bytes", 0),
            index_bytes=config.get("index_bytes"),
            index_host_bytes=config.get("index_host_bytes", 0),
            ring_bytes=config.get("ring_bytes", 0),
            saving_bytes=config.get("saving_bytes", 256 << 20),
            write_behind_segments=config.get("write_behind_segments", 256),
            fetching_requests=config.get("fetching_requests", 8),
            keeps_queries=config.get("keeps_queries", False),
            store=None if store is None else CacheStoreSection.model_validate(store),
            heads=None
            if heads is None
            else ScoreHeads(heads["file"], tuple(ScoreHead(**head) for head in heads["heads"])),
        )


# ---- calls: server to every worker


@dataclass(frozen=True, slots=True)
class WorkerCall(Generic[R]):
    """One question to every worker. The functions below make them."""

    method: str
    """Name of a method of `entry.extension.SegmentExtension`."""
    args: tuple[Any, ...]
    """Arguments of the method, as plain data."""
    read: Callable[[Any], R]
    """A function that makes the answer of the plain data that one worker sends back."""


@dataclass(frozen=True, slots=True)
class StoredLives:
    """What a worker's store knows of the lives of a stream."""

    generations: list[int]
    is_complete: bool
    """Whether every tier could be asked, so that these are all."""


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """What the server must know of a stored segment to place it."""

    key: str
    start_s: float
    end_s: float
    meta: dict[str, str]
    """What a prompt needs to place the segment, see `SaveSpan.meta`."""


@dataclass(frozen=True, slots=True)
class StoredSegments:
    """A piece of what a worker's store has of one life of a stream."""

    segments: list[StoredSegment]
    is_complete: bool
    """Whether every tier could be asked, so that all pieces together are all."""
    is_done: bool
    """Whether there are no more pieces."""

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> "StoredSegments":
        """Make a `StoredSegments` of the plain data that a worker sends."""
        found = [StoredSegment(**segment) for segment in plain["segments"]]
        return cls(found, plain["is_complete"], plain["is_done"])


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """What a worker holds now."""

    segments: int
    """Segments that the worker holds ready."""
    bytes: int
    """Bytes that these segments take: keys, values and, for retrieval, keys without rotary
    position."""
    fetched: int
    """Segments that came from the store below, since the start."""
    tiers: dict[str, dict[str, int]]
    """Counts by tier of the store below, then by name: totals since the start and what the tier
    holds. The names are those of `cache_store.counters`, ``queued_bytes`` for what waits to be
    written to the tier, and ``failed`` for records that could not be."""
    moves: dict[str, int]
    """Segments that went from one tier to another or to none, by what became of them: totals since
    the start."""
    index_rows: int
    index_bytes: int
    index_row_bytes: int
    """The most bytes that one more segment can take in the index."""
    index_coarse_bytes: int = 0
    """The bytes of these that stay on a device when the rest goes to its host; 0 where none
    does."""
    token_bytes: int = 0
    """Bytes of keys and values that one token takes in all layers."""


@dataclass(frozen=True, slots=True)
class WorkerStock:
    """What is durable of what a worker was asked about, and what it holds."""

    undurable: list[str]
    """Which of the keys that were asked about would not outlive the process."""
    stats: WorkerStats
    is_kept: bool = True
    """Whether the tier that outlives the process can be relied on now."""


def drop_segments(prefix: str, epoch: int, keys: Sequence[str]) -> WorkerCall[int]:
    """Hold segments of a stream ready no more; answers how many were. Does nothing where a newer
    `epoch` owns the stream."""
    return WorkerCall("drop_segments", (prefix, epoch, list(keys)), int)


def drop_stream(prefix: str, epoch: int, *, forget: bool) -> WorkerCall[int]:
    """Let go of a stream's segments; with `forget`, in the store below too, which goes on in the
    background. Does nothing where a newer `epoch` owns the stream."""
    return WorkerCall("drop_stream", (prefix, epoch, forget), int)


def delete_segments(prefix: str, epoch: int, keys: Sequence[str]) -> WorkerCall[int]:
    """Delete segments of a stream, in the store below too, which goes on in the background. Answers
    how many were held ready. Does nothing where a newer `epoch` owns the stream."""
    return WorkerCall("delete_segments", (prefix, epoch, list(keys)), int)


def unreached_tiers(prefix: str) -> WorkerCall[list[str]]:
    """The tiers of the store below that may still hold something that was deleted of a stream."""
    return WorkerCall("unreached_tiers", (prefix,), list)


def missing_segments(name: str, keys: Sequence[str] | None) -> WorkerCall[list[str] | None]:
    """Which of `keys` can be read nowhere; None as long as the store is being asked, without a step
    that waits for it. It is called until there is an answer: at first with the keys, then without.

    Args:
        name: names the question, so that several may be asked at once.
    """
    return WorkerCall(
        "missing_segments",
        (name, None if keys is None else list(keys)),
        lambda plain: None if plain is None else list(plain),
    )


def own_stream(stream: str, claim: Claim) -> WorkerCall[None]:
    """Have the store write for ``tenant/stream`` under a claim."""
    return WorkerCall("own_stream", (stream, claim.epoch, claim.is_handed_over), lambda plain: None)


def is_writing(prefix: str) -> WorkerCall[bool]:
    """Whether some of a stream is not yet in the tier that outlives the process."""
    return WorkerCall("is_writing", (prefix,), bool)


def stored_lives(prefix: str, *, is_first: bool) -> WorkerCall[StoredLives | None]:
    """The lives of a stream (``model/tenant/stream/``) that the store knows; None as long as it is
    being asked, without a step that waits for it. It is called until there is an answer.
    `is_first`: begin."""
    return WorkerCall(
        "stored_lives",
        (prefix, is_first),
        lambda plain: None if plain is None else StoredLives(**plain),
    )


def restore_stream(prefix: str, *, is_first: bool) -> WorkerCall[StoredSegments]:
    """Have the workers know more of a stored life of a stream again; answers what. It is asked
    until all are done, so that no step waits for more than a piece. `is_first`: begin."""
    return WorkerCall("restore_stream", (prefix, is_first), StoredSegments.read)


def flush_segments(timeout_s: float) -> WorkerCall[bool]:
    """Wait until all is written that was handed over to the store; answers whether it is."""
    return WorkerCall("flush_segments", (timeout_s,), bool)


def worker_stock(keys: Sequence[str]) -> WorkerCall[WorkerStock]:
    """Which of `keys` would not outlive the process, and what `worker_stats` tells."""
    return WorkerCall(
        "worker_stock",
        (list(keys),),
        lambda plain: WorkerStock(
            plain["undurable"], WorkerStats(**plain["stats"]), plain["is_kept"]
        ),
    )


def worker_stats() -> WorkerCall[WorkerStats]:
    """What a worker holds now, in counts and bytes."""
    return WorkerCall("worker_stats", (), lambda plain: WorkerStats(**plain))


@dataclass(frozen=True, slots=True)
class MeasureOp:
    """What is to be measured of stored segments."""

    measure: Measure
    newest: str
    """The key of the stream's newest clip."""
    asked: dict[str, Pairs]
    """By the key of a segment, the pairs of its tokens of which something is to be measured; where
    there are none, each token is."""


@dataclass(frozen=True, slots=True)
class CompactOp:
    """Make a smaller segment of a stored one."""

    key: str
    """The key of the stored one."""
    span: SaveSpan
    """The new one, with the offsets of the tokens that are left."""
    left: list[Blend]
    """Which tokens are left, by their rows in the stored one."""


def measure_segments(name: str, op: MeasureOp | None) -> WorkerCall[dict[str, list[float]] | None]:
    """Measure stored segments, of which those that cannot be read are left out; None as long as
    that is being done, without a step that waits for it. It is called until there is an answer: at
    first with `op`, then without. What workers with other heads measure can be averaged.

    Args:
        name: names the question.
    """
    plain = None
    if op is not None:
        pairs = {key: [list(pair) for pair in pairs] for key, pairs in op.asked.items()}
        plain = {"measure": op.measure, "newest": op.newest, "asked": pairs}
    return WorkerCall(
        "measure_segments",
        (name, plain),
        lambda plain: None if plain is None else dict(plain),
    )


def compact_segments(name: str, ops: Sequence[CompactOp] | None) -> WorkerCall[list[str] | None]:
    """Make smaller segments of stored ones; answers the keys of those that were made. Nobody can
    read them before they are taken up. It is called until there is an answer, see
    `measure_segments`."""
    plain = None
    if ops is not None:
        plain = [
            [op.key, _save_values(op.span), [[row, members] for row, members in op.left]]
            for op in ops
        ]
    return WorkerCall(
        "compact_segments", (name, plain), lambda told: None if told is None else list(told)
    )


def read_compact_ops(plain: Sequence[Any] | None) -> list[CompactOp] | None:
    """Read back what `compact_segments` sent."""
    if plain is None:
        return None
    return [
        CompactOp(key, _read_save(values), [(row, list(members)) for row, members in left])
        for key, values, left in plain
    ]


def unwritten_segments(keys: Sequence[str]) -> WorkerCall[list[str]]:
    """Which of `keys` are not in the tier that outlives the process, though there is one."""
    return WorkerCall("unwritten_segments", (list(keys),), list)


def take_up_segments(keys: Sequence[str]) -> WorkerCall[None]:
    """Hold, index and store those of the segments that were made last; the others are given up."""
    return WorkerCall("take_up_segments", (list(keys),), lambda plain: None)


def _read_save(values: Sequence[Any]) -> SaveSpan:
    *others, filling = values
    return SaveSpan(*[*others, None if filling is None else Filling(*filling)])


def _save_values(span: SaveSpan) -> list[Any]:
    *values, filling = _values(span)
    return [*values, None if filling is None else _values(filling)]


def _values(span: SaveSpan | Filling | MemorySlot | RetrievalPlan) -> list[Any]:
    """The values of the fields, in their order; `dataclasses.astuple` would copy all that is in
    them."""
    return [getattr(span, name) for name in span.__slots__]


def _fields(told: Served | EngineLoad) -> dict[str, Any]:
    """The fields by name; `dataclasses.asdict` would copy all that is in them."""
    return {name: getattr(told, name) for name in told.__slots__}
