"""What is made of the trials: plots, the table, and the simulator beside them."""

from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

from onlooker.benchmarks.open_loop import LoadScore, StreamScore, Trial
from onlooker.benchmarks.plots import plot_load
from onlooker.benchmarks.scenarios import load
from onlooker.benchmarks.validation import machine_of, validated
from onlooker.scheduler.load import EngineLoad
from onlooker.scheduler.simulator.costs import DEMO_ON_CPU
from onlooker.scheduler.slo import Slo


def make_score(streams: int, **of_each: Any) -> LoadScore:
    trial = Trial(streams, Slo(1.0, 0.15, 3.0), seconds=10.0)
    return LoadScore(trial, [StreamScore(**of_each) for _ in range(streams)])


GOOD = {"asked": 2, "good": 2, "ttft_met": 2, "ttft_s": [0.1, 0.2], "tpot_s": [0.01, 0.01]}
SEEN = {"offered": 10, "in_time": 10, "lag_s": [0.1] * 10}


def test_a_trial_is_judged_by_the_promise_kept_worst() -> None:
    score = make_score(4, **GOOD, offered=10, in_time=9, lag_s=[0.1] * 9)
    assert score.share == score.frames_in_time == pytest.approx(0.9)
    assert score.seen_in_time == 1.0
    assert score.goodput == pytest.approx(0.8)
    both = score.with_(make_score(4, **GOOD, **SEEN))
    assert both.share == pytest.approx(0.95)
    assert both.goodput == pytest.approx(0.8)
    assert both.figures()["asked"] == 16


def test_where_nothing_was_offered_or_asked_no_promise_is_broken() -> None:
    assert make_score(3).share == 1.0


def test_plots_and_table_take_what_trials_give(tmp_path: Path) -> None:
    trials = {
        side: [make_score(count, **GOOD, **SEEN).figures() for count in (4, 6, 4)]
        for side in ("ours", "segments_fcfs", "resend_fcfs")
    }
    trials["resend_fcfs"] = [make_score(2).figures()]
    paths = plot_load(trials, tmp_path)
    assert all(path.read_text().startswith("<?xml") for path in paths)
    figures = {
        "trials": trials,
        "streams_at_slo": dict.fromkeys(trials, 6),
        "ratios": {},
        "ttft_while_watching": {"ours": {"p99_ratio": 1.5}},
    }
    assert "p99_ratio" in load.table(figures)


def test_the_simulator_agrees_with_itself_about_an_idle_engine() -> None:
    told = EngineLoad(costs=astuple(DEMO_ON_CPU.costs), clip_s=0.01, context_s=0.003, num_steps=999)
    machine = machine_of(told)
    assert machine.window_bytes == pytest.approx(0.003 / 2.8e-9, rel=0.01)
    trials = {"ours": [make_score(4, **GOOD, **SEEN).figures()], "resend_fcfs": []}
    found = validated(trials, machine, seconds=4.0, seed=1)
    assert [line["streams"] for line in found["points"]] == [4]
    assert found["mean_error"]["frames_in_time"] == 0.0
