"""Watches that alert by themselves: precision, recall, latency and cost, beside polling.

Eight live streams of the drawn world at one frame a second, four watches each (two kinds of objects
that appear, the sign, the scene), then one commentary each; in segments and in resend mode. Beside
them, polling: every watch's question asked of resend mode every second, with its cost.

Shown: precision and recall of alerts, event to alert latency (the event's time in the world, so up
to a frame interval of it passes before any frame shows it), false alerts an hour, tokens a check,
and what checks cost of the ingest's work: CPU time of the same streams with watches and without.
`--virtual` runs the same on the virtual clock, one stream's clip after the other's: nothing is late
or dropped, and latency is left out. `--slowdown N` sends a frame every N seconds instead of every
second, for machines that are too slow or too busy; latencies are then told in frame intervals (N s
of real time each).
PAUC (ProactiveVideoQA) and a polling score in StreamingBench's manner are computed from the same
runs; note that polling leaks the expected answer to the model, and that a client which polls
decides when to look.

Not shown: real video; a GPU; networks. Thresholds are the model's own (validation worlds); the
worlds here are held out, but with `--validation`, which is for work on watches.
"""

import argparse
import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from onlooker.benchmarks.alert_figures import comment_figures, poll_figures, watch_figures
from onlooker.benchmarks.check_cost import CostPart, cost_figures
from onlooker.benchmarks.cpu import CpuMeter
from onlooker.benchmarks.measured import MeasuredEngine
from onlooker.benchmarks.report import rows
from onlooker.benchmarks.watched import FRAME_S, NUM_STREAMS, Watched, worlds
from onlooker.core.clock import SystemClock
from onlooker.core.errors import OnlookerError
from onlooker.core.ids import StreamId, new_id
from onlooker.core.media import Codec, EncodedFrame
from onlooker.core.metrics import Metrics
from onlooker.demo_model.examples import TEST_SEED, VALIDATION_SEED
from onlooker.engine.config import EngineSection, VllmSection
from onlooker.engine.interface import AnswerDelta, Question
from onlooker.engine.memory.config import MemorySection
from onlooker.engine.vllm_adapter.engine import make_engine
from onlooker.scheduler.config import SchedulerSection
from onlooker.server.config import Settings
from onlooker.server.wiring import make_hub
from onlooker.streams.config import PerceptionSection, StreamsSection
from onlooker.streams.events import ClipLost, ClipSeen
from onlooker.streams.hub import StreamHub
from onlooker.streams.stream import Stream, StreamOptions
from onlooker.watches.events import AlertRaised
from onlooker.watches.options import WatchOptions

WINDOW = 8
Mode = Literal["segments", "resend"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that only this scenario has."""
    parser.add_argument("--validation", action="store_true", help="worlds that may be tuned on")
    parser.add_argument("--modes", default="segments,resend", help="[segments,resend]")


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run both modes, one vLLM at a time."""
    seconds = max(20, int(options.seconds))
    figures: dict[str, Any] = {
        "streams": NUM_STREAMS, "fps": 1 / FRAME_S, "seconds": seconds, "virtual": options.virtual,
        "slowdown": options.slowdown, "modes": {},
    }  # fmt: skip
    modes: tuple[Mode, ...] = ("segments", "resend")
    for mode in modes:
        if mode in options.modes.split(","):
            figures["modes"][mode] = await _measure_mode(mode, seconds, options)
    parts = [part for found in figures["modes"].values() for part in found.values()]
    if options.virtual:
        for part in parts:
            _without_latency(part)
    return figures | _summary(figures["modes"])


def _summary(modes: dict[str, Any]) -> dict[str, Any]:
    """The figures that the goals are about, from the first mode measured."""
    best = next(iter(modes.values()))
    names = (
        "precision", "recall", "latency_s", "false_alerts_per_hour", "pauc", "checks_per_clip",
        "tokens_per_check", "cost_share", "cost_share_of_tokens", "push_in_time",
    )  # fmt: skip
    summary = {name: best["watches"][name] for name in names}
    told = {name: best["commentary"][name] for name in ("narrated", "spoken_over", "cost_share")}
    return summary | {"commentary": told, "polling": modes.get("resend", {}).get("polling")}


def _without_latency(figures: dict[str, Any]) -> None:
    """Take latencies out: on the virtual clock no time passes between evidence and alert."""
    for found in (figures, *figures.get("by_sort", {}).values()):
        if "latency_s" in found:
            found["latency_s"] = {"p50": None, "p95": None}


async def _measure_mode(mode: Mode, seconds: int, options: argparse.Namespace) -> dict[str, Any]:
    clock, metrics = SystemClock(), Metrics()
    settings = Settings(
        engine=EngineSection(
            model=options.model, mode=mode, window_clips=WINDOW,
            memory=MemorySection(recent_clips=WINDOW), vllm=VllmSection(max_num_seqs=64),
        ),
        streams=StreamsSection(
            max_questions=256, max_questions_per_stream=32,
            perception=PerceptionSection(gate_threshold=0.0, max_pair_gap_s=0.05),
        ),
        scheduler=SchedulerSection(policy="fcfs"),
    )  # fmt: skip
    with CpuMeter() as meter:
        engine = MeasuredEngine(make_engine(settings.engine, clock, metrics), clock)
        hub = make_hub(settings, engine=engine, clock=clock, metrics=metrics)
        await hub.start(lambda line: print(f"  {mode}: {line}", flush=True))
        found: dict[str, Any] = {}
        try:
            first_seed = VALIDATION_SEED if options.validation else TEST_SEED
            run = _Run(
                hub, engine, meter, clock, seconds, options.seed, first_seed, options.slowdown,
                options.virtual,
            )  # fmt: skip
            phases: list[Phase] = []
            for name, prepare in _phases(mode).items():
                phases.append(await run.phase(prepare, polls=name == "polling"))
                print(f"  {mode} {name}: {phases[-1][0].cost.elapsed_s:.0f} s", flush=True)
            found = _figures([*_phases(mode)], phases, seconds)
            for name, figures in found.items():
                print(f"  {mode} {name}: {figures}", flush=True)
        finally:
            await hub.close()
    return found


Prepare = Callable[[Stream, Watched], None]
Phase = tuple[CostPart, list[Watched]]


def _phases(mode: Mode) -> dict[str, Prepare]:
    """The phases in their order, each with what leaves its watches.

    The bare ingest comes before and after the others, as a process gets quicker with time.
    """
    phases: dict[str, Prepare] = {
        "alone": _leave_nothing, "watches": _leave_watches, "commentary": _leave_commentary,
    }  # fmt: skip
    if mode == "resend":
        phases["polling"] = _leave_nothing
    return phases | {"alone again": _leave_nothing}


def _figures(names: list[str], phases: list[Phase], seconds: int) -> dict[str, Any]:
    parts = dict(zip(names, phases, strict=True))
    alone = [parts.pop(name)[0] for name in ("alone", "alone again")]
    base_s = sum(part.cpu_per_clip_s for part in alone) / len(alone)
    found: dict[str, Any] = {"ingest": cost_figures(alone[0], base_s)}
    for name, (part, watched) in parts.items():
        figures = _FIGURES[name](watched, seconds)
        found[name] = {**figures, **cost_figures(part, base_s)}
    return found


@dataclass(frozen=True, slots=True)
class _Run:
    hub: StreamHub
    engine: MeasuredEngine
    meter: CpuMeter
    clock: SystemClock
    seconds: int
    seed: int
    first_seed: int
    """The seed from which the worlds are searched."""
    slowdown: float
    """Seconds between two frames whose stream times lie `FRAME_S` apart."""
    virtual: bool
    """Whether the virtual clock is used, on which nothing is dropped or late."""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held, on the virtual clock, by the stream whose clip is seen: cameras are not in step."""

    async def phase(self, prepare: Prepare, *, polls: bool = False) -> Phase:
        """Show all worlds once; `prepare` leaves watches with each stream."""
        shown = worlds(self.seconds, self.seed, first=self.first_seed)
        self.engine.take()
        await self.meter.begin()
        async with asyncio.TaskGroup() as group:
            for number, watched in enumerate(shown):
                group.create_task(self._show(number, watched, prepare, polls))
        cost = await self.meter.end()
        return CostPart(self.engine.take(), cost), shown

    async def _show(
        self,
        number: int,
        watched: Watched,
        prepare: Prepare,
        polls: bool,
    ) -> None:
        clock = self.clock
        stream = await self.hub.open_stream(
            StreamId(new_id("watched")),
            StreamOptions(clock="virtual" if self.virtual else "live", gate_threshold=0.0),
        )
        prepare(stream, watched)
        start_s = (
            clock.now_s() + 0.5 + number * self.slowdown * FRAME_S / NUM_STREAMS
        )  # cameras are not in step
        listening = asyncio.create_task(self._listen(stream, watched, start_s))
        polling: list[asyncio.Task[None]] = []
        lease = stream.claim_source("the benchmark")
        first_s = watched.shown.times[0]
        for index, payload in enumerate(watched.frames):
            if not self.virtual:
                await clock.sleep(start_s + index * self.slowdown * FRAME_S - clock.now_s())
            capture_s = watched.shown.times[index] - first_s
            frame = EncodedFrame(index, capture_s, Codec.JPEG, payload, clock.now_s())
            if self.virtual:
                await self._push_in_turn(stream, watched, frame)
                if polls and index:
                    await self._poll(stream, watched, index - 1, start_s)
                continue
            stream.push(frame)
            if polls:
                polling.append(asyncio.create_task(self._poll(stream, watched, index, start_s)))
        if self.virtual:
            lease.release()
            await self._all_seen(stream, len(watched.frames))
        else:
            await clock.sleep(4.0 * self.slowdown)
        await asyncio.gather(*polling)
        watched.dropped = sum(stream.status().dropped.values())
        await self.hub.close_stream(stream.id, "measured")
        await listening

    async def _push_in_turn(self, stream: Stream, watched: Watched, frame: EncodedFrame) -> None:
        """Push a frame and wait for the clip of the one before, which it completes."""
        async with self.turn:
            watched.seen.clear()
            await stream.push_wait(frame)
            if frame.sequence:
                await watched.seen.wait()

    async def _all_seen(self, stream: Stream, num_clips: int) -> None:
        while (status := stream.status()).clips + status.clips_lost < num_clips:
            await self.clock.sleep(0.2)

    async def _listen(self, stream: Stream, watched: Watched, start_s: float) -> None:
        async for _, event in stream.subscribe(max_events=10_000):
            if isinstance(event, ClipSeen | ClipLost):
                watched.seen.set()
            if isinstance(event, AlertRaised):
                watched.told.append((event.alert, self._told_s(event.alert.end_s, start_s)))

    def _told_s(self, evidence_s: float, start_s: float) -> float:
        """Stream time now; on the virtual clock that of the evidence."""
        return evidence_s if self.virtual else (self.clock.now_s() - start_s) / self.slowdown

    async def _poll(self, stream: Stream, watched: Watched, index: int, start_s: float) -> None:
        """Ask every watch's question about frame `index`, as a client that polls would."""
        at_s = index * FRAME_S

        async def ask(number: int, question: str) -> None:
            text = ""
            try:
                asked = Question(text=question, max_tokens=2, at_s=at_s if self.virtual else None)
                async for event in stream.ask(asked):
                    if isinstance(event, AnswerDelta):
                        text += event.text
            except OnlookerError:
                return
            if text.strip().lower().startswith("yes"):
                yes = watched.yes.setdefault(number, [])
                if index - 1 not in yes:
                    told_s = self._told_s(at_s, start_s)
                    watched.polled.setdefault(number, []).append((index, told_s))
                yes.append(index)

        await asyncio.gather(*(ask(n, s.question) for n, s in enumerate(watched.standing)))


def _leave_nothing(stream: Stream, watched: Watched) -> None:
    pass


def _leave_watches(stream: Stream, watched: Watched) -> None:
    for number, standing in enumerate(watched.standing):
        stream.watches.create(WatchOptions(condition=standing.condition), f"w{number}")


def _leave_commentary(stream: Stream, watched: Watched) -> None:
    stream.watches.create(WatchOptions(instruction="", max_alerts_per_minute=20.0), "commentary")


_FIGURES: dict[str, Callable[[list[Watched], int], dict[str, Any]]] = {
    "watches": watch_figures, "commentary": comment_figures, "polling": poll_figures,
}  # fmt: skip


def table(figures: dict[str, Any]) -> str:
    """The figures for people, also those in which we lose."""
    lines: list[list[object]] = []
    for mode, parts in figures["modes"].items():
        for name in ("watches", "polling"):
            if name in parts:
                found = parts[name]
                latency = found["latency_s"]
                lines.append([
                    f"{mode} {name}", found["events"], found["precision"], found["recall"],
                    latency["p50"], latency["p95"], found["false_alerts_per_hour"], found["pauc"],
                    found["checks_per_clip"] or found["answers_per_clip"],
                    found["tokens_per_check"] or found["tokens_per_answer"], found["cost_share"],
                    found["cost_share_of_tokens"],
                ])  # fmt: skip
    titles = ["", "events", "precision", "recall", "p50 s", "p95 s", "false/h", "PAUC",
              "asked/clip", "tokens each", "of ingest CPU", "of ingest tokens"]  # fmt: skip
    comments = [
        [mode, parts["commentary"]["narrated"], parts["commentary"]["spoken_over"],
         parts["commentary"]["cost_share"]]
        for mode, parts in figures["modes"].items()
    ]  # fmt: skip
    in_time = f"in time (2 s), StreamingBench's manner: pushed {figures['push_in_time']:.3f}"
    if (polling := figures["polling"]) is not None:
        share = polling["streaming_bench_style"]
        in_time += f", polled {share:.3f} (polling leaks the expected answer)"
    head = ["commentary", "narrated", "spoken over", "of ingest CPU"]
    return "\n\n".join([rows(titles, lines), rows(head, comments), in_time])
