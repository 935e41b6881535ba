"""`Proofreader`: leaves out of a digest what checks do not agree with.

A digest tells the rare first, and what a model got wrong is rare. There are few sentences in it, so
what they claim is checked, each at its own clip: as the diary's sentences are for a count. What
checks confirm comes before what none of them can tell, which is left for where room is left.
"""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from onlooker.cache_store.diary import DiaryEntry
from onlooker.engine.wording import CheckQuestion
from onlooker.streams.diary.digest import DigestSentences
from onlooker.streams.moments.claims import WrittenClaims, claims_of
from onlooker.streams.moments.presence import Looks, Presence


@dataclass(frozen=True, slots=True)
class _Proof:
    """A check that an entry's sentence calls for."""

    asked: CheckQuestion
    at_s: float
    is_so: bool
    """Whether the answer should be yes."""


@dataclass(frozen=True, slots=True)
class _Proofs:
    """What is to be checked of an entry."""

    checks: tuple[_Proof, ...]
    are_all: bool
    """Whether the entry is so where all of them are."""


@dataclass(slots=True)
class Proofreader:
    """Of one digest."""

    looks: Looks
    _presences: dict[str, Presence] = field(default_factory=dict)
    """By the question that is asked."""
    _num_asked: int = 0

    async def proved(self, entries: Sequence[DiaryEntry], *, max_items: int) -> DigestSentences:
        """The sentences of `entries` without those that a digest of `max_items` things would tell
        and checks contradict, and with those last that checks do not confirm. Of a long diary the
        event loop is left alone."""
        sentences = await asyncio.to_thread(DigestSentences, entries)
        read = set[DiaryEntry]()
        while proofs := await asyncio.to_thread(self._to_look_at, sentences, read, max_items):
            await self._look([proof for one in proofs.values() for proof in one.checks])
            answers = {entry: self._answer_to_all(one) for entry, one in proofs.items()}
            sentences.doubt(entry for entry, is_so in answers.items() if is_so is None)
            wrong = [entry for entry, is_so in answers.items() if is_so is False]
            await asyncio.to_thread(sentences.leave_out, wrong)
        return sentences

    def _to_look_at(
        self, sentences: DigestSentences, read: set[DiaryEntry], max_items: int
    ) -> dict[DiaryEntry, _Proofs]:
        """What to check of the entries that would be told and were not read before, as far as
        checks are left; they are read then."""
        found: dict[DiaryEntry, _Proofs] = {}
        num_left = self.looks.max_checks - self._num_asked
        for item in sentences.items(max_items=max_items)[0]:
            claims = claims_of(item.sentence)
            for entry in item.entries:
                if num_left <= 0:
                    return found
                if entry not in read:
                    found[entry] = self._proofs(entry, claims)
                    num_left -= len(found[entry].checks)
                read.add(entry)
        return found

    def _proofs(self, entry: DiaryEntry, written: WrittenClaims) -> _Proofs:
        """What to check of an entry. A model with rules of its own is asked only what these know;
        any other is asked whether the sentence is so."""
        wording = self.looks.wording
        if not wording.rules:
            is_so = _Proof(wording.question_for(entry.text), entry.end_s, is_so=True)
            return _Proofs((is_so,), are_all=True)
        found, are_all = list[_Proof](), written.are_all
        before_s = math.nextafter(entry.start_s, -math.inf)
        for claim in written.claims:
            if claim.is_before and entry.start_s <= 0:
                continue  # before the first clip there is none
            asked = wording.rule_for(claim.condition)
            if asked is None or asked.about_event:
                are_all = False
                continue
            found.append(_Proof(asked, before_s if claim.is_before else entry.end_s, claim.is_so))
        return _Proofs(tuple(found), are_all)

    async def _look(self, proofs: Sequence[_Proof]) -> None:
        proofs = proofs[: self.looks.max_checks - self._num_asked]
        self._num_asked += len(proofs)
        for proof in proofs:
            if proof.asked.text not in self._presences:  # of each one look at a time
                self._presences[proof.asked.text] = self.looks.for_question(
                    proof.asked, max_checks=self.looks.max_checks, max_parallel=1
                )
        asked = list(dict.fromkeys((proof.asked.text, proof.at_s) for proof in proofs))
        for start in range(0, len(asked), self.looks.max_parallel):
            part = asked[start : start + self.looks.max_parallel]
            await asyncio.gather(*(self._presences[text].look([at_s]) for text, at_s in part))

    def _answer_to_all(self, proofs: _Proofs) -> bool | None:
        """Whether checks confirm (True) or contradict (False); None where they do neither."""
        answers = [self._answer_to(proof) for proof in proofs.checks]
        agree = [
            None if said is None else said is one.is_so
            for said, one in zip(answers, proofs.checks, strict=True)
        ]
        if False in agree:
            return False
        return True if proofs.are_all and None not in agree else None

    def _answer_to(self, proof: _Proof) -> bool | None:
        presence = self._presences.get(proof.asked.text)
        return None if presence is None else presence.is_so(proof.at_s)
