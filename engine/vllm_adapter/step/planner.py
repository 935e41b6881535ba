"""`StepPlanner`: the scheduler's half. Turns each request's plan into KV slots, step by step."""

from typing import Any

from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.request import Request

from onlooker.engine.vllm_adapter.spec import SegmentSpec
from onlooker.engine.vllm_adapter.steps import (
    LoadOp,
    RetrieveOp,
    SaveOp,
    StepPlan,
    StepReport,
)


class StepPlanner:
    """Remembers the specs of unfinished requests.

    Args:
        block_size: tokens of one KV block.
    """

    def __init__(self, *, block_size: int) -> None:
        self._block_size = block_size
        self._specs: dict[str, SegmentSpec] = {}
        self._covered: dict[str, int] = {}
        """Tokens at the start of each prompt that are not computed."""
        self._loading: dict[str, int] = {}
        """Requests that load in this step, and how many tokens vLLM has in its blocks already."""
        self._outcomes: dict[str, dict[str, Any]] = {}
        self._ended: list[str] = []

    def num_covered(self, request: Request) -> int:
        """Tokens at the start of the request's prompt that are not computed: vLLM still has them in
        its blocks, or they are loaded."""
        return 0 if self._spec(request) is None else self._covered[request.request_id]

    def num_to_load(self, request: Request, num_found: int) -> int:
        """Of these, the tokens after the first `num_found`, which vLLM has found."""
        return max(0, self.num_covered(request) - num_found)

    def retrieves(self, request: Request) -> bool:
        """Whether the request's question chooses clips: it must be computed in one step."""
        spec = self._spec(request)
        return spec is not None and spec.retrieval is not None

    def to_load(self, request: Request, num_tokens: int) -> None:
        """The request got its blocks: load into them in this step (again after preemption)."""
        self._loading[request.request_id] = self._covered[request.request_id] - num_tokens

    def plan(self, output: SchedulerOutput) -> StepPlan:
        """The step's work; forgets what it has handed out."""
        plan = StepPlan(dropped_requests=self._ended)
        self._ended = []
        computed = {r.req_id: r.num_computed_tokens for r in output.scheduled_new_reqs}
        cached = output.scheduled_cached_reqs
        computed.update(zip(cached.req_ids, cached.num_computed_tokens, strict=True))
        for request_id, num_tokens in output.num_scheduled_tokens.items():
            spec = self._specs.get(request_id)
            if spec is None:
                continue
            blocks = output.kv_connector_block_state.get_block_ids(request_id)
            assert blocks is not None
            assert len(blocks) == 1
            self._plan_request(plan, request_id, spec, blocks[0], computed[request_id], num_tokens)
        self._loading.clear()
        return plan

    def note(self, report: StepReport) -> None:
        """Take what the worker reported, for the outputs of the requests. Idempotent."""
        told = {*report.saved, *report.missing, *report.picked, *report.read}
        for request_id in told & set(self._specs):
            outcome = self._outcomes.setdefault(request_id, {})
            news = report.of(request_id)
            # After preemption all is read again, then from nearer: the first time is what counts.
            news["read"] = {**news.get("read", {}), **outcome.get("read", {})}
            outcome.update(news)

    def finish(self, request: Request) -> dict[str, Any] | None:
        """The request ended; returns what its output should carry."""
        self._covered.pop(request.request_id, None)
        if self._specs.pop(request.request_id, None) is not None:
            self._ended.append(request.request_id)
        return self._outcomes.pop(request.request_id, None)

    def _spec(self, request: Request) -> SegmentSpec | None:
        if request.request_id not in self._specs:
            spec = SegmentSpec.from_params(request.kv_transfer_params)
            if spec is None:
                return None
            self._specs[request.request_id] = spec
            # vLLM wants to compute one token at least.
            covered = min(spec.num_covered_tokens, request.num_prompt_tokens - 1)
            self._covered[request.request_id] = covered
        return self._specs[request.request_id]

    def _plan_request(
        self,
        plan: StepPlan,
        request_id: str,
        spec: SegmentSpec,
        block_ids: list[int],
        start: int,
        num_tokens: int,
    ) -> None:
        """`start`: tokens computed before this step; it computes the next `num_tokens`."""
        end = start + num_tokens
        if request_id in self._loading:
            num_blocks = -(-self._covered[request_id] // self._block_size)
            covered_blocks = block_ids[:num_blocks]
            found = self._loading[request_id]
            loads = [span for span in spec.loads if span.start + span.num_tokens > found]
            if loads:
                skip = max(0, found - loads[0].start)
                slots = [
                    slot
                    for span in loads
                    for slot in self._slots(block_ids, span.start, span.num_tokens)
                ]
                plan.loads.append(
                    LoadOp(
                        request_id=request_id,
                        keys=[span.key for span in loads],
                        positions=[span.position for span in loads],
                        skip=skip,
                        slots=slots[skip:],
                        block_ids=covered_blocks,
                        tells_reads=not spec.saves,
                    )
                )
            if spec.retrieval is not None:
                plan.retrievals.append(
                    self._retrieve(request_id, spec, block_ids, covered_blocks, start, end)
                )
        for span in spec.saves:
            first, last = max(start, span.start), min(end, span.start + span.num_tokens)
            if first < last:
                plan.saves.append(
                    SaveOp(
                        request_id=request_id,
                        span=span,
                        first=first - span.start,
                        slots=self._slots(block_ids, first, last - first),
                    )
                )

    def _retrieve(
        self,
        request_id: str,
        spec: SegmentSpec,
        block_ids: list[int],
        covered_blocks: list[int],
        start: int,
        end: int,
    ) -> RetrieveOp:
        retrieval = spec.retrieval
        assert retrieval is not None
        # The queries of the question have to be there when the layers choose: whatever part of the
        # question this step computes is what they choose by.
        first = max(start, retrieval.question_start)
        last = min(end, retrieval.question_start + retrieval.question_tokens)
        offset = first - retrieval.question_start
        return RetrieveOp(
            request_id=request_id,
            retrieval=retrieval,
            place_slots=[self._slots(block_ids, s.start, s.num_tokens) for s in retrieval.slots],
            question_slots=self._slots(block_ids, first, max(0, last - first)),
            question_positions=[
                retrieval.question_position + offset + i for i in range(max(0, last - first))
            ],
            block_ids=covered_blocks,
        )

    def _slots(self, block_ids: list[int], start: int, num_tokens: int) -> list[int]:
        size = self._block_size
        return [
            block_ids[token // size] * size + token % size
            for token in range(start, start + num_tokens)
        ]
