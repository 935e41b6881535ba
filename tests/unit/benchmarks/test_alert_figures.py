"""Figures of watches: every goal of the proactive scenario has one, and it is the right one."""

import random
from typing import Any

import pytest

from onlooker.benchmarks.alert_figures import comment_figures, poll_figures, watch_figures
from onlooker.benchmarks.alert_truth import Shown
from onlooker.benchmarks.check_cost import CostPart, cost_figures
from onlooker.benchmarks.cpu import Cost
from onlooker.benchmarks.measured import MeasuredWork
from onlooker.benchmarks.scenarios.proactive import _summary
from onlooker.benchmarks.watched import NUM_STREAMS, Watched
from onlooker.demo_model.examples import VALIDATION_SEED
from onlooker.watches.alert import Alert

SECONDS = 40


@pytest.fixture
def watched() -> Watched:
    shown = Shown(VALIDATION_SEED + 3, num_frames=SECONDS, start_s=12.0)
    return Watched(shown, [], shown.watches(random.Random(1)))


def make_alert(watch_id: str, index: int) -> tuple[Alert, float]:
    alert = Alert(
        alert_id=f"a{index}", number=1, watch_id=watch_id, kind="alert", start_s=index,
        end_s=index, until_s=index, decided_wall_s=0.0, staleness_s=0.0, text="",
    )  # fmt: skip
    return alert, index + 0.5


def told_rightly(watched: Watched) -> list[tuple[Alert, float]]:
    return [
        make_alert(f"w{number}", index)
        for number, standing in enumerate(watched.standing)
        for index in standing.events
    ]


def test_alerts_are_counted_against_the_events_of_their_own_watch(watched: Watched) -> None:
    watched.told = told_rightly(watched)
    num_events = len(watched.told)
    perfect = watch_figures([watched], SECONDS)
    assert (perfect["events"], perfect["precision"], perfect["recall"]) == (num_events, 1.0, 1.0)
    assert perfect["push_in_time"] == 1.0
    assert perfect["latency_s"]["p95"] <= 1.5
    assert perfect["pauc"] == pytest.approx(0.25 * 0.05 + 0.95), "half a second late"
    watched.told = [*watched.told[1:], make_alert("w0", SECONDS + 5)]
    worse = watch_figures([watched], SECONDS)
    assert worse["recall"] == pytest.approx((num_events - 1) / num_events, abs=1e-4)
    assert worse["precision"] == pytest.approx((num_events - 1) / num_events, abs=1e-4)
    hours = NUM_STREAMS * SECONDS / 3600
    assert worse["false_alerts_per_hour"] == pytest.approx(1 / hours, abs=0.01)


def test_polls_are_marked_as_alerts_are_and_scored_by_the_first_yes(watched: Watched) -> None:
    for number, standing in enumerate(watched.standing):
        watched.polled[number] = [(index, index + 0.5) for index in standing.events]
        watched.yes[number] = [*standing.events]
    found = poll_figures([watched], SECONDS)
    assert (found["precision"], found["recall"], found["streaming_bench_style"]) == (1, 1, 1)
    watched.polled, watched.yes = {}, {}
    nothing = poll_figures([watched], SECONDS)
    assert (nothing["recall"], nothing["streaming_bench_style"]) == (0, 0)


def test_commentary_is_told_of_changes_and_spoken_over_quiet_clips(watched: Watched) -> None:
    changed, quiet = watched.shown.comments()
    one, other = min(changed), min(quiet)
    watched.told = [make_alert("commentary", one), make_alert("commentary", other)]
    found = comment_figures([watched], SECONDS)
    assert found["narrated"] == pytest.approx(1 / len(changed), abs=1e-4)
    assert found["spoken_over"] == pytest.approx(1 / len(quiet), abs=1e-4)


def make_part(clips: int, cpu_s: float, **work: Any) -> CostPart:
    done = MeasuredWork(
        ingest_s=[0.0] * clips, ingest_tokens=20 * clips, ingest_cached_tokens=5 * clips
    )
    for name, value in work.items():
        setattr(done, name, value)
    return CostPart(done, Cost(10.0, cpu_s / 2, cpu_s / 2, {}, 0.0))


def test_cost_is_the_surplus_over_the_bare_ingest() -> None:
    part = make_part(
        10, 0.3, check_s=[0.1] * 4, check_tokens=240, check_cached_tokens=200,
        answer_s=[0.1], answer_tokens=30, answer_cached_tokens=25, output_tokens=5,
    )  # fmt: skip
    found = cost_figures(part, base_s=0.024)
    assert found["cost_share"] == pytest.approx(0.25)
    assert found["checks_per_clip"] == 0.4
    assert found["tokens_per_check"] == 10
    assert found["tokens_per_answer"] == 10
    assert found["cost_share_of_tokens"] == pytest.approx((40 + 10) / 150, abs=1e-4)


def test_every_goal_has_a_figure_at_the_top(watched: Watched) -> None:
    watched.told = told_rightly(watched)
    cost = cost_figures(make_part(10, 0.3), 0.03)
    parts = {
        "watches": watch_figures([watched], SECONDS) | cost,
        "commentary": comment_figures([watched], SECONDS) | cost,
    }
    polling = poll_figures([watched], SECONDS) | cost
    found = _summary({"segments": parts, "resend": {**parts, "polling": polling}})
    assert {
        "precision", "recall", "latency_s", "false_alerts_per_hour", "tokens_per_check", "pauc",
        "cost_share", "cost_share_of_tokens", "push_in_time",
    } <= set(found)  # fmt: skip
    assert set(found["commentary"]) == {"narrated", "spoken_over", "cost_share"}
    assert {"cost_share", "cost_share_of_tokens", "streaming_bench_style"} <= set(found["polling"])
    assert _summary({"segments": parts})["polling"] is None
