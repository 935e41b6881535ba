"""Rolls one scene of the drawn world: its objects, and everything that happens until the cut.

A scene is a list of steps; each step holds the objects (with the paths they travel) and the sign
from its time on. Objects rest close to one of five places; moving ones travel in straight legs
from place to place, and no path leads through another object or over the sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import NamedTuple

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

COLOR_NAMES = tuple(COLORS)
PLACE_NAMES = tuple(PLACES)
MAX_OBJECTS = 3

Path = tuple[tuple[int, float, float], ...]
"""Where an object is: corner points (ms, x, y), travelled at constant speed; one point: at rest."""


@dataclass(frozen=True, slots=True)
class Background:
    """A dull tone and the direction in which it brightens, as indices of `TONES` and `TILTS`, and
    the seed of its texture."""

    tone: int
    tilt: int
    grain: int


class Track(NamedTuple):
    """An object and the path it travels, from one step of its scene to the next."""

    ident: int
    color: str
    shape: str
    size: str
    path: Path

    def stops_ms(self) -> int | None:
        """When the object comes to rest; None if it is at rest."""
        return self.path[-1][0] if len(self.path) > 1 else None


class Step(NamedTuple):
    """What holds from `ms` on, the kind of event that brought it, and the object that changed (-1:
    none)."""

    ms: int
    kind: str
    tracks: tuple[Track, ...]
    sign: int | None
    changed: int


class Roll(NamedTuple):
    """One scene: its background and what holds after each of its events."""

    number: int
    background: Background
    times: tuple[int, ...]
    steps: tuple[Step, ...]


def position(path: Path, ms: float) -> tuple[float, float]:
    """(x, y) on a path; before its start and after its end the object stands at that end."""
    for (t0, x0, y0), (t1, x1, y1) in pairwise(path):
        if ms < t1:
            part = (ms - t0) / (t1 - t0)
            if part < 0.0:
                part = 0.0
            return x0 + (x1 - x0) * part, y0 + (y1 - y0) * part
    return path[-1][1], path[-1][2]


def velocity(path: Path, ms: float) -> tuple[float, float]:
    """(vx, vy) on a path, in unit lengths a second."""
    for (t0, x0, y0), (t1, x1, y1) in pairwise(path):
        if ms < t1:
            return (x1 - x0) * 1000.0 / (t1 - t0), (y1 - y0) * 1000.0 / (t1 - t0)
    return 0.0, 0.0


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


def _taken(tracks: Sequence[Track]) -> set[str]:
    return {_nearest(t.path[-1][1], t.path[-1][2]) for t in tracks}


def _clear(path: Path, size: str, others: Sequence[Track], ms: int) -> bool:
    radius = SIZES[size]
    if _over_sign(path, radius, ms):
        return False
    return not any(_meet(path, radius, o.path, SIZES[o.size], ms) for o in others)


def _new_track(rng: Rng, tracks: Sequence[Track], ms: int, ident: int) -> Track | None:
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
            return Track(ident, color, shape, size, ((ms, x, y),))
    return None


def _new_path(rng: Rng, track: Track, others: Sequence[Track], ms: int, end: int) -> Path | None:
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
        stop = path[-1][0]
        if end - MIN_GAP_MS < stop < end or any(abs(stop - s) < MIN_GAP_MS for s in stops):
            continue
        if _clear(path, track.size, others, ms):
            return path
    return None


class Roller:
    """Rolls one scene from its first moment to its last."""

    def __init__(self, seed: int, index: int) -> None:
        self.rng = Rng(mix(seed, index, 1))
        self.ms = scene_start_ms(seed, index)
        self.end = scene_start_ms(seed, index + 1)
        self.index = index
        self.tracks: list[Track] = []
        self.sign: int | None = None
        self.idents = 0
        self.steps: list[Step] = []

    def roll(self) -> Roll:
        """The whole scene."""
        rng = self.rng
        tone = rng.below(len(TONES) // 2) * 2 + self.index % 2
        background = Background(tone, rng.below(len(TILTS)), rng.bits())
        for _ in range(1 + rng.below(MAX_OBJECTS)):
            self._appear()
        if not self.tracks:  # cannot happen on an empty frame, but a scene is never empty
            self.tracks.append(Track(0, "red", "circle", "large", ((self.ms, 0.5, 0.5),)))
        if rng.below(5) > 1:
            self.sign = rng.below(10)
        self._note("cut", -1)
        while self._step():
            pass
        times = tuple(step.ms for step in self.steps)
        return Roll(self.index, background, times, tuple(self.steps))

    def _note(self, kind: str, changed: int) -> None:
        self.steps.append(Step(self.ms, kind, tuple(self.tracks), self.sign, changed))

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
        """Make one change of a random sort; change the sign if that sort is not possible now."""
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
        path = _new_path(self.rng, self.tracks[at], others, self.ms, self.end)
        if path is None:
            return False
        self.tracks[at] = self.tracks[at]._replace(path=path)
        self._note("start", self.tracks[at].ident)
        return True

    def _change_sign(self) -> None:
        """Put another digit on the sign, or take the sign away (one time in five)."""
        if self.sign is not None and self.rng.below(5) == 0:
            self.sign = None
        else:
            old = self.sign
            self.sign = self.rng.below(10 if old is None else 9)
            if old is not None and self.sign >= old:
                self.sign += 1
        self._note("sign", -1)


def scene_start_ms(seed: int, index: int) -> int:
    """The time at which a scene starts, computed without looking at any other scene."""
    if index == 0:
        return 0
    return index * SCENE_MS + Rng(mix(seed, index, 0)).below(SCENE_JITTER_MS)
