"""How an object is named in a question, and which objects a name fits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from onlooker.demo_model.phrases import OBJECT_NOUNS, PHRASES, PLACE_PHRASES, PLURALS, a
from onlooker.demo_model.table import COLORS, SHAPES
from onlooker.demo_model.view import Random, View, pick, shuffled
from onlooker.demo_model.world import COLOR_NAMES, Obj, Scene

Kind = tuple[str, str]
ALL_KINDS: tuple[Kind, ...] = tuple((c, s) for c in COLORS for s in SHAPES)


@dataclass(frozen=True, slots=True)
class Ref:
    """A definite name ("the red circle"), the objects it fits, and the properties it gives away."""

    text: str
    fits: Callable[[Obj], bool]
    tells: frozenset[str]


@dataclass(frozen=True, slots=True)
class Thing:
    """An indefinite name ("a red circle", "something red") and the kinds that it fits."""

    text: str
    fits: Callable[[Kind], bool]
    kind: str


def name(kind: Kind) -> str:
    """The words for a kind, such as "red circle"."""
    return f"{kind[0]} {kind[1]}"


def phrase(rng: Random, family: str, **words: str) -> str:
    """A question of a family in one of its phrasings, with a capital first letter."""
    text = pick(rng, PHRASES[family]).format(**words)
    return text[0].upper() + text[1:]


def single(scene: Scene, ref: Ref) -> Obj | None:
    """The one object a name fits, or None when it fits none or several."""
    found = [o for o in scene.objects if ref.fits(o)]
    return found[0] if len(found) == 1 else None


def refs(view: View, at: Sequence[int], o: Obj, hide: str, rng: Random) -> list[Ref]:
    """Names for an object that do not tell its property `hide`, in random order.

    A name by place is given only when nothing moves, a name without properties only when the
    object is alone.
    """
    noun = pick(rng, OBJECT_NOUNS)
    scenes = [scene for i in at for scene in view.scenes[i]]
    options = [
        Ref(f"the {o.shape}", lambda x: x.shape == o.shape, frozenset({"shape"})),
        Ref(f"the {o.color} {noun}", lambda x: x.color == o.color, frozenset({"color"})),
        Ref(f"the {name(o.kind)}", lambda x: x.kind == o.kind, frozenset({"color", "shape"})),
    ]
    if not any(x.moving for scene in scenes for x in scene.objects):
        where = PLACE_PHRASES[o.place]
        options.append(
            Ref(f"the {noun} {where}", lambda x: x.place == o.place, frozenset({"place"}))
        )
    if all(len(scene.objects) == 1 for scene in scenes):
        options.append(Ref(f"the {pick(rng, ('object', 'shape'))}", lambda _: True, frozenset()))
    return shuffled(rng, [ref for ref in options if hide not in ref.tells])


def thing(rng: Random, kind: Kind) -> Thing:
    """A name that fits a kind: by both properties half of the time, else by one."""
    color, shape = kind
    choice = rng.random()
    if choice < 0.5:
        return Thing(a(name(kind)), lambda k: k == kind, name(kind))
    if choice < 0.75:
        return Thing(a(shape), lambda k: k[1] == shape, shape)
    if choice < 0.9:
        return Thing(a(f"{color} object"), lambda k: k[0] == color, f"{color} object")
    return Thing(f"something {color}", lambda k: k[0] == color, f"{color} object")


def thing_of(kind: Kind) -> Thing:
    """The full name of a kind."""
    return Thing(a(name(kind)), lambda k: k == kind, name(kind))


def absent_thing(rng: Random, present: Iterable[Kind]) -> Thing | None:
    """A name that fits none of `present`, but mostly shares a colour or shape with one of them."""
    there = sorted(present)
    for _ in range(12):
        kind = similar(rng, pick(rng, there)) if there and rng.random() < 0.8 else pick_kind(rng)
        found = thing(rng, kind)
        if not any(found.fits(k) for k in there):
            return found
    return None


def pick_kind(rng: Random) -> Kind:
    """A random colour and shape."""
    return pick(rng, ALL_KINDS)


def similar(rng: Random, kind: Kind) -> Kind:
    """A kind of another colour and the same shape, or of another shape and the same colour."""
    if rng.random() < 0.5:
        return pick(rng, [c for c in COLOR_NAMES if c != kind[0]]), kind[1]
    return kind[0], pick(rng, [s for s in SHAPES if s != kind[1]])


def plural(rng: Random, kind: Kind) -> tuple[str, Callable[[Kind], bool]]:
    """A plural name such as "circles" or "red objects", and a test whether it fits a kind."""
    if rng.random() < 0.5:
        return PLURALS[kind[1]], lambda k: k[1] == kind[1]
    return f"{kind[0]} {pick(rng, ('objects', 'shapes', 'things'))}", lambda k: k[0] == kind[0]


def listing(kinds: Sequence[Kind]) -> str:
    """The kinds as a list: "a red circle, a blue star and a green cross", in the order given."""
    names = [a(name(kind)) for kind in kinds]
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def in_order(kinds: Iterable[Kind]) -> list[Kind]:
    """Kinds in the order answers list them: by colour, then shape, as the tables have them."""
    return sorted(kinds, key=lambda k: (COLOR_NAMES.index(k[0]), SHAPES.index(k[1])))
