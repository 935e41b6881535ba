"""`MomentFinder`: answers questions about the past as a whole, from the diary and with checks.

The diary gives candidates: entries whose words tell of what is asked, or, where it is searched by
meaning, that are near to it. Each is checked against its clips. What only begins where the diary
does not say so is found between two candidates. A question that has no plan, or of which the diary
knows nothing, is answered by the model as any other.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
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
from onlooker.engine.wording import Wording
from onlooker.streams.diary.digest import DigestSentences
from onlooker.streams.diary.scene_gate import unnamed
from onlooker.streams.diary.stream_diary import StreamDiary
from onlooker.streams.diary.summaries import Summaries
from onlooker.streams.moments.config import MomentsSection
from onlooker.streams.moments.happenings import claiming, happening_in, telling_of
from onlooker.streams.moments.moment_search import FoundTimes, MomentSearch
from onlooker.streams.moments.presence import Looks, Presence
from onlooker.streams.moments.proofreader import Proofreader
from onlooker.streams.moments.question_plan import QuestionPlan, Wanted, plan_of
from onlooker.streams.moments.same_kind import conditions_in, told_as_one
from onlooker.streams.moments.slips import slips_of
from onlooker.streams.moments.stretches import stretches_of
from onlooker.streams.moments.telling import MAX_TOLD, counted, fitted, listed, num_tokens
from onlooker.watches.triggers.sight import colors_in

MAX_SUMMARY_ENTRIES = 20_000

MIN_LOOSE_WORDS = 3
"""Words of a subject from which on an entry that lacks one of them may tell of it, too."""

MAX_LOOSE_WORDS = 8
"""Words of a subject up to which one of them may be left out, since each time the diary is searched
again."""

NOT_EXACT = "Not all could be checked in time, or for sure."
"""Said where moments may be missing, or some may be none."""

UNCHECKED = 0.5
"""Confidence in what the diary says and no check can tell."""

LOOKING = "Looking at what the diary tells. "
"""Said before a digest, so that who waits hears something."""

RETOLD_TOKENS = 1024
"""How long that is of which a model is to tell in its own words."""

MAX_SWEPT = 20_000
"""Sentences of the diary that one question looks through; of more the oldest or the newest."""


async def _closed(events: AsyncIterator[AnswerEvent]) -> AsyncGenerator[AnswerEvent]:
    """The same events, and what makes them is closed with them."""
    try:
        async for event in events:
            yield event
    finally:
        if isinstance(events, AsyncGenerator):
            await events.aclose()


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
        is_plain: bool = True,
    ) -> AsyncGenerator[AnswerEvent]:
        """Answer `question` as `Engine.answer` does, from the diary where it has a plan, and as
        `otherwise` does where not. An engine that resends recent clips cannot check what is past:
        of its diary only summaries are told. `is_plain`: whether who asks has not said how to
        answer; else a model that can is handed what was found, to tell it as it was told to.

        Raises: as `Engine.answer`.
        """
        said = ""
        plan = (
            plan_of(question.understood or question.text, now) if self._may_plan(question) else None
        )
        if plan is not None and (plan.wanted is Wanted.SUMMARY or engine.info.mode != "resend"):
            await self._settle()
            entries = await self._entries(plan)
            if (is_plain and plan.is_plain) or engine.info.wording.summary is None:
                answering = self._planned(question, plan, entries, engine)
            else:
                answering = self._retold(question, plan, entries, engine)
            async with aclosing(answering) as events:
                async for event in events:
                    yield event
                    if isinstance(event, AnswerEnd):
                        return
                    said += event.text
        rest = replace(question, max_tokens=question.max_tokens - num_tokens(said))
        async with aclosing(_closed(otherwise(rest if said else question, engine))) as events:
            async for event in events:
                yield _with_words(event, said)

    def _may_plan(self, question: Question) -> bool:
        """Whether it is a plain question: what else it brings along is for the model."""
        brings = (question.json_schema, question.tools, question.images, question.made)
        # How likely its words were can be told of a model's own words only.
        wants_chances = question.sampling.num_alternatives is not None
        is_for_model = any(brings) or (wants_chances and not question.tells_confidence)
        return self._settings.enabled and question.from_diary and not is_for_model

    async def _entries(self, plan: QuestionPlan) -> list[DiaryEntry]:
        """The sentences that tell of what is asked, in order of time."""
        try:
            if plan.wanted is Wanted.SUMMARY:
                return await self._found(plan, "", limit=MAX_SUMMARY_ENTRIES)
            asked = " ".join(plan.subject)
            found = await self._found(plan, asked)
            for color in colors_in(asked):  # something of it came that the model did not name
                found += await self._found(plan, unnamed(color))
            found = sorted(dict.fromkeys(found), key=lambda one: one.start_s)
            if found or not MIN_LOOSE_WORDS <= len(plan.subject) <= MAX_LOOSE_WORDS:
                return found
            # The diary may have another word for one of them.
            but_one = [
                await self._found(plan, " ".join(rest))
                for rest in combinations(plan.subject, len(plan.subject) - 1)
            ]
            return min(filter(None, but_one), key=len, default=[])
        except Overloaded:
            return []  # the model answers from what it has

    async def _near(
        self, plan: QuestionPlan, entries: Sequence[DiaryEntry], wording: Wording
    ) -> list[DiaryEntry]:
        """The sentences beside `entries` that may say what is asked in other words; none where the
        model has questions of its own and none for it, since no check would tell then."""
        is_checked = not wording.rules or wording.rule_for(plan.condition) is not None
        if not self._diary.knows_meanings or not is_checked:
            return []
        asked, found = " ".join(plan.subject), list[DiaryEntry]()
        try:
            for query in _queries(plan, "", MAX_SWEPT):
                found += await self._diary.find_near(query, asked)
        except Overloaded:
            return []  # the words must do
        named = {one.start_s for one in entries}
        return [one for one in _over(plan, found) if one.start_s not in named]

    async def _found(
        self, plan: QuestionPlan, words: str, *, limit: int | None = None
    ) -> list[DiaryEntry]:
        limit = limit or self._settings.max_checks + 1  # one that cannot be checked tells of more
        found: list[DiaryEntry] = []
        for query in _queries(plan, words, limit):
            found += await self._diary.find_all(query)
        return _over(plan, found)

    async def _planned(
        self, question: Question, plan: QuestionPlan, entries: Sequence[DiaryEntry], engine: Engine
    ) -> AsyncGenerator[AnswerEvent]:
        """The events of an answer; no end where it is for the model."""
        wording = engine.info.wording
        if plan.wanted is Wanted.SUMMARY:
            if entries:
                async with aclosing(self._summed_up(question, entries, engine)) as events:
                    async for event in events:
                        yield event
            return
        telling = await asyncio.to_thread(self._telling, plan, entries, wording)
        near, is_swept = list[DiaryEntry](), False
        if not telling:  # it is not named, or something else is said to have happened to it
            near = await self._near(plan, entries, wording)
            is_swept = not entries and await self._may_sweep(plan, wording)
            if not (near or is_swept):
                return
        try:
            everything = await self._found(plan, "", limit=MAX_SWEPT)
        except Overloaded:
            return  # nothing is said yet, and the model answers from what it has
        first = f"The diary tells of {counted(len(telling), 'such moment')}; looking. "
        if not telling:
            first = "The diary does not name that; looking. "
        if first := _meanwhile(first, question):
            yield AnswerDelta(first, is_interim=True)
        if telling:  # to embed a long diary takes a moment
            near = await self._near(plan, entries, wording)
        looks = self._looks(question, engine)
        found = await self._found_out(plan, entries, [*telling, *near], everything, looks)
        if not entries:  # what the diary says in other words may be there in others still
            found = replace(found, is_exact=found.is_exact and is_swept)
        if not (entries or found.moments or found.is_exact):
            return
        left = question.max_tokens - num_tokens(first)
        text, is_cut = fitted(lambda count: self._text(plan, found, count), MAX_TOLD, left)
        yield AnswerDelta(text)
        moments = found.moments[: self._settings.max_moments]
        yield self._end(question, first + text, moments, found.is_exact, looks, is_cut=is_cut)

    async def _summed_up(
        self, question: Question, entries: Sequence[DiaryEntry], engine: Engine
    ) -> AsyncGenerator[AnswerEvent]:
        """A digest of what checks do not contradict; no end where they contradict all."""
        most = self._diary.settings.max_summary_items
        looks, first = None, ""
        if engine.info.mode == "resend":
            sentences = await asyncio.to_thread(DigestSentences, entries)
        else:
            if first := _meanwhile(LOOKING, question):
                yield AnswerDelta(first, is_interim=True)
            looks = self._looks(question, engine)
            sentences = await Proofreader(looks).proved(entries, max_items=most)
        text, is_cut = await asyncio.to_thread(
            fitted,
            lambda count: self._summaries.digest(sentences, max_items=count),
            most,
            question.max_tokens - num_tokens(first),
        )
        if not text:
            return  # nothing is left to tell, and the model answers from what it has
        yield AnswerDelta(text)
        yield self._end(question, first + text, [], None, looks, is_cut=is_cut)

    def proofreader(self, question: Question, engine: Engine) -> Proofreader:
        """What checks the digest that answers a question."""
        return Proofreader(self._looks(question, engine))

    def _looks(self, question: Question, engine: Engine) -> Looks:
        """The checks that a question may have, from now on."""
        budget_s = self._settings.budget_s if question.budget_s is None else question.budget_s
        is_timed = self._is_live or question.budget_s is not None
        return Looks(
            engine=engine,
            question=question,
            clock=self._clock,
            until_s=self._clock.now_s() + budget_s if is_timed else math.inf,
            max_checks=self._settings.max_checks,
            max_parallel=self._settings.max_parallel,
        )

    async def _may_sweep(self, plan: QuestionPlan, wording: Wording) -> bool:
        """Whether it is worth looking for what the diary does not name: there is a diary, and the
        model knows the condition, and answers a check of it reliably."""
        known = wording.rule_for(plan.condition) if plan.condition else None
        if known is None or known.about_event or not self._settings.sweeps:
            return False
        try:
            return bool(await self._found(plan, "", limit=1))
        except Overloaded:
            return False

    async def _retold(
        self,
        question: Question,
        plan: QuestionPlan,
        entries: Sequence[DiaryEntry],
        engine: Engine,
    ) -> AsyncGenerator[AnswerEvent]:
        """What was found in the model's words, as its instructions say how to answer. No end where
        it is for the model alone."""
        said, found = "", None
        whole = replace(question, max_tokens=RETOLD_TOKENS)
        async with aclosing(self._planned(whole, plan, entries, engine)) as events:
            async for event in events:
                if isinstance(event, AnswerEnd):
                    found = event
                elif not event.is_interim:
                    said += event.text
        if not isinstance(found, AnswerEnd):
            return
        retold = engine.info.wording.retold
        text = retold.replace("{found}", said).replace("{question}", question.text)
        asked = replace(question, text=text, newest_clips=0)
        async with aclosing(_closed(engine.answer(asked))) as events:
            async for event in events:
                yield _with_moments(event, found) if isinstance(event, AnswerEnd) else event

    # ---- checking

    def _telling(
        self, plan: QuestionPlan, entries: Sequence[DiaryEntry], wording: Wording
    ) -> Sequence[DiaryEntry]:
        """Of the entries that name it those that may tell of what is asked. Of how things are all
        do, since the ends of what was so are told by them, too."""
        rule = wording.rule_for(plan.condition)
        if rule is not None and not rule.about_event:
            return entries
        return telling_of(happening_in(plan.condition), entries, plan.subject)

    async def _found_out(
        self,
        plan: QuestionPlan,
        entries: Sequence[DiaryEntry],
        telling: Sequence[DiaryEntry],
        everything: Sequence[DiaryEntry],
        looks: Looks,
    ) -> FoundTimes:
        """What is found by checks. Where the model has no question for what is asked, but has for
        things of that kind that the diary names, each of these is looked for by itself; where it
        has for none of them, what the diary says is told unchecked.

        Args:
            telling: those of `entries` that may tell of it.
        """
        wording, happening = looks.wording, happening_in(plan.condition)
        if wording.rules and telling and wording.rule_for(plan.condition) is None:
            names, are_all = await asyncio.to_thread(
                conditions_in, telling, plan.subject, happening, wording
            )
            if names:
                # That a yellow circle turned green is the coming of a green one, and of no circle.
                others = {one.start_s for one in entries} - {one.start_s for one in telling}
                found = await self._found_of_each(plan, names, everything, looks)
                found = [one.without(others) for one in found]
                return told_as_one(found, plan.wanted, is_whole=are_all)
            said = list[DiaryEntry]()
            if happening is not None:
                said = await asyncio.to_thread(claiming, happening, telling, plan.subject)
            if said:
                unchecked = FoundTimes([_as_told(one) for one in said], is_exact=False)
                return told_as_one([unchecked], plan.wanted)
        return await self._searched(plan, telling, everything, looks.for_condition(plan.condition))

    async def _found_of_each(
        self,
        plan: QuestionPlan,
        names: Sequence[str],
        everything: Sequence[DiaryEntry],
        looks: Looks,
    ) -> list[FoundTimes]:
        found = []
        for name in names:
            one = plan.about(name)
            if plan.wanted in (Wanted.FIRST, Wanted.LAST):
                one = replace(one, wanted=Wanted.EACH)  # the first of this one may not count
            presence = looks.for_condition(name, num_sharing=len(names))
            found.append(await self._searched(one, await self._entries(one), everything, presence))
        return found

    async def _searched(
        self,
        plan: QuestionPlan,
        entries: Sequence[DiaryEntry],
        everything: Sequence[DiaryEntry],
        presence: Presence,
    ) -> FoundTimes:
        """What checks find: of the entries that name it or may hide it, and of all others."""
        sweeps = self._settings.sweeps and not presence.asked.about_event
        if not presence.asked.about_event:
            entries = [*entries, *await asyncio.to_thread(slips_of, everything, plan.subject)]
        stretches = await asyncio.to_thread(  # of a long diary there are many
            stretches_of, everything, plan.spans, named=entries, subject=plan.subject
        )
        search = MomentSearch(
            stretches,
            presence,
            is_whole=len(entries) <= self._settings.max_checks and len(everything) < MAX_SWEPT,
            sweeps=sweeps,
        )
        if plan.wanted is Wanted.FIRST:
            return await search.first()
        if plan.wanted is Wanted.LAST_SEEN and not presence.asked.about_event:
            return await search.last_seen()
        is_last = plan.wanted in (Wanted.LAST, Wanted.LAST_SEEN)
        return await (search.last() if is_last else search.each())

    # ---- telling

    def _text(self, plan: QuestionPlan, found: FoundTimes, max_told: int) -> str:
        times = [self._told(moment) for moment in found.moments]
        if not times:
            none = "None of them shows that."
            return none if found.is_exact else f"{none} {NOT_EXACT}"
        if plan.wanted is Wanted.LAST_SEEN and found.is_lasting:
            text = f"It is still there, last seen at {times[-1]}."
        elif plan.wanted in (Wanted.LAST, Wanted.LAST_SEEN):
            text = f"For the last time at {times[-1]}."
        elif plan.wanted is Wanted.FIRST:
            text = f"For the first time at {times[0]}."
        else:
            text = (
                f"{counted(len(times), 'time').capitalize()}: {listed(times, max_told=max_told)}."
            )
        return text if found.is_exact else f"{text} {NOT_EXACT}"

    def _told(self, moment: FoundMoment) -> str:
        return self._summaries.told_at(moment.at_s, moment.wall_s)

    def _end(
        self,
        question: Question,
        text: str,
        moments: Sequence[FoundMoment],
        is_exact: bool | None,
        looks: Looks | None = None,
        *,
        is_cut: bool,
    ) -> AnswerEnd:
        spans = tuple((one.at_s, one.end_s) for one in moments)
        return AnswerEnd(
            FinishReason.LENGTH if is_cut else FinishReason.STOP,
            0 if looks is None else looks.num_prompt_tokens,
            0 if looks is None else looks.num_cached_tokens,
            num_tokens(text),
            clip_spans_s=spans,
            retrieved_spans_s=spans,
            evidence=tuple(Evidence(*span, EvidenceSource.DIARY, "device") for span in spans),
            moments=tuple(moments),
            moments_exact=is_exact,
        )


def _queries(plan: QuestionPlan, words: str, limit: int) -> list[DiaryQuery]:
    """What is asked of the diary, a span of the question each."""
    is_last = plan.wanted in (Wanted.LAST, Wanted.LAST_SEEN)
    return [
        DiaryQuery(
            start_s=start_s,
            end_s=end_s,
            levels=(Level.SCENE,),
            words=words,
            limit=limit,
            newest_first=is_last,
        )
        for start_s, end_s in plan.spans
    ]


def _over(plan: QuestionPlan, found: Sequence[DiaryEntry]) -> list[DiaryEntry]:
    """Of `found` what was over when the question was asked, in order of time: a span ends then, and
    what is not over by then was not seen."""
    over = (one for one in found if one.end_s <= plan.spans[-1][1])
    return sorted(over, key=lambda one: one.start_s)


def _meanwhile(words: str, question: Question) -> str:
    """What is said while the diary is looked through; nothing where the answer itself has little
    room beside it."""
    return "" if 4 * num_tokens(words) > question.max_tokens else words


def _with_words(event: AnswerEvent, said: str) -> AnswerEvent:
    """An event of a model's answer before which something was said, whose words count too."""
    if not isinstance(event, AnswerEnd):
        return event
    return replace(event, num_output_tokens=event.num_output_tokens + num_tokens(said))


def _as_told(entry: DiaryEntry) -> FoundMoment:
    """What the diary says, which nobody has checked."""
    return FoundMoment(
        at_s=entry.start_s, end_s=entry.end_s, wall_s=entry.wall_s, confidence=UNCHECKED
    )


def _with_moments(end: AnswerEnd, found: AnswerEnd) -> AnswerEnd:
    """The end of an answer that tells what was found, with that."""
    return replace(
        found,
        finish_reason=end.finish_reason,
        num_prompt_tokens=found.num_prompt_tokens + end.num_prompt_tokens,
        num_cached_tokens=found.num_cached_tokens + end.num_cached_tokens,
        num_output_tokens=end.num_output_tokens,
    )
