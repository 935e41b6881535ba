"""A step plan as two queues of vLLM's."""

from onlooker.engine.vllm_adapter.step.lineup import Lineup
from onlooker.scheduler.job import Job
from onlooker.scheduler.step_plan import Allotment, StepPlan
from tests.unit.engine.vllm_adapter.step.factories import make_ticket


def job(key: str, num_tokens: int = 20) -> Job:
    return Job(key, make_ticket(), num_tokens)


def test_what_is_not_served_is_out_of_vllms_sight_for_the_step() -> None:
    """vLLM hands tokens that somebody leaves to whoever waits behind: a question that was started
    with them would be started with a part of its tokens."""
    plan = StepPlan([Allotment(job("clip"), 20)], waiting=[job("late"), job("question")])
    lineup = Lineup.of(plan, ["late"], ["question", "clip"])
    assert (lineup.running, lineup.aside) == ([], ["late"])
    assert (lineup.waiting, lineup.held) == (["clip"], ["question"])


def test_requests_without_a_job_keep_their_place_in_the_queues() -> None:
    """Those that end with the step in flight, and those that wait for a grammar."""
    plan = StepPlan([Allotment(job("answer", 1), 1)], waiting=[job("second")])
    lineup = Lineup.of(plan, ["ending", "answer"], ["blocked", "second"])
    assert (lineup.running, lineup.aside) == (["answer"], ["ending"])
    assert (lineup.waiting, lineup.held) == ([], ["second", "blocked"])


def test_a_step_that_serves_nobody_has_no_tokens_to_give() -> None:
    lineup = Lineup.of(StepPlan(waiting=[job("question")]), [], ["question"])
    assert lineup.token_budget == 0
    assert lineup.waiting == []
