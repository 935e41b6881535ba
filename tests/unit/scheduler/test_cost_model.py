"""The cost model learns what steps take, and knows how wrong it is."""

import random

import pytest

from onlooker.scheduler.cost_model import PRIOR, CostModel, CostTable, StepWork

TRUE = CostTable(
    floor_s=0.006,
    prefill_token_s=2e-4,
    decode_token_s=1e-3,
    loaded_byte_s=2e-9,
    request_s=1e-3,
    encoder_clip_s=8e-3,
)


def steps(rng: random.Random, count: int) -> list[StepWork]:
    made: list[StepWork] = []
    while len(made) < count:
        clips, questions, decodes = (
            rng.choice([0, 0, 1, 2, 3]),
            rng.choice([0, 0, 1]),
            rng.randrange(4),
        )
        if clips + questions + decodes:
            made.append(
                StepWork(
                    prefill_tokens=39 * clips + rng.randrange(20, 60) * questions,
                    decode_tokens=decodes,
                    loaded_bytes=100_000 * clips + 300_000 * questions,
                    batch_size=clips + questions + decodes,
                    encoder_clips=clips,
                )
            )
    return made


def trained(table: CostTable, *, noise: float = 0.0, count: int = 800) -> CostModel:
    rng, model = random.Random(1), CostModel()
    for work in steps(rng, count):
        model.learn(work, table.step_s(work) * rng.lognormvariate(0, noise))
    return model


def test_it_predicts_steps_it_has_not_seen() -> None:
    model = trained(TRUE)
    for work in steps(random.Random(2), 50):
        assert model.table.step_s(work) == pytest.approx(TRUE.step_s(work), rel=0.1)
    assert model.error_ratio < 0.05


def test_its_error_is_that_of_the_machine() -> None:
    assert 0.1 < trained(TRUE, noise=0.2).error_ratio < 0.3


def test_it_follows_a_machine_that_gets_slower() -> None:
    model = trained(TRUE)
    for work in steps(random.Random(3), 1500):
        model.learn(work, 3 * TRUE.step_s(work))
    work = steps(random.Random(4), 1)[0]
    assert model.table.step_s(work) == pytest.approx(3 * TRUE.step_s(work), rel=0.2)


def test_one_stall_does_not_spoil_it() -> None:
    model = trained(TRUE)
    work = steps(random.Random(5), 1)[0]
    before_s = model.table.step_s(work)
    model.learn(work, 60.0)
    assert model.table.step_s(work) < 2 * before_s


@pytest.mark.parametrize("measured_s", [0.0, -1.0, float("inf"), float("nan")])
def test_a_time_that_is_none_teaches_nothing(measured_s: float) -> None:
    model = CostModel()
    model.learn(StepWork(prefill_tokens=10, batch_size=1), measured_s)
    assert model.table == PRIOR
    assert model.num_steps == 0


def test_no_work_is_ever_free_of_its_floor_or_negative() -> None:
    model = CostModel()
    for _ in range(300):  # one kind of step only: the others stay unknown, not negative
        model.learn(StepWork(prefill_tokens=40, batch_size=1), 0.002)
    assert (
        min(getattr(model.table, name) for name in ("floor_s", "decode_token_s", "encoder_clip_s"))
        >= 0
    )


def test_a_machine_far_slower_than_believed_is_believed_after_some_steps() -> None:
    model = CostModel()
    for work in steps(random.Random(6), 60):
        model.learn(work, 100 * TRUE.step_s(work))
    work = steps(random.Random(7), 1)[0]
    assert model.table.step_s(work) == pytest.approx(100 * TRUE.step_s(work), rel=0.3)
