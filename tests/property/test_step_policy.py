"""Laws of the order of work, for any jobs."""

from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.scheduler.config import SchedulerSection
from onlooker.scheduler.cost_model import CostModel, CostTable
from onlooker.scheduler.job import Job, slack_s
from onlooker.scheduler.request_class import RequestClass
from onlooker.scheduler.slo_policy import SloPolicy
from onlooker.scheduler.step_plan import StepLimits, StepPlan
from tests.unit.scheduler.jobs import make_job

COSTS = CostTable(0.005, 1e-4, 5e-4, 1e-9, 5e-4, 8e-3)
NOW_S = 100.0
LOWER = (RequestClass.INGEST, RequestClass.CHECK, RequestClass.BACKGROUND)


@st.composite
def some_jobs(draw: st.DrawFn) -> list[Job]:
    count = draw(st.integers(1, 24))
    made = []
    for index in range(count):
        name = draw(st.sampled_from(RequestClass))
        due_at_s = NOW_S + draw(st.floats(-5, 20))
        if name is RequestClass.DECODE:
            made.append(make_job(f"j{index}", name, due_at_s))
            continue
        made.append(
            make_job(
                f"j{index}",
                name,
                due_at_s,
                num_tokens=draw(st.integers(1, 900)),
                encoder_clips=draw(st.integers(0, 2)),
                loaded_bytes=draw(st.integers(0, 10**7)),
                is_whole=draw(st.booleans()),
            )
        )
    return made


limits = st.builds(StepLimits, max_tokens=st.integers(64, 4096), max_jobs=st.integers(2, 40))


def planned(jobs: list[Job], limit: StepLimits) -> StepPlan:
    return SloPolicy(SchedulerSection(), CostModel(COSTS)).plan(jobs, NOW_S, limit)


@given(some_jobs(), limits)
def test_the_engine_never_idles_while_there_is_work(jobs: list[Job], limit: StepLimits) -> None:
    assert planned(jobs, limit).served


@given(some_jobs(), limits)
def test_every_job_is_served_once_or_waits_and_limits_hold(
    jobs: list[Job], limit: StepLimits
) -> None:
    plan = planned(jobs, limit)
    served = [allotment.job.key for allotment in plan.served]
    assert sorted(served + [job.key for job in plan.waiting]) == sorted(job.key for job in jobs)
    assert plan.token_budget <= limit.max_tokens
    assert len(served) <= limit.max_jobs
    for allotment in plan.served:
        assert 0 < allotment.num_tokens <= allotment.job.num_tokens
        if allotment.job.is_whole and allotment.job.num_tokens <= limit.max_tokens - limit.max_jobs:
            assert allotment.num_tokens == allotment.job.num_tokens


@given(limits, st.integers(1, 3))
def test_no_piece_leaves_a_single_token(limit: StepLimits, num_over: int) -> None:
    """A GPU may replay a step of single tokens as a graph, from which nothing can be saved."""
    job = make_job("clip", RequestClass.INGEST, NOW_S, num_tokens=limit.max_tokens + num_over)
    (allotment,) = planned([job], limit).served
    assert job.num_tokens - allotment.num_tokens > 1


@given(some_jobs(), limits)
def test_nobody_waits_behind_one_of_its_class_with_more_slack(
    jobs: list[Job], limit: StepLimits
) -> None:
    plan = planned(jobs, limit)
    order = [a.job for a in plan.served] + plan.waiting
    for name in RequestClass:
        slacks = [slack_s(job, NOW_S, COSTS) for job in order if job.request_class is name]
        assert slacks == sorted(slacks)


@given(some_jobs(), limits)
def test_running_answers_always_go_on(jobs: list[Job], limit: StepLimits) -> None:
    decoding = [job.key for job in jobs if job.is_decoding]
    served = {a.job.key for a in planned(jobs, limit).served}
    assert len(served & set(decoding)) == min(len(decoding), limit.max_jobs, limit.max_tokens)


@given(some_jobs())
def test_frames_make_no_answer_stutter(jobs: list[Job]) -> None:
    """What is added for lower classes ends before the first running answer's next token is due."""
    plan = planned(jobs, StepLimits(4096, 40))
    decoding = [a.job for a in plan.served if a.job.is_decoding]
    if not decoding or not any(a.job.request_class in LOWER for a in plan.served):
        return
    assert plan.predicted_s <= min(job.due_at_s - NOW_S for job in decoding)


@settings(max_examples=30)
@given(
    st.sampled_from(LOWER),
    st.integers(1, 6),
    st.floats(0.02, 0.3),
    st.integers(1, 2),
)
def test_no_class_starves_under_any_number_of_questions(
    name: RequestClass, per_step: int, ttft_s: float, num_clips: int
) -> None:
    """A lower class waits at most for its cost to be earned: cost / share, and one step."""
    section = SchedulerSection()
    policy = SloPolicy(section, CostModel(COSTS))
    share = getattr(
        section, {2: "ingest_share", 3: "check_share", 4: "background_share"}[int(name)]
    )
    poor = make_job("poor", name, due_at_s=NOW_S + 1e6, encoder_clips=num_clips)
    now_s, waiting = NOW_S, [poor]
    bound_s = COSTS.extra_s(poor.work()) / share + 1.0
    for step in range(10_000):
        jobs = waiting + [
            make_job(f"q{step}-{i}", RequestClass.QUESTION, now_s + ttft_s, num_tokens=300)
            for i in range(per_step)
        ]
        jobs += [make_job(f"d{i}", RequestClass.DECODE, now_s + 1e-3) for i in range(4)]
        plan = policy.plan(jobs, now_s, StepLimits(4096, 40))
        if any(a.job is poor for a in plan.served):
            return
        policy.learn(plan.work, COSTS.step_s(plan.work))
        now_s += COSTS.step_s(plan.work)
        assert now_s - NOW_S < bound_s
    raise AssertionError("never served")


def test_frames_keep_their_share_under_a_flood_of_questions() -> None:
    section = SchedulerSection(ingest_share=0.3)
    policy = SloPolicy(section, CostModel(COSTS))
    now_s, frames_s, total_s = NOW_S, 0.0, 0.0
    for step in range(3000):
        jobs = [
            make_job(f"q{step}-{i}", RequestClass.QUESTION, now_s + 0.1, num_tokens=300)
            for i in range(8)
        ]
        jobs += [
            make_job(f"f{step}-{i}", RequestClass.INGEST, now_s + 2, encoder_clips=1)
            for i in range(8)
        ]
        plan = policy.plan(jobs, now_s, StepLimits(4096, 40))
        for allotment in plan.served:
            if allotment.job.request_class is RequestClass.INGEST:
                frames_s += COSTS.extra_s(allotment.job.work())
        total_s += plan.predicted_s
        policy.learn(plan.work, plan.predicted_s)
        now_s += plan.predicted_s
    assert frames_s / total_s >= 0.9 * section.ingest_share


def test_a_question_does_not_share_its_step_with_a_clip_that_can_wait() -> None:
    question = make_job("q", RequestClass.QUESTION, NOW_S + 0.5)
    clip = make_job("c", RequestClass.INGEST, NOW_S + 2.0)
    plan = planned([question, clip], StepLimits(4096, 40))
    assert [a.job.key for a in plan.served] == ["q"]
    urgent = make_job("c", RequestClass.INGEST, NOW_S + 0.3)
    plan = planned([question, urgent], StepLimits(4096, 40))
    assert {a.job.key for a in plan.served} == {"q", "c"}
    many = [make_job(f"c{index}", RequestClass.INGEST, NOW_S + 2.0) for index in range(20)]
    plan = planned([question, *many], StepLimits(4096, 40))
    assert len(plan.served) > 1
