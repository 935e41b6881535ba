"""Watches that alert by themselves: precision, recall, latency and cost, beside polling.

Eight live streams of the drawn world at one frame a second, four watches each (two kinds of objects
that appear, the sign, the scene), then one commentary each; in segments and in resend mode. Beside
them, polling: every watch's question asked of resend mode every second, with its cost.

Shown: precision and recall of alerts, event to alert latency (the event's time in the world, so up
to a frame interval of it passes before any frame shows it), false alerts an hour, tokens a check,
and what checks cost of the ingest's work: CPU time of the same streams with watches and without.
`--virtual` runs the same on the virtual clock: nothing is late or dropped, latency and polling are
left out. `--slowdown N` sends a frame every N seconds instead of every second, for machines that
are too slow or too busy; latencies are then told in frame intervals (N s of real time each).
PAUC (ProactiveVideoQA) and a polling score in StreamingBench's manner are computed from the same
runs; note that polling leaks the expected answer to the model, and that a client which polls
decides when to look.

Not shown: real video; a GPU; networks. Thresholds are the model's own (validation worlds); the
worlds here are held out.
"""

import argparse
import asyncio
import io
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from PIL import Image

from onlooker.benchmarks.alert_truth import Marks, Shown, Standing, mark, pauc, right_in_time
from onlooker.benchmarks.check_cost import Part, cost_figures
from onlooker.benchmarks.cpu import CpuMeter
from onlooker.benchmarks.measured import MeasuredEngine
from onlooker.benchmarks.report import percentile, rows
from onlooker.core.clock import SystemClock
from onlooker.core.errors import OnlookerError
from onlooker.core.ids import ResponseId, StreamId, new_id
from onlooker.core.media import Codec, EncodedFrame
from onlooker.core.metrics import Metrics
from onlooker.demo_model.examples import TEST_SEED
from onlooker.demo_model.render import render
from onlooker.engine.config import EngineSection, PerceptionSection
from onlooker.engine.events import AlertRaised
from onlooker.engine.hub import StreamHub
from onlooker.engine.interface import AnswerDelta
from onlooker.engine.memory.config import MemorySection
from onlooker.engine.stream import Stream, StreamOptions
from onlooker.engine.vllm_adapter.config import VllmSection
from onlooker.engine.vllm_adapter.engine import make_engine
from onlooker.engine.watches.alert import Alert
from onlooker.engine.watches.options import WatchOptions

NUM_STREAMS = 8
FRAME_S = 1.0
"""Stream time between two frames; each is a clip."""
WINDOW = 8
POLLS_AFTER_S = 10
"""A polled event is asked about from so many seconds before it on, in StreamingBench's manner."""
Mode = Literal["segments", "resend"]
Told = list[tuple[Alert, float]]


@dataclass(slots=True)
class Watched:
    """One stream: what it shows, what is watched for, and what was told."""

    shown: Shown
    frames: list[bytes]
    standing: list[Standing]
    told: Told = field(default_factory=list)
    polled: dict[int, list[tuple[int, float]]] = field(default_factory=dict)
    """By watch: frames about which polling became a yes, and when it was known."""
    yes: dict[int, list[int]] = field(default_factory=dict)
    """By watch: frames about which polling said yes."""
    dropped: int = 0


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Both modes, one vLLM at a time; held-out worlds."""
    seconds = max(20, int(options.seconds))
    figures: dict[str, Any] = {
        "streams": NUM_STREAMS, "fps": 1 / FRAME_S, "seconds": seconds, "virtual": options.virtual,
        "slowdown": options.slowdown, "modes": {},
    }  # fmt: skip
    for mode in ("segments", "resend"):
        figures["modes"][mode] = await _measure_mode(mode, seconds, options)
    if options.virtual:
        for parts in figures["modes"].values():
            _without_latency(parts["watches"])
    best = figures["modes"]["segments"]["watches"]
    figures |= {
        name: best[name]
        for name in (
            "precision", "recall", "latency_s", "false_alerts_per_hour", "tokens_per_check",
        )
    }  # fmt: skip
    return figures


def _without_latency(figures: dict[str, Any]) -> None:
    """On the virtual clock time says nothing."""
    for found in (figures, *figures["by_sort"].values()):
        found |= {"latency_s": {"p50": None, "p95": None}, "pauc": None}


def _worlds(seconds: int, seed: int) -> list[Watched]:
    rng = random.Random(seed)
    found: list[Watched] = []
    number = 0
    while len(found) < NUM_STREAMS:
        world_seed = TEST_SEED + 1000 * seed + number
        number += 1
        shown = Shown(world_seed, num_frames=seconds, start_s=10.0 + 60.0 * rng.random())
        standing = shown.watches(rng)
        if len(standing) == 4:  # a world in which fewer kinds appear has too little to watch for
            frames = [_jpeg(shown, time_s) for time_s in shown.times]
            found.append(Watched(shown, frames, standing))
    return found


def _jpeg(shown: Shown, time_s: float) -> bytes:
    data = io.BytesIO()
    picture = render(shown.world.state_at(time_s), 320, 240)
    Image.fromarray(picture).save(data, "JPEG", quality=80)
    return data.getvalue()


async def _measure_mode(mode: Mode, seconds: int, options: argparse.Namespace) -> dict[str, Any]:
    clock, metrics = SystemClock(), Metrics()
    settings = EngineSection(
        model=options.model, mode=mode, window_clips=WINDOW, stride_clips=WINDOW // 2,
        memory=MemorySection(recent_clips=WINDOW), max_questions=256, max_questions_per_stream=32,
        perception=PerceptionSection(gate_threshold=0.0, max_pair_gap_s=0.05),
        vllm=VllmSection(max_num_seqs=64),
    )  # fmt: skip
    with CpuMeter() as meter:
        engine = MeasuredEngine(make_engine(settings, clock, metrics), clock)
        hub = StreamHub(engine=engine, clock=clock, settings=settings, metrics=metrics)
        await hub.start(lambda line: print(f"  {mode}: {line}", flush=True))
        found: dict[str, Any] = {}
        try:
            run = _Run(
                mode,
                hub,
                engine,
                meter,
                clock,
                seconds,
                options.seed,
                options.slowdown,
                options.virtual,
            )
            alone, _ = await run.phase(lambda stream, watched: None)
            print(f"  {mode} alone: {len(alone.work.ingest_s)} clips", flush=True)
            found["ingest"] = cost_figures(alone, None)
            part, watched = await run.phase(_leave_watches)
            found["watches"] = _watch_figures(watched, part, alone, seconds)
            print(f"  {mode} watches: {found['watches']}", flush=True)
            part, watched = await run.phase(_leave_commentary)
            found["commentary"] = _comment_figures(watched, part, alone)
            print(f"  {mode} commentary: {found['commentary']}", flush=True)
            if mode == "resend" and not options.virtual:
                part, watched = await run.phase(lambda stream, watched: None, polls=True)
                found["polling"] = _poll_figures(watched, part, alone, seconds)
        finally:
            await hub.close()
    return found


@dataclass(frozen=True, slots=True)
class _Run:
    name: str
    hub: StreamHub
    engine: MeasuredEngine
    meter: CpuMeter
    clock: SystemClock
    seconds: int
    seed: int
    slowdown: float
    """Seconds between two frames whose stream times lie `FRAME_S` apart."""
    virtual: bool
    """On the virtual clock nothing is dropped or late: quality without latency."""

    async def phase(
        self, prepare: Callable[[Stream, Watched], None], *, polls: bool = False
    ) -> tuple[Part, list[Watched]]:
        """Show all worlds once; `prepare` leaves watches with each stream."""
        worlds = _worlds(self.seconds, self.seed)
        self.engine.take()
        await self.meter.begin()
        async with asyncio.TaskGroup() as group:
            for number, watched in enumerate(worlds):
                group.create_task(self._show(number, watched, prepare, polls))
        cost = await self.meter.end()
        return Part(self.engine.take(), cost), worlds

    async def _show(
        self,
        number: int,
        watched: Watched,
        prepare: Callable[[Stream, Watched], None],
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
                await stream.push_wait(frame)
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

    async def _all_seen(self, stream: Stream, num_clips: int) -> None:
        while (status := stream.status()).clips + status.clips_lost < num_clips:
            await self.clock.sleep(0.2)

    async def _listen(self, stream: Stream, watched: Watched, start_s: float) -> None:
        async for _, event in stream.subscribe(max_events=10_000):
            if isinstance(event, AlertRaised):
                told_s = (self.clock.now_s() - start_s) / self.slowdown
                watched.told.append((event.alert, told_s))

    async def _poll(self, stream: Stream, watched: Watched, index: int, start_s: float) -> None:
        """Ask every watch's question about this frame, as a client that polls would."""

        async def ask(number: int, question: str) -> None:
            text = ""
            try:
                async for event in stream.ask(
                    question, response_id=ResponseId(new_id("poll")), max_tokens=2
                ):
                    if isinstance(event, AnswerDelta):
                        text += event.text
            except OnlookerError:
                return
            if text.strip().lower().startswith("yes"):
                yes = watched.yes.setdefault(number, [])
                if index - 1 not in yes:
                    told_s = (self.clock.now_s() - start_s) / self.slowdown
                    watched.polled.setdefault(number, []).append((index, told_s))
                yes.append(index)

        await asyncio.gather(*(ask(n, s.question) for n, s in enumerate(watched.standing)))


def _leave_watches(stream: Stream, watched: Watched) -> None:
    for number, standing in enumerate(watched.standing):
        stream.watches.create(WatchOptions(condition=standing.condition), f"w{number}")


def _leave_commentary(stream: Stream, watched: Watched) -> None:
    stream.watches.create(WatchOptions(instruction="", max_alerts_per_minute=20.0), "commentary")


# ---- figures ----


def _watch_figures(worlds: list[Watched], part: Part, alone: Part, seconds: int) -> dict[str, Any]:
    total, sorts = Marks(), dict[str, Marks]()
    push: list[bool] = []
    for watched in worlds:
        for number, standing in enumerate(watched.standing):
            alerts = [
                (round(alert.end_s / FRAME_S), told_s + watched.shown.times[0])
                for alert, told_s in watched.told if alert.watch_id == f"w{number}"
            ]  # fmt: skip
            marks = mark(standing, alerts, watched.shown.times)
            total.add(marks)
            sorts.setdefault(standing.sort, Marks()).add(marks)
            push += _in_time(standing, [index for index, _ in alerts])
    return {
        **_mark_figures(total, seconds),
        "by_sort": {sort: _mark_figures(marks, seconds) for sort, marks in sorts.items()},
        "push_in_time": sum(push) / max(1, len(push)),
        "frames_dropped": sum(watched.dropped for watched in worlds),
        **cost_figures(part, alone),
    }


def _mark_figures(marks: Marks, seconds: int) -> dict[str, Any]:
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
    """Of each event, whether the first word since it was asked about came in time."""
    found, before = [], -1
    for event in sorted(standing.events):
        asked = max(before, event - POLLS_AFTER_S)
        found.append(right_in_time(event, spoke, asked=asked))
        before = event
    return found


def _comment_figures(worlds: list[Watched], part: Part, alone: Part) -> dict[str, Any]:
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
        **cost_figures(part, alone),
    }


def _poll_figures(worlds: list[Watched], part: Part, alone: Part, seconds: int) -> dict[str, Any]:
    total = Marks()
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
        **cost_figures(part, alone),
    }


def table(figures: dict[str, Any]) -> str:
    """As text; the rows where we lose are there as well."""
    lines: list[list[object]] = []
    for mode, parts in figures["modes"].items():
        for name in ("watches", "polling"):
            if name in parts:
                found = parts[name]
                latency = found["latency_s"]
                lines.append([
                    f"{mode} {name}", found["events"], found["precision"], found["recall"],
                    latency["p50"], latency["p95"], found["false_alerts_per_hour"], found["pauc"],
                    found["tokens_per_check"], found["cost_share"], found["cost_share_of_tokens"],
                ])  # fmt: skip
    titles = ["", "events", "precision", "recall", "p50 s", "p95 s", "false/h", "PAUC",
              "tokens/check", "of ingest CPU", "of ingest tokens"]  # fmt: skip
    comments = [
        [mode, parts["commentary"]["narrated"], parts["commentary"]["spoken_over"],
         parts["commentary"]["cost_share"]]
        for mode, parts in figures["modes"].items()
    ]  # fmt: skip
    pushed = figures["modes"]["segments"]["watches"]["push_in_time"]
    in_time = f"in time (2 s), StreamingBench's manner: pushed {pushed:.3f}"
    if (polling := figures["modes"]["resend"].get("polling")) is not None:
        share = polling["streaming_bench_style"]
        in_time += f", polled {share:.3f} (polling leaks the expected answer)"
    head = ["commentary", "narrated", "spoken over", "of ingest CPU"]
    return "\n\n".join([rows(titles, lines), rows(head, comments), in_time])
