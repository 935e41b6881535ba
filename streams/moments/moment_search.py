"""`MomentSearch`: which entries of a diary show what a question asks for, found by yes/no checks.

A model that writes down what changes may leave something out, or take it for something else. So not
only the entries that name what is asked for are checked but all, as far as the checks go, those
that name it first. Each stands for the stretch of time until the next. A check of one clip errs now
and then, and the next clip rarely errs likewise: where it seems to be so, to begin or to end, or
where a check is unsure, several clips of a stretch are looked at, and what they say together
counts. An entry that names it needs less to be believed than one that does not.
"""

import math
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace

from onlooker.engine.interface import FoundMoment
from onlooker.streams.moments.presence import Presence
from onlooker.streams.moments.stretches import Stretch

TOGETHER = 64
"""Stretches that are looked at, and looked at again where need be, before the next."""

ONE_BY_ONE = 16
"""The same, where the first one that is right may be enough."""

SWEEP_COST = 1.25
"""Looks that a stretch takes on average where all are looked at."""

SURE = 2.0
"""Log-odds beyond the threshold from which one look is sure."""

DECIDED = 1.0
"""Log-odds beyond the threshold, of a look on average, from which several are."""

STRONGEST = 7.0
"""No look counts for more than such log-odds: it may have seen wrongly."""

NAMED, UNNAMED = 2.0, -4.0
"""Log-odds that it is so before any look, where the diary names it in so many words and where not:
of about 450 entries one or two show a thing that they do not name."""


@dataclass(frozen=True, slots=True)
class FoundTimes:
    """The moments that were found, in order of time."""

    moments: list[FoundMoment]
    is_exact: bool
    """Whether all that could show it was checked, and surely."""
    is_lasting: bool = False
    """Whether what was last seen is there still."""

    def without(self, times_s: Set[float]) -> "FoundTimes":
        """The same but for the moments that begin at these stream times."""
        return replace(self, moments=[one for one in self.moments if one.at_s not in times_s])


class MomentSearch:
    """Of one question.

    Args:
        stretches: of all times that are asked about, in order.
        is_whole: whether no stretch and no entry that names it is left out.
        sweeps: whether also those are looked at whose entries do not name it.
    """

    def __init__(
        self, stretches: Sequence[Stretch], presence: Presence, *, is_whole: bool, sweeps: bool
    ) -> None:
        self._stretches, self._presence = stretches, presence
        self._is_whole, self._sweeps = is_whole, sweeps
        self._named = [index for index, one in enumerate(stretches) if one.is_named]
        self._looked: set[int] = set()
        self._glanced: set[int] = set()
        """Those of which only the first look was taken."""

    async def each(self) -> FoundTimes:
        """Every moment at which it happened, or began to be so."""
        return await self._begun(0, len(self._stretches))

    async def first(self) -> FoundTimes:
        """The first of those moments."""
        for part in _parts(self._named, ONE_BY_ONE):
            await self._look(part)
            for index in part:
                if self.is_so(index) and (found := await self._begun(0, index + 1)).moments:
                    return FoundTimes(found.moments[:1], found.is_exact)
        found = await self._begun(0, len(self._stretches))
        return FoundTimes(found.moments[:1], found.is_exact)

    async def last(self) -> FoundTimes:
        """The last of those moments."""
        end = len(self._stretches)
        for part in _parts(self._named[::-1], ONE_BY_ONE):
            await self._look(part)
            for index in part:
                if self.is_so(index) and (found := await self._begun(index, end)).moments:
                    return FoundTimes(found.moments[-1:], found.is_exact)
        found = await self._begun(0, end)
        return FoundTimes(found.moments[-1:], found.is_exact)

    async def last_seen(self) -> FoundTimes:
        """When it was to be seen for the last time, and whether it is still."""
        for part in _parts(self._named[::-1], ONE_BY_ONE):
            await self._look(part)
            await self._look_before(part)
            for index in part:
                is_near = self.is_so(index) or self._presence.is_so(self._stretches[index].before_s)
                if is_near and (found := await self._seen_since(index)).moments:
                    return found
        if self._sweeps and self._stretches:
            return await self._seen_since(0)
        return FoundTimes([], self._is_exact(range(len(self._stretches))))

    # ---- looking

    async def _look(self, chosen: Sequence[int]) -> None:
        """Look at stretches, and once more where that is needed."""
        new = [index for index in chosen if index not in self._looked]
        self._looked.update(new)
        await self._presence.look([self._stretches[index].entry.end_s for index in new])
        await self._look_again([one for one in new if self._is_unsure(one)])

    async def _look_again(self, chosen: Iterable[int]) -> None:
        if not self._is_of_event:
            await self._presence.look([at_s for one in chosen for at_s in self._times_s(one)])

    async def _look_before(self, chosen: Iterable[int]) -> None:
        """Look at the clips before stretches, but for the first, before which nothing counts."""
        chosen = [index for index in chosen if not self._stretches[index].is_first]
        await self._presence.look([self._stretches[index].before_s for index in chosen])
        if self._is_of_event:
            return
        # Before what seems to begin, one look that errs would split a moment in two.
        begun = [one - 1 for one in chosen if self.is_so(one) and self._seems_gone_before(one)]
        await self._presence.look([self._stretches[one].entry.end_s for one in begun])
        torn = [one for one in begun if self._seems(one)]
        await self._look([*torn, *(one - 1 for one in chosen if self._is_doubtful_before(one))])

    async def _look_at_all(self, start: int, end: int) -> None:
        """Look at all stretches of a span, and again where it seems to begin or to end. Those that
        name it come first, with the clips before them, and where there are more of the others than
        may be looked at, they are left out."""
        named = [index for index in self._named if start <= index < end]
        for part in _parts(named, TOGETHER):  # where checks run out, some are known on both sides
            await self._look(part)
            await self._look_before(part)
            await self._look([one + 1 for one in part if self._is_torn(one) and one + 1 < end])
        if self._sweeps:
            await self._sweep(start, end)
        await self._look_at_edges(start, end)

    async def _sweep(self, start: int, end: int) -> None:
        rest = [index for index in range(start, end) if index not in self._looked]
        if len(rest) * SWEEP_COST > self._presence.num_left:
            return
        rest.sort(key=lambda index: -self._stretches[index].nearness)
        for part in _parts(rest, TOGETHER):
            await self._look(part)

    async def _look_at_edges(self, start: int, end: int) -> None:
        """Look again at what seems not to be so beside what seems to be, which was looked at again
        already where that was needed."""
        known = _within(self._looked | self._glanced, start, end)
        seems = {index: self._seems(index) for index in known}
        await self._look_again(
            one
            for one, so in seems.items()
            if so is False and True in (seems.get(one - 1), seems.get(one + 1))
        )

    # ---- what the looks say

    @property
    def _is_of_event(self) -> bool:
        return self._presence.asked.about_event

    def is_so(self, index: int) -> bool | None:
        """Whether it is so in a stretch, by all looks at it; None where there was none, or they
        leave it open and the diary does not name it. What the diary does not name is not believed
        before all looks are there."""
        margin = self._margin(index) if index in self._looked else None
        if margin is None or self._is_open(index):
            return None
        if margin < self._least(index):
            return False
        return self._stretches[index].is_phrase or self._is_looked_through(index)

    def _least(self, index: int) -> float:
        """The margin from which it counts as so: more where the diary does not say so in so many
        words."""
        one = self._stretches[index]
        return 0.0 if self._is_of_event or one.is_phrase else DECIDED

    def _margin(self, index: int) -> float | None:
        """How far what is known speaks for it, a look on average, in log-odds."""
        margins = self._margins(index)
        if not margins or self._is_of_event:
            return margins[0] if margins else None
        one = self._stretches[index]
        prior = NAMED if one.is_phrase else 0.0 if one.is_hinted else UNNAMED
        return (sum(margins) + prior) / len(margins)

    def _margins(self, index: int) -> list[float]:
        found = [self._presence.margin(at_s) for at_s in self._times_s(index)]
        known = [max(-STRONGEST, min(STRONGEST, one)) for one in found if one is not None]
        return list(dict.fromkeys(known))  # the same to the last digit: the same clip

    def _times_s(self, index: int) -> tuple[float, ...]:
        one = self._stretches[index]
        return one.looks_s[:1] if self._is_of_event else one.looks_s

    def _is_looked_through(self, index: int) -> bool:
        return all(self._presence.chance(at_s) is not None for at_s in self._times_s(index))

    def _seems(self, index: int) -> bool | None:
        """Whether it is so by the first look alone; None where there was none."""
        return self._presence.is_so(self._stretches[index].entry.end_s)

    def _is_unsure(self, index: int) -> bool:
        """Whether the first look does not suffice."""
        margin = self._presence.margin(self._stretches[index].entry.end_s)
        if margin is None:
            return False
        return margin > -SURE

    def _is_torn(self, index: int) -> bool:
        """Whether what the diary says and all looks leave it open, as where a thing is just coming
        in; what follows tells then."""
        margin = self._margin(index)
        return margin is not None and abs(margin) < DECIDED

    def _is_open(self, index: int) -> bool:
        """Whether the looks at what the diary does not name tell nothing, as where something stands
        in front."""
        margins = self._margins(index)
        if self._is_of_event or self._stretches[index].is_phrase or not margins:
            return False
        return abs(math.fsum(margins)) < DECIDED * len(margins)

    def _is_doubtful_before(self, index: int) -> bool:
        """Whether the clip before a stretch hardly tells whether it is so."""
        margin = self._presence.margin(self._stretches[index].before_s)
        return margin is not None and abs(margin) < SURE

    def _seems_gone_before(self, index: int) -> bool:
        """Whether it seems not to be so in the clip before a stretch."""
        return self._presence.is_so(self._stretches[index].before_s) is False

    def _so_before(self, index: int) -> bool | None:
        if self._stretches[index].is_first:
            return False
        if (so := self.is_so(index - 1)) is not None:
            return so
        margin = self._presence.margin(self._stretches[index].before_s)
        if margin is None:
            return None
        if abs(margin) < DECIDED and (so := self._so_before(index - 1)) is not None:
            return so  # a glimpse that tells nothing changes nothing
        return margin >= 0

    def _begins(self, index: int) -> bool:
        return bool(self.is_so(index)) and self._so_before(index) is False

    # ---- what was found

    async def _begun(self, start: int, end: int) -> FoundTimes:
        """The moments of a span of stretches."""
        if self._is_of_event:
            await self._look(self._wanted(range(start, end)))
            so = [one for one in _within(self._looked, start, end) if self.is_so(one)]
            return FoundTimes([self._moment(one) for one in so], self._is_exact(range(start, end)))
        await self._look_at_all(start, end)
        if start:  # what was so before the span tells whether it begins there
            await self._look_before([start])
        moments, known = list[FoundMoment](), None
        for index in _within(self._looked, start, end):
            if self.is_so(index) is None:
                continue
            if known != index - 1 and not self._stretches[index].is_first:
                await self._look_before([index])
                if (hidden := await self._hidden(known, index)) is not None:
                    moments.append(hidden)
            if self._begins(index):
                moments.append(self._moment(index))
            known = index
        return FoundTimes(moments, self._is_exact(range(start, end)))

    async def _hidden(self, known: int | None, index: int) -> FoundMoment | None:
        """The moment from which on it is so, where it is so before the stretch `index`, and those
        since the stretch `known` were left out."""
        margin = self._presence.margin(self._stretches[index].before_s)
        if margin is None or margin < DECIDED:
            return None
        if known is not None and self.is_so(known):
            return None
        low, high = 0 if known is None else known + 1, index
        while low < high:
            middle = (low + high) // 2
            await self._presence.look([self._stretches[middle].entry.end_s])
            self._glanced.add(middle)
            if (seems := self._seems(middle)) is None:
                return None
            if seems:
                high = middle
            else:
                low = middle + 1
        if low == index:
            return None
        await self._look([low])
        return self._moment(low) if self.is_so(low) else None

    async def _seen_since(self, start: int) -> FoundTimes:
        """When it was last seen, where it is so in or before the stretch `start`, or may be."""
        end = len(self._stretches)
        for part in _parts(range(start, end), ONE_BY_ONE):
            await self._look(part)
            if not self._sweeps and any(self.is_so(one) is False for one in part if one > start):
                end = part[-1] + 1
                break
        await self._look_at_edges(start, end)
        is_exact = self._is_exact(range(start, end), all_of=True)
        so = [index for index in range(start, end) if self.is_so(index)]
        if not so:
            gone = self._stretches[start]
            if gone.is_first or not self._presence.is_so(gone.before_s):
                return FoundTimes([], is_exact)
            chance = self._presence.chance(gone.before_s) or 0.0
            return FoundTimes([_moment(gone, chance)], is_exact)
        if so[-1] + 1 == len(self._stretches):
            return await self._lasting(is_exact)
        return FoundTimes([_moment(self._stretches[so[-1] + 1], self._chance(so[-1]))], is_exact)

    async def _lasting(self, is_exact: bool) -> FoundTimes:
        """When it was last seen, where it is so in the last stretch: at the end of that, unless a
        look there says otherwise."""
        newest = self._stretches[-1]
        end_s = newest.looks_s[-1]
        await self._presence.look([end_s])
        found = _moment(newest, self._chance(len(self._stretches) - 1))
        if self._presence.is_so(end_s) is False:
            return FoundTimes([found], is_exact)
        chance = self._presence.chance(end_s) or found.confidence
        still = replace(found, at_s=end_s, end_s=end_s, confidence=chance)
        return FoundTimes([still], is_exact, is_lasting=True)

    def _wanted(self, indices: range) -> Sequence[int]:
        return indices if self._sweeps else [one for one in self._named if one in indices]

    def _is_exact(self, indices: range, *, all_of: bool = False) -> bool:
        """Whether all of these that should be were looked at, and none is left undecided."""
        wanted: Iterable[int] = indices
        if not all_of:
            so = [one for one in self._looked.intersection(indices) if self.is_so(one)]
            wanted = {*self._wanted(indices), *so}
        return self._is_whole and all(self._is_decided(index) for index in wanted)

    def _is_decided(self, index: int) -> bool:
        one, margin = self._stretches[index], self._margin(index)
        if margin is None or self._is_of_event:
            return margin is not None
        if not (self._sweeps or one.is_first) and self._so_before(index) is None:
            return False
        if margin >= 0 and not one.is_phrase:
            is_one_clip = len(self._margins(index)) < 2  # which may deceive
            if not self.is_so(index) or (is_one_clip and self._begins(index)):
                return False
        return abs(margin) >= DECIDED

    def _chance(self, index: int) -> float:
        """How likely it is that it is so in a stretch, by the looks at it."""
        times_s = self._times_s(index)
        known = [one for at_s in times_s if (one := self._presence.chance(at_s)) is not None]
        return math.fsum(known) / len(known) if known else 0.0

    def _moment(self, index: int) -> FoundMoment:
        """That it begins with a stretch."""
        one, chance = self._stretches[index], self._chance(index)
        if not self._is_of_event and not one.is_first:
            before = self._presence.chance(one.before_s)
            if before is None:
                before = self._chance(index - 1)
            chance *= 1.0 - before
        return _moment(one, chance)


def _parts(indices: Sequence[int], size: int) -> list[Sequence[int]]:
    return [indices[at : at + size] for at in range(0, len(indices), size)]


def _within(indices: Set[int], start: int, end: int) -> list[int]:
    """Those of a span, in order: of a long diary hardly any are looked at."""
    return sorted(index for index in indices if start <= index < end)


def _moment(stretch: Stretch, chance: float) -> FoundMoment:
    entry = stretch.entry
    return FoundMoment(
        at_s=entry.start_s, end_s=entry.end_s, wall_s=entry.wall_s, confidence=chance
    )
