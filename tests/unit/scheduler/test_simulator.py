"""The simulator: it is fair to all, repeats itself, and shows what the policy promises."""

from dataclasses import replace

import pytest

from onlooker.scheduler.config import SchedulerSection
from onlooker.scheduler.simulator.costs import DEMO_ON_CPU, GPU_LIKE, Machine
from onlooker.scheduler.simulator.outcome import SimulationOutcome, jain, percentile
from onlooker.scheduler.simulator.rivals import DecodeFirst, Edf, Fcfs, FixedBudget
from onlooker.scheduler.simulator.simulation import Simulation
from onlooker.scheduler.simulator.workload import NAMES, Kind, Workload
from onlooker.scheduler.slo_policy import SloPolicy
from onlooker.scheduler.step_plan import StepPolicy


def ours(workload: Workload, machine: Machine = DEMO_ON_CPU) -> SimulationOutcome:
    policy = SloPolicy(SchedulerSection())
    return Simulation(workload, machine, policy, governed=True).run()


def rival(
    policy: StepPolicy, workload: Workload, machine: Machine = DEMO_ON_CPU
) -> SimulationOutcome:
    return Simulation(workload, machine, policy).run()


def test_the_same_seed_gives_the_same_outcome() -> None:
    load = Workload(num_streams=12, seconds=20)
    assert ours(load).figures() == ours(load).figures()
    assert ours(load).figures() != ours(Workload(num_streams=12, seconds=20, seed=2)).figures()


@pytest.mark.parametrize("name", NAMES)
def test_every_workload_brings_frames_and_questions_in_order(name: str) -> None:
    arrivals = Workload(name, num_streams=20, seconds=60).arrivals()
    assert [event.at_s for event in arrivals] == sorted(event.at_s for event in arrivals)
    kinds = {event.kind for event in arrivals}
    assert kinds == set(Kind)


@pytest.mark.parametrize("name", NAMES)
def test_under_light_load_all_promises_are_kept_at_full_quality(name: str) -> None:
    outcome = ours(Workload(name, num_streams=6, seconds=40, question_every_s=40))
    assert outcome.frames_in_time == 1.0
    assert outcome.answers_in_time >= 0.9
    assert set(outcome.levels) <= {0, 1}


@pytest.mark.parametrize("policy", [Fcfs, DecodeFirst, Edf, lambda: FixedBudget(256)])
def test_every_rival_serves_all_under_light_load(policy: object) -> None:
    assert callable(policy)
    outcome = rival(policy(), Workload(num_streams=4, seconds=30))
    assert outcome.frames_in_time == 1.0
    assert outcome.answers_in_time == 1.0


def test_no_frame_is_counted_twice_or_lost_without_a_reason() -> None:
    outcome = ours(Workload(num_streams=300, seconds=25))
    assert outcome.in_time <= len(outcome.lag_s) <= outcome.offered
    assert outcome.shed.total() > 0
    assert set(outcome.shed) <= {"overload", "late", "mailbox_full"}


def test_overload_lowers_quality_and_not_the_answers() -> None:
    load = Workload(num_streams=300, seconds=25)
    lowered, rigid = ours(load), rival(Fcfs(), load)
    assert sum(lowered.levels) > 0
    assert lowered.ttft_met / lowered.asked >= 0.9
    assert rigid.ttft_met / rigid.asked < 0.5
    assert lowered.frames_in_time > rigid.frames_in_time


def test_equals_get_equal_shares_under_overload() -> None:
    outcome = ours(Workload(num_streams=300, seconds=25))
    assert jain(list(outcome.seen_by_stream.values())) >= 0.95


def test_ten_minutes_of_too_many_questions_do_not_blind_the_streams() -> None:
    costs = replace(DEMO_ON_CPU.costs, floor_s=0.04)
    few_places = replace(DEMO_ON_CPU, costs=costs, max_jobs=8, answer_tokens=16)
    load = Workload("question_flood", num_streams=8, seconds=600, question_every_s=3)
    outcome = ours(load, few_places)
    assert outcome.frames_in_time > 0.2
    assert outcome.refused > 0
    assert outcome.ttft_met / len(outcome.ttft_s) >= 0.6
    slowest_s = percentile(outcome.ttft_s, 0.99)
    assert slowest_s is not None
    assert slowest_s < 5 * SchedulerSection().interactive.ttft_s


def test_a_thousand_streams_on_a_gpu() -> None:
    load = Workload(num_streams=1000, seconds=12)
    assert ours(load, GPU_LIKE).answers_in_time >= 0.95
