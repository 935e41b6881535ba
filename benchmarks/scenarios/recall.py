"""An hour at a frame a second: what is right about evidence of any age, beside an oracle.

Shown: the share of right answers by the age of their evidence, to questions that name a time
("what colour was the star at 1200 seconds?") and questions whose evidence has to be found by
content ("was there ever a red star?", "when did it appear?"; see `onlooker.benchmarks.hour`).
Rows: `segments` as it is set up by default; `oracle`, the same engine handed the true clips;
`window_only`, nothing but the recent clips; `full_context`, as many of the newest clips as the
context holds; `score_*`, each way of ranking, every layer by itself; `codec_*`, stored segments in
8 and 4 bits or entropy coded, read back from disk; `as_written` and `oracle_as_written`, answers of
`segments` and `oracle` whose misread times are not mended. All rows see the same stored hour and
the same questions. `misread_times` counts the times that answers named and that nothing in view
bears: those that were mended, and those that stayed.
`kv_fetched_ratio` is the mean share of the stream's KV that an answer of `segments` read.
`of_oracle` is what to look at, and its median over the streams where there are several (goal 0.97
of three hours): the demo model itself is far from perfect.

Not shown: load, speed, real video, a GPU. Worlds are those of seeds that no training or tuning saw.
"""

import argparse
import asyncio
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, get_args

import numpy as np

from onlooker.benchmarks.hour import TIMED, Hour, HourQuestion
from onlooker.benchmarks.report import rows
from onlooker.benchmarks.steering import Steered, Way
from onlooker.benchmarks.transcoding import transcode_folder
from onlooker.cache_store.config import CacheStoreSection, DiskSection, KvCodecName, RamSection
from onlooker.core.clock import SystemClock
from onlooker.core.ids import StreamId
from onlooker.core.metrics import Metrics
from onlooker.engine.config import EngineSection
from onlooker.engine.interface import AnswerDelta, AnswerEnd, MisreadTime, Question
from onlooker.engine.memory import config as memory
from onlooker.engine.memory.ranking import Ranking, ScoreName
from onlooker.engine.vllm_adapter.engine import make_engine

FIRST_SEED = 1_600_000
"""The first of the worlds on which neither the model was trained nor anything was tuned."""

AGES_MIN = ((0, 1), (1, 10), (10, 20), (20, 40), (40, 60))
NEVER = "never there"
CODECS: tuple[KvCodecName, ...] = ("int8", "int4", "cachegen")
AS_WRITTEN = {Way.SEGMENTS: "as_written", Way.ORACLE: "oracle_as_written"}
MAX_TOKENS = 12


@dataclass(frozen=True, slots=True)
class Mark:
    """One answered question: of which stream, whether the answer is right, the share of the KV that
    it read, and the times in it that nothing in view bears."""

    stream: int
    asked: HourQuestion
    is_right: bool
    fetched_ratio: float | None
    misread: tuple[MisreadTime, ...] = ()


Belongs = Callable[[Mark], bool]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=int, default=60, help="length of the stream [60]")
    parser.add_argument("--hours", type=int, default=1, help="how many such streams [1]")
    parser.add_argument("--questions", type=int, default=100, help="about each [100]")
    parser.add_argument("--plot", type=Path, default=None, help="a PNG of recall by age")
    parser.add_argument("--store", type=Path, default=None, help="keeps what was watched in a "
                        "folder; a later run with the same streams asks at once")  # fmt: skip
    parser.add_argument("--rows", default="ways,scores,codecs,times", help="which to measure [all]")


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Watch the hours once, keep them on disk, and ask in every way."""
    hours = [
        Hour(FIRST_SEED + 100 * options.seed + number, 60 * options.minutes)
        for number in range(options.hours)
    ]
    asked = [hour.questions(options.questions) for hour in hours]
    found: dict[str, list[Mark]] = {}
    kinds = options.rows.split(",")
    with tempfile.TemporaryDirectory(prefix="recall") as temporary:
        raw = options.store or Path(temporary) / "raw"
        async with _running(options, raw, memory.MemorySection(), "default") as steered:
            await _watch(steered, hours)
            for way in Way if "ways" in kinds else (Way.ORACLE, Way.SEGMENTS):
                found[way.value] = await _ask_all(steered, hours, asked, way)
        for score in get_args(ScoreName) if "scores" in kinds else ():
            section = memory.MemorySection(ranking=Ranking(score=score))
            async with _running(options, raw, section, score) as steered:
                found[f"score_{score}"] = await _ask_all(steered, hours, asked, Way.SEGMENTS)
        for codec in CODECS if "codecs" in kinds else ():
            folder = Path(temporary) / codec
            await asyncio.to_thread(transcode_folder, raw, folder, codec)
            async with _running(options, folder, memory.MemorySection(), codec) as steered:
                found[f"codec_{codec}"] = await _ask_all(steered, hours, asked, Way.SEGMENTS)
        if "times" in kinds:
            section = memory.MemorySection(mend_times=False)
            async with _running(options, raw, section, "as written") as steered:
                for way, name in AS_WRITTEN.items():
                    found[name] = await _ask_all(steered, hours, asked, way)
    figures = figures_of(found)
    if options.plot is not None:
        plot(figures, options.plot)
    return {"minutes": options.minutes, "streams": options.hours, **figures}


@asynccontextmanager
async def _running(
    options: argparse.Namespace, folder: Path, section: memory.MemorySection, label: str
) -> Any:
    """An engine whose store is in `folder`. RAM and arena are small: most answers read the disk."""
    store = CacheStoreSection(
        memory=RamSection(budget_bytes=64 << 20), disk=DiskSection(path=folder, sync=False)
    )
    section = section.model_copy(update={"arena_gib": 0.05})
    settings = EngineSection(model=options.model, mode="segments", memory=section)
    engine = make_engine(settings, SystemClock(), Metrics(), store)
    await engine.start(lambda line: print(f"  {label}: {line}", flush=True))
    try:
        yield Steered(engine)
    finally:
        await engine.close()


async def _watch(steered: Steered, hours: Sequence[Hour]) -> None:
    async def watch(hour: Hour, stream_id: StreamId, first: int) -> None:
        info = steered.engine.info
        for clip in hour.clips(stream_id, info.frame_width, info.frame_height, first=first):
            await steered.engine.ingest(clip)
            if clip.clip_index % 600 == 599:
                print(f"  {stream_id}: {clip.clip_index + 1} clips", flush=True)

    known = [await steered.open_stream(_id(number)) for number in range(len(hours))]
    async with asyncio.TaskGroup() as group:
        for number, (hour, first) in enumerate(zip(hours, known, strict=True)):
            group.create_task(watch(hour, _id(number), first))
    await steered.flush()


async def _ask_all(
    steered: Steered, hours: Sequence[Hour], asked: Sequence[list[HourQuestion]], way: Way
) -> list[Mark]:
    marks = []
    for number, (hour, questions) in enumerate(zip(hours, asked, strict=True)):
        await steered.open_stream(_id(number))
        for one in questions:
            marks.append(await _ask(steered, number, hour, one, way))
    right = np.mean([mark.is_right for mark in marks])
    print(f"  {way.value}: {right:.3f} of {len(marks)}", flush=True)
    return marks


async def _ask(steered: Steered, number: int, hour: Hour, asked: HourQuestion, way: Way) -> Mark:
    stream_id = _id(number)
    question = Question(
        text=asked.quiz.text,
        stream_id=stream_id,
        asked_s=float(hour.num_clips),
        max_tokens=MAX_TOKENS,
    )
    text, ratio = "", None
    misread: tuple[MisreadTime, ...] = ()
    is_timed = asked.quiz.family in TIMED
    async for event in steered.answer(question, way, asked.quiz.evidence, is_timed=is_timed):
        if isinstance(event, AnswerDelta):
            text += event.text
        elif isinstance(event, AnswerEnd):
            ratio, misread = event.fetched_ratio, event.misread_times
    return Mark(number, asked, _correct(asked, text), ratio, misread)


def _correct(asked: HourQuestion, text: str) -> bool:
    from onlooker.demo_model.questions import correct

    return correct(asked.quiz, text)


def _id(number: int) -> StreamId:
    return StreamId(f"hour-{number}")


# ---- figures


def figures_of(found: dict[str, list[Mark]]) -> dict[str, Any]:
    """The shares of right answers: in all, beside the oracle, by stream, age and family."""
    accuracy = _shares(found, lambda mark: True)
    streams = {mark.stream for mark in found[Way.ORACLE]}
    by_stream = [_shares(found, _is_about(stream)) for stream in sorted(streams)]
    ratios = [m.fetched_ratio for m in found[Way.SEGMENTS] if m.fetched_ratio is not None]
    oracle = accuracy[Way.ORACLE]
    families = {mark.asked.quiz.family for mark in found[Way.ORACLE]}
    return {
        "questions": len(found[Way.ORACLE]),
        "accuracy": accuracy,
        "of_oracle": {name: round(share / oracle, 3) for name, share in accuracy.items()},
        "by_stream": by_stream,
        "of_oracle_median": {
            name: round(median(one[name] / one[Way.ORACLE] for one in by_stream), 3)
            for name in accuracy
        },
        "misread_times": {name: _misread(marks) for name, marks in found.items()},
        "kv_fetched_ratio": round(float(np.mean(ratios)), 4) if ratios else None,
        "by_age": {
            name: shares
            for name, belongs in _age_groups().items()
            if (shares := _shares(found, belongs))
        },
        "by_family": {family: _shares(found, _is_of(family)) for family in sorted(families)},
        "n_by_age": {
            name: sum(map(belongs, found[Way.ORACLE])) for name, belongs in _age_groups().items()
        },
    }


def _shares(found: dict[str, list[Mark]], belongs: Belongs) -> dict[str, float]:
    shares: dict[str, list[bool]] = defaultdict(list)
    for name, marks in found.items():
        shares[name] += [mark.is_right for mark in marks if belongs(mark)]
    return {name: round(float(np.mean(right)), 3) for name, right in shares.items() if right}


def _misread(marks: Sequence[Mark]) -> dict[str, int]:
    told = [misread.told_s for mark in marks for misread in mark.misread]
    num_left = told.count(None)
    return {"mended": len(told) - num_left, "left": num_left}


def _is_about(stream: int) -> Belongs:
    return lambda mark: mark.stream == stream


def _is_of(family: str) -> Belongs:
    return lambda mark: mark.asked.quiz.family == family


def _is_aged(first_s: float, last_s: float) -> Belongs:
    return lambda mark: mark.asked.age_s is not None and first_s <= mark.asked.age_s < last_s


def _age_groups() -> dict[str, Belongs]:
    groups = {f"{a}-{b} min": _is_aged(60 * a, 60 * b) for a, b in AGES_MIN}
    return groups | {NEVER: lambda mark: mark.asked.age_s is None}


def plot(figures: dict[str, Any], path: Path) -> None:
    """Plot the share of right answers over the age of their evidence."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    ages = [age for age in figures["by_age"] if age != NEVER]
    figure, axes = pyplot.subplots(figsize=(6.5, 3.6))
    for way, style in ((Way.ORACLE, "--"), (Way.SEGMENTS, "-"), (Way.FULL, ":"), (Way.WINDOW, ":")):
        if way.value not in figures["accuracy"]:
            continue
        shares = [figures["by_age"][age].get(way.value) for age in ages]
        axes.plot(ages, shares, style, marker="o", label=way.value.replace("_", " "))
    axes.set_ylim(0, 1.03)
    axes.set_xlabel("age of the evidence")
    axes.set_ylabel("right answers")
    axes.set_title(f"An hour at 1 fps, {figures['questions']} questions")
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def table(figures: dict[str, Any]) -> str:
    """The figures as tables in plain text."""
    ages, families = figures["by_age"], figures["by_family"]
    titles = ("row", "right", "of oracle", "median", "by stream", *ages, *families)
    lines = [
        (
            name,
            share,
            figures["of_oracle"][name],
            figures["of_oracle_median"][name],
            " ".join(f"{one[name]:.2f}" for one in figures["by_stream"]),
            *(ages[age].get(name) for age in ages),
            *(families[family].get(name) for family in families),
        )
        for name, share in figures["accuracy"].items()
    ]
    return (
        rows(titles, lines)
        + f"\n\nAn answer of segments read {figures['kv_fetched_ratio']:.2%} of the stream's KV "
        "(goal: at most 10 %)."
    )
