"""Figures from what watches and polls said of the drawn world."""

from typing import Any

from onlooker.benchmarks.alert_truth import AlertMarks, Standing, mark, pauc, right_in_time
from onlooker.benchmarks.watched import FRAME_S, NUM_STREAMS, Watched
from onlooker.scheduler.simulator.outcome import percentile

POLLS_AFTER_S = 10
"""How many seconds before an event polling for it begins, in StreamingBench's manner."""


def watch_figures(worlds: list[Watched], seconds: int) -> dict[str, Any]:
    """Figures of alerts: how they fit the events, in all and by sort."""
    total, sorts = AlertMarks(), dict[str, AlertMarks]()
    push: list[bool] = []
    for watched in worlds:
        for number, standing in enumerate(watched.standing):
            alerts = [
                (round(alert.end_s / FRAME_S), told_s + watched.shown.times[0])
                for alert, told_s in watched.told if alert.watch_id == f"w{number}"
            ]  # fmt: skip
            marks = mark(standing, alerts, watched.shown.times)
            total.add(marks)
            sorts.setdefault(standing.sort, AlertMarks()).add(marks)
            push += _in_time(standing, [index for index, _ in alerts])
    return {
        **_mark_figures(total, seconds),
        "by_sort": {sort: _mark_figures(marks, seconds) for sort, marks in sorts.items()},
        "push_in_time": sum(push) / max(1, len(push)),
        "frames_dropped": sum(watched.dropped for watched in worlds),
    }


def _mark_figures(marks: AlertMarks, seconds: int) -> dict[str, Any]:
    hours = NUM_STREAMS * seconds / 3600
    return {
        "events": marks.hits + marks.misses,
        "precision": round(marks.precision, 4),
        "recall": round(marks.recall, 4),
        "false_alerts_per_hour": round(marks.false / hours, 2),
        "latency_s": {
            "p50": percentile(marks.latency_s, 0.5), "p95": percentile(marks.latency_s, 0.95),
        },
        "pauc": sum(map(pauc, marks.delays_s)) / max(1, len(marks.delays_s)),
    }  # fmt: skip


def _in_time(standing: Standing, spoke: list[int]) -> list[bool]:
    """For each event, whether the first word since it was asked about came in time.

    `spoke` are the indices of the frames about which something was said.
    """
    found, before = [], -1
    for event in sorted(standing.events):
        asked = max(before, event - POLLS_AFTER_S)
        found.append(right_in_time(event, spoke, asked=asked))
        before = event
    return found


def comment_figures(worlds: list[Watched], seconds: int) -> dict[str, Any]:
    """Figures of commentary: how many changes it told, and over how many quiet clips it spoke."""
    narrated = changes = spoken_over = num_quiet = 0
    for watched in worlds:
        changed, quiet = watched.shown.comments()
        spoke = {round(alert.end_s / FRAME_S) for alert, _ in watched.told}
        narrated, changes = narrated + len(changed & spoke), changes + len(changed)
        spoken_over, num_quiet = spoken_over + len(quiet & spoke), num_quiet + len(quiet)
    return {
        "changes": changes,
        "narrated": round(narrated / max(1, changes), 4),
        "quiet_clips": num_quiet,
        "spoken_over": round(spoken_over / max(1, num_quiet), 4),
    }


def poll_figures(worlds: list[Watched], seconds: int) -> dict[str, Any]:
    """Figures of polls as of alerts; a yes counts as an alert if the poll before was no yes."""
    total = AlertMarks()
    in_time: list[bool] = []
    for watched in worlds:
        for number, standing in enumerate(watched.standing):
            first_s = watched.shown.times[0]
            alerts = [(index, told_s + first_s) for index, told_s in watched.polled.get(number, [])]
            total.add(mark(standing, alerts, watched.shown.times))
            in_time += _in_time(standing, watched.yes.get(number, []))
    return {
        **_mark_figures(total, seconds),
        "streaming_bench_style": sum(in_time) / max(1, len(in_time)),
        "note": "polling leaks the expected answer to the model",
    }
