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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

from onlooker.demo_model.table import (
    COLORS,
    JITTER,
    MIN_GAP_MS,
    PLACES,
    SCENE_JITTER_MS,
    SCENE_MS,
    SHAPES,
    SIGN_HEIGHT,
    SIGN_MARGIN,
    SIGN_WIDTH,
    SIZES,
    SPEED,
    TILTS,
    TONES,
    Rng,
    mix,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COLOR_NAMES = tuple(COLORS)
PLACE_NAMES = tuple(PLACES)
MAX_OBJECTS = 3
CACHED_SCENES = 64
"""Rolled scenes a world keeps; the oldest is rolled again when it is needed again."""
MAX_TIME_S = 10_000_000.0

Path = tuple[tuple[int, float, float], ...]
"""Where an object is: (ms, x, y) corner points, travelled at constant speed; one point: at rest."""


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
        """As a fraction of the shorter side of the frame."""
        return SIZES[self.size]

    @property
    def place(self) -> str:
        """left, right, top, bottom or middle; clear-cut for resting objects only."""
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
class Background:
    """A dull tone, the direction it brightens in, and the seed of its texture."""

    tone: int
    tilt: int
    grain: int


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
    """A change at `t` seconds. kind: appear, leave, color, start, stop, sign or cut."""

    t: float
    kind: str
    before: Obj | None = None
    after: Obj | None = None
    sign_before: int | None = None
    sign_after: int | None = None


class _Track(NamedTuple):
    ident: int
    color: str
    shape: str
    size: str
    path: Path

    def stops_ms(self) -> int | None:
        return self.path[-1][0] if len(self.path) > 1 else None


class _Step(NamedTuple):
    ms: int
    kind: str
    tracks: tuple[_Track, ...]
    sign: int | None
    changed: int


class _Roll(NamedTuple):
    """One scene: its background and what holds after each of its events."""

    index: int
    background: Background
    times: tuple[int, ...]
    steps: tuple[_Step, ...]


def position(path: Path, ms: float) -> tuple[float, float]:
    """(x, y) on a path; before its start and after its end the object stands at that end."""
    for (t0, x0, y0), (t1, x1, y1) in pairwise(path):
        if ms < t1:
            part = (ms - t0) / (t1 - t0)
            if part < 0.0:
                part = 0.0
            return x0 + (x1 - x0) * part, y0 + (y1 - y0) * part
    return path[-1][1], path[-1][2]


def _velocity(path: Path, ms: float) -> tuple[float, float]:
    for (t0, x0, y0), (t1, x1, y1) in pairwise(path):
        if ms < t1:
            return (x1 - x0) * 1000.0 / (t1 - t0), (y1 - y0) * 1000.0 / (t1 - t0)
    return 0.0, 0.0


def _obj(track: _Track, ms: float) -> Obj:
    x, y = position(track.path, ms)
    vx, vy = _velocity(track.path, ms)
    moving = len(track.path) > 1 and ms < track.path[-1][0]
    return Obj(track.ident, track.color, track.shape, track.size, x, y, moving, vx, vy)


def _over_sign(path: Path, radius: float, start_ms: int) -> bool:
    for ms in range(start_ms, path[-1][0] + 100, 100):
        x, y = position(path, ms)
        dx = max(1.0 - SIGN_MARGIN - SIGN_WIDTH - x, 0.0)
        dy = max(y - SIGN_MARGIN - SIGN_HEIGHT, 0.0)
        if dx * dx + dy * dy < radius * radius * 0.99:
            return True
    return False


def _meet(a: Path, ra: float, b: Path, rb: float, start_ms: int) -> bool:
    """Whether two objects would touch at any time from start_ms on."""
    least = (ra + rb - 0.03) * (ra + rb - 0.03)
    for ms in range(start_ms, max(a[-1][0], b[-1][0], start_ms) + 100, 100):
        ax, ay = position(a, ms)
        bx, by = position(b, ms)
        if (ax - bx) * (ax - bx) + (ay - by) * (ay - by) < least:
            return True
    return False


def _rest(rng: Rng, place: str) -> tuple[float, float]:
    x, y = PLACES[place]
    return x + rng.uniform(-JITTER, JITTER), y + rng.uniform(-JITTER, JITTER)


def _nearest(x: float, y: float) -> str:
    return min(PLACE_NAMES, key=lambda p: abs(PLACES[p][0] - x) + abs(PLACES[p][1] - y))


def _taken(tracks: Sequence[_Track]) -> set[str]:
    return {_nearest(t.path[-1][1], t.path[-1][2]) for t in tracks}


def _clear(path: Path, size: str, others: Sequence[_Track], ms: int) -> bool:
    radius = SIZES[size]
    if _over_sign(path, radius, ms):
        return False
    return not any(_meet(path, radius, o.path, SIZES[o.size], ms) for o in others)


def _new_track(rng: Rng, tracks: Sequence[_Track], ms: int, ident: int) -> _Track | None:
    """An object for a free place; three times in four it shares no colour or shape with others."""
    strict = rng.below(4) > 0
    free = [p for p in PLACE_NAMES if p not in _taken(tracks)]
    for _ in range(16):
        color = COLOR_NAMES[rng.below(len(COLOR_NAMES))]
        shape = SHAPES[rng.below(len(SHAPES))]
        size = "large" if rng.below(2) else "small"
        x, y = _rest(rng, free[rng.below(len(free))])
        if any(t.color == color and t.shape == shape for t in tracks):
            continue
        if strict and any(t.color == color or t.shape == shape for t in tracks):
            continue
        if _clear(((ms, x, y),), size, tracks, ms):
            return _Track(ident, color, shape, size, ((ms, x, y),))
    return None


def _new_path(rng: Rng, track: _Track, others: Sequence[_Track], ms: int) -> Path | None:
    """One or two straight legs to a free place; they touch nothing and end at their own time."""
    taken = _taken(others)
    stops = [s for s in (o.stops_ms() for o in others) if s is not None]
    x0, y0 = track.path[-1][1], track.path[-1][2]
    for _ in range(12):
        points = [(ms, x0, y0)]
        visited = [_nearest(x0, y0)]
        speed = rng.uniform(SPEED[0], SPEED[1])
        for _leg in range(1 + rng.below(2)):
            place = PLACE_NAMES[rng.below(len(PLACE_NAMES))]
            x, y = _rest(rng, place)
            if place in visited:
                break
            last_ms, last_x, last_y = points[-1]
            dx, dy = x - last_x, y - last_y
            length = sqrt(dx * dx + dy * dy)
            points.append((last_ms + int(length * 1000.0 / speed), x, y))
            visited.append(place)
        path = tuple(points)
        if len(path) < 2 or visited[-1] in taken:
            continue
        if any(abs(path[-1][0] - stop) < MIN_GAP_MS for stop in stops):
            continue
        if _clear(path, track.size, others, ms):
            return path
    return None


class _Roller:
    """Rolls one scene from its first moment to its last."""

    def __init__(self, seed: int, index: int) -> None:
        self.rng = Rng(mix(seed, index, 1))
        self.ms = scene_start_ms(seed, index)
        self.end = scene_start_ms(seed, index + 1)
        self.index = index
        self.tracks: list[_Track] = []
        self.sign: int | None = None
        self.idents = 0
        self.steps: list[_Step] = []

    def roll(self) -> _Roll:
        rng = self.rng
        tone = rng.below(len(TONES) // 2) * 2 + self.index % 2
        background = Background(tone, rng.below(len(TILTS)), rng.bits())
        for _ in range(1 + rng.below(MAX_OBJECTS)):
            self._appear()
        if not self.tracks:  # cannot happen on an empty frame, but a scene is never empty
            self.tracks.append(_Track(0, "red", "circle", "large", ((self.ms, 0.5, 0.5),)))
        if rng.below(5) > 1:
            self.sign = rng.below(10)
        self._note("cut", -1)
        while self._step():
            pass
        times = tuple(step.ms for step in self.steps)
        return _Roll(self.index, background, times, tuple(self.steps))

    def _note(self, kind: str, changed: int) -> None:
        self.steps.append(_Step(self.ms, kind, tuple(self.tracks), self.sign, changed))

    def _step(self) -> bool:
        rng = self.rng
        gap = 4000 + rng.below(4000) if rng.below(10) < 3 else MIN_GAP_MS + rng.below(1800)
        stops = [t.path[-1][0] for t in self.tracks if len(t.path) > 1]
        due = self.ms + gap
        stop = min(stops) if stops else None
        if stop is not None and due > stop - MIN_GAP_MS:
            due = stop
        if due > self.end - MIN_GAP_MS:
            return False
        self.ms = due
        if due == stop:
            at = next(i for i, t in enumerate(self.tracks) if t.stops_ms() == stop)
            track = self.tracks[at]
            self.tracks[at] = track._replace(path=(track.path[-1],))
            self._note("stop", track.ident)
        else:
            self._change()
        return True

    def _change(self) -> None:
        """One change of a random sort; the sign when that sort is not possible now."""
        pick = self.rng.below(12)
        if pick < 3 and len(self.tracks) < MAX_OBJECTS and self._appear():
            self._note("appear", self.tracks[-1].ident)
        elif 3 <= pick < 5 and len(self.tracks) > 1:
            gone = self.tracks.pop(self.rng.below(len(self.tracks)))
            self._note("leave", gone.ident)
        elif 5 <= pick < 7:
            self._recolor()
        elif not (7 <= pick < 10 and self._start()):
            self._change_sign()

    def _appear(self) -> bool:
        track = _new_track(self.rng, self.tracks, self.ms, self.idents)
        if track is None:
            return False
        self.idents += 1
        self.tracks.append(track)
        return True

    def _recolor(self) -> None:
        at = self.rng.below(len(self.tracks))
        track = self.tracks[at]
        used = {t.color for t in self.tracks}
        free = [c for c in COLOR_NAMES if c not in used]
        self.tracks[at] = track._replace(color=free[self.rng.below(len(free))])
        self._note("color", track.ident)

    def _start(self) -> bool:
        still = [i for i, t in enumerate(self.tracks) if len(t.path) == 1]
        if not still:
            return False
        at = still[self.rng.below(len(still))]
        others = self.tracks[:at] + self.tracks[at + 1 :]
        path = _new_path(self.rng, self.tracks[at], others, self.ms)
        if path is None:
            return False
        self.tracks[at] = self.tracks[at]._replace(path=path)
        self._note("start", self.tracks[at].ident)
        return True

    def _change_sign(self) -> None:
        """Another digit; once in five, no sign."""
        if self.sign is not None and self.rng.below(5) == 0:
            self.sign = None
        else:
            old = self.sign
            self.sign = self.rng.below(10 if old is None else 9)
            if old is not None and self.sign >= old:
                self.sign += 1
        self._note("sign", -1)


def scene_start_ms(seed: int, index: int) -> int:
    """When a scene starts, without looking at any other."""
    if index == 0:
        return 0
    return index * SCENE_MS + Rng(mix(seed, index, 0)).below(SCENE_JITTER_MS)


class World:
    """The world of one seed (0 to 2**32 - 1). Cheap to make; keeps a few rolled scenes."""

    def __init__(self, seed: int) -> None:
        if not 0 <= seed < 2**32:
            raise ValueError(f"a world's seed is a whole number from 0 to 2**32 - 1, not {seed}")
        self.seed = seed
        self._rolls: OrderedDict[int, _Roll] = OrderedDict()

    def _index_at(self, ms: float) -> int:
        index = int(ms // SCENE_MS)
        return index - 1 if ms < scene_start_ms(self.seed, index) else index

    def _roll(self, index: int) -> _Roll:
        roll = self._rolls.get(index)
        if roll is None:
            roll = _Roller(self.seed, index).roll()
            self._rolls[index] = roll
            if len(self._rolls) > CACHED_SCENES:
                self._rolls.popitem(last=False)
        return roll

    def state_at(self, t_s: float) -> Scene:
        """What is true at `t_s` seconds (0 to ten million)."""
        if not 0.0 <= t_s <= MAX_TIME_S:
            raise ValueError(f"a world's time goes from 0 to {MAX_TIME_S:.0f} seconds, not {t_s}")
        ms = t_s * 1000.0
        roll = self._roll(self._index_at(ms))
        step = roll.steps[bisect_right(roll.times, ms) - 1]
        objects = tuple(_obj(track, ms) for track in step.tracks)
        return Scene(objects, step.sign, roll.background, roll.index)

    def events(self, t0: float, t1: float) -> list[Event]:
        """Every change at a time in [t0, t1), oldest first. The world's first scene is no cut."""
        if t1 <= t0:
            return []
        first, last = self._index_at(t0 * 1000.0), self._index_at(t1 * 1000.0)
        found = []
        for index in range(first, last + 1):
            steps = self._roll(index).steps
            for number, step in enumerate(steps):
                if t0 * 1000.0 <= step.ms < t1 * 1000.0 and (index or number):
                    found.append(self._event(steps[number - 1] if number else None, step))
        return found

    @staticmethod
    def _event(before: _Step | None, step: _Step) -> Event:
        t = step.ms / 1000.0
        if before is None:
            return Event(t, "cut")
        old = next((_obj(k, step.ms) for k in before.tracks if k.ident == step.changed), None)
        new = next((_obj(k, step.ms) for k in step.tracks if k.ident == step.changed), None)
        return Event(t, step.kind, old, new, before.sign, step.sign)


def frames(
    seed: int,
    fps: float,
    width: int,
    height: int,
    start_s: float = 0.0,
    duration_s: float | None = None,
) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """(t, uint8[height, width, 3]) at a constant rate, endless unless a duration is given.

    Frame n shows the world at start_s + n / fps; t is that time. Pacing is the caller's.
    """
    from onlooker.demo_model.render import render

    if not fps > 0:
        raise ValueError(f"frames a second must be above 0, not {fps}")
    world = World(seed)
    number = 0
    while duration_s is None or number < duration_s * fps - 1e-6:
        t = start_s + number / fps
        yield t, render(world.state_at(t), width, height)
        number += 1
