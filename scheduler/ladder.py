"""Who stands on which rung of quality: all fall together, and rise together; but tenants with much
fall first.

Two ways of control, ahead and back. Ahead: where it is known what streams offer and what their work
costs, quality falls at once, and as many rungs as it takes, when the load to come is over the upper
threshold. Back: by the load that is measured, one step at a time, in case the forecast errs or
there is none. Quality rises after a calm time only, and the calm has to last longer each time that
a rise was followed by a fall. Between the thresholds nothing moves.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from onlooker.scheduler.forecast import Demand, Prices, Work
from onlooker.scheduler.quality import RUNGS, Quality
from onlooker.scheduler.slo import Tier

LEAD = {Tier.BACKGROUND: 2, Tier.STANDARD: 1, Tier.INTERACTIVE: 0}
"""Rungs that a tier goes down before interactive streams go down one."""

MOST_AHEAD = 3
"""Rungs that a tenant goes down before others do, at most, because it uses much; and after them,
because it uses little."""

MELTING = 0.95
"""A backlog that is less than this share of what it was at the last look is melting away."""

UP_SHARE = 0.25
"""Share of the streams that rise at a time where there is no forecast: what comes of it is seen
before the next rise."""

MOST_PATIENCE = 16.0
"""The calm time is never longer than so many times `step_up_s`."""

TRUST = 3.0
"""Where a forecast says that quality need not fall, measured load makes it fall so much slower."""

SOON = 4.0
"""A fall within so many calm times after a rise says that the rise was a mistake."""


@dataclass(slots=True)
class _Standing:
    tier: Tier
    tenant: str
    demand: Demand
    level: int = 0
    _known: "tuple[Demand, int, Work] | None" = None
    """The work that came of a demand at a level, as it was asked for last."""

    def work(self, rungs: tuple[Quality, ...]) -> Work:
        """The work that is left on its rung; asked for at every look, and mostly the same."""
        known = self._known
        if known is None or known[0] is not self.demand or known[1] != self.level:
            work = self.demand.work(rungs[self.level])
            known = self._known = self.demand, self.level, work
        return known[2]


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
        """Frames that waited at the last fall, or when a fall was last considered."""
        self._patience = 1.0
        self._rose_at_s = -math.inf

    def join(
        self, stream: str, tier: Tier, tenant: str = "", demand: Demand | None = None
    ) -> Quality:
        """Add a stream, on the best rung of those of its tier, and return that rung."""
        equals = [s.level for s in self._standings.values() if s.tier is tier]
        standing = _Standing(tier, tenant, demand or Demand(), min(equals, default=0))
        self._standings[stream] = standing
        return self._rungs[standing.level]

    def leave(self, stream: str) -> None:
        """Forget a stream that has ended; unknown ones are ignored."""
        self._standings.pop(stream, None)

    def note_demand(self, stream: str, demand: Demand) -> None:
        """Note what a stream offers now; unknown ones are ignored."""
        if stream in self._standings:
            self._standings[stream].demand = demand

    def work(self, level: int | None = None) -> Work:
        """The work a second of all streams on their rungs, or if all stood on rung `level`."""
        standings, rungs = self._standings.values(), self._rungs
        if level is None:
            return Work.of_all(one.work(rungs) for one in standings)
        return Work.of_all(one.demand.work(rungs[level]) for one in standings)

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

    def update(
        self, load: float, now_s: float, *, backlog: float = 0.0, prices: Prices | None = None
    ) -> dict[str, Quality]:
        """Move streams by the load (1 is all that the engine can do; more when work queues up).

        Args:
            backlog: frames that wait, in all. While it melts away quality does not fall by what is
                measured: what piled up before keeps the engine busy for a while.
            prices: what work costs; None while that is not known.

        Returns:
            The new rungs of the streams that have moved.
        """
        if load >= self._low:
            self._busy_at_s = now_s
        if prices is not None:
            changed = self._fall_ahead(prices, now_s)
            if changed:
                self._backlog = backlog
                return changed
        if load > self._high:
            # A forecast that says that all is well is believed for a while: the load may be what
            # piled up before.
            wait_s = self._step_down_s * (1.0 if prices is None else TRUST)
            if now_s - self._changed_at_s >= wait_s:
                before, self._backlog = self._backlog, backlog
                if backlog < MELTING * before:
                    self._changed_at_s = now_s
                    return {}
                excess = (load - self._high) / (1 - self._high)
                return self._move(+1, min(1.0, max(0.1, excess)), now_s)
        elif load < self._low:
            calm_s = now_s - max(self._busy_at_s, self._changed_at_s)
            if calm_s >= self._patience * self._step_up_s:
                if prices is None:
                    return self._move(-1, UP_SHARE, now_s)
                return self._rise_ahead(prices, now_s)
        return {}

    def _fall_ahead(self, prices: Prices, now_s: float) -> dict[str, Quality]:
        """Fall as far as the load to come demands, if it is too much."""
        work = self.work()
        if prices.load(work) <= self._high:
            return {}
        lowered: dict[str, _Standing] = {}
        leads = self._leads()
        while prices.load(work) > self._low and (movable := self._movable(+1, leads)):
            best = _rank(movable[0][1], leads)
            for name, standing in movable:
                if _rank(standing, leads) > best or prices.load(work) <= self._low:
                    break
                work += self._step(standing, +1)
                lowered[name] = standing
        return self._changed(lowered, +1, now_s)

    def _rise_ahead(self, prices: Prices, now_s: float) -> dict[str, Quality]:
        """Rise, by one rung at most, as far as the load to come allows."""
        most = self._low - (self._high - self._low) / 2
        work = self.work()
        raised: dict[str, _Standing] = {}
        for name, standing in self._movable(-1, self._leads()):
            work += self._step(standing, -1)
            if prices.load(work) > most:
                standing.level += 1
                break
            raised[name] = standing
        return self._changed(raised, -1, now_s)

    def _step(self, standing: _Standing, direction: int) -> Work:
        """Move one stream by one rung; returns what changes of the work."""
        before = standing.work(self._rungs)
        standing.level += direction
        return standing.work(self._rungs) - before

    def _move(self, direction: int, share: float, now_s: float) -> dict[str, Quality]:
        """Move a share of the streams one rung."""
        movable = self._movable(direction, self._leads())
        chosen = dict(movable[: math.ceil(share * len(self._standings))])
        for standing in chosen.values():
            standing.level += direction
        return self._changed(chosen, direction, now_s)

    def _leads(self) -> dict[str, int]:
        """Rungs that each tenant goes ahead in falling, by what its streams offer: one for each
        doubling of an equal share of all that is offered, and one behind for each halving."""
        offered: dict[str, float] = defaultdict(float)
        for standing in self._standings.values():
            offered[standing.tenant] += standing.demand.work(self._rungs[0]).clips
        equal = sum(offered.values()) / max(1, len(offered))
        return {
            tenant: max(-MOST_AHEAD, min(MOST_AHEAD, round(math.log2(clips / equal))))
            for tenant, clips in offered.items()
            if clips > 0
        }

    def _movable(self, direction: int, leads: Mapping[str, int]) -> list[tuple[str, _Standing]]:
        """Who can move one rung, in order: the best off fall first, the worst off rise first."""
        bottom = len(self._rungs) - 1
        movable = [
            (name, standing)
            for name, standing in self._in_turn()
            if 0 <= standing.level + direction <= bottom
        ]
        # The sort is stable: within a rank, tenants take turns.
        movable.sort(key=lambda pair: direction * _rank(pair[1], leads))
        return movable

    def _changed(
        self, who: dict[str, _Standing], direction: int, now_s: float
    ) -> dict[str, Quality]:
        if not who:
            return {}
        self._changed_at_s = now_s
        if direction < 0:
            if self._rose_at_s > -math.inf:  # the last rise held
                self._patience = max(1.0, self._patience / 2)
            self._rose_at_s = now_s
        else:
            if now_s - self._rose_at_s < SOON * self._patience * self._step_up_s:
                self._patience = min(MOST_PATIENCE, 2 * self._patience)
            self._rose_at_s = -math.inf
        return {name: self._rungs[standing.level] for name, standing in who.items()}

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


def _rank(standing: _Standing, leads: Mapping[str, int]) -> int:
    """Place in the order of falling, least first: the rung, less what tier and tenant go ahead."""
    return standing.level - LEAD[standing.tier] - leads.get(standing.tenant, 0)
