"""`MomentFinder`: answers questions about the past as a whole, from the diary and with checks.

The diary gives candidates: entries whose words tell of what is asked. Each is checked against its
clips. What only begins where the diary does not say so is found between two candidates. A question
that has no plan, or of which the diary knows nothing, is answered by the model as any other.
"""

import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import combinations

from onlooker.cache_store.diary import DiaryEntry, DiaryQuery, Level
from onlooker.core.clock import Clock
from onlooker.core.errors import Overloaded
from onlooker.engine.interface import (
    AnswerDelta,
    AnswerEnd,
    AnswerEvent,
    Engine,
    Evidence,
    EvidenceSource,
    FinishReason,
    FoundMoment,
    Question,
)
from onlooker.engine.memory.times import Now
from onlooker.streams.diary.stream_diary import StreamDiary
from onlooker.streams.diary.summaries import Summaries
from onlooker.streams.moments.config import MomentsSection
from onlooker.streams.moments.presence import Presence
from onlooker.streams.moments.question_plan import QuestionPlan, Wanted, plan_of
from onlooker.streams.moments.telling import MAX_TOLD, counted, fitted, listed, num_tokens

MAX_SUMMARY_ENTRIES = 20_000

MIN_LOOSE_WORDS = 3
"""Words of a subject from which on an entry that lacks one of them may tell of it, too."""

ONE_BY_ONE = 16
"""Candidates that are checked at once where the first one that is right is enough."""


@dataclass(frozen=True, slots=True)
class _Found:
    moments: list[FoundMoment]
    is_exact: bool
    is_lasting: bool = False
    """Whether what was last seen is there still."""


def _model_says(question: Question, engine: Engine) -> AsyncIterator[AnswerEvent]:
    return engine.answer(question)


class MomentFinder:
    """Of one stream. All calls are made on the event loop.

    Args:
        settle: has the sentences written that are due.
    """

    def __init__(
        self,
        diary: StreamDiary,
        summaries: Summaries,
        *,
        settle: Callable[[], Awaitable[None]],
        settings: MomentsSection,
        clock: Clock,
        is_live: bool,
    ) -> None:
        self._diary, self._summaries, self._settle = diary, summaries, settle
        self._settings, self._clock, self._is_live = settings, clock, is_live

    async def answer(
        self,
        question: Question,
        now: Now,
        engine: Engine,
        *,
        otherwise: Callable[[Question, Engine], AsyncIterator[AnswerEvent]] = _model_says,
    ) -> AsyncGenerator[AnswerEvent]:
        """Answer `question` as `Engine.answer` does, from the diary where it has a plan, and as
        `otherwise` does where not. An engine that resends recent clips cannot check what is past:
        of its diary only summaries are told.

        Raises: as `Engine.answer`.
        """
        plan = plan_of(question.text, now) if self._may_plan(question) else None
        if plan is not None and (plan.wanted is Wanted.SUMMARY or engine.info.mode != "resend"):
            await self._settle()
            entries = await self._entries(plan)
            answering = self._planned(question, plan, entries, engine)
            async with aclosing(answering) as events:
                async for event in events:
                    yield event
                    if isinstance(event, AnswerEnd):
                        return
        plain = otherwise(question, engine)
        try:
            async for event in plain:
                yield event
        finally:
            if isinstance(plain, AsyncGenerator):
                await plain.aclose()

    def _may_plan(self, question: Question) -> bool:
        """Whether it is a plain question: what else it brings along is for the model."""
        brings = (question.json_schema, question.tools, question.images, question.made)
        wants_chances = question.tells_confidence or question.sampling.num_alternatives is not None
        return self._settings.enabled and not any(brings) and not wants_chances

    async def _entries(self, plan: QuestionPlan) -> list[DiaryEntry]:
        """The sentences that tell of what is asked, in order of time."""
        try:
            if plan.wanted is Wanted.SUMMARY:
                return await self._found(plan, "", limit=MAX_SUMMARY_ENTRIES)
            found = await self._found(plan, " ".join(plan.subject))
            if found or len(plan.subject) < MIN_LOOSE_WORDS:
                return found
            # The diary may have another word for one of them.
            but_one = [
                await self._found(plan, " ".join(rest))
                for rest in combinations(plan.subject, len(plan.subject) - 1)
            ]
            return min(filter(None, but_one), key=len, default=[])
        except Overloaded:
            return []  # the model answers from what it has

    async def _found(
        self, plan: QuestionPlan, words: str, *, limit: int | None = None
    ) -> list[DiaryEntry]:
        is_last = plan.wanted in (Wanted.LAST, Wanted.LAST_SEEN)
        limit = limit or self._settings.max_checks + 1  # one that cannot be checked tells of more
        found: list[DiaryEntry] = []
        for start_s, end_s in plan.spans:
            query = DiaryQuery(
                start_s=start_s,
                end_s=end_s,
                levels=(Level.SCENE,),
                words=words,
                limit=limit,
                newest_first=is_last,
            )
            found += await self._diary.find_all(query)
        # A span ends when the question was asked: what is not over by then was not seen.
        return sorted(
            (one for one in found if one.end_s <= plan.spans[-1][1]), key=lambda one: one.start_s
        )

    async def _planned(
        self, question: Question, plan: QuestionPlan, entries: Sequence[DiaryEntry], engine: Engine
    ) -> AsyncGenerator[AnswerEvent]:
        """The events of an answer; none where the diary knows nothing of it."""
        if not entries:
            return
        if plan.wanted is Wanted.SUMMARY:
            most = self._diary.settings.max_summary_items
            text, is_cut = fitted(
                lambda count: self._summaries.digest(entries, max_items=count),
                most,
                question.max_tokens,
            )
            yield AnswerDelta(text)
            yield self._end(question, text, [], None, is_cut=is_cut)
            return
        first = f"The diary tells of {counted(len(entries), 'such moment')}; looking. "
        if 2 * num_tokens(first) > question.max_tokens:
            first = ""  # so little room is for the answer itself
        else:
            yield AnswerDelta(first)
        wording = engine.info.wording
        budget_s = self._settings.budget_s if question.budget_s is None else question.budget_s
        is_timed = self._is_live or question.budget_s is not None
        presence = Presence(
            engine=engine,
            question=question,
            asked=wording.question_for(plan.condition),
            wording=wording,
            clock=self._clock,
            until_s=self._clock.now_s() + budget_s if is_timed else math.inf,
            max_checks=self._settings.max_checks,
            max_parallel=self._settings.max_parallel,
        )
        found = await self._checked(plan, entries, presence)
        left = question.max_tokens - num_tokens(first)
        text, is_cut = fitted(lambda count: self._text(plan, found, count), MAX_TOLD, left)
        yield AnswerDelta(text)
        moments = found.moments[: self._settings.max_moments]
        yield self._end(question, first + text, moments, found.is_exact, presence, is_cut=is_cut)

    # ---- checking

    async def _checked(
        self, plan: QuestionPlan, entries: Sequence[DiaryEntry], presence: Presence
    ) -> _Found:
        if plan.wanted is Wanted.LAST_SEEN and not presence.asked.about_event:
            return await self._last_seen(entries, presence)
        is_one = plan.wanted in (Wanted.FIRST, Wanted.LAST, Wanted.LAST_SEEN)
        if not is_one:
            return await self._begun(entries, presence)
        ordered = entries if plan.wanted is Wanted.FIRST else entries[::-1]
        is_exact = True
        for start in range(0, len(ordered), ONE_BY_ONE):
            part = sorted(ordered[start : start + ONE_BY_ONE], key=lambda one: one.start_s)
            found = await self._begun(part, presence)
            is_exact = is_exact and found.is_exact
            if found.moments:
                one = found.moments[0 if plan.wanted is Wanted.FIRST else -1]
                return _Found([one], is_exact)
        return _Found([], is_exact)

    async def _begun(self, entries: Sequence[DiaryEntry], presence: Presence) -> _Found:
        """The moments at which it happened, or began to be so."""
        about_event = presence.asked.about_event
        times_s = [entry.end_s for entry in entries]
        if not about_event:
            times_s += [_before(entry) for entry in entries]
        await presence.look(times_s)
        moments, was_so, last = list[FoundMoment](), False, None
        for entry in entries:
            is_so = presence.is_so(entry.end_s)
            if about_event:
                if is_so:
                    moments.append(_moment(entry, presence.chance(entry.end_s)))
                continue
            so_before = presence.is_so(_before(entry))
            if so_before and not was_so and last is not None:
                hidden = await self._beginning(last, entry, presence)
                if hidden is not None:
                    moments.append(_moment(hidden, presence.chance(hidden.end_s)))
            if is_so and so_before is False:
                chance = presence.chance(entry.end_s) or 0.0
                not_before = 1.0 - (presence.chance(_before(entry)) or 0.0)
                moments.append(_moment(entry, chance * not_before))
            elif is_so and last is None and so_before:
                moments.append(_moment(entry, presence.chance(entry.end_s)))
            was_so, last = bool(is_so), entry
        is_exact = all(presence.is_so(at_s) is not None for at_s in times_s)
        return _Found(moments, is_exact)

    async def _beginning(
        self, after: DiaryEntry, before: DiaryEntry, presence: Presence
    ) -> DiaryEntry | None:
        """The entry between two others from which on it is so: it was not after the one, and was
        before the other."""
        between = await self._all_between(after.start_s, before.start_s)
        low, high = 0, len(between)
        while low < high:
            middle = (low + high) // 2
            await presence.look([between[middle].end_s])
            if presence.is_so(between[middle].end_s):
                high = middle
            else:
                low = middle + 1
        return between[low] if low < len(between) else None

    async def _last_seen(self, entries: Sequence[DiaryEntry], presence: Presence) -> _Found:
        """When it was to be seen for the last time, and whether it is still."""
        for start in range(len(entries), 0, -ONE_BY_ONE):
            part = entries[max(0, start - ONE_BY_ONE) : start]
            await presence.look([at_s for one in part for at_s in (one.end_s, _before(one))])
            for entry in reversed(part):
                if presence.is_so(entry.end_s):
                    return await self._until_gone(entry, presence)
                if presence.is_so(_before(entry)):
                    return _Found([_moment(entry, presence.chance(_before(entry)))], True)
        times_s = [one.end_s for one in entries]
        return _Found([], all(presence.is_so(at_s) is not None for at_s in times_s))

    async def _until_gone(self, entry: DiaryEntry, presence: Presence) -> _Found:
        """From an entry at which it is so to the first one at which it is not."""
        later = await self._all_between(entry.start_s, presence.question.asked_s)
        last, chance = entry, presence.chance(entry.end_s)
        for start in range(0, len(later), ONE_BY_ONE):
            part = later[start : start + ONE_BY_ONE]
            await presence.look([one.end_s for one in part])
            for one in part:
                if (is_so := presence.is_so(one.end_s)) is None:
                    return _Found([_moment(last, chance)], False)
                if not is_so:
                    return _Found([_moment(one, chance)], True)
                last = one
        return _Found([_moment(last, chance)], True, is_lasting=True)

    async def _all_between(self, start_s: float, end_s: float) -> list[DiaryEntry]:
        """All sentences of a span without its ends, as many as may be checked."""
        query = DiaryQuery(
            start_s=math.nextafter(start_s, math.inf),
            end_s=math.nextafter(end_s, -math.inf),
            levels=(Level.SCENE,),
            limit=self._settings.max_checks,
        )
        return await self._diary.find_all(query)

    # ---- telling

    def _text(self, plan: QuestionPlan, found: _Found, max_told: int) -> str:
        times = [self._told(moment) for moment in found.moments]
        if not times:
            none = "None of them shows that."
            return none if found.is_exact else f"{none} Not all of them could be checked in time."
        if plan.wanted is Wanted.LAST_SEEN and found.is_lasting:
            text = f"It is still there, last noted at {times[-1]}."
        elif plan.wanted in (Wanted.LAST, Wanted.LAST_SEEN):
            text = f"For the last time at {times[-1]}."
        elif plan.wanted is Wanted.FIRST:
            text = f"For the first time at {times[0]}."
        else:
            text = (
                f"{counted(len(times), 'time').capitalize()}: {listed(times, max_told=max_told)}."
            )
        return text if found.is_exact else f"{text} Not all moments could be checked in time."

    def _told(self, moment: FoundMoment) -> str:
        return self._summaries.told_at(moment.at_s, moment.wall_s)

    def _end(
        self,
        question: Question,
        text: str,
        moments: Sequence[FoundMoment],
        is_exact: bool | None,
        presence: Presence | None = None,
        *,
        is_cut: bool,
    ) -> AnswerEnd:
        spans = tuple((one.at_s, one.end_s) for one in moments)
        return AnswerEnd(
            FinishReason.LENGTH if is_cut else FinishReason.STOP,
            0 if presence is None else presence.num_prompt_tokens,
            0 if presence is None else presence.num_cached_tokens,
            num_tokens(text),
            clip_spans_s=spans,
            retrieved_spans_s=spans,
            evidence=tuple(Evidence(*span, EvidenceSource.DIARY, "device") for span in spans),
            moments=tuple(moments),
            moments_exact=is_exact,
        )


def _before(entry: DiaryEntry) -> float:
    """A time just before an entry's clip: the newest clip of then is the one before."""
    return math.nextafter(entry.start_s, -math.inf)


def _moment(entry: DiaryEntry, chance: float | None) -> FoundMoment:
    return FoundMoment(
        at_s=entry.start_s, end_s=entry.end_s, wall_s=entry.wall_s, confidence=chance or 0.0
    )
