"""Questions about the newest clip against the one before: yes/no checks, and what just changed."""

from __future__ import annotations

from itertools import permutations

from onlooker.demo_model.answers import SILENCE, DrawnQuestion
from onlooker.demo_model.phrases import a
from onlooker.demo_model.things import Kind, name, phrase, pick_kind, similar
from onlooker.demo_model.view import Difference, Random, View, differences, pick, shuffled
from onlooker.demo_model.world import COLOR_NAMES

_YES = 0.5
"""The share of the checks whose answer is yes."""
_MAX_SENTENCES = 2


def check(view: View, rng: Random) -> DrawnQuestion | None:
    """Whether something has just happened; every "no" is a near miss where one can be found."""
    at = len(view) - 1
    if not view.near(at):
        return None
    found = differences(view.last(at - 1), view.last(at))
    wanted = rng.random() < _YES
    sorts = ("appeared", "appeared", "appeared", "left", "sign", "digit", "cut", "turned")
    for sort in shuffled(rng, sorts):
        if sort in ("appeared", "left"):
            question = _came_or_went(view, found, sort, wanted, rng)
        elif sort == "digit":
            question = _digit(view, wanted, rng)
        elif sort == "turned":
            question = _turned(view, found, wanted, rng)
        else:
            question = _plain(view, sort, wanted, rng)
        if question is not None:
            return question
    return None if wanted else _plain(view, "cut", wanted, rng)


def _answer(family: str, yes: bool, at: int, rng: Random, **words: str) -> DrawnQuestion:
    return DrawnQuestion(
        "check", phrase(rng, family, **words), "yes" if yes else "no", (at - 1, at)
    )


def _came_or_went(
    view: View, found: list[Difference], sort: str, wanted: bool, rng: Random
) -> DrawnQuestion | None:
    """Whether an object of a kind came in (or left); a repainted object counts as neither."""
    at = len(view) - 1
    before = {o.kind for o in view.last(at - 1).objects}
    after = {o.kind for o in view.last(at).objects}
    fresh, rest = (after - before, before) if sort == "appeared" else (before - after, after)
    painted = {o.kind for d in found if d.kind == "color" for o in (d.before, d.after) if o}
    if wanted:
        pool = sorted(fresh - painted)
        if not pool:
            return None
        return _answer(f"check_{sort}", True, at, rng, thing=a(name(pick(rng, pool))))
    near = [similar(rng, kind) for kind in sorted(fresh | rest)]
    older = {kind for kinds in view.shown[max(at - 3, 0) : at] for kind in kinds}
    pools: list[list[Kind]] = [sorted(rest), near, sorted(older), [pick_kind(rng)]]
    for pool in shuffled(rng, pools):
        left = [kind for kind in pool if kind not in fresh and kind not in painted]
        if left:
            return _answer(f"check_{sort}", False, at, rng, thing=a(name(pick(rng, left))))
    return None


def _digit(view: View, wanted: bool, rng: Random) -> DrawnQuestion | None:
    at = len(view) - 1
    sign = view.agreed((at,), lambda s: -1 if s.sign is None else s.sign)
    if sign is None or (wanted and sign < 0):
        return None
    old = view.last(at - 1).sign
    others = [d for d in range(10) if d != sign]
    digit = sign if wanted else old if old is not None and old != sign else pick(rng, others)
    return _answer("check_digit", wanted, at, rng, digit=str(digit))


def _turned(view: View, found: list[Difference], wanted: bool, rng: Random) -> DrawnQuestion | None:
    at = len(view) - 1
    turned = sorted({d.after.color for d in found if d.kind == "color" and d.after})
    if wanted:
        if not turned:
            return None
        return _answer("check_turned", True, at, rng, color=pick(rng, turned))
    if any(d.kind == "cut" for d in found):
        return None
    here = [o.color for o in view.last(at).objects]
    pool = [c for c in (here if rng.random() < 0.6 else COLOR_NAMES) if c not in turned]
    return _answer("check_turned", False, at, rng, color=pick(rng, pool)) if pool else None


def _plain(view: View, sort: str, wanted: bool, rng: Random) -> DrawnQuestion | None:
    at = len(view) - 1
    before, after = view.last(at - 1), view.last(at)
    yes = before.sign != after.sign if sort == "sign" else before.index != after.index
    return _answer(f"check_{sort}", yes, at, rng) if yes == wanted else None


def narrate(view: View, rng: Random) -> DrawnQuestion | None:
    """What just changed, in a sentence; silence when nothing did.

    Not asked when more than two things changed, or when it is not clear to see whether an object
    had already been moving.
    """
    at = len(view) - 1
    if not view.near(at):
        return None
    found = differences(view.last(at - 1), view.last(at))
    if len(found) > _MAX_SENTENCES or not _clear_motion(view, found):
        return None
    text = phrase(rng, "narrate")
    if not found:
        return DrawnQuestion("narrate", text, SILENCE, (at - 1, at), ("",))
    said = [sentence(d) for d in found]
    orders = tuple(" ".join(order) for order in permutations(said))
    return DrawnQuestion("narrate", text, " ".join(said), (at - 1, at), orders)


def _clear_motion(view: View, found: list[Difference]) -> bool:
    at = len(view) - 1
    if any(d.kind == "cut" for d in found):
        return True
    old = {o.ident: o for o in view.last(at - 1).objects}
    for o in view.last(at).objects:
        before = old.get(o.ident)
        if before is None or not (o.moving or before.moving):
            continue
        # The frames of each clip must show the motion that its last frame is taken to have.
        if view.moved(at - 1, o.ident) != before.moving or view.moved(at, o.ident) != o.moving:
            return False
    return True


def sentence(d: Difference) -> str:
    """One difference in words."""
    kind = name((d.before or d.after).kind) if d.before or d.after else ""  # type: ignore[union-attr]
    if d.kind == "appear":
        text = a(kind)
        return f"{text[0].upper()}{text[1:]} appeared."
    if d.kind == "sign":
        return "The sign went away." if d.sign is None else f"The sign now shows {d.sign}."
    color = d.after.color if d.after else ""
    return {
        "cut": "The scene changed.",
        "leave": f"The {kind} left.",
        "color": f"The {kind} turned {color}.",
        "start": f"The {kind} started moving.",
        "stop": f"The {kind} stopped.",
    }[d.kind]
