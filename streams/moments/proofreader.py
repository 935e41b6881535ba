"""`Proofreader`: leaves out of a digest what checks do not agree with.

A digest tells the rare first, and what a model got wrong is rare. There are few sentences in it, so
what they claim is checked, each at its own clip: as the diary's sentences are for a count.
"""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from onlooker.cache_store.diary import DiaryEntry
from onlooker.engine.wording import CheckQuestion
from onlooker.streams.diary.digest import items_of
from onlooker.streams.moments.claims import claims_of
from onlooker.streams.moments.presence import Looks, Presence


@dataclass(frozen=True, slots=True)
class _Proof:
    """A check that an entry's sentence calls for."""

    asked: CheckQuestion
    at_s: float
    is_so: bool
    """Whether the answer should be yes."""


@dataclass(slots=True)
class Proofreader:
    """Of one digest."""

    looks: Looks
    _presences: dict[str, Presence] = field(default_factory=dict)
    """By the question that is asked."""
    _num_asked: int = 0

    async def proved(self, entries: Sequence[DiaryEntry], *, max_items: int) -> list[DiaryEntry]:
        """`entries` without those that a digest of `max_items` things would tell and checks
        contradict. What could not be checked stays."""
        left, read = list(entries), set[DiaryEntry]()
        while True:
            items, _ = items_of(left, max_items=max_items)
            new = [one for item in items for one in item.entries if one not in read]
            if not new or self._num_asked >= self.looks.max_checks:
                return left
            read.update(new)
            proofs = {one: self._proofs(one) for one in new}
            await self._look([proof for of_one in proofs.values() for proof in of_one])
            wrong = {one for one, of_one in proofs.items() if self._is_wrong(of_one)}
            left = [one for one in left if one not in wrong]

    def _proofs(self, entry: DiaryEntry) -> list[_Proof]:
        """What to check of an entry. A model with rules of its own is asked only what these know;
        any other is asked whether the sentence is so."""
        wording = self.looks.wording
        if not wording.rules:
            return [_Proof(wording.question_for(entry.text), entry.end_s, is_so=True)]
        found: list[_Proof] = []
        for claim in claims_of(entry.text):
            asked = wording.rule_for(claim.condition)
            if asked is None or asked.about_event or (claim.is_before and entry.start_s <= 0):
                continue
            before_s = math.nextafter(entry.start_s, -math.inf)
            found.append(_Proof(asked, before_s if claim.is_before else entry.end_s, claim.is_so))
        return found

    async def _look(self, proofs: Sequence[_Proof]) -> None:
        times_s: dict[str, list[float]] = {}
        for proof in proofs[: self.looks.max_checks - self._num_asked]:
            text = proof.asked.text
            times_s.setdefault(text, []).append(proof.at_s)
            if text not in self._presences:  # as many questions as may be are asked at once
                self._presences[text] = self.looks.for_question(
                    proof.asked, max_checks=self.looks.max_checks, max_parallel=1
                )
            self._num_asked += 1
        asked = list(times_s.items())
        for start in range(0, len(asked), self.looks.max_parallel):
            part = asked[start : start + self.looks.max_parallel]
            await asyncio.gather(*(self._presences[text].look(at) for text, at in part))

    def _is_wrong(self, proofs: Sequence[_Proof]) -> bool:
        """Whether a check contradicts."""
        return any(self._answer_to(proof) is (not proof.is_so) for proof in proofs)

    def _answer_to(self, proof: _Proof) -> bool | None:
        presence = self._presences.get(proof.asked.text)
        return None if presence is None else presence.is_so(proof.at_s)
