"""Rests between steps that compute nothing."""

from onlooker.engine.vllm_adapter.step.empty_steps import MOST_REST_S, EmptySteps


def test_steps_rest_longer_and_longer_while_only_a_fetch_is_waited_for() -> None:
    steps = EmptySteps()
    rests = [steps.rest_s(is_empty=True) for _ in range(8)]
    assert rests[:3] == [0.0, 0.001, 0.002]
    assert rests[-2:] == [MOST_REST_S] * 2


def test_a_step_with_work_does_not_rest_and_the_next_empty_one_begins_anew() -> None:
    steps = EmptySteps()
    for _ in range(5):
        steps.rest_s(is_empty=True)
    assert [steps.rest_s(is_empty=empty) for empty in (False, True, True)] == [0.0, 0.0, 0.001]
