"""What a run of clips shows: the ground truth that questions are asked about.

Only what the frames of the given clips show counts. What the world did between two clips, or in
clips that were left out, is not known here, so no question can depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from onlooker.demo_model.world import Obj, Scene, World

T = TypeVar("T")

CLEARLY_MOVED = 0.035
"""How far an object that clearly moved went between the frames of a clip, in unit lengths. Less
than this but more than CLEARLY_STILL is not asked about."""
CLEARLY_STILL = 0.004
NEAR_S = 2.1
"""Clips whose stamps are further apart than this are not neighbours: what changed in between is not
'just now'."""


class Random(Protocol):
    """The method that `random.Random` and `numpy.random.Generator` both have."""

    def random(self) -> float: ...


def below(rng: Random, n: int) -> int:
    """A random whole number in [0, n)."""
    return min(int(rng.random() * n), n - 1)


def pick(rng: Random, options: Sequence[T]) -> T:
    """One of the options, each as likely as the others."""
    return options[below(rng, len(options))]


def shuffled(rng: Random, options: Sequence[T]) -> list[T]:
    """The options in random order."""
    rest, out = list(options), []
    while rest:
        out.append(rest.pop(below(rng, len(rest))))
    return out


@dataclass(frozen=True, slots=True)
class DrawnClip:
    """A few frames that the model sees as one: its stamp and the times its frames were taken."""

    t_s: float
    frame_times: tuple[float, ...]


def clip_at(t_s: float, gap_s: float = 0.5) -> DrawnClip:
    """A clip of two frames, `gap_s` apart, stamped with their mean as Qwen3-VL stamps it."""
    return DrawnClip(t_s, (max(t_s - gap_s / 2, 0.0), t_s + gap_s / 2))


class View:
    """Clips in order, with the state of the world at each of their frames."""

    def __init__(self, world: World, clips: Sequence[DrawnClip]) -> None:
        if not clips:
            raise ValueError("a view needs at least one clip")
        self.seed = world.seed
        self.stamps = tuple(float(f"{clip.t_s:.1f}") for clip in clips)
        self.scenes = tuple(tuple(world.state_at(t) for t in c.frame_times) for c in clips)
        self.shown = tuple(
            frozenset(o.kind for scene in scenes for o in scene.objects) for scenes in self.scenes
        )

    def __len__(self) -> int:
        return len(self.stamps)

    def prefix(self, count: int) -> View:
        """What was known when only the first `count` clips had been seen."""
        view = View.__new__(View)
        view.seed = self.seed
        view.stamps = self.stamps[:count]
        view.scenes = self.scenes[:count]
        view.shown = self.shown[:count]
        return view

    def last(self, at: int) -> Scene:
        """What the last frame of a clip shows."""
        return self.scenes[at][-1]

    def second(self, at: int) -> int:
        """The whole second that a clip's stamp lies in."""
        return int(self.stamps[at])

    def within(self, second: int) -> tuple[int, ...]:
        """All clips whose stamps lie in one second."""
        return tuple(i for i, stamp in enumerate(self.stamps) if int(stamp) == second)

    def agreed(self, at: Sequence[int], read: Callable[[Scene], T | None]) -> T | None:
        """What `read` finds in every frame of these clips; None when frames differ or it fails."""
        values = {read(scene) for i in at for scene in self.scenes[i]}
        return values.pop() if len(values) == 1 else None

    def near(self, at: int) -> bool:
        """Whether the clip before this one is its neighbour in time."""
        return at > 0 and self.stamps[at] - self.stamps[at - 1] <= NEAR_S

    def unbroken(self) -> bool:
        """Whether every clip is the neighbour in time of the one before."""
        return all(self.near(i) for i in range(1, len(self)))

    def moved(self, at: int, ident: int) -> bool | None:
        """Whether the clip shows an object moving; None where that is not clear to see."""
        found = [o for scene in self.scenes[at] for o in scene.objects if o.ident == ident]
        if len(found) < 2 or len(found) < len(self.scenes[at]):
            return None
        way = _distance(found[0], found[-1])
        if way <= CLEARLY_STILL and not any(o.moving for o in found):
            return False
        if way >= CLEARLY_MOVED and all(o.moving for o in found):
            return True
        return None

    def events(self, at: int) -> int:
        """How many things differ between the end of the clip before and the end of this one."""
        return len(differences(self.last(at - 1), self.last(at))) if at else 0


def _distance(a: Obj, b: Obj) -> float:
    return max(abs(a.x - b.x), abs(a.y - b.y))


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs; its kind is cut, appear, leave, color, sign, start or stop."""

    kind: str
    before: Obj | None = None
    after: Obj | None = None
    sign: int | None = None


def differences(before: Scene, after: Scene) -> list[Difference]:
    """What differs between two moments, in a fixed order; a cut hides everything else."""
    if before.index != after.index:
        return [Difference("cut")]
    old = {o.ident: o for o in before.objects}
    new = {o.ident: o for o in after.objects}
    found = [Difference("leave", before=o) for i, o in old.items() if i not in new]
    found += [Difference("appear", after=o) for i, o in new.items() if i not in old]
    for ident in sorted(old.keys() & new.keys()):
        a, b = old[ident], new[ident]
        if a.color != b.color:
            found.append(Difference("color", a, b))
        if a.moving != b.moving:
            found.append(Difference("start" if b.moving else "stop", a, b))
    if before.sign != after.sign:
        found.append(Difference("sign", sign=after.sign))
    return found
