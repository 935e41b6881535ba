"""`StepPlanner`: turns each request's plan into KV slots, step by step."""

from collections.abc import Iterable

from onlooker.engine.memory.plan import (
    Filling,
    RequestPlan,
    RequestReport,
    RetrievalPlan,
    SaveSpan,
)
from onlooker.engine.vllm_adapter.seams import RequestState, ScheduledRequest
from onlooker.engine.vllm_adapter.step.fetches import Fetches
from onlooker.engine.vllm_adapter.wire import (
    HeadOp,
    LoadOp,
    Refusal,
    RetrieveOp,
    SaveOp,
    WorkerPlan,
    WorkerReport,
    read_plan,
)


class StepPlanner:
    """Remembers the plans of unfinished requests.

    Args:
        block_size: tokens of one KV block.
        fetches: where there is a store below, what waits for it.
    """

    def __init__(self, *, block_size: int, fetches: Fetches | None = None) -> None:
        self._block_size = block_size
        self._fetches = fetches
        self._plans: dict[str, RequestPlan] = {}
        self._covered: dict[str, int] = {}
        """Tokens at the start of each prompt that are not computed."""
        self._heads_at: dict[str, int] = {}
        """Of the requests that ask for score heads, the prompt token at which they are applied."""
        self._loading: dict[str, int] = {}
        """Requests that load in this step, and how many tokens vLLM has in its blocks already."""
        self._asked: set[str] = set()
        """Requests whose question has chosen its clips, or has failed to."""
        self._reports: dict[str, RequestReport] = {}
        self._ended: list[str] = []

    def num_covered(self, request: RequestState) -> int:
        """Tokens at the start of the request's prompt that are not computed: vLLM still has them in
        its blocks, or they are loaded."""
        return 0 if self._plan_of(request) is None else self._covered[request.request_id]

    def num_to_load(self, request: RequestState, num_found: int) -> int:
        """Tokens at the start of the request's prompt that are loaded: the covered tokens after the
        first `num_found`, which vLLM has found in its blocks."""
        return max(0, self.num_covered(request) - num_found)

    def is_ready(self, request: RequestState, num_found: int) -> bool:
        """Whether the workers hold what is to be loaded after the first `num_found` tokens; else it
        is fetched, and the request has to wait. See `num_to_load`."""
        spec = self._plan_of(request)
        if self._fetches is None or spec is None:
            return True
        keys = [span.key for span in spec.loads.ending_after(num_found)]
        keys += [span.filling.key for span in spec.saves if span.filling is not None]
        return self._fetches.is_ready(request.request_id, keys + spec.reads)

    def awaits_fetch(self, request: RequestState) -> bool:
        """Whether the request waits for what is being fetched."""
        return self._fetches is not None and self._fetches.awaits(request.request_id)

    def retrieves(self, request: RequestState) -> bool:
        """Whether the request's question chooses clips: it must be computed in one step."""
        spec = self._plan_of(request)
        return spec is not None and spec.retrieval is not None

    def to_load(self, request: RequestState, num_tokens: int) -> None:
        """Note that the request got its blocks: `num_tokens` tokens are loaded into them in this
        step (again after preemption)."""
        self._loading[request.request_id] = self._covered[request.request_id] - num_tokens
        if self._fetches is not None:
            self._fetches.forget([request.request_id])

    def plan(self, scheduled: Iterable[ScheduledRequest]) -> WorkerPlan:
        """The step's work for the workers; forgets what it has handed out."""
        plan = WorkerPlan(dropped_requests=self._ended)
        self._ended = []
        for request in scheduled:
            spec = self._plans.get(request.request_id)
            if spec is not None:
                self._plan_request(plan, spec, request)
        self._loading.clear()
        if self._fetches is not None:
            plan.fetches = self._fetches.ops()
        return plan

    def note(self, report: WorkerReport) -> None:
        """Take what the workers reported, for the outputs of the requests. Idempotent."""
        if self._fetches is not None:
            self._fetches.note(report)
        for request_id in report.request_ids & set(self._plans):
            news = report.of(request_id)
            known = self._reports.get(request_id, RequestReport())
            self._reports[request_id] = RequestReport(
                saved=news.saved or known.saved,
                missing=news.missing or known.missing,
                picked=news.picked or known.picked,
                # After preemption all is read again, then from nearer: the first time counts.
                read={**news.read, **known.read},
                traced=news.traced or known.traced,
                away=news.away or known.away,
                heads=news.heads or known.heads,
            )

    def finish(self, request_id: str) -> RequestReport | None:
        """Forget a request that ended; returns what its output should carry."""
        self._covered.pop(request_id, None)
        self._heads_at.pop(request_id, None)
        self._asked.discard(request_id)
        if self._fetches is not None:
            self._fetches.forget([request_id])
        if self._plans.pop(request_id, None) is not None:
            self._ended.append(request_id)
        return self._reports.pop(request_id, None)

    def _plan_of(self, request: RequestState) -> RequestPlan | None:
        if request.request_id not in self._plans:
            spec = read_plan(request.plan_params)
            if spec is None:
                return None
            self._plans[request.request_id] = spec
            # vLLM wants to compute one token at least.
            covered = min(spec.num_covered_tokens, request.num_prompt_tokens - 1)
            self._covered[request.request_id] = covered
            if spec.reads_heads:
                self._heads_at[request.request_id] = request.num_prompt_tokens - 1
        return self._plans[request.request_id]

    def _plan_request(self, plan: WorkerPlan, spec: RequestPlan, request: ScheduledRequest) -> None:
        request_id, block_ids = request.request_id, request.find_block_ids()
        start = request.num_computed_tokens
        end = start + request.num_tokens
        is_loading = request_id in self._loading
        num_blocks = -(-self._covered[request_id] // self._block_size)
        covered_blocks = block_ids[:num_blocks]
        if is_loading:
            found = self._loading[request_id]
            loads = spec.loads.ending_after(found)
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
            for span in spec.saves:
                if span.filling is not None and found < span.start:
                    plan.loads.append(
                        self._fill(request_id, span, span.filling, found, block_ids, covered_blocks)
                    )
        if spec.retrieval is not None and (is_loading or request_id not in self._asked):
            # Also a request that loads nothing, when it is new: else its slots would keep whatever
            # their blocks hold.
            self._asked.add(request_id)
            retrieval = spec.retrieval
            first = max(start, retrieval.question_start)
            last = min(end, retrieval.question_start + retrieval.question_tokens)
            if is_loading and last - first == retrieval.question_tokens:
                plan.retrievals.append(
                    self._retrieve(request_id, retrieval, block_ids, covered_blocks)
                )
            else:
                reason = (
                    f"a question that chooses clips has {max(0, last - first)} of its "
                    f"{retrieval.question_tokens} tokens in the step that begins it, and needs all"
                )
                plan.refusals.append(Refusal(request_id, reason, covered_blocks))
        heads_at = self._heads_at.get(request_id, -1)
        if start <= heads_at < end:
            plan.heads.append(HeadOp(request_id, self._slots(block_ids, heads_at, 1)[0]))
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

    def _fill(
        self,
        request_id: str,
        span: SaveSpan,
        filling: Filling,
        found: int,
        block_ids: list[int],
        covered_blocks: list[int],
    ) -> LoadOp:
        """What places the rows of `span` that are not computed, but for those among the first
        `found` tokens of the prompt."""
        there = span.filled
        skip = max(0, found - there.start)
        return LoadOp(
            request_id=request_id,
            keys=[filling.key],
            positions=[span.position + filling.shift],
            skip=skip,
            slots=self._slots(block_ids, there.start + skip, len(filling.rows) - skip),
            block_ids=covered_blocks,
            tells_reads=False,
            rows=filling.from_rows,
        )

    def _retrieve(
        self,
        request_id: str,
        retrieval: RetrievalPlan,
        block_ids: list[int],
        covered_blocks: list[int],
    ) -> RetrieveOp:
        num_tokens = retrieval.question_tokens
        return RetrieveOp(
            request_id=request_id,
            retrieval=retrieval,
            place_slots=[self._slots(block_ids, s.start, s.num_tokens) for s in retrieval.slots],
            question_slots=self._slots(block_ids, retrieval.question_start, num_tokens),
            question_positions=[retrieval.question_position + i for i in range(num_tokens)],
            block_ids=covered_blocks,
        )

    def _slots(self, block_ids: list[int], start: int, num_tokens: int) -> list[int]:
        size = self._block_size
        return [
            block_ids[token // size] * size + token % size
            for token in range(start, start + num_tokens)
        ]
