"""Evaluation items: held-out worlds, filmed as a client would send them, and questions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onlooker.demo_model.model import FRAME_SIZE
from onlooker.demo_model.questions import FAMILIES, DrawnQuestion, View, ask_view, branches
from onlooker.demo_model.render import jpeg, render, resize
from onlooker.demo_model.view import DrawnClip
from onlooker.demo_model.world import World

VALIDATION_SEED = 1_000_000
TEST_SEED = 2_000_000
FILM_SIZE = (320, 240)
WATCHED = ("check", "narrate")
"""Families that watches ask, which hold no conversation."""
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Filmed:
    """A clip and its frames, uint8[2, side, side, 3], after JPEG and the server's resize."""

    clip: DrawnClip
    pixels: Pixels


@dataclass(frozen=True)
class ExampleItem:
    """A question, the index of its context, and how old its evidence is in seconds (or None)."""

    context: int
    question: DrawnQuestion
    age_s: float | None


@dataclass(frozen=True)
class Setting:
    """What an evaluation context holds: `recent` clips in a row, and `old` ones from before."""

    name: str
    recent: int
    old: int = 0
    span: int = 0
    """The number of clips, right before the recent ones, from which the old ones are drawn."""


SETTINGS = {
    "full": Setting("64 clips in a row", 64),
    "sparse": Setting("8 recent clips and 8 older ones", 8, 8, 120),
    "short": Setting("8 clips in a row", 8),
}


def film(world: World, clip: DrawnClip, quality: int) -> Filmed:
    """The frames of a clip as the server's perception hands them to the model."""
    frames = [
        resize(jpeg(render(world.state_at(t), *FILM_SIZE), quality), FRAME_SIZE, FRAME_SIZE)
        for t in clip.frame_times
    ]
    return Filmed(clip, np.stack(frames if len(frames) == 2 else frames * 2))


def draw_clips(setting: Setting, rng: np.random.Generator) -> list[DrawnClip]:
    """Clips that begin a second apart, at an arbitrary phase; half of the streams are hours old."""
    total = setting.recent + setting.span
    start = float(rng.uniform(0.0, 36_000.0) if rng.random() < 0.5 else rng.uniform(0.0, 60.0))
    times = [start + i for i in range(total)]
    old = sorted(rng.choice(setting.span, setting.old, replace=False)) if setting.old else []
    kept = [times[int(i)] for i in old] + times[total - setting.recent :]
    return [DrawnClip(t + 0.25, (t, t + 0.5)) for t in kept]


def draw_context(
    setting: Setting, seed: int, rng: np.random.Generator
) -> tuple[World, list[Filmed], View]:
    """A world of a held-out seed, its filmed clips, and what they show."""
    world = World(seed)
    clips = draw_clips(setting, rng)
    quality = int(rng.integers(50, 96))
    return world, [film(world, clip, quality) for clip in clips], View(world, clips)


def draw_items(
    view: View, context: int, rng: np.random.Generator, families: Sequence[str]
) -> Iterator[ExampleItem]:
    """One question of each of `families` for which this view allows one."""
    for family in families:
        question = ask_view(view, rng, family)
        if question is None:
            continue
        evidence = question.evidence
        age = view.stamps[-1] - view.stamps[evidence[-1]] if evidence else None
        yield ExampleItem(context, question, age)


def in_conversation(
    items: Sequence[ExampleItem], view: View, rng: np.random.Generator, turns: int
) -> list[ExampleItem]:
    """The items with `turns` earlier turns each, those included that a follow-up has by itself.

    The turns are other questions about the view with answers that were right when they were asked.
    What only watches ask stays as it is.
    """
    asked = [(seen, q) for seen, q in branches(view, rng, 12 * turns) if not q.history]
    asked.sort(key=lambda pair: pair[0])
    found = []
    for item in items:
        own = item.question.history
        if item.question.family not in WATCHED:
            count = min(max(0, turns - len(own)), len(asked))
            picked = sorted(rng.choice(len(asked), count, replace=False)) if count else []
            before = tuple((asked[i][1].text, asked[i][1].answer) for i in picked)
            item = replace(item, question=replace(item.question, history=(*before, *own)))
        found.append(item)
    return found


def reported_family(question: DrawnQuestion) -> str:
    """The family a result counts for: narrations are told apart by whether anything changed."""
    if question.family == "narrate":
        return "narrate_silent" if question.answer.startswith("<|") else "narrate_change"
    return question.family


def all_families() -> list[str]:
    return list(FAMILIES)
