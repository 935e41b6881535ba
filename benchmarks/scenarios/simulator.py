"""The scheduling policy beside FCFS, decode-first, Sarathi's fixed budget and EDF, in virtual time.

A thousand streams on a GPU-like cost table (round numbers, not measured; see
`scheduler/simulator/costs.py`), each with a frame a second and questions every 20 seconds, in eight
workloads; then goodput, TTFT and lag over the number of streams. All rivals run on the same
arrivals; all streams begin at once. Ours alone has admission and the quality ladder, so a row also
says how far quality fell and what was shed; rows in which a rival does better by more than 2 % are
listed. Ours has learned what steps cost from 50 streams before, as a server has that is in use.

Not shown: anything that is not in the table: transfers that overlap, memory that fragments, a
gateway that is itself too slow.
"""

import argparse
import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from onlooker.benchmarks.plots import plot_simulator
from onlooker.benchmarks.report import rows
from onlooker.scheduler.config import SchedulerSection
from onlooker.scheduler.simulator.costs import GPU_LIKE, Machine
from onlooker.scheduler.simulator.rivals import DecodeFirst, Edf, Fcfs, FixedBudget
from onlooker.scheduler.simulator.simulation import Simulation
from onlooker.scheduler.simulator.workload import NAMES, Workload
from onlooker.scheduler.slo_policy import SloPolicy
from onlooker.scheduler.step_plan import StepPolicy

NUM_STREAMS = 1000
LOADS = (250, 500, 750, 1000, 1250, 1500, 2000)
WARM_UP = Workload("poisson", 50, 20.0, seed=997)


def warmed(machine: Machine) -> SloPolicy:
    """A policy that has seen some work on `machine`."""
    policy = SloPolicy(SchedulerSection())
    Simulation(WARM_UP, machine, policy, governed=True).run()
    return policy


POLICIES: dict[str, Callable[[], StepPolicy]] = {
    "ours": lambda: warmed(GPU_LIKE),
    "fcfs": Fcfs,
    "decode_first": DecodeFirst,
    "sarathi_512": lambda: FixedBudget(512),
    "sarathi_2048": lambda: FixedBudget(2048),
    "edf": Edf,
}
BETTER = {"goodput_per_s": 1, "answers_in_time": 1, "frames_in_time": 1, "ttft_p99_s": -1,
          "lag_p99_s": -1}  # fmt: skip
"""Figures in which a rival may beat us; 1 where more is better, -1 where less is."""


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run all workloads; the option `seconds` is in virtual time."""
    return await asyncio.to_thread(_measure, options.seconds, options.seed)


def _measure(seconds: float, seed: int) -> dict[str, Any]:
    figures: dict[str, Any] = {"num_streams": NUM_STREAMS, "workloads": {}, "loads": {}}
    for name in NAMES:
        workload = Workload(name, NUM_STREAMS, seconds + 10, seed=seed)
        figures["workloads"][name] = _all(workload, GPU_LIKE)
    for count in LOADS:
        workload = Workload("poisson", count, seconds + 10, seed=seed)
        figures["loads"][str(count)] = _all(workload, GPU_LIKE)
    figures["lost_rows"] = [row for kind in ("workloads", "loads") for row in _lost(figures[kind])]
    figures["plots"] = [str(path) for path in plot_simulator(figures["loads"])]
    return figures


def _all(workload: Workload, machine: Machine) -> dict[str, Any]:
    found = {}
    for name, make in POLICIES.items():
        simulation = Simulation(
            replace(workload), machine, make(), governed=name == "ours", warm_up_s=10.0
        )
        found[name] = simulation.run().figures()
        print(f"  {workload.name} {workload.num_streams} {name}: {found[name]}", flush=True)
    return found


def _lost(cases: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows in which a rival beats us by more than 2 %."""
    lost = []
    for case, found in cases.items():
        for figure, sign in BETTER.items():
            mine = found["ours"][figure]
            for name, theirs in found.items():
                if mine is None or theirs[figure] is None:
                    continue  # a rival that serves nobody is not late
                if sign * (theirs[figure] - mine) > 0.02 * max(abs(mine), 1e-3):
                    lost.append(
                        {"case": case, "figure": figure, "ours": mine, name: theirs[figure]}
                    )
    return lost


def table(figures: dict[str, Any]) -> str:
    """The figures as tables in plain text."""
    titles = ("case", "policy", "goodput/s", "answers", "frames", "TTFT p99 s", "lag p99 s",
              "level", "refused")  # fmt: skip
    keys = ("goodput_per_s", "answers_in_time", "frames_in_time", "ttft_p99_s", "lag_p99_s",
            "mean_level", "refused")  # fmt: skip
    lines = [
        (case, name, *(found[key] for key in keys))
        for kind in ("workloads", "loads")
        for case, policies in figures[kind].items()
        for name, found in policies.items()
    ]
    lost = [
        (row["case"], row["figure"], row["ours"], *list(row.items())[-1])
        for row in figures["lost_rows"]
    ]
    return "\n\n".join(
        (rows(titles, lines), "where a rival is better:\n" + rows(
            ("case", "figure", "ours", "rival", "its figure"), lost))
    )  # fmt: skip
