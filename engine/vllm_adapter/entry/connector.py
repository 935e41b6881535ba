"""`SegmentConnector`: vLLM's KV connector that loads, saves and retrieves segments.

vLLM makes two of them: one in the scheduler, which turns each request's plan into slots, and one in
each worker, which moves KV. They talk through the step's metadata only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from vllm.config import VllmConfig
from vllm.distributed.kv_transfer.kv_connector.v1.base import (
    KVConnectorBase_V1,
    KVConnectorMetadata,
    KVConnectorRole,
    KVConnectorWorkerMetadata,
    SupportsHMA,
)

from onlooker.engine.vllm_adapter import seams
from onlooker.engine.vllm_adapter.seams import RequestState, ScheduledRequest
from onlooker.engine.vllm_adapter.step.fetches import Fetches
from onlooker.engine.vllm_adapter.step.planner import StepPlanner
from onlooker.engine.vllm_adapter.wire import (
    AdapterSettings,
    WorkerPlan,
    WorkerReport,
    report_params,
)
from onlooker.engine.vllm_adapter.worker.head_group import HeadGroup
from onlooker.engine.vllm_adapter.worker.head_share import HeadShare
from onlooker.engine.vllm_adapter.worker.worker import SegmentWorker


@dataclass(slots=True)
class StepMetadata(KVConnectorMetadata):
    """Takes a step's plan to the workers."""

    plan: WorkerPlan


@dataclass(slots=True)
class StepOutcome(KVConnectorWorkerMetadata):
    """Takes a worker's report to the scheduler."""

    report: WorkerReport = field(default_factory=WorkerReport)

    def aggregate(self, other: KVConnectorWorkerMetadata) -> "StepOutcome":
        """Join the reports of two workers."""
        assert isinstance(other, StepOutcome)
        self.report.join(other.report)
        return self


class SegmentConnector(KVConnectorBase_V1, SupportsHMA):
    """vLLM's connector for segments; see the module. It serves one KV cache group only: plain
    attention in all layers."""

    def __init__(
        self, vllm_config: VllmConfig, role: KVConnectorRole, kv_cache_config: Any
    ) -> None:
        super().__init__(vllm_config, role, kv_cache_config)
        self._planner: StepPlanner | None = None
        self._worker: SegmentWorker | None = None
        self.scheduled: Sequence[ScheduledRequest] = ()
        """In the scheduler: what the newest step does for each request."""
        self._is_in_step = False
        self.plan = WorkerPlan()
        """In the scheduler: what the workers are told of the newest step."""
        settings = AdapterSettings.from_config(
            vllm_config.kv_transfer_config.kv_connector_extra_config
        )
        if role == KVConnectorRole.SCHEDULER:
            fetches = None
            if settings.store is not None:
                fetches = Fetches(
                    num_workers=vllm_config.parallel_config.tensor_parallel_size,
                    max_requests=settings.fetching_requests,
                )
            block_size = vllm_config.cache_config.block_size
            self._planner = StepPlanner(block_size=block_size, fetches=fetches)
        else:
            share = HeadShare(*seams.tensor_rank())
            self._worker = SegmentWorker(
                settings,
                seams.rotary_parameters(vllm_config),
                group=HeadGroup(share, seams.gathered if share.size > 1 else None),
            )
            self._config = vllm_config

    @property
    def requires_kv_delivery(self) -> bool:
        """False, since a lost save is a clip to be ingested again, never a reason to keep a
        request."""
        return False

    # ---- scheduler ----

    def num_covered(self, request: RequestState) -> int:
        """Tokens at the start of the request's prompt that are loaded, not computed."""
        assert self._planner is not None
        return self._planner.num_covered(request)

    def retrieves(self, request: RequestState) -> bool:
        """Whether the request's question chooses clips."""
        assert self._planner is not None
        return self._planner.retrieves(request)

    def awaits_fetch(self, request: RequestState) -> bool:
        """Whether the request cannot start yet, as its segments come from a slower tier."""
        assert self._planner is not None
        return self._planner.awaits_fetch(request)

    def get_num_new_matched_tokens(
        self, request: Any, num_computed_tokens: int
    ) -> tuple[int | None, bool]:
        assert self._planner is not None
        state = seams.request_state(request)
        if not self._planner.is_ready(state, num_computed_tokens):
            return None, False  # vLLM goes on with others, and asks again
        return self._planner.num_to_load(state, num_computed_tokens), False

    def update_state_after_alloc(self, request: Any, blocks: Any, num_external_tokens: int) -> None:
        assert self._planner is not None
        if num_external_tokens:
            self._planner.to_load(seams.request_state(request), num_external_tokens)

    def build_connector_meta(self, scheduler_output: Any) -> KVConnectorMetadata:
        assert self._planner is not None
        self.scheduled = seams.scheduled_requests(scheduler_output)
        self.plan = self._planner.plan(self.scheduled)
        return StepMetadata(self.plan)

    def update_connector_output(self, connector_output: Any) -> None:
        assert self._planner is not None
        outcome = seams.worker_report(connector_output)
        if isinstance(outcome, StepOutcome):
            self._planner.note(outcome.report)

    def request_finished(
        self, request: Any, block_ids: list[int]
    ) -> tuple[bool, dict[str, Any] | None]:
        assert self._planner is not None
        report = self._planner.finish(seams.request_state(request).request_id)
        return False, None if report is None else report_params(report)

    def request_finished_all_groups(
        self, request: Any, block_ids: tuple[list[int], ...]
    ) -> tuple[bool, dict[str, Any] | None]:
        return self.request_finished(request, block_ids[0] if block_ids else [])

    # ---- worker ----

    @property
    def segment_worker(self) -> SegmentWorker:
        """The worker's half, for `SegmentExtension`."""
        assert self._worker is not None
        return self._worker

    def register_kv_caches(self, kv_caches: dict[str, Any]) -> None:
        assert self._worker is not None
        self._worker.attach(seams.attention_layers(self._config, kv_caches))

    def bind_connector_metadata(self, connector_metadata: KVConnectorMetadata) -> None:
        super().bind_connector_metadata(connector_metadata)
        assert self._worker is not None
        assert isinstance(connector_metadata, StepMetadata)
        self._worker.begin(connector_metadata.plan)
        self._is_in_step = True

    def start_load_kv(self, forward_context: Any, **kwargs: Any) -> None:
        """Called before the forward pass in steps that load something, after it in others. So what
        a step saves is told to the worker earlier, when the metadata is bound."""
        assert self._worker is not None
        self._worker.load(is_whole_graph=seams.is_whole_graph(forward_context, kwargs))

    def wait_for_layer_load(self, layer_name: str) -> None:
        assert self._worker is not None
        self._worker.reach(layer_name)

    def save_kv_layer(
        self, layer_name: str, kv_layer: Any, attn_metadata: Any, **kwargs: Any
    ) -> None:
        """Keys and values are taken as they are written, see `SegmentWorker.attach`."""

    def wait_for_save(self) -> None:
        self._end_step()

    def _end_step(self) -> None:
        """The layers have run. Where vLLM guesses tokens ahead it says so only after it has asked
        what came of the step, as a second model might have layers, too; there is none here."""
        assert self._worker is not None
        if self._is_in_step:
            self._is_in_step = False
            self._worker.end()

    def shutdown(self) -> None:
        if self._worker is not None:
            self._worker.close()

    def get_block_ids_with_load_errors(self) -> set[int]:
        assert self._worker is not None
        self._end_step()
        return self._worker.take_bad_blocks()

    def build_connector_worker_meta(self) -> KVConnectorWorkerMetadata | None:
        assert self._worker is not None
        return StepOutcome(self._worker.take_report())
