"""Find the thresholds from which a model's yes counts for each form of a watch's condition.

    python -m onlooker.demo_model.tune_watches --model FOLDER --write

Worlds for validation are watched through the server's own engine, a frame a second. Where the
picture shows what a form needs, its question is asked and compared with the truth. For each form it
is printed how many events the picture alone would have hidden from the model, and which threshold
lies in the middle of the range that is right most often; with --write it is kept in the
model's onlooker.json. None of the worlds that the model is tested on is looked at.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from onlooker.core.clock import SystemClock
from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Frame
from onlooker.core.metrics import Metrics
from onlooker.demo_model import view as drawn
from onlooker.demo_model.changes import narrate
from onlooker.demo_model.examples import VALIDATION_SEED
from onlooker.demo_model.phrases import a
from onlooker.demo_model.render import jpeg, render, resize
from onlooker.demo_model.things import ALL_KINDS, Kind, name
from onlooker.demo_model.view import View, differences
from onlooker.demo_model.world import COLOR_NAMES, Scene, World
from onlooker.engine.checks import Check
from onlooker.engine.config import EngineSection
from onlooker.engine.vllm_adapter.gateway.model_folder import find_model
from onlooker.engine.wording import Needs, Wording
from onlooker.watches.config import WatchesSection
from onlooker.watches.triggers.change import ChangeMeter
from onlooker.watches.triggers.sight import Sight, SightGate
from onlooker.watches.triggers.yes_no import probability

FIRST_SEED = VALIDATION_SEED + 700_000
"""The seed of the first world; other tools take other worlds."""

QUIET = "silence"
"""The name of the form that stands for commentary: whether the model would stay silent."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """A condition, and whether it is met: a function of the scenes before a clip and in it."""

    condition: str
    is_met: Callable[[Scene, Scene], bool]


@dataclass
class Form:
    """What was found about one form of condition."""

    chances: list[tuple[float, bool]] = field(default_factory=list)
    """For every question that was asked, the calibrated probability of yes, and the truth."""
    hidden: int = 0
    """The number of changes of the truth about which nothing would have been asked."""
    shown: int = 0

    @property
    def tells(self) -> bool:
        """Whether both truths occurred, so that a threshold can be chosen."""
        return len({truth for _, truth in self.chances}) == 2

    def right(self, threshold: float) -> float:
        """The F1 score (0-1) of saying yes from `threshold` on."""
        hits = sum(truth and chance >= threshold for chance, truth in self.chances)
        said = sum(chance >= threshold for chance, _ in self.chances)
        true = sum(truth for _, truth in self.chances)
        return 2 * hits / max(1, said + true)

    def best(self) -> float:
        """The middle of the widest best range of thresholds, on a grid of hundredths."""
        grid = [step / 100 for step in range(1, 100)]
        scores = [self.right(threshold) for threshold in grid]
        runs: list[list[float]] = [[]]
        for threshold, score in zip(grid, scores, strict=True):
            if score >= max(scores) - 1e-9:
                runs[-1].append(threshold)
            elif runs[-1]:
                runs.append([])
        widest = max(runs, key=len)
        return round((widest[0] + widest[-1]) / 2, 2)


def conditions(rng: random.Random, scene: Scene) -> list[Asked]:
    """Conditions of every form, of some forms several, about what is there and what is not."""
    kinds = sorted({o.kind for o in scene.objects}) + rng.sample(ALL_KINDS, 2)
    found = [
        Asked("the sign changes", lambda b, s: b.sign != s.sign),
        Asked("the scene changes", lambda b, s: b.index != s.index),
    ]
    digits = {rng.randrange(10)} | ({scene.sign} if scene.sign is not None else set())
    for digit in sorted(digits):
        found.append(Asked(f"the sign shows {digit}", partial(_shows, digit=digit)))
    for kind in dict.fromkeys(kinds):
        found.append(Asked(f"{a(name(kind))} appears", partial(_holds, kind=kind)))
        found.append(Asked(f"{a(name(kind))} leaves", partial(_left, kind=kind)))
    for color in sorted({rng.choice(COLOR_NAMES), *(o.color for o in scene.objects)}):
        found.append(Asked(f"something turns {color}", partial(_turned, color=color)))
    return found


def _shows(before: Scene, after: Scene, digit: int) -> bool:
    return after.sign == digit


def _holds(before: Scene, after: Scene, kind: Kind) -> bool:
    return kind in {o.kind for o in after.objects}


def _left(before: Scene, after: Scene, kind: Kind) -> bool:
    changes = differences(before, after)
    return any(d.kind == "leave" and d.before and d.before.kind == kind for d in changes)


def _turned(before: Scene, after: Scene, color: str) -> bool:
    changes = differences(before, after)
    return any(d.kind == "color" and d.after and d.after.color == color for d in changes)


def clips_of(world: World, count: int, name: str, size: tuple[int, int]) -> Iterator[Clip]:
    """The clips of a world, one a second, each of one frame filmed at 4:3 and sent as JPEG."""
    for index in range(count):
        filmed = jpeg(render(world.state_at(float(index)), 320, 240), 80)
        frame = Frame(index, float(index), 0.0, resize(filmed, *size))
        yield Clip(StreamId(name), index, (frame, frame))


class Tuner:
    """Asks about one world after another."""

    def __init__(self, engine: Any, settings: WatchesSection) -> None:
        self._engine, self._settings = engine, settings
        self.wording: Wording = engine.info.wording
        self.forms: dict[str, Form] = {}

    async def watch(self, seed: int, num_clips: int) -> None:
        """Show a world to the engine and ask about every clip."""
        world, rng, meter = World(seed), random.Random(seed), ChangeMeter()
        stream = StreamId(f"tune-{seed}")
        size = self._engine.info.frame_width, self._engine.info.frame_height
        view = View(
            world, [drawn.DrawnClip(float(i), (float(i), float(i))) for i in range(num_clips)]
        )
        await self._engine.open_stream(stream)
        before: Sight | None = None
        for clip in clips_of(world, num_clips, stream, size):
            await self._engine.ingest(clip)
            signals, index = meter.measure(clip), clip.clip_index
            assert signals.sight is not None
            if before is not None:
                was, now = view.last(index - 1), view.last(index)
                asked = [*conditions(rng, was), *conditions(rng, now)]
                for one in {asked.condition: asked for asked in asked}.values():
                    await self._ask(clip, one, (was, now), (before, signals.sight))
                await self._ask_whether_quiet(clip, view, signals.change)
            before = signals.sight
        await self._engine.close_stream(stream)

    async def _ask(
        self, clip: Clip, one: Asked, scenes: tuple[Scene, Scene], sights: tuple[Sight, Sight]
    ) -> None:
        question = self.wording.question_for(one.condition)
        form = self.forms.setdefault(form_of(self.wording, one.condition), Form())
        gate = SightGate(
            question.needs or Needs(), about_event=True,
            min_change=self._settings.min_change, min_color=self._settings.min_color,
        )  # fmt: skip
        gate.note(sights[0])
        truth = one.is_met(*scenes)
        is_news = truth if question.about_event else truth != one.is_met(scenes[0], scenes[0])
        is_open = gate.is_open(sights[1], is_on=False)
        form.shown += is_news and is_open
        form.hidden += is_news and not is_open
        if is_open and (is_news or question.needs is not None):
            found = await self._check(
                clip,
                question.text,
                (self.wording.yes, self.wording.no),
                self.wording.num_clips_for(question),
            )
            margin = found.logprobs[0] - found.logprobs[1]
            bias, temperature = self.wording.bias, self.wording.temperature
            chance = probability(margin, bias=bias, temperature=temperature)
            form.chances.append((chance, truth))

    async def _ask_whether_quiet(self, clip: Clip, view: View, change: float) -> None:
        """Ask for commentary; to be silent counts as the yes of this form."""
        index = clip.clip_index
        if narrate(view.prefix(index + 1), random.Random(0)) is None:
            return
        form, is_quiet = self.forms.setdefault(QUIET, Form()), not view.events(index)
        is_open = change > self._settings.min_change
        form.shown += is_open and not is_quiet
        form.hidden += not is_open and not is_quiet
        if is_open:
            found = await self._check(
                clip, self.wording.commentary, (self.wording.silence,), self.wording.num_clips
            )
            form.chances.append((probability(_logit(found.logprobs[0])), is_quiet))

    async def _check(
        self,
        clip: Clip,
        text: str,
        answers: tuple[tuple[str, ...], ...],
        num_clips: int,
    ) -> Any:
        return await self._engine.check(
            Check(
                clip.stream_id, text, asked_s=clip.end_s, answers=answers,
                num_clips=num_clips,
            )
        )  # fmt: skip


def _logit(logprob: float) -> float:
    """The margin for which `probability` returns exp(logprob)."""
    chance = min(1 - 1e-9, max(1e-9, math.exp(logprob)))
    return math.log(chance / (1 - chance))


def form_of(wording: Wording, condition: str) -> str:
    """The pattern of the rule that words a condition; empty if there is no such rule."""
    found = (r.pattern for r in wording.rules if re.fullmatch(r.pattern, condition, re.IGNORECASE))
    return next(found, "")


def report(forms: dict[str, Form], wording: Wording) -> list[str]:
    """A heading, and one line of text for each form."""
    old = {rule.pattern: rule.threshold for rule in wording.rules}
    old[QUIET] = wording.silence_threshold
    lines = ["hidden/news  asked   true  threshold -> best  F1 -> best  form"]
    for pattern, form in sorted(forms.items()):
        before = old.get(pattern) or wording.threshold
        best = form.best() if form.tells else before
        lines.append(
            f"{form.hidden:5}/{form.hidden + form.shown:5} {len(form.chances):6} "
            f"{sum(t for _, t in form.chances):6} {before:9.2f} -> {best:4.2f} "
            f"{form.right(before):6.3f} -> {form.right(best):5.3f}  {pattern[:60]}"
        )
    return lines


def write(folder: Path, forms: dict[str, Form]) -> Path:
    """Write the thresholds into the model's profile, whose other entries stay; returns its path."""
    path = folder / "onlooker.json"
    profile = json.loads(path.read_text(encoding="utf-8"))
    watching = profile["watching"]
    for rule in watching["rules"]:
        form = forms.get(rule["pattern"])
        if form is not None and form.tells:
            rule["threshold"] = form.best()
    if (quiet := forms.get(QUIET)) is not None and quiet.tells:
        watching["silence_threshold"] = quiet.best()
    path.write_text(json.dumps(profile, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return path


async def tune(model: str, seeds: Sequence[int], num_clips: int, say: Say) -> Tuner:
    """Watch the worlds of `seeds`; returns the tuner with what it found."""
    from onlooker.engine.vllm_adapter.engine import make_engine

    settings = EngineSection(model=model, mode="segments")
    engine: Any = make_engine(settings, SystemClock(), Metrics())
    await engine.start(lambda line: say(f"  ... {line}"))
    try:
        tuner = Tuner(engine, WatchesSection())
        for number, seed in enumerate(seeds, 1):
            await tuner.watch(seed, num_clips)
            asked = sum(len(form.chances) for form in tuner.forms.values())
            say(f"world {number}/{len(seeds)}: {asked} questions so far")
        return tuner
    finally:
        await engine.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--model", default="demo", help="'demo', or a folder")
    parser.add_argument("--worlds", type=int, default=8)
    parser.add_argument("--clips", type=int, default=90, help="of each world, one a second")
    parser.add_argument("--write", action="store_true", help="keep it in the model's onlooker.json")
    options = parser.parse_args()
    model = find_model(options.model, served_name=None)
    if not model.is_local:
        parser.error("a model of a hub has not seen the drawn world: give a folder")
    seeds = range(FIRST_SEED, FIRST_SEED + options.worlds)
    tuner = asyncio.run(tune(options.model, seeds, options.clips, lambda s: print(s, flush=True)))
    for line in report(tuner.forms, tuner.wording):
        print(line)
    if options.write:
        print(f"written to {write(Path(model.source), tuner.forms)}")


if __name__ == "__main__":
    main()
