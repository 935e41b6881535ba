"""Questions about one moment (now, or a given second), and follow-up questions.

Each function looks at some clips of a view and returns a question whose answer is the same in
every frame of those clips, or None when there is no such question.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

from onlooker.demo_model.answers import NUMBER_WORDS, DrawnQuestion
from onlooker.demo_model.phrases import AT_FORMS, PLACE_PHRASES, a
from onlooker.demo_model.table import SHAPES
from onlooker.demo_model.things import (
    Kind,
    Ref,
    absent_thing,
    in_order,
    listing,
    name,
    phrase,
    pick_kind,
    plural,
    refs,
    single,
    thing,
)
from onlooker.demo_model.view import Random, View, below, pick, shuffled
from onlooker.demo_model.world import PLACE_NAMES, Obj, Scene

At = tuple[int, ...]

NO_SIGN = "there is no sign"
_ABSENT = 0.08


def moment(view: View, rng: Random, oldest: int = 0) -> tuple[str, At]:
    """The words for the time of a random clip, and all clips that those words mean."""
    at = oldest + below(rng, len(view) - oldest)
    if rng.random() < 0.3:
        same = tuple(i for i, stamp in enumerate(view.stamps) if stamp == view.stamps[at])
        return pick(rng, AT_FORMS).format(t=f"{view.stamps[at]:.1f}"), same
    second = view.second(at)
    return pick(rng, AT_FORMS).format(t=second), view.within(second)


def value(o: Obj | None, prop: str) -> str | None:
    """The color, shape, place or ident of an object; None without one, and for a mover's place."""
    if o is None or (prop == "place" and o.moving):
        return None
    return {"color": o.color, "shape": o.shape, "place": o.place, "ident": str(o.ident)}[prop]


def reader(ref: Ref, prop: str) -> Callable[[Scene], str | None]:
    """Reads a property of the one object that a name fits."""
    return lambda scene: value(single(scene, ref), prop)


def say(prop: str, found: str) -> tuple[str, tuple[str, ...]]:
    """The answer for a property's value, and other right answers."""
    if prop == "shape":
        return a(found), ()
    if prop == "place":
        bare = PLACE_PHRASES[found].split()[-1]
        return PLACE_PHRASES[found], (bare, f"in the {bare}", f"on the {bare}")
    return found, ()


def about(view: View, at: At, prop: str, rng: Random) -> tuple[Ref, str] | None:
    """The name and the value of an object that can be asked about without doubt in these clips."""
    for o in shuffled(rng, view.last(at[-1]).objects):
        for ref in refs(view, at, o, prop, rng):
            found = view.agreed(at, reader(ref, prop))
            if found is not None:
                return ref, found
    return None


def property_question(
    view: View, at: At, prop: str, family: str, rng: Random, when: str = ""
) -> DrawnQuestion | None:
    """What colour, shape or place an object has; now and then one that is not there."""
    if prop != "shape" and rng.random() < _ABSENT:
        shape = pick(rng, SHAPES)
        if all(o.shape != shape for i in at for s in view.scenes[i] for o in s.objects):
            text = phrase(rng, family, ref=f"the {shape}", at=when)
            return DrawnQuestion(
                family, text, f"there is no {shape}", at, (f"there was no {shape}",)
            )
    found = about(view, at, prop, rng)
    if found is None:
        return None
    answer, accepted = say(prop, found[1])
    return DrawnQuestion(
        family, phrase(rng, family, ref=found[0].text, at=when), answer, at, accepted
    )


def count_question(
    view: View, at: At, family: str, rng: Random, when: str = ""
) -> DrawnQuestion | None:
    """How many objects there are."""
    count = view.agreed(at, lambda s: len(s.objects))
    if count is None:
        return None
    return DrawnQuestion(
        family, phrase(rng, family, at=when), NUMBER_WORDS[count], at, (str(count),)
    )


def digit_question(
    view: View, at: At, family: str, rng: Random, when: str = ""
) -> DrawnQuestion | None:
    """What the sign shows; a missing sign is asked about one time in three."""
    digit = view.agreed(at, lambda s: -1 if s.sign is None else s.sign)
    if digit is None or (digit < 0 and rng.random() < 0.67):
        return None
    return DrawnQuestion(
        family, phrase(rng, family, at=when), *say_digit(digit), at, sign_words(digit)
    )


def say_digit(digit: int) -> tuple[str]:
    """What the sign shows, as an answer; -1: no sign."""
    return (NO_SIGN if digit < 0 else str(digit),)


def sign_words(digit: int) -> tuple[str, ...]:
    """Other right answers for what the sign shows."""
    return ("there was no sign", "no sign") if digit < 0 else (NUMBER_WORDS[digit],)


def now_color(view: View, rng: Random) -> DrawnQuestion | None:
    return property_question(view, (len(view) - 1,), "color", "now_color", rng)


def now_shape(view: View, rng: Random) -> DrawnQuestion | None:
    return property_question(view, (len(view) - 1,), "shape", "now_shape", rng)


def now_digit(view: View, rng: Random) -> DrawnQuestion | None:
    return digit_question(view, (len(view) - 1,), "now_digit", rng)


def now_place(view: View, rng: Random) -> DrawnQuestion | None:
    """Where an object is, or what is at a place."""
    at = (len(view) - 1,)
    if rng.random() < 0.55:
        return property_question(view, at, "place", "now_place", rng)
    if any(o.moving for s in view.scenes[-1] for o in s.objects):
        return None
    used = [o.place for o in view.last(-1).objects]
    free = [p for p in PLACE_NAMES if p not in used]
    place = pick(rng, used if rng.random() < 0.75 else free)
    there = view.agreed(at, lambda s: "".join(name(o.kind) for o in s.objects if o.place == place))
    if there is None:
        return None
    text = phrase(rng, "now_what", place=PLACE_PHRASES[place])
    return DrawnQuestion("now_place", text, a(there) if there else "nothing", at)


def now_count(view: View, rng: Random) -> DrawnQuestion | None:
    """How many objects there are, of any kind or of one kind."""
    at = (len(view) - 1,)
    if rng.random() < 0.6:
        return count_question(view, at, "now_count", rng)
    here = [o.kind for o in view.last(-1).objects]
    words, fits = plural(rng, pick(rng, here) if rng.random() < 0.75 else pick_kind(rng))
    count = view.agreed(at, lambda s: sum(fits(o.kind) for o in s.objects))
    if count is None:
        return None
    text = phrase(rng, "now_count_of", plural=words)
    return DrawnQuestion("now_count", text, NUMBER_WORDS[count], at, (str(count),))


def now_list(view: View, rng: Random) -> DrawnQuestion | None:
    """What objects there are; they may be listed in any order."""
    at = (len(view) - 1,)
    kinds = view.agreed(at, lambda s: tuple(in_order(o.kind for o in s.objects)))
    if kinds is None:
        return None
    return DrawnQuestion("now_list", phrase(rng, "now_list"), listing(kinds), at, _any_order(kinds))


def _any_order(kinds: tuple[Kind, ...]) -> tuple[str, ...]:
    return tuple(listing(order) for order in permutations(kinds))


def now_moving(view: View, rng: Random) -> DrawnQuestion | None:
    """Whether an object moves, or which one does; only when the clip shows it clearly."""
    at = len(view) - 1
    moved = {o.ident: view.moved(at, o.ident) for o in view.last(-1).objects}
    if None in moved.values():
        return None
    movers = tuple(in_order(o.kind for o in view.last(-1).objects if moved[o.ident]))
    if rng.random() < 0.3:
        text = phrase(rng, "now_mover")
        if not movers:
            return DrawnQuestion("now_moving", text, "nothing", (at,))
        return DrawnQuestion("now_moving", text, listing(movers), (at,), _any_order(movers))
    for o in sorted(shuffled(rng, view.last(-1).objects), key=lambda o: not moved[o.ident]):
        if moved[o.ident] or not movers or rng.random() < 0.5:
            for ref in refs(view, (at,), o, "place", rng):
                if view.agreed((at,), reader(ref, "ident")) == str(o.ident):
                    text = phrase(rng, "now_moving", ref=ref.text)
                    return DrawnQuestion(
                        "now_moving", text, "yes" if moved[o.ident] else "no", (at,)
                    )
    return None


def now_exists(view: View, rng: Random) -> DrawnQuestion | None:
    """Whether the newest clip shows an object of some kind."""
    at = (len(view) - 1,)
    kinds = [o.kind for o in view.last(-1).objects]
    found = thing(rng, pick(rng, kinds)) if rng.random() < 0.5 else absent_thing(rng, kinds)
    if found is None:
        return None
    there = view.agreed(at, lambda s: any(found.fits(o.kind) for o in s.objects))
    if there is None:
        return None
    text = phrase(rng, "now_exists", thing=found.text)
    return DrawnQuestion("now_exists", text, "yes" if there else "no", at)


def at_time(prop: str) -> Callable[[View, Random], DrawnQuestion | None]:
    """An asker of questions about a property at a moment that is named in seconds."""
    family = f"at_time_{prop}"

    def asked(view: View, rng: Random) -> DrawnQuestion | None:
        when, at = moment(view, rng)
        if prop == "digit":
            return digit_question(view, at, family, rng, when)
        if prop == "count":
            return count_question(view, at, family, rng, when)
        return property_question(view, at, prop, family, rng, when)

    return asked


def follow_up(view: View, rng: Random) -> DrawnQuestion | None:
    """A second question about the object, or the moment, of the first one."""
    now = rng.random() < 0.5
    when, at = ("", (len(view) - 1,)) if now else moment(view, rng)
    first_prop = pick(rng, ("color", "shape", "place"))
    found = about(view, at, first_prop, rng)
    if found is None:
        return None
    ref, first = found
    family = f"now_{first_prop}" if now else f"at_time_{first_prop}"
    history = ((phrase(rng, family, ref=ref.text, at=when), say(first_prop, first)[0]),)
    if not now and rng.random() < 0.25:
        digit = view.agreed(at, lambda s: -1 if s.sign is None else s.sign)
        if digit is None:
            return None
        text = phrase(rng, "follow_digit")
        return DrawnQuestion("follow_up", text, *say_digit(digit), at, sign_words(digit), history)
    rest = [p for p in ("color", "shape", "place") if p != first_prop and p not in ref.tells]
    for prop in shuffled(rng, rest):
        second = view.agreed(at, reader(ref, prop))
        if second is not None:
            text = phrase(rng, f"follow_{prop}", be="is" if now else "was")
            answer, accepted = say(prop, second)
            return DrawnQuestion("follow_up", text, answer, at, accepted, history)
    return None
