"""Who stands on which rung of quality: all fall together, and rise together.

A controller with two thresholds: above the upper one quality falls, below the lower one it rises
after a calm time, between them nothing moves. ApproxDet (SenSys '20) picks a branch per video from
a latency model; here the rungs are ordered and the streams of a server share the loss.
"""

import math
from collections import Counter
from dataclasses import dataclass

from onlooker.scheduler.quality import RUNGS, Quality
from onlooker.scheduler.slo import Tier

LEAD = {Tier.BACKGROUND: 2, Tier.STANDARD: 1, Tier.INTERACTIVE: 0}
"""Rungs that a tier goes down before interactive streams go down one."""

MELTING = 0.95
"""A backlog that is so much of what it was a `step_down_s` ago is melting away."""

UP_SHARE = 0.25
"""Share of the streams that rise at a time: what comes of it is seen before the next rise."""


@dataclass(slots=True)
class _Standing:
    tier: Tier
    tenant: str
    level: int = 0


class Ladder:
    """The rungs of all streams of one server.

    Args:
        target_load: below it quality rises; above the middle between it and 1 it falls.
        step_down_s: time between two falls.
        step_up_s: calm time before a rise.
    """

    def __init__(
        self,
        *,
        target_load: float,
        step_down_s: float,
        step_up_s: float,
        rungs: tuple[Quality, ...] = RUNGS,
    ) -> None:
        self._low = target_load
        self._high = (1 + target_load) / 2
        self._step_down_s, self._step_up_s = step_down_s, step_up_s
        self._rungs = rungs
        self._standings: dict[str, _Standing] = {}
        self._changed_at_s = -math.inf
        self._busy_at_s = -math.inf
        self._backlog = 0.0
        """At the last fall, or look at it."""

    def join(self, stream: str, tier: Tier, tenant: str = "") -> Quality:
        """A stream begins, on the rung of its equals."""
        equals = [s.level for s in self._standings.values() if s.tier is tier]
        standing = _Standing(tier, tenant, min(equals, default=0))
        self._standings[stream] = standing
        return self._rungs[standing.level]

    def leave(self, stream: str) -> None:
        """A stream has ended. Unknown ones are ignored."""
        self._standings.pop(stream, None)

    def quality(self, stream: str) -> Quality:
        """The rung of a stream."""
        return self._rungs[self._standings[stream].level]

    def levels(self) -> Counter[int]:
        """How many streams stand on each rung."""
        return Counter(standing.level for standing in self._standings.values())

    @property
    def is_at_bottom(self) -> bool:
        """Whether nothing is left to give way."""
        bottom = len(self._rungs) - 1
        return all(standing.level == bottom for standing in self._standings.values())

    def update(self, load: float, now_s: float, *, backlog: float = 0.0) -> dict[str, Quality]:
        """Take the load (1 is all that the engine can do; more when work queues up).

        `backlog`: frames that wait, in all. While it melts away quality does not fall further: what
        piled up before keeps the engine busy for a while.

        Returns the streams whose rung has changed.
        """
        if load >= self._low:
            self._busy_at_s = now_s
        if load > self._high:
            if now_s - self._changed_at_s >= self._step_down_s:
                before, self._backlog = self._backlog, backlog
                if backlog < MELTING * before:
                    self._changed_at_s = now_s
                    return {}
                excess = (load - self._high) / (1 - self._high)
                return self._move(+1, min(1.0, max(0.1, excess)), now_s)
        elif load < self._low:
            calm_s = now_s - max(self._busy_at_s, self._changed_at_s)
            if calm_s >= self._step_up_s:
                return self._move(-1, UP_SHARE, now_s)
        return {}

    def _move(self, direction: int, share: float, now_s: float) -> dict[str, Quality]:
        """Move a share of the streams one rung: the best off fall, the worst off rise."""
        bottom = len(self._rungs) - 1
        movable = [
            (name, standing)
            for name, standing in self._in_turn()
            if 0 <= standing.level + direction <= bottom
        ]
        # Stable: within a rank, tenants take turns.
        movable.sort(key=lambda pair: direction * (pair[1].level - LEAD[pair[1].tier]))
        chosen = movable[: math.ceil(share * len(self._standings))]
        for _, standing in chosen:
            standing.level += direction
        if chosen:
            self._changed_at_s = now_s
        return {name: self._rungs[standing.level] for name, standing in chosen}

    def _in_turn(self) -> list[tuple[str, _Standing]]:
        """All streams, so that any first part of the list takes an equal share of each tenant."""
        sizes = Counter(standing.tenant for standing in self._standings.values())
        met: Counter[str] = Counter()
        placed = []
        for name, standing in self._standings.items():
            place = (met[standing.tenant] + 0.5) / sizes[standing.tenant]
            met[standing.tenant] += 1
            placed.append((place, name, standing))
        placed.sort(key=lambda entry: entry[:2])
        return [(name, standing) for _, name, standing in placed]
