"""vLLM's scheduler that plans a step while the one before it runs, as it does on a GPU.

No model is loaded: the scheduler is real, and the test says what the steps gave.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onlooker import demo_model
from onlooker.engine.config import VllmSection
from onlooker.engine.memory.plan import RequestPlan
from onlooker.engine.vllm_adapter.gateway.platform import prepare_environment
from onlooker.engine.vllm_adapter.wire import plan_params, ticket_params
from onlooker.scheduler.job import Job
from onlooker.scheduler.request_class import RequestClass
from onlooker.scheduler.step_plan import Allotment, StepLimits, StepPlan
from tests.unit.engine.vllm_adapter.step.factories import (
    QUESTION_TOKENS,
    SINK_TOKENS,
    ingesting,
    make_ticket,
    retrieving,
)

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

MODEL = Path(demo_model.__path__[0]) / "weights"

Make = Callable[[str], "Overlapping"]


class Overlapping:
    """The scheduler, with requests and steps in short."""

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler

    def add(self, request_id: str, plan: RequestPlan, *, max_tokens: int) -> None:
        from vllm import SamplingParams
        from vllm.v1.request import Request

        name = RequestClass.INGEST if plan.saves else RequestClass.QUESTION
        args = {"kv_transfer_params": plan_params(plan), **ticket_params(make_ticket(name))}
        params = SamplingParams(max_tokens=max_tokens, ignore_eos=True, extra_args=args)
        tokens = plan.num_covered_tokens + (40 if plan.saves else QUESTION_TOKENS)
        self.scheduler.add_request(Request(request_id, [7] * tokens, params, None))

    def ends(self, step: Any) -> None:
        """`step` has run, and gave each of its requests a token."""
        from vllm.v1.outputs import ModelRunnerOutput

        ids = list(step.num_scheduled_tokens)
        output = ModelRunnerOutput(ids, {key: i for i, key in enumerate(ids)}, [[9] for _ in ids])
        self.scheduler.update_from_output(step, output)


@pytest.fixture(scope="module")
def make() -> Make:
    prepare_environment(VllmSection(), cpu=True, model_is_local=True)
    import torch
    from vllm import AsyncEngineArgs
    from vllm.config import KVTransferConfig
    from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
    from vllm.v1.structured_output import StructuredOutputManager

    from onlooker.engine.vllm_adapter.entry.scheduler import AsyncSegmentScheduler

    entry = "onlooker.engine.vllm_adapter.entry"

    def made(policy: str) -> Overlapping:
        config = AsyncEngineArgs(
            model=str(MODEL), dtype="float32", enforce_eager=True, max_model_len=1024,
            block_size=32, enable_prefix_caching=False, max_num_seqs=8, max_num_batched_tokens=1024,
            limit_mm_per_prompt={"video": 1, "image": 0}, mm_processor_cache_gb=0,
            scheduler_cls=f"{entry}.scheduler.AsyncSegmentScheduler",
            kv_transfer_config=KVTransferConfig(
                kv_connector="SegmentConnector", kv_role="kv_both",
                kv_connector_module_path=f"{entry}.connector",
                kv_connector_extra_config={"scheduler": {"policy": policy}},
            ),
        ).create_engine_config()  # fmt: skip
        config.cache_config.num_gpu_blocks = 64
        spec = FullAttentionSpec(block_size=32, num_kv_heads=1, head_size=32, dtype=torch.float32)
        cache = KVCacheConfig(64, [], [KVCacheGroupSpec(["layer"], spec)])
        return Overlapping(
            AsyncSegmentScheduler(config, cache, StructuredOutputManager(config), block_size=32)
        )

    return made


def test_tokens_that_nobody_takes_do_not_start_a_question(make: Make) -> None:
    """Two clips end with the step in flight; their next tokens, which they will never have, went to
    whoever was next: a question began with two of its tokens, and chose its clips by them."""
    vllm = make("slo")
    vllm.add("clip 1", ingesting(), max_tokens=1)
    vllm.add("clip 2", ingesting(), max_tokens=1)
    first = vllm.scheduler.schedule()
    assert first.num_scheduled_tokens == {"clip 1": 40, "clip 2": 40}
    vllm.add("question", retrieving(), max_tokens=8)
    policy = vllm.scheduler.steward._policy
    plan = policy.plan

    def hold_questions(jobs: list[Job], now_s: float, limits: StepLimits) -> StepPlan:
        served = [Allotment(job, job.num_tokens) for job in jobs if job.key != "question"]
        return StepPlan(served, [job for job in jobs if job.key == "question"])

    policy.plan = hold_questions
    second = vllm.scheduler.schedule()
    assert second.num_scheduled_tokens == {}
    vllm.ends(first)
    vllm.ends(second)
    policy.plan = plan
    third = vllm.scheduler.schedule()
    assert third.num_scheduled_tokens == {"question": QUESTION_TOKENS}
    (retrieval,) = vllm.scheduler.connector.plan.retrievals
    assert len(retrieval.question_slots) == QUESTION_TOKENS


def test_a_question_starts_whole_beside_a_step_in_flight(make: Make) -> None:
    vllm = make("slo")
    vllm.add("clip", ingesting(), max_tokens=1)
    vllm.add("answer", retrieving(), max_tokens=8)
    first = vllm.scheduler.schedule()
    vllm.add("question", retrieving(), max_tokens=8)
    second = vllm.scheduler.schedule()
    assert second.num_scheduled_tokens == {"answer": 1, "question": QUESTION_TOKENS}
    assert [op.request_id for op in vllm.scheduler.connector.plan.retrievals] == ["question"]
    vllm.ends(first)
    vllm.ends(second)
    assert vllm.scheduler.schedule().num_scheduled_tokens == {"answer": 1, "question": 1}


@pytest.mark.parametrize("policy", ["slo", "fcfs"])
def test_a_question_waits_for_a_step_with_room_for_all_of_it(make: Make, policy: str) -> None:
    vllm = make(policy)
    vllm.add("clip", ingesting(), max_tokens=1)
    vllm.scheduler.max_num_scheduled_tokens = 40 + SINK_TOKENS
    if policy == "slo":  # it puts questions first: the clip has begun before the question comes
        first = vllm.scheduler.schedule()
        vllm.add("question", retrieving(), max_tokens=8)
    else:
        vllm.add("question", retrieving(), max_tokens=8)
        first = vllm.scheduler.schedule()
    assert first.num_scheduled_tokens == {"clip": 40}
    second = vllm.scheduler.schedule()
    assert second.num_scheduled_tokens == {"question": QUESTION_TOKENS}
    assert vllm.scheduler.connector.plan.refusals == []
