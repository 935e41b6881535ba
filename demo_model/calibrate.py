"""Find which layers and which score of a model find the evidence of a question.

    python -m onlooker.demo_model.calibrate --model FOLDER --write

Streams of the drawn world are watched through the server's own engine and asked about what left the
window. Every layer and every score ranks what is remembered; the ranking that brings the most
evidence back is printed, and with --write kept in the model's onlooker.json. The worlds are
those for validation; none that the model is tested on is looked at.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onlooker.core.clock import SystemClock
from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Frame
from onlooker.core.metrics import Metrics
from onlooker.demo_model import view as drawn
from onlooker.demo_model.answers import DrawnQuestion
from onlooker.demo_model.examples import VALIDATION_SEED
from onlooker.demo_model.questions import View, ask_view
from onlooker.demo_model.render import render
from onlooker.demo_model.world import World
from onlooker.engine.config import EngineSection, VllmSection
from onlooker.engine.interface import Question as EngineQuestion
from onlooker.engine.memory.config import MemorySection
from onlooker.engine.memory.ranking import Ranking
from onlooker.engine.memory.times import Now, named_spans

FAMILIES = ("ever", "when_appeared", "when_changed", "first_seen", "last_seen")
"""Families of questions whose evidence is found by content; those that name a time need no rank."""

FIRST_SEED = VALIDATION_SEED + 500
"""The seed of the first world; other tools use other validation worlds."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How much is watched and asked: streams, clips of each, questions, window and rank."""

    model: str
    streams: int
    clips: int
    each: int
    """The number of questions of each family about each stream."""
    recent: int
    k: int


def stream_of(world: World, count: int, name: str, size: tuple[int, int]) -> Iterator[Clip]:
    """A stream of `count` clips, one a second, each of two frames of `size` (width, height)."""
    for index in range(count):
        times = (float(index), index + 0.5)
        first, second = (
            Frame(2 * index + k, time_s, 0.0, render(world.state_at(time_s), *size))
            for k, time_s in enumerate(times)
        )
        yield Clip(StreamId(name), index, (first, second))


def questions(world: World, plan: Plan, rng: np.random.Generator) -> Iterator[DrawnQuestion]:
    """Questions whose evidence has left the recent window of the stream."""
    clips = [drawn.DrawnClip(i + 0.25, (float(i), i + 0.5)) for i in range(plan.clips)]
    view = View(world, clips)
    for family in FAMILIES:
        for _ in range(plan.each):
            question = ask_view(view, rng, family)
            if question is None or question.answer == "no":
                continue
            if named_spans(question.text, Now(float(plan.clips))):
                continue
            if question.evidence and max(question.evidence) < plan.clips - plan.recent:
                yield question


async def traces(plan: Plan, say: Say) -> list[Any]:
    """Watch and ask; returns a `onlooker.demo_model.calibration.Traced` for each question."""
    from onlooker.engine.vllm_adapter.engine import make_engine

    settings = EngineSection(
        model=plan.model,
        mode="segments",
        memory=MemorySection(
            recent_clips=plan.recent,
            # The index of this score needs a clip's queries, which are gone later; the indices of
            # the other scores do not.
            ranking=Ranking(score="representatives"),
            arena_gib=16,
        ),
        vllm=VllmSection(max_model_len=4096),
    )
    engine: Any = make_engine(settings, SystemClock(), Metrics())
    await engine.start(lambda line: say(f"  ... {line}"))
    found: list[Any] = []
    try:
        size = engine.info.frame_width, engine.info.frame_height
        for number in range(plan.streams):
            world = World(FIRST_SEED + number)
            name = f"calibrate-{number}"
            await engine.open_stream(StreamId(name))
            for clip in stream_of(world, plan.clips, name, size):
                await engine.ingest(clip)
                if (clip.clip_index + 1) % 100 == 0:
                    say(f"stream {number + 1}/{plan.streams}: {clip.clip_index + 1} clips")
            rng = np.random.default_rng(FIRST_SEED + number)
            for question in questions(world, plan, rng):
                found.append(await _asked(engine, name, question, plan))
            say(f"stream {number + 1}/{plan.streams}: {len(found)} questions so far")
            await engine.close_stream(StreamId(name))
    finally:
        await engine.close()
    return found


async def _asked(engine: Any, name: str, question: DrawnQuestion, plan: Plan) -> Any:
    from onlooker.demo_model.calibration import Traced

    asked = EngineQuestion(text=question.text, stream_id=StreamId(name), asked_s=float(plan.clips))
    trace = await engine.trace(asked)
    scores = {
        score: np.array([layer[score] for layer in trace.layers]) for score in trace.layers[0]
    }
    place = {index: at for at, index in enumerate(trace.clip_indices)}
    return Traced(question.family, scores, tuple(place[index] for index in question.evidence))


def table(found: list[Any], k: int) -> list[str]:
    """Lines of text: for each score, the recall of each layer by itself."""
    from onlooker.demo_model.calibration import evaluate

    lines = [f"recall@{k} of {len(found)} questions, layer by layer:"]
    for score in found[0].scores:
        recalls = [
            evaluate(found, Ranking(score=score, voting_layers=(layer,)), k).recall
            for layer in range(found[0].num_layers)
        ]
        lines.append(f"  {score:18s}" + " ".join(f"{recall:.2f}" for recall in recalls))
    return lines


def write(folder: Path, ranking: Ranking) -> Path:
    """Write `ranking` into the model's profile, whose other entries stay; returns its path."""
    path = folder / "onlooker.json"
    profile = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    profile["ranking"] = ranking.model_dump(mode="json")
    path.write_text(json.dumps(profile, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return path


def main() -> None:
    from onlooker.engine.vllm_adapter.gateway.model_folder import find_model

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--model", default="demo", help="'demo', a folder, or a hub name")
    parser.add_argument("--streams", type=int, default=3)
    parser.add_argument("--clips", type=int, default=900, help="a stream, one a second")
    parser.add_argument("--each", type=int, default=12, help="questions a family and stream")
    parser.add_argument("--recent", type=int, default=8, help="clips of the recent window")
    parser.add_argument("--k", type=int, default=8, help="clips that may be brought back")
    parser.add_argument("--write", action="store_true", help="keep it in the model's onlooker.json")
    options = parser.parse_args()
    plan = Plan(
        options.model, options.streams, options.clips, options.each, options.recent, options.k
    )
    model = find_model(options.model, served_name=None)
    if options.write and not model.is_local:
        parser.error("a model of a hub has no folder to write to: leave --write out")
    found = asyncio.run(traces(plan, lambda line: print(line, flush=True)))
    report(found, plan.k, Path(model.source) if options.write else None)


def report(found: list[Any], k: int, folder: Path | None) -> None:
    """Print what was found; write it to `folder`, if there is one."""
    from onlooker.demo_model.calibration import calibrated

    if not found:
        raise SystemExit("no question had evidence that left the window: take more clips")
    for line in table(found, k):
        print(line)
    ranking, best = calibrated(found, k)
    print("the best layers of each:")
    for one, result in best:
        name = one.score if one.second_look is None else f"{one.score} + {one.second_look}"
        print(
            f"  {name:30s} layers {one.voting_layers}: recall@{k} {result.recall:.3f}, "
            f"mean reciprocal rank {result.mean_reciprocal_rank:.3f}"
        )
    if folder is not None:
        print(f"written to {write(folder, ranking)}")
    else:
        print("settings:\n[engine.memory.ranking]")
        for name, value in ranking.model_dump(mode="json", exclude_none=True).items():
            print(f"{name} = {json.dumps(value)}")


if __name__ == "__main__":
    main()
