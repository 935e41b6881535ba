"""An endless drawn world with exact ground truth, the same for the same seed, at any time.

    world = World(seed=7)
    scene = world.state_at(36_000.0)     # O(1): only the scene that holds this time is rolled
    world.events(0.0, 60.0)              # every change in the first minute

Time is cut into scenes of 15 to 33 seconds. A scene is rolled from `mix(seed, index)` alone, so
that hours can be skipped. Inside a scene objects appear, leave, change colour, start and stop
moving, and the sign changes; events lie at least 1.2 s apart. Resting objects always lie close to
one of five places; moving ones travel in straight legs from place to place, and no path leads
through another object or over the sign. At most one object of a colour and shape is there at once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass
from math import floor

from onlooker.demo_model.rolling import (
    COLOR_NAMES,
    MAX_OBJECTS,
    PLACE_NAMES,
    Background,
    Roll,
    Roller,
    Step,
    Track,
    position,
    scene_start_ms,
    velocity,
)
from onlooker.demo_model.table import SCENE_MS, SIZES

__all__ = [
    "COLOR_NAMES",
    "MAX_OBJECTS",
    "PLACE_NAMES",
    "Background",
    "Event",
    "Obj",
    "Scene",
    "World",
]

CACHED_SCENES = 64
"""How many rolled scenes a world keeps; a dropped one is rolled again when it is needed."""
MAX_TIME_S = 10_000_000.0


@dataclass(frozen=True, slots=True)
class Obj:
    """One object at one moment. x, y in [0, 1] (right, down); vx, vy in frame lengths a second."""

    ident: int
    color: str
    shape: str
    size: str
    x: float
    y: float
    moving: bool
    vx: float
    vy: float

    @property
    def radius(self) -> float:
        """The object's radius as a fraction of the shorter side of the frame."""
        return SIZES[self.size]

    @property
    def place(self) -> str:
        """Its place: left, right, top, bottom or middle; clear-cut for resting objects only."""
        dx, dy = self.x - 0.5, self.y - 0.5
        if abs(dx) < 0.165 and abs(dy) < 0.165:
            return "middle"
        if abs(dx) > abs(dy):
            return "left" if dx < 0 else "right"
        return "top" if dy < 0 else "bottom"

    @property
    def kind(self) -> tuple[str, str]:
        """(colour, shape): unique among the objects of one moment."""
        return self.color, self.shape


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything there is to see at one moment."""

    objects: tuple[Obj, ...]
    sign: int | None
    background: Background
    index: int

    def content(self) -> tuple[object, ...]:
        """What counts as a change when it differs: not positions of things that keep moving."""
        things = sorted((o.color, o.shape, o.size, o.moving, o.ident) for o in self.objects)
        return self.index, self.sign, tuple(things)


@dataclass(frozen=True, slots=True)
class Event:
    """A change at `t` seconds; its kind is appear, leave, color, start, stop, sign or cut."""

    t: float
    kind: str
    before: Obj | None = None
    after: Obj | None = None
    sign_before: int | None = None
    sign_after: int | None = None


def _obj(track: Track, ms: float) -> Obj:
    x, y = position(track.path, ms)
    vx, vy = velocity(track.path, ms)
    moving = len(track.path) > 1 and ms < track.path[-1][0]
    return Obj(track.ident, track.color, track.shape, track.size, x, y, moving, vx, vy)


def _milliseconds(t_s: float) -> float:
    """A time in ms; one that is whole but for rounding is made whole, so that events hit theirs."""
    ms = t_s * 1000.0
    whole = float(floor(ms + 0.5))
    return whole if abs(ms - whole) < 1e-5 else ms


class World:
    """The world of one seed (0 to 2**32 - 1). Cheap to make; keeps a few rolled scenes."""

    def __init__(self, seed: int) -> None:
        if not 0 <= seed < 2**32:
            raise ValueError(f"a world's seed is a whole number from 0 to 2**32 - 1, not {seed}")
        self.seed = seed
        self._rolls: OrderedDict[int, Roll] = OrderedDict()

    def _index_at(self, ms: float) -> int:
        index = int(ms // SCENE_MS)
        return index - 1 if ms < scene_start_ms(self.seed, index) else index

    def _roll(self, index: int) -> Roll:
        roll = self._rolls.get(index)
        if roll is None:
            roll = Roller(self.seed, index).roll()
            self._rolls[index] = roll
            if len(self._rolls) > CACHED_SCENES:
                self._rolls.popitem(last=False)
        return roll

    def state_at(self, t_s: float) -> Scene:
        """What is true at `t_s` seconds (0 to ten million)."""
        if not 0.0 <= t_s <= MAX_TIME_S:
            raise ValueError(f"a world's time goes from 0 to {MAX_TIME_S:.0f} seconds, not {t_s}")
        ms = _milliseconds(t_s)
        roll = self._roll(self._index_at(ms))
        step = roll.steps[bisect_right(roll.times, ms) - 1]
        objects = tuple(_obj(track, ms) for track in step.tracks)
        return Scene(objects, step.sign, roll.background, roll.number)

    def events(self, t0: float, t1: float) -> list[Event]:
        """Every change at a time in [t0, t1), oldest first. The world's first scene is no cut."""
        if t1 <= t0:
            return []
        start, end = _milliseconds(max(t0, 0.0)), _milliseconds(min(t1, MAX_TIME_S))
        first, last = self._index_at(start), self._index_at(end)
        found = []
        for index in range(first, last + 1):
            steps = self._roll(index).steps
            for number, step in enumerate(steps):
                if start <= step.ms < end and (index or number):
                    found.append(self._event(steps[number - 1] if number else None, step))
        return found

    @staticmethod
    def _event(before: Step | None, step: Step) -> Event:
        t = step.ms / 1000.0
        if before is None:
            return Event(t, "cut")
        old = next((_obj(k, step.ms - 1) for k in before.tracks if k.ident == step.changed), None)
        new = next((_obj(k, step.ms) for k in step.tracks if k.ident == step.changed), None)
        return Event(t, step.kind, old, new, before.sign, step.sign)
