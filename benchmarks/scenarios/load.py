"""How many live streams hold their targets: ours, segments in order of arrival, and resend.

Every stream sends a frame a second and gets a question every 20 seconds (Poisson), open-loop. The
largest number of streams is sought at which 95 % of the answers meet TTFT and TPOT, and 95 % of the
offered frames are kept and seen within the lag target. Then: twice that load with interactive
questions, and a question's TTFT while 16 streams are watched beside an idle engine's, whose stream
remembers as much. `ours` may lower quality to hold its targets; at which level it did is told in
each row (2: two frames share a clip, and the context shows half the memory). `ours_diary`, where
it is asked for, writes a diary of every stream beside; a line says how many sentences that were.

All sides alike: streams join before the clock starts, frames and questions come from the first
second, and the first 6 seconds of a trial are not scored. A trial that fails by less than five
points is run once more and judged with it; a row says how many questions it counts. The search
begins at the capacity that `--start` predicts.

Not shown: a GPU; networks; whether lower quality answers worse. The client, the gateway and the
engine share the cores that there are, so a busy machine lowers all rows.
"""

import argparse
import asyncio
from dataclasses import asdict
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

from onlooker.benchmarks.load import draw_frames
from onlooker.benchmarks.open_loop import LoadScore, Trial, run_trial
from onlooker.benchmarks.plots import plot_load
from onlooker.benchmarks.report import rows
from onlooker.benchmarks.search import most
from onlooker.benchmarks.validation import machine_of, validated
from onlooker.core.clock import SystemClock
from onlooker.core.metrics import Metrics
from onlooker.engine.config import EngineSection
from onlooker.engine.memory.config import MemorySection
from onlooker.engine.vllm_adapter.engine import make_engine
from onlooker.scheduler.config import SchedulerSection
from onlooker.scheduler.load import EngineLoad
from onlooker.scheduler.simulator.outcome import rounded_percentile
from onlooker.scheduler.slo import Tier
from onlooker.server.config import Settings
from onlooker.server.store_wiring import make_diaries
from onlooker.server.wiring import make_hub
from onlooker.streams.config import StreamsSection

WINDOW = 16
NUM_WORLDS = 16
WATCHED = 16
FED_S = 30.0
"""A stream is watched for so long before questions are timed: longer than its window and what is
retrieved, so that every question has clips to choose from."""
TIMED_S = 30.0
QUESTION_EVERY_S = 0.5
"""Seconds between two questions, on all streams together, while TTFT is timed."""

PROMISE, NEAR = 0.95, 0.9

Mode = Literal["segments", "resend"]
Policy = Literal["slo", "fcfs"]
SIDES: dict[str, tuple[Mode, Policy]] = {
    "ours": ("segments", "slo"),
    "segments_fcfs": ("segments", "fcfs"),
    "resend_fcfs": ("resend", "fcfs"),
    "ours_diary": ("segments", "slo"),
}
WITH_DIARY = "ours_diary"
ALWAYS = [name for name in SIDES if name != WITH_DIARY]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that only this scenario has."""
    parser.add_argument(
        "--sides", default=",".join(ALWAYS), help=f"which to measure [all but {WITH_DIARY}]"
    )
    parser.add_argument(
        "--start",
        default="240,180,90,240",
        help=f"streams at which the search of {', '.join(SIDES)} begins [240,180,90,240]",
    )
    parser.add_argument("--most", type=int, default=768, help="streams at most [768]")
    parser.add_argument("--trials", type=int, default=9, help="of each side's search [9]")
    parser.add_argument("--timed-s", type=float, default=TIMED_S, help="TTFT is timed [30]")
    parser.add_argument("--validate", action="store_true", help="simulate some trials as well, and "
                        "tell by how much that errs")  # fmt: skip
    parser.add_argument("--plot", type=Path, default=None, help="a folder for two SVG files")


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run the sides after each other, each on a vLLM of its own."""
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
        "ttft_while_watching": {},
        "engine_load": EngineLoad(),
    }
    starts = dict(zip(SIDES, (int(n) for n in options.start.split(",")), strict=False))
    for side in options.sides.split(","):
        await _Side(side, options, pictures, clock).measure(figures, starts.get(side, 64))
    at_slo = figures["streams_at_slo"]
    figures["ratios"] = {
        name: round(at_slo["ours"] / max(1, at_slo[name]), 2)
        for name in at_slo
        if name != "ours" and "ours" in at_slo
    }
    if options.validate and figures["engine_load"].costs:
        machine = machine_of(figures["engine_load"])
        figures["validation"] = await asyncio.to_thread(
            validated, figures["trials"], machine, seconds=options.seconds, seed=options.seed
        )
        print(f"  simulator: {figures['validation']['mean_error']}", flush=True)
    figures["engine_load"] = asdict(figures["engine_load"])
    if options.plot is not None:
        plots = plot_load(figures["trials"], options.plot)
        figures["plots"] = [str(path) for path in plots]
    return figures


class _Side:
    """One server, and the trials on it."""

    def __init__(
        self,
        name: str,
        options: argparse.Namespace,
        pictures: list[list[bytes]],
        clock: SystemClock,
    ) -> None:
        mode, policy = SIDES[name]
        self._name, self._options, self._pictures, self._clock = name, options, pictures, clock
        self._section, metrics = SchedulerSection(policy=policy), Metrics()
        self._metrics = metrics
        settings = Settings(
            engine=EngineSection(
                model=options.model, mode=mode, window_clips=WINDOW,
                memory=MemorySection(recent_clips=WINDOW, retrieved_clips=4),
            ),
            streams=StreamsSection(max_streams=2 * options.most),
            scheduler=self._section,
        )  # fmt: skip
        self._engine = make_engine(settings.engine, clock, metrics, None, self._section)
        diaries = None
        if name == WITH_DIARY:
            diaries = make_diaries(settings, clock=clock, metrics=metrics)
        self._hub = make_hub(
            settings, engine=self._engine, clock=clock, metrics=metrics, diaries=diaries
        )
        self._trials: list[dict[str, object]] = []

    async def measure(self, figures: dict[str, Any], start: int) -> None:
        """Measure this side and put what was found into `figures`; the search begins at `start`."""
        options = self._options
        await self._hub.start(lambda line: print(f"  {self._name}: {line}", flush=True))
        try:
            # The first steps are slow; from them the scheduler learns what steps cost.
            await self._tried(min(8, options.most), seconds=6.0)
            figures["trials"][self._name] = self._trials
            at_slo = await most(self._holds, start, options.most, most_trials=options.trials)
            figures["streams_at_slo"][self._name] = at_slo
            figures["ttft_while_watching"][self._name] = await self._beside_watching()
            if self._name == "ours":
                score = await self._tried(
                    2 * max(1, at_slo),
                    question_tier=Tier.INTERACTIVE,
                    question_slo=self._section.slo(Tier.INTERACTIVE),
                )
                figures["overload"] = score.figures()
                figures["engine_load"] = self._engine.load()
            if self._name == WITH_DIARY:
                figures["sentences"] = self._sentences()
        finally:
            await self._hub.close()

    async def _tried(self, num_streams: int, **changes: Any) -> LoadScore:
        chosen = {
            "slo": self._section.slo(Tier.STANDARD),
            "seconds": self._options.seconds,
            "seed": self._options.seed,
            **changes,
        }
        score = await run_trial(
            self._hub, Trial(num_streams, **chosen), self._pictures, self._clock
        )
        print(f"  {self._name}: {score.figures()}", flush=True)
        return score

    async def _holds(self, num_streams: int) -> bool:
        score = await self._tried(num_streams)
        if NEAR <= score.share < PROMISE:  # a few answers decide: try again
            score = score.with_(await self._tried(num_streams, seed=self._options.seed + 1))
        self._trials.append(score.figures())
        return score.share >= PROMISE

    def _sentences(self) -> dict[str, float]:
        """What became of the clips of all trials that were worth a sentence of a diary."""
        families = self._metrics.diary_sentences_total.collect()
        counts = [one for family in families for one in family.samples]
        return {one.labels["outcome"]: one.value for one in counts if one.name.endswith("_total")}

    async def _beside_watching(self) -> dict[str, float]:
        """A question's TTFT while many streams are watched, and on an idle engine."""
        timed = {"seconds": self._options.timed_s, "is_regular": True}
        # Watched streams go on growing while they are asked; the idle one is fed so long that all
        # remember as much in the middle of that time.
        fed_s = FED_S + self._options.timed_s / 2
        idle = await self._tried(
            1, feed_s=fed_s, settle_s=fed_s + 2, question_every_s=QUESTION_EVERY_S, **timed
        )
        busy = await self._tried(
            WATCHED, settle_s=FED_S + 2, question_every_s=WATCHED * QUESTION_EVERY_S, **timed
        )
        found = {}
        for name, score in (("idle", idle), ("watching", busy)):
            ttft_s = [value for stream in score.streams for value in stream.ttft_s]
            found[f"{name}_questions"] = float(len(ttft_s))
            found[f"{name}_p50_s"] = rounded_percentile(ttft_s, 0.5) or 0.0
            found[f"{name}_p99_s"] = rounded_percentile(ttft_s, 0.99) or 0.0
        found["p50_ratio"] = round(found["watching_p50_s"] / max(1e-9, found["idle_p50_s"]), 2)
        found["p99_ratio"] = round(found["watching_p99_s"] / max(1e-9, found["idle_p99_s"]), 2)
        return found


TITLES = ("side", "streams", "asked", "answers", "frames", "TTFT p50 s", "TTFT p99", "TPOT p99",
          "lag p50 s", "lag p99", "level", "holds at most")  # fmt: skip
KEYS = ("streams", "asked", "answers_in_time", "frames_in_time", "ttft_p50_s", "ttft_p99_s",
        "tpot_p99_s", "lag_p50_s", "lag_p99_s", "mean_level")  # fmt: skip


def table(figures: dict[str, Any]) -> str:
    """The figures as tables in plain text."""
    lines = [
        (side, *(trial[key] for key in KEYS), figures["streams_at_slo"][side])
        for side, trials in figures["trials"].items()
        for trial in sorted(trials, key=itemgetter("streams"))
    ]
    return "\n".join(
        (
            rows(TITLES, lines),
            f"ratios: {figures['ratios']}",
            f"overload: {figures.get('overload', {})}",
            f"sentences of diaries: {figures.get('sentences', {})}",
            f"simulator, mean error: {figures.get('validation', {}).get('mean_error', {})}",
            *(
                f"TTFT while watching, {side}: {found}"
                for side, found in figures["ttft_while_watching"].items()
            ),
        )
    )
