"""The past as a whole: when, how often, first and last, beside retrieval and diary alone.

Virtual hours of the drawn world (`onlooker.benchmarks.hour`: some kinds of things are rare, some
never come) are watched at a frame a second, and the diary is written meanwhile. Then it is asked of
each rare kind, of some that come often and of some that never come: when did it appear, how often,
when was it seen first and last. Truth is what the clips show. Rows: `planner`, as a server answers:
the diary's candidates, checked against their clips; `diary_alone`, what the diary says without
checks; `retrieval_alone`, the engine's own answer. `list_all` is precision and recall of the times
within one clip; `summary` the share of the sentences of the digest that are true, and the share of
the comings of rare things that it tells. `diary_cost` is the diary's CPU time as a share of that of
ingest alone, over the first clips.

Not shown: several cameras, load, real video, a GPU. Goals: list_all 0.95, count_exact 0.90,
first_last 0.97, summary 0.95 and 0.90, diary_cost at most 0.30.
"""

import argparse
import asyncio
import itertools
import math
import random
import re
import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onlooker.benchmarks.cpu import CpuMeter
from onlooker.benchmarks.diary_truth import comings_of, is_true, last_seen_s
from onlooker.benchmarks.hour import Hour
from onlooker.benchmarks.recording import RecordedEngine
from onlooker.benchmarks.report import rows
from onlooker.cache_store.config import CacheStoreSection, DiarySection, RamSection
from onlooker.cache_store.diary import DiaryEntry, DiaryQuery, Level
from onlooker.cache_store.opening import open_diary
from onlooker.core.clock import SystemClock
from onlooker.core.ids import StreamId
from onlooker.core.metrics import Metrics
from onlooker.demo_model.answers import spoken_time
from onlooker.demo_model.phrases import a
from onlooker.demo_model.table import COLORS, SHAPES
from onlooker.demo_model.things import Kind, name
from onlooker.engine.checks import Check
from onlooker.engine.config import EngineSection, RestartSection
from onlooker.engine.interface import AnswerDelta, AnswerEnd, Engine, Question
from onlooker.engine.memory.config import MemorySection
from onlooker.engine.memory.times import Now
from onlooker.engine.sampling import Sampling
from onlooker.engine.supervisor import EngineSupervisor
from onlooker.engine.vllm_adapter.engine import make_engine
from onlooker.streams.diary.diary_keeper import DiaryKeeper
from onlooker.streams.diary.diary_writer import DiaryWriter
from onlooker.streams.diary.digest import DigestSentences
from onlooker.streams.diary.periods import WallClock
from onlooker.streams.diary.stream_diary import StreamDiary
from onlooker.streams.moments.config import MomentsSection
from onlooker.streams.moments.moment_finder import MomentFinder

FIRST_SEED = 1_700_000
"""The first of the worlds on which neither the model was trained nor anything was tuned."""

COST_CLIPS = 300
"""Clips over which the diary's cost is measured."""

NEAR_S = 1.0
"""One clip."""

MAX_TOKENS = 24

TOGETHER = 64
"""How much of what is recorded is asked at once."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--hours", type=float, default=0.5, help="virtual hours to watch [0.5]")
    parser.add_argument("--kinds", type=int, default=10, help="kinds that come often [10]")
    parser.add_argument("--world", type=int, help="seed of the world; for development, below")
    parser.add_argument("--record", type=Path, help="file to keep in what the model says")
    parser.add_argument("--whole", action="store_true", help="record checks of every clip, too")
    parser.add_argument("--replay", type=Path, help="file to take that from, without a model")


@dataclass(slots=True)
class MomentMarks:
    """How one way of answering fared."""

    hits: int = 0
    told: int = 0
    true: int = 0
    counts: list[bool] = field(default_factory=list)
    ends: list[bool] = field(default_factory=list)

    def note_times(self, found: Sequence[float], truth: Sequence[float]) -> None:
        left = list(truth)
        for at_s in found:
            near = [one for one in left if abs(one - at_s) <= NEAR_S]
            if near:
                left.remove(near[0])
                self.hits += 1
        self.told += len(found)
        self.true += len(truth)

    def figures(self) -> dict[str, Any]:
        return {
            "list_all": {
                "precision": _share(self.hits, self.told),
                "recall": _share(self.hits, self.true),
            },
            "count_exact": _mean(self.counts),
            "first_last": _mean(self.ends),
            "n": {"times": self.true, "counts": len(self.counts), "ends": len(self.ends)},
        }


@dataclass(slots=True)
class DiaryStream:
    """One stream that was watched, with all that answers about it."""

    hour: Hour
    stream_id: StreamId
    engine: Engine
    diary: StreamDiary
    finder: MomentFinder
    writer: DiaryWriter
    delays_s: list[float] = field(default_factory=list)
    """Seconds to the first word of a planned answer."""
    lasted_s: list[float] = field(default_factory=list)
    """Seconds to its end."""

    async def ask(self, text: str) -> tuple[str, AnswerEnd]:
        """As a server answers."""
        question = Question(
            text=text,
            stream_id=self.stream_id,
            asked_s=float(self.hour.num_clips),
            max_tokens=MAX_TOKENS,
        )
        clock, said = SystemClock(), ""
        begun_s, end = clock.now_s(), None
        answering = self.finder.answer(question, Now.of(question), self.engine)
        async with aclosing(answering) as events:
            async for event in events:
                if isinstance(event, AnswerDelta):
                    if not said:
                        self.delays_s.append(clock.now_s() - begun_s)
                    said += event.text
                elif isinstance(event, AnswerEnd):
                    end = event
        self.lasted_s.append(clock.now_s() - begun_s)
        assert end is not None
        return said, end

    async def ask_engine(self, text: str) -> str:
        """As the engine answers alone."""
        question = Question(
            text=text,
            stream_id=self.stream_id,
            asked_s=float(self.hour.num_clips),
            max_tokens=MAX_TOKENS,
        )
        events = self.engine.answer(question)
        return "".join([event.text async for event in events if isinstance(event, AnswerDelta)])


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Watch the hours, and ask."""
    num_clips = int(3600 * options.hours)
    world = FIRST_SEED + 100 * options.seed if options.world is None else options.world
    hour = Hour(world, num_clips)
    section = MemorySection().model_copy(update={"arena_gib": 0.5})
    store = CacheStoreSection(memory=RamSection(budget_bytes=4 << 30))
    settings = EngineSection(model=options.model, mode="segments", memory=section)
    clock, metrics = SystemClock(), Metrics()
    with CpuMeter() as meter:
        plain: Engine = RecordedEngine.of(
            options, lambda: make_engine(settings, clock, metrics, store)
        )
        engine = EngineSupervisor(
            plain, clock=clock, settings=RestartSection(), metrics=metrics, claim_of=lambda _: None
        )
        await engine.start(lambda line: print(f"  {line}", flush=True))
        try:
            watched = _made(hour, engine, plain, clock, metrics)
            cost = await _watch(watched, meter)
            if options.record is not None:
                await _ask_all(watched, hour, options)
            figures = await _asked(watched, hour, options)
        finally:
            await engine.close()
    return {"hours": options.hours, "diary_cost": cost, **figures}


def _made(
    hour: Hour, engine: EngineSupervisor, plain: Engine, clock: SystemClock, metrics: Metrics
) -> DiaryStream:
    keeper = DiaryKeeper(
        open_diary(DiarySection(memory_bytes=256 << 20), None),
        settings=DiarySection(),
        clock=clock,
        metrics=metrics,
    )
    stream_id = StreamId("moments")
    diary = StreamDiary(stream_id, keeper, is_forgotten=lambda start_s, end_s: False)
    writer = DiaryWriter(
        stream_id,
        diary,
        engine=engine,
        clock=clock,
        pool=ThreadPoolExecutor(1),
        is_strained=lambda: False,
        wall=WallClock(is_known=False),
        is_live=False,
    )
    finder = MomentFinder(
        diary,
        writer.summaries,
        settle=writer.settle,
        settings=MomentsSection(),
        clock=clock,
        is_live=False,
    )
    return DiaryStream(hour, stream_id, plain, diary, finder, writer)


async def _watch(watched: DiaryStream, meter: CpuMeter) -> float:
    """Watch the stream with its diary; returns the diary's cost as a share of ingest's."""
    hour, engine, info = watched.hour, watched.engine, watched.engine.info
    size = info.frame_width, info.frame_height
    num_cost = min(COST_CLIPS, hour.num_clips)
    alone = StreamId("alone")
    await engine.open_stream(alone)
    await meter.begin()
    for clip in hour.clips(alone, *size):
        if clip.clip_index >= num_cost:
            break
        await engine.ingest(clip)
    ingest = await meter.end()
    await engine.close_stream(alone)
    await engine.open_stream(watched.stream_id)
    await meter.begin()
    both = None
    for clip in hour.clips(watched.stream_id, *size):
        await engine.ingest(clip)
        await watched.writer.see(clip, clip.start_s)
        if clip.clip_index + 1 == num_cost:
            await watched.writer.settle()  # all that these clips cost
            both = await meter.end()
        if clip.clip_index % 600 == 599:
            print(f"  {clip.clip_index + 1} clips", flush=True)
    await watched.writer.settle()
    assert both is not None
    return round((both.cpu_s - ingest.cpu_s) / ingest.cpu_s, 3)


async def _ask_all(watched: DiaryStream, hour: Hour, options: argparse.Namespace) -> None:
    """Ask what a changed rule might: of every clip whether a kind is there that is asked about, and
    of those that the diary tells of what a sentence might say."""
    engine, wording = watched.engine, watched.engine.info.wording
    every = [float(index) for index in range(hour.num_clips)]
    entries = await watched.diary.find_all(
        DiaryQuery(start_s=0.0, end_s=math.inf, levels=(Level.SCENE,), limit=100_000)
    )
    if not options.whole:  # what a digest may tell
        items, _ = DigestSentences(entries).items(max_items=60)
        entries = [one for item in items for one in item.entries[:8]]
    told = sorted(
        {at for one in entries for at in (one.start_s - 1, one.start_s, one.start_s + 1) if at >= 0}
    )
    asked_s = every if options.whole else told
    asked = dict.fromkeys(_kinds(hour, options.kinds, options.seed), asked_s)
    for kind in itertools.product(COLORS, SHAPES):
        question = wording.question_for(f"there is {a(name(kind))}")
        checks = [
            Check(
                watched.stream_id,
                question.text,
                asked_s=at_s,
                answers=(wording.yes, wording.no),
                num_clips=wording.num_clips_for(question),
            )
            for at_s in asked.get(kind, told)
        ]
        for start in range(0, len(checks), TOGETHER):
            part = checks[start : start + TOGETHER]
            await asyncio.gather(*(engine.check(one) for one in part))
    for text, num_clips in (
        (wording.commentary, wording.num_clips),
        (wording.scene, wording.num_scene_clips),
    ):
        for start in range(0, len(told), TOGETHER):
            times_s = told[start : start + TOGETHER]
            await asyncio.gather(*(_said(watched, text, at_s, num_clips) for at_s in times_s))


async def _said(watched: DiaryStream, text: str, at_s: float, num_clips: int) -> None:
    question = Question(
        text=text,
        stream_id=watched.stream_id,
        asked_s=at_s,
        max_tokens=DiarySection().max_tokens,
        sampling=Sampling(num_alternatives=0),
        newest_clips=num_clips,
    )
    async for _ in watched.engine.answer(question):
        pass


async def _asked(watched: DiaryStream, hour: Hour, options: argparse.Namespace) -> dict[str, Any]:
    kinds = _kinds(hour, options.kinds, options.seed)
    ways = {name_: MomentMarks() for name_ in ("planner", "diary_alone", "retrieval_alone")}
    for kind in kinds:
        begun, last_s = comings_of(hour, kind), last_seen_s(hour, kind)
        await _ask_planner(watched, ways["planner"], kind, begun, last_s)
        await _ask_diary(watched, ways["diary_alone"], kind, begun)
        await _ask_engine(watched, ways["retrieval_alone"], kind, begun, last_s)
    entries = await watched.diary.find_all(
        DiaryQuery(start_s=0.0, end_s=math.inf, levels=(Level.SCENE,), limit=100_000)
    )
    planner = ways["planner"].figures()
    clock = SystemClock()
    begun_s = clock.now_s()
    proved = await _proved(watched, entries)
    digest_s = clock.now_s() - begun_s
    return {
        **planner,
        "summary": _summary(hour, proved),
        "digest_s": round(digest_s, 3),
        "digest_unchecked": _summary(hour, DigestSentences(entries)),
        "sentences": {
            "n": len(entries),
            "true": _mean([is_true(hour, one.text, one) for one in entries]),
        },
        "cameras": None,
        "first_answer_s": round(statistics.median(watched.delays_s), 3),
        "full_answer_s": round(max(watched.lasted_s), 3),
        "kinds": len(kinds),
        **{name_: way.figures() for name_, way in ways.items() if name_ != "planner"},
    }


async def _proved(watched: DiaryStream, entries: Sequence[DiaryEntry]) -> DigestSentences:
    """The sentences of which a digest is made, as a server makes it."""
    question = Question(
        text="What happened so far?",
        stream_id=watched.stream_id,
        asked_s=float(watched.hour.num_clips),
    )
    reader = watched.finder.proofreader(question, watched.engine)
    return await reader.proved(entries, max_items=DiarySection().max_summary_items)


def _kinds(hour: Hour, num_common: int, seed: int) -> list[Kind]:
    """The rare kinds, which come once or never, and some that come often."""
    shown = frozenset[Kind]().union(*hour.view.shown)
    common = sorted(shown - hour.rare)
    random.Random(seed).shuffle(common)
    return [*sorted(hour.rare), *common[:num_common]]


async def _ask_planner(
    watched: DiaryStream, way: MomentMarks, kind: Kind, begun: list[float], last_s: float | None
) -> None:
    thing = a(name(kind))
    text, end = await watched.ask(f"List all times {thing} appeared.")
    way.note_times([one.at_s for one in end.moments], begun)
    text, end = await watched.ask(f"How often did {thing} appear?")
    told = len(end.moments) if end.moments_exact is not None else _number(text)
    way.counts.append(told == len(begun))
    if last_s is None:
        return
    for asked, truth in (("first", begun[0]), ("last", last_s)):
        text, end = await watched.ask(f"When did you {asked} see {thing}?")
        at_s = end.moments[-1].at_s if end.moments else spoken_time(text)
        way.ends.append(at_s is not None and abs(at_s - truth) <= NEAR_S)


async def _ask_diary(
    watched: DiaryStream, way: MomentMarks, kind: Kind, begun: list[float]
) -> None:
    query = DiaryQuery(
        start_s=0.0, end_s=math.inf, levels=(Level.SCENE,), words=name(kind), limit=10_000
    )
    found = [
        one
        for one in await watched.diary.find(query)
        if not re.search(r"\b(?:left|moving|stopped)\b", one.text)
    ]
    way.note_times([one.start_s for one in found], begun)
    way.counts.append(len(found) == len(begun))
    if begun:
        way.ends.append(bool(found) and abs(found[0].start_s - begun[0]) <= NEAR_S)


async def _ask_engine(
    watched: DiaryStream, way: MomentMarks, kind: Kind, begun: list[float], last_s: float | None
) -> None:
    thing = a(name(kind))
    at_s = spoken_time(await watched.ask_engine(f"When did {thing} appear?"))
    way.note_times([] if at_s is None else [at_s], begun)
    told = _number(await watched.ask_engine(f"How often did {thing} appear?"))
    way.counts.append(told == len(begun))
    if last_s is None:
        return
    for asked, truth in (("first", begun[0]), ("last", last_s)):
        at_s = spoken_time(await watched.ask_engine(f"When did you {asked} see {thing}?"))
        way.ends.append(at_s is not None and abs(at_s - truth) <= NEAR_S)


def _summary(hour: Hour, sentences: DigestSentences) -> dict[str, Any]:
    """How true the digest of all is, and how much of the rare it tells."""
    items, _ = sentences.items(max_items=DiarySection().max_summary_items)
    told = [(item.sentence, entry) for item in items for entry in item.entries]
    rare = [(kind, at_s) for kind in sorted(hour.rare) for at_s in comings_of(hour, kind)]
    tells = [
        any(abs(entry.start_s - at_s) <= NEAR_S and name(kind) in text for text, entry in told)
        for kind, at_s in rare
    ]
    true = [is_true(hour, entry.text, entry) for _, entry in told]
    return {
        "true": _mean(true),
        "told": _mean(tells),
        "n_sentences": len(true),
        "n_rare": len(rare),
    }


_NUMBERS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def _number(text: str) -> int | None:
    words = re.findall(r"[a-z]+|\d+", text.lower())
    for word in words:
        if word.isdigit():
            return int(word)
        if word in _NUMBERS:
            return _NUMBERS.index(word)
        if word == "never":
            return 0
    return None


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 3) if whole else None


def _mean(marks: Sequence[bool]) -> float | None:
    return _share(sum(marks), len(marks))


def table(figures: dict[str, Any]) -> str:
    """The figures as tables in plain text."""
    lines = [
        (
            row,
            found["list_all"]["precision"],
            found["list_all"]["recall"],
            found["count_exact"],
            found["first_last"],
        )
        for row, found in (
            ("planner", figures),
            ("diary_alone", figures["diary_alone"]),
            ("retrieval_alone", figures["retrieval_alone"]),
        )
    ]
    titles = ("row", "precision", "recall", "count exact", "first, last")
    return (
        rows(titles, lines)
        + f"\n\nsummary {figures['summary']}, diary {figures['sentences']}, its cost "
        f"{figures['diary_cost']} of ingest's CPU time; first words after "
        f"{figures['first_answer_s']} s, all after {figures['full_answer_s']} s at most"
    )
