"""Questions about what some clips of a drawn world show, with true answers.

    question = ask(World(7), [clip_at(t) for t in range(1, 33)], 32.0, random.Random(0))
    correct(question, "at 12 seconds")

`ask` makes one question about all the clips it is given; `branches` makes many about one run of
clips, each as if only the clips up to some point had been seen, for packed training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from onlooker.demo_model.answers import (
    CANNOT_TELL,
    SILENCE,
    DrawnQuestion,
    correct,
    normalize,
    spoken_time,
)
from onlooker.demo_model.changes import check, narrate
from onlooker.demo_model.history import (
    ever,
    how_many_so_far,
    how_many_times,
    seen,
    unknown,
    when_appeared,
    when_changed,
)
from onlooker.demo_model.phrases import vocabulary
from onlooker.demo_model.states import (
    at_time,
    follow_up,
    now_color,
    now_count,
    now_digit,
    now_exists,
    now_list,
    now_moving,
    now_place,
    now_shape,
)
from onlooker.demo_model.view import DrawnClip, Random, View, below, clip_at
from onlooker.demo_model.world import World

__all__ = [
    "CANNOT_TELL",
    "FAMILIES",
    "SILENCE",
    "DrawnClip",
    "DrawnQuestion",
    "View",
    "ask",
    "ask_view",
    "branches",
    "clip_at",
    "correct",
    "normalize",
    "spoken_time",
    "vocabulary",
]

Asker = Callable[[View, Random], DrawnQuestion | None]

FAMILIES: dict[str, tuple[float, Asker]] = {
    "now_color": (3, now_color),
    "now_shape": (3, now_shape),
    "now_place": (3, now_place),
    "now_count": (2, now_count),
    "now_digit": (2, now_digit),
    "now_moving": (2, now_moving),
    "now_exists": (2, now_exists),
    "now_list": (2, now_list),
    "at_time_color": (4, at_time("color")),
    "at_time_shape": (4, at_time("shape")),
    "at_time_place": (3, at_time("place")),
    "at_time_digit": (3, at_time("digit")),
    "at_time_count": (2, at_time("count")),
    "first_seen": (5, seen(0)),
    "last_seen": (5, seen(-1)),
    "when_appeared": (5, when_appeared),
    "when_changed": (4, when_changed),
    "ever": (6, ever),
    "how_many_times": (2, how_many_times),
    "how_many_so_far": (2, how_many_so_far),
    "check": (7, check),
    "narrate": (6, narrate),
    "follow_up": (3, follow_up),
    "unknown": (2, unknown),
}
"""Each family's share in a mixed set of questions, and what asks it."""

NEEDS_CHANGE = ("check", "narrate")
"""Families for which `branches` prefers clips in which something changed."""
_TRIES = 12


def ask_view(view: View, rng: Random, family: str) -> DrawnQuestion | None:
    """A question of one family about everything in a view, or None when none can be asked."""
    try:
        asker = FAMILIES[family][1]
    except KeyError:
        names = ", ".join(FAMILIES)
        raise ValueError(f"no question family {family!r}; there are: {names}") from None
    for _ in range(_TRIES):
        question = asker(view, rng)
        if question is not None:
            return question
    return None


def ask(
    world: World, clips: Sequence[DrawnClip], now_s: float, rng: Random, family: str | None = None
) -> DrawnQuestion | None:
    """A question about clips (those stamped after `now_s` are not seen yet).

    rng is a `random.Random` or a numpy Generator. Without a family one is drawn by its share.
    Returns None if these clips allow no question of the family (a "when did it appear" where
    nothing did).
    """
    known = [clip for clip in clips if clip.t_s <= now_s]
    if not known:
        raise ValueError("a question needs at least one clip that is not later than now_s")
    view = View(world, known)
    if family is not None:
        return ask_view(view, rng, family)
    for _ in range(_TRIES):
        question = ask_view(view, rng, draw_family(rng))
        if question is not None:
            return question
    return None


def draw_family(rng: Random, families: Sequence[str] | None = None) -> str:
    """A family's name, drawn by the shares of those given (all, when none are given)."""
    names = list(FAMILIES) if families is None else list(families)
    shares = [FAMILIES[name][0] for name in names]
    left = rng.random() * sum(shares)
    for name, share in zip(names, shares, strict=True):
        left -= share
        if left < 0:
            return name
    return names[-1]


def branches(
    view: View, rng: Random, count: int, families: Sequence[str] | None = None
) -> list[tuple[int, DrawnQuestion]]:
    """Up to `count` pairs (number of clips seen, question) about one run of clips.

    Half of the questions are asked at the end of the run, the others after some earlier clip;
    checks and narrations mostly where something changed.
    """
    moving = [i + 1 for i in range(1, len(view)) if view.events(i)]
    found: list[tuple[int, DrawnQuestion]] = []
    for _ in range(count * 3):
        if len(found) == count:
            break
        family = draw_family(rng, families)
        seen_clips = len(view)
        if family in NEEDS_CHANGE:
            share = 0.75 if family == "check" else 0.35
            if moving and rng.random() < share:
                seen_clips = moving[below(rng, len(moving))]
            else:
                seen_clips = 1 + below(rng, len(view))
        elif rng.random() < 0.5:
            seen_clips = 1 + below(rng, len(view))
        part = view if seen_clips == len(view) else view.prefix(seen_clips)
        question = ask_view(part, rng, family)
        if question is not None:
            found.append((seen_clips, question))
    return found
