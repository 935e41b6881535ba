"""How long a step may be."""

from onlooker.scheduler.request_class import RequestClass
from onlooker.scheduler.step_budget import StepBudget
from tests.unit.scheduler.jobs import make_job

STEP_S, TTFT_S = 0.05, 0.5


def budget(*, floor_s: float = 0.01, backlog_s: float, answers: int = 0) -> StepBudget:
    decoding = [make_job(f"a{index}", RequestClass.DECODE, 9.0) for index in range(answers)]
    return StepBudget.of(
        decoding,
        now_s=0.0,
        step_s=STEP_S,
        ttft_s=TTFT_S,
        floor_s=floor_s,
        backlog_s=backlog_s,
    )


def test_few_frames_make_a_short_step() -> None:
    assert budget(backlog_s=0.01).frames_s == STEP_S


def test_one_step_takes_in_all_frames_that_fit_it() -> None:
    assert budget(backlog_s=0.1).frames_s == 0.11


def test_a_crowd_of_frames_leaves_a_question_three_quarters_of_its_target() -> None:
    assert budget(backlog_s=5.0).frames_s == TTFT_S / 4


def test_where_empty_steps_are_long_frames_share_one() -> None:
    assert budget(floor_s=0.07, backlog_s=5.0).frames_s == 0.07 * 3


def test_however_slow_the_machine_a_question_has_half_of_its_target_left() -> None:
    assert budget(floor_s=3.0, backlog_s=50.0).frames_s == TTFT_S / 2


def test_where_an_answer_runs_a_slow_machine_makes_no_longer_steps() -> None:
    assert budget(floor_s=0.07, backlog_s=5.0, answers=1).frames_s <= TTFT_S / 4
