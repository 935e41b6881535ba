"""Questions about the whole view: first and last, when, ever, how often, how many."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from onlooker.demo_model.answers import CANNOT_TELL, NUMBER_WORDS, DrawnQuestion, time_answer
from onlooker.demo_model.outside import HELD_OUT, TAUGHT
from onlooker.demo_model.phrases import a
from onlooker.demo_model.things import (
    Kind,
    absent_thing,
    name,
    phrase,
    pick_kind,
    plural,
    thing,
    thing_of,
)
from onlooker.demo_model.view import Random, View, below, pick

HELD_OUT_SEED = 1_000_000
"""Worlds from this seed on are never trained on; they are asked the held-out outside questions."""
MAX_COUNT = 6
_NEVER = 0.08


def timed(view: View, family: str, text: str, at: int) -> DrawnQuestion:
    """A question whose answer is the time of one clip; the clips next to it are right as well."""
    near = [at]
    if view.near(at):
        near.append(at - 1)
    if at + 1 < len(view) and view.near(at + 1):
        near.append(at + 1)
    accepted = tuple(time_answer(view.second(i)) for i in near)
    return DrawnQuestion(family, text, time_answer(view.second(at)), (at,), accepted)


def seen(which: int) -> Callable[[View, Random], DrawnQuestion | None]:
    """An asker of when something was seen first (which = 0) or last (which = -1).

    One time in four it asks about a digit.
    """
    word = "first" if which == 0 else "last"
    family = f"{word}_seen"

    def asked(view: View, rng: Random) -> DrawnQuestion | None:
        if rng.random() < 0.25:
            return _seen_digit(view, rng, which, word)
        everything = frozenset[Kind]().union(*view.shown)
        if rng.random() < _NEVER:
            missing = absent_thing(rng, everything)
            if missing is None:
                return None
            return DrawnQuestion(family, phrase(rng, family, thing=missing.text), "never")
        # Were it mostly about what the first (or last) clip shows, that clip would be the usual
        # answer.
        far = everything - view.shown[which]
        pool = far if far and rng.random() < 0.75 else everything
        found = thing(rng, pick(rng, sorted(pool)))
        clips = [i for i, kinds in enumerate(view.shown) if any(found.fits(k) for k in kinds)]
        return timed(view, family, phrase(rng, family, thing=found.text), clips[which])

    return asked


def _seen_digit(view: View, rng: Random, which: int, word: str) -> DrawnQuestion | None:
    signs = [{s.sign for s in scenes} for scenes in view.scenes]
    digits = sorted({d for group in signs for d in group if d is not None})
    if not digits:
        return None
    far = [d for d in digits if d not in signs[which]]
    digit = pick(rng, far if far and rng.random() < 0.75 else digits)
    at = [i for i, group in enumerate(signs) if digit in group][which]
    return timed(view, f"{word}_seen", phrase(rng, f"{word}_digit", digit=str(digit)), at)


def _starts(view: View, kind: Kind) -> list[int] | None:
    """The clips in which a kind came in, or None when the view does not show that clearly."""
    if kind in view.shown[0]:
        return None
    found = []
    for i in range(1, len(view)):
        if kind in view.shown[i] and kind not in view.shown[i - 1]:
            if not view.near(i) or _repainted(view, i - 1, i, kind):
                return None
            found.append(i)
    return found


def _ends(view: View, kind: Kind) -> list[int] | None:
    """The first clips without a kind that was there, or None when that is not clear."""
    if kind in view.shown[-1]:
        return None
    found = []
    for i in range(1, len(view)):
        if kind not in view.shown[i] and kind in view.shown[i - 1]:
            if not view.near(i) or _repainted(view, i, i - 1, kind):
                return None
            found.append(i)
    return found


def _repainted(view: View, without: int, having: int, kind: Kind) -> bool:
    """Whether the object of this kind has another colour in the clip that lacks the kind."""
    idents = {(s.index, o.ident) for s in view.scenes[having] for o in s.objects if o.kind == kind}
    return any((s.index, o.ident) in idents for s in view.scenes[without] for o in s.objects)


def when_appeared(view: View, rng: Random) -> DrawnQuestion | None:
    """When an object came in, of a kind that did so exactly once in the view."""
    kinds = sorted(frozenset[Kind]().union(*view.shown) - view.shown[0])
    if not kinds:
        return None
    kind = pick(rng, kinds)
    starts = _starts(view, kind)
    if starts is None or len(starts) != 1:
        return None
    text = phrase(rng, "when_appeared", thing=a(name(kind)), kind=name(kind))
    return timed(view, "when_appeared", text, starts[0])


def when_changed(view: View, rng: Random) -> DrawnQuestion | None:
    """When an object left, the sign changed to a digit, or the scene changed.

    Only asked about what happened exactly once in the view.
    """
    choice = pick(rng, ("left", "left", "sign", "sign", "cut"))
    if choice == "left":
        kinds = sorted(frozenset[Kind]().union(*view.shown) - view.shown[-1])
        if not kinds:
            return None
        kind = pick(rng, kinds)
        ends = _ends(view, kind)
        if ends is None or len(ends) != 1:
            return None
        return timed(view, "when_changed", phrase(rng, "when_left", kind=name(kind)), ends[0])
    last = [view.last(i) for i in range(len(view))]
    if choice == "sign":
        changes = [i for i in range(1, len(last)) if last[i].sign != last[i - 1].sign]
        pool = [i for i in changes if last[i].sign is not None]
        if not pool:
            return None
        at = pick(rng, pool)
        digit = last[at].sign
        alike = [i for i in changes if last[i].sign == digit]
        if len(alike) != 1 or not view.near(at) or last[0].sign == digit:
            return None
        return timed(view, "when_changed", phrase(rng, "when_sign", digit=str(digit)), at)
    cuts = [i for i in range(1, len(last)) if last[i].index != last[i - 1].index]
    if len(cuts) != 1 or not view.near(cuts[0]):
        return None
    return timed(view, "when_changed", phrase(rng, "when_cut"), cuts[0])


def ever(view: View, rng: Random) -> DrawnQuestion | None:
    """Whether something was ever there.

    Where the answer is no, the question mostly names what shares a colour or shape with an object
    that was.
    """
    everything = frozenset[Kind]().union(*view.shown)
    wanted = rng.random() < 0.5
    if rng.random() < 0.2:
        return _ever_digit(view, rng, wanted)
    if not wanted:
        missing = absent_thing(rng, everything)
        if missing is None:
            return None
        return DrawnQuestion("ever", phrase(rng, "ever", thing=missing.text), "no")
    gone = everything - view.shown[-1]
    pool = gone if gone and rng.random() < 0.75 else everything
    found = thing(rng, pick(rng, sorted(pool)))
    clips = [i for i, kinds in enumerate(view.shown) if any(found.fits(k) for k in kinds)]
    return DrawnQuestion("ever", phrase(rng, "ever", thing=found.text), "yes", tuple(clips))


def _ever_digit(view: View, rng: Random, wanted: bool) -> DrawnQuestion | None:
    signs = [{s.sign for s in scenes} for scenes in view.scenes]
    shown = {d for group in signs for d in group}
    pool = [d for d in range(10) if (d in shown) == wanted]
    if not pool:
        return None
    digit = pick(rng, pool)
    clips = tuple(i for i, group in enumerate(signs) if digit in group)
    text = phrase(rng, "ever_digit", digit=str(digit))
    return DrawnQuestion("ever", text, "yes" if wanted else "no", clips)


def _counted(family: str, text: str, count: int, at: tuple[int, ...]) -> DrawnQuestion | None:
    if count > MAX_COUNT:
        return None
    accepted = (str(count), "never") if count == 0 else (str(count),)
    return DrawnQuestion(family, text, NUMBER_WORDS[count], at, accepted)


def how_many_times(view: View, rng: Random) -> DrawnQuestion | None:
    """How often the sign or the scene changed, or an object came in; at most six times."""
    if not view.unbroken():
        return None
    choice = pick(rng, ("sign", "cut", "appeared"))
    if choice == "appeared":
        shown = sorted(frozenset[Kind]().union(*view.shown))
        kind = pick(rng, shown) if rng.random() < 0.8 else pick_kind(rng)
        starts = _starts(view, kind)
        if starts is None:
            return None
        text = phrase(rng, "times_appeared", thing=thing_of(kind).text)
        return _counted("how_many_times", text, len(starts), tuple(starts))
    values = [
        (clip, s.sign if choice == "sign" else s.index)
        for clip, group in enumerate(view.scenes)
        for s in group
    ]
    at = [clip for (_, x), (clip, y) in pairwise(values) if x != y]
    return _counted(
        "how_many_times", phrase(rng, f"times_{choice}"), len(at), tuple(sorted(set(at)))
    )


def how_many_so_far(view: View, rng: Random) -> DrawnQuestion | None:
    """How many different shapes, colours, or (colour, shape) kinds of some sort were shown."""
    everything = sorted(frozenset[Kind]().union(*view.shown))
    choice = pick(rng, ("shapes", "colors", "of", "of"))
    if choice == "of":
        kind = pick(rng, everything) if rng.random() < 0.85 else pick_kind(rng)
        words, fits = plural(rng, kind)
        groups: list[set[object]] = [{k for k in kinds if fits(k)} for kinds in view.shown]
        text = phrase(rng, "many_of", plural=words)
    else:
        groups = [{k[choice == "shapes"] for k in kinds} for kinds in view.shown]
        text = phrase(rng, f"many_{choice}")
    known: set[object] = set()
    at = []
    for clip, group in enumerate(groups):
        if group - known:
            at.append(clip)
        known |= group
    return _counted("how_many_so_far", text, len(known), tuple(at))


def unknown(view: View, rng: Random) -> DrawnQuestion | None:
    """A question about what cannot be known: outside the world, or at a time without a clip."""
    if rng.random() < 0.7:
        texts = HELD_OUT if view.seed >= HELD_OUT_SEED else TAUGHT
        return DrawnQuestion("unknown", pick(rng, texts), CANNOT_TELL)
    first, last = view.second(0), view.second(len(view) - 1)
    second = last + 5 + below(rng, 600)
    if first > 10 and rng.random() < 0.5:
        second = below(rng, first - 5)
    kind = pick_kind(rng)
    prop = pick(rng, ("color", "shape", "digit", "count", "place"))
    ref = {"color": f"the {kind[1]}", "shape": f"the {kind[0]} object"}.get(prop, f"the {kind[1]}")
    text = phrase(rng, f"at_time_{prop}", ref=ref, at=time_answer(second))
    return DrawnQuestion("unknown", text, CANNOT_TELL)
