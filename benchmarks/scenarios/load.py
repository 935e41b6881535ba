"""How many live streams hold their targets: ours, segments in order of arrival, and resend.

Every stream sends a frame a second and gets a question every 20 seconds (Poisson), open-loop. The
largest number of streams is sought at which 95 % of the answers meet TTFT and TPOT, and 95 % of the
offered frames are kept and seen within the lag target. Then: twice that load with interactive
questions, and a question's TTFT while 16 streams are watched beside an idle engine's. `ours` may
lower quality to hold its targets; at which level it did is told in each row (2: two frames share a
clip, and the context shows half the memory).

Not shown: a GPU; networks; whether lower quality answers worse. The client, the gateway and the
engine share the cores that there are, so a busy machine lowers all rows.
"""

import argparse
import asyncio
from collections.abc import Callable
from typing import Any, Literal

from onlooker.benchmarks.load import draw_frames
from onlooker.benchmarks.open_loop import Score, Trial, run_trial
from onlooker.benchmarks.report import rows
from onlooker.core.clock import SystemClock
from onlooker.core.metrics import Metrics
from onlooker.engine.config import EngineSection
from onlooker.engine.hub import StreamHub
from onlooker.engine.memory.config import MemorySection
from onlooker.engine.vllm_adapter.engine import make_engine
from onlooker.scheduler.config import SchedulerSection
from onlooker.scheduler.simulator.outcome import percentile
from onlooker.scheduler.slo import Tier

WINDOW = 16
FIRST, GROWTH, MOST = 4, 1.5, 256
NUM_WORLDS = 8
WATCHED = 16
NUM_IDLE_QUESTIONS = 40

Mode = Literal["segments", "resend"]
Policy = Literal["slo", "fcfs"]
SIDES: dict[str, tuple[Mode, Policy]] = {
    "ours": ("segments", "slo"),
    "segments_fcfs": ("segments", "fcfs"),
    "resend_fcfs": ("resend", "fcfs"),
}


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run the three sides after each other, each on a vLLM of its own."""
    clock = SystemClock()
    pictures = [
        await asyncio.to_thread(draw_frames, options.seed * 1000 + n, 40, 1.0)
        for n in range(NUM_WORLDS)
    ]
    slo = SchedulerSection().slo(Tier.STANDARD)
    figures: dict[str, Any] = {
        "window_clips": WINDOW,
        "targets": {"ttft_s": slo.ttft_s, "tpot_s": slo.tpot_s, "lag_s": slo.lag_s},
        "streams_at_slo": {},
        "trials": {},
    }
    for side, (mode, policy) in SIDES.items():
        await _side(figures, side, mode, policy, options, pictures, clock)
    at_slo = figures["streams_at_slo"]
    figures["ratios"] = {
        name: round(at_slo["ours"] / max(1, at_slo[name]), 2)
        for name in ("segments_fcfs", "resend_fcfs")
    }
    return figures


async def _side(
    figures: dict[str, Any],
    side: str,
    mode: Mode,
    policy: Policy,
    options: argparse.Namespace,
    pictures: list[list[bytes]],
    clock: SystemClock,
) -> None:
    section, metrics = SchedulerSection(policy=policy), Metrics()
    settings = EngineSection(
        model=options.model, mode=mode, window_clips=WINDOW, stride_clips=WINDOW // 2,
        max_streams=2 * MOST, memory=MemorySection(recent_clips=WINDOW, retrieved_clips=4),
    )  # fmt: skip
    engine = make_engine(settings, clock, metrics, None, section)
    hub = StreamHub(
        engine=engine, clock=clock, settings=settings, metrics=metrics, scheduler=section
    )
    await hub.start(lambda line: print(f"  {side}: {line}", flush=True))
    trials: list[dict[str, object]] = []

    async def tried(num_streams: int, **changes: Any) -> Score:
        chosen = {"slo": section.slo(Tier.STANDARD), "seconds": options.seconds, **changes}
        trial = Trial(num_streams, seed=options.seed, **chosen)
        score = await run_trial(hub, trial, pictures, clock)
        print(f"  {side}: {score.figures()}", flush=True)
        return score

    async def holds(num_streams: int) -> bool:
        score = await tried(num_streams)
        trials.append(score.figures())
        return score.holds()

    try:
        await tried(2, seconds=8.0)  # the first steps are slow, and teach what steps cost
        figures["streams_at_slo"][side] = await _most(holds)
        figures["trials"][side] = trials
        figures.setdefault("ttft_while_watching", {})[side] = await _beside_watching(tried)
        if side == "ours":
            load = 2 * max(1, figures["streams_at_slo"][side])
            score = await tried(
                load, slo=section.slo(Tier.INTERACTIVE), question_tier=Tier.INTERACTIVE
            )
            figures["overload"] = score.figures()
            figures["fairness"] = score.figures()["fairness"]
            load_now = engine.load()
            figures["cost_error_ratio"] = round(load_now.cost_error_ratio, 3)
            figures["clip_s"] = round(load_now.clip_s, 5)
    finally:
        await hub.close()


async def _most(holds: Callable[[int], Any]) -> int:
    """The largest number that holds: grow until it does not (twice, as a busy machine may fail one
    by chance), then look once between."""
    good, bad, number = 0, None, FIRST
    while number <= MOST and bad is None:
        if await holds(number) or await holds(number):
            good, number = number, max(number + 1, int(number * GROWTH))
        else:
            bad = number
    while bad is not None and bad - good > max(1, good // 8):
        middle = (good + bad) // 2
        if await holds(middle):
            good = middle
        else:
            bad = middle
    return good


async def _beside_watching(tried: Callable[..., Any]) -> dict[str, float]:
    """A question's TTFT, while many streams are watched and while next to nothing is."""
    every_s = 1.0
    idle = await tried(1, fps=0.2, question_every_s=every_s, seconds=NUM_IDLE_QUESTIONS * every_s)
    busy = await tried(WATCHED, question_every_s=WATCHED * every_s, seconds=40.0)
    found = {}
    for name, score in (("idle", idle), ("watching", busy)):
        ttft_s = [value for stream in score.streams for value in stream.ttft_s]
        found[f"{name}_p50_s"] = round(percentile(ttft_s, 0.5), 4)
        found[f"{name}_p99_s"] = round(percentile(ttft_s, 0.99), 4)
    found["p99_ratio"] = round(found["watching_p99_s"] / max(1e-9, found["idle_p99_s"]), 2)
    return found


def table(figures: dict[str, Any]) -> str:
    """The figures for people."""
    titles = ("side", "streams", "answers", "frames", "TTFT p50 s", "TTFT p99", "TPOT p99",
              "lag p99 s", "level", "holds at most")  # fmt: skip
    keys = ("streams", "answers_in_time", "frames_in_time", "ttft_p50_s", "ttft_p99_s",
            "tpot_p99_s", "lag_p99_s", "mean_level")  # fmt: skip
    lines = [
        (side, *(trial[key] for key in keys), figures["streams_at_slo"][side])
        for side, trials in figures["trials"].items()
        for trial in trials
    ]
    over = figures.get("overload", {})
    return "\n".join(
        (
            rows(titles, lines),
            f"ratios: {figures['ratios']}",
            f"overload: {over}",
            f"TTFT while watching: {figures['ttft_while_watching']}",
        )
    )
