"""The simulator against trials on a real engine: the same streams, with the costs it has learned.

The simulator knows no gateway, no client and no thread but the engine's: what it leaves out shows
as error, and more of it the closer the gateway is to its limit.
"""

from dataclasses import replace
from typing import Any

from onlooker.benchmarks.open_loop import SETTLE_S
from onlooker.scheduler.config import SchedulerSection
from onlooker.scheduler.cost_model import CostModel, CostTable
from onlooker.scheduler.load import EngineLoad
from onlooker.scheduler.simulator.costs import DEMO_ON_CPU, Machine
from onlooker.scheduler.simulator.rivals import Fcfs
from onlooker.scheduler.simulator.simulation import Simulation
from onlooker.scheduler.simulator.workload import Workload
from onlooker.scheduler.slo import Tier
from onlooker.scheduler.slo_policy import SloPolicy

SHARES = ("answers_in_time", "frames_in_time")
TIMES = ("ttft_p50_s", "lag_p50_s")
POINTS = 3
"""The most trials of each side that are simulated: the smallest, one between, the largest."""


def machine_of(load: EngineLoad) -> Machine:
    """The machine of the engine that reported `load`, with the sizes of the demo model's work."""
    costs = CostTable(*load.costs)
    context = load.context_s / costs.loaded_byte_s if costs.loaded_byte_s else 0.0
    return replace(DEMO_ON_CPU, costs=costs, window_bytes=int(context))


def validated(
    trials: dict[str, list[dict[str, Any]]], machine: Machine, *, seconds: float, seed: int
) -> dict[str, Any]:
    """Simulate some of the trials of segments mode.

    Returns rows with what was measured and what was simulated, and the mean error of each figure:
    the difference of shares, and of times as a share of what was measured.
    """
    lines: list[dict[str, Any]] = []
    errors: dict[str, list[float]] = {key: [] for key in (*SHARES, *TIMES)}
    for side in ("ours", "segments_fcfs"):
        for trial in _some(trials.get(side, [])):
            found = _simulated(side, int(trial["streams"]), machine, seconds, seed)
            line: dict[str, Any] = {"side": side, "streams": trial["streams"]}
            for key in errors:
                measured, simulated = float(trial[key] or 0.0), float(found[key] or 0.0)
                line |= {key: measured, f"{key}_simulated": simulated}
                scale = 1.0 if key in SHARES else max(1e-3, measured)
                errors[key].append(abs(simulated - measured) / scale)
            lines.append(line)
    mean = {key: round(sum(e) / len(e), 3) for key, e in errors.items() if e}
    return {"points": lines, "mean_error": mean}


def _some(trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    by_streams = sorted({int(trial["streams"]): trial for trial in trials}.items())
    if len(by_streams) <= POINTS:
        return [trial for _, trial in by_streams]
    return [by_streams[at][1] for at in (0, len(by_streams) // 2, -1)]


def _simulated(
    side: str, num_streams: int, machine: Machine, seconds: float, seed: int
) -> dict[str, Any]:
    workload = Workload(
        "poisson", num_streams, SETTLE_S + seconds, seed=seed, usual_tier=Tier.STANDARD
    )
    if side != "ours":
        return Simulation(workload, machine, Fcfs(), warm_up_s=SETTLE_S).run().figures()
    policy = SloPolicy(SchedulerSection(), CostModel(machine.costs))
    early = Workload("poisson", 8, SETTLE_S, seed=seed + 1, usual_tier=Tier.STANDARD)
    Simulation(early, machine, policy, governed=True).run()
    simulation = Simulation(workload, machine, policy, governed=True, warm_up_s=SETTLE_S)
    return simulation.run().figures()
