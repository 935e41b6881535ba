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
from onlooker.streams.diary.digest import DigestSentences
from onlooker.streams.moments.claims import WrittenClaim, claims_of
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

    async def proved(self, entries: Sequence[DiaryEntry], *, max_items: int) -> DigestSentences:
        """The sentences of `entries` without those that a digest of `max_items` things would tell
        and checks contradict. What could not be checked stays. Of a long diary the event loop is
        left alone."""
        sentences = await asyncio.to_thread(DigestSentences, entries)
        read = set[DiaryEntry]()
        while proofs := await asyncio.to_thread(self._to_look_at, sentences, read, max_items):
            await self._look([proof for of_one in proofs.values() for proof in of_one])
            wrong = [one for one, of_one in proofs.items() if self._is_wrong(of_one)]
            await asyncio.to_thread(sentences.leave_out, wrong)
        return sentences

    def _to_look_at(
        self, sentences: DigestSentences, read: set[DiaryEntry], max_items: int
    ) -> dict[DiaryEntry, list[_Proof]]:
        """What to check of the entries that would be told and were not read before, as far as
        checks are left; they are read then."""
        found: dict[DiaryEntry, list[_Proof]] = {}
        num_left = self.looks.max_checks - self._num_asked
        for item in sentences.items(max_items=max_items)[0]:
            claims = claims_of(item.sentence)
            for entry in item.entries:
                if num_left <= 0:
                    return found
                if entry not in read and (proofs := self._proofs(entry, claims)):
                    found[entry] = proofs
                    num_left -= len(proofs)
                read.add(entry)
        return found

    def _proofs(self, entry: DiaryEntry, claims: Sequence[WrittenClaim]) -> list[_Proof]:
        """What to check of an entry. A model with rules of its own is asked only what these know;
        any other is asked whether the sentence is so."""
        wording = self.looks.wording
        if not wording.rules:
            return [_Proof(wording.question_for(entry.text), entry.end_s, is_so=True)]
        found: list[_Proof] = []
        for claim in claims:
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
