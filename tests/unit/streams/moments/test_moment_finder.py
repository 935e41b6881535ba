"""Questions about the past as a whole, where the diary does not answer throughout."""

import math
import re
import sys
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import pytest

from onlooker.cache_store.config import DiarySection
from onlooker.cache_store.diaries.words import words_of
from onlooker.cache_store.diary import DiaryEntry, DiaryQuery
from onlooker.core.clock import ManualClock
from onlooker.core.errors import Overloaded
from onlooker.core.ids import StreamId
from onlooker.engine.checks import Check, CheckResult
from onlooker.engine.fake import ScriptedEngine
from onlooker.engine.interface import (
    AnswerDelta,
    AnswerEnd,
    AnswerEvent,
    Engine,
    EngineInfo,
    FinishReason,
    Question,
)
from onlooker.engine.memory.times import Now
from onlooker.engine.wording import Wording, WordingRule
from onlooker.streams.diary.periods import WallClock
from onlooker.streams.diary.stream_diary import StreamDiary
from onlooker.streams.diary.summaries import Summaries
from onlooker.streams.moments.config import MomentsSection
from onlooker.streams.moments.moment_finder import MAX_LOOSE_WORDS, MomentFinder
from onlooker.streams.moments.telling import num_tokens
from tests.fakes.diaries import make_entry


class ShortOfBreath(StreamDiary):
    """Finds what is named, and does not answer who asks for all."""

    def __init__(self) -> None:
        pass

    async def find_all(self, query: DiaryQuery) -> list[DiaryEntry]:
        if not query.words:
            raise Overloaded("the diary does not answer")
        return [make_entry(1.0, "A dog came in.")]


class Kept(StreamDiary):
    """Some sentences, each a second later."""

    def __init__(self, *texts: str) -> None:
        self.entries = [make_entry(float(at_s), text) for at_s, text in enumerate(texts)]

    @property
    def settings(self) -> DiarySection:
        return DiarySection()

    @property
    def knows_meanings(self) -> bool:
        return False

    async def find_all(self, query: DiaryQuery) -> list[DiaryEntry]:
        wanted = set(words_of(query.words))
        found = [one for one in self.entries if query.start_s <= one.start_s <= query.end_s]
        return [one for one in found if wanted.issubset(words_of(one.text))][: query.limit]


class Near(Kept):
    """Searched by meaning: what tells of a parcel is near to a delivery."""

    @property
    def knows_meanings(self) -> bool:
        return True

    async def find_near(self, query: DiaryQuery, asked: str) -> list[DiaryEntry]:
        if asked != "delivery":
            return []
        return await self.find_all(replace(query, words="parcel"))


class Seeing(ScriptedEngine):
    """Sees what is asked for in the clips of some seconds."""

    def __init__(self, *seen_s: int) -> None:
        super().__init__()
        self.seen_s = seen_s

    async def check(self, check: Check) -> CheckResult:
        is_so = math.floor(check.asked_s) in self.seen_s
        return CheckResult(logprobs=(0.0, -8.0) if is_so else (-8.0, 0.0))


async def _settled() -> None:
    pass


async def _model_says(question: Question, engine: Engine) -> AsyncIterator[AnswerEvent]:
    yield AnswerDelta("Twice.")


def _finder(diary: StreamDiary, summaries: Summaries) -> MomentFinder:
    return MomentFinder(
        diary,
        summaries,
        settle=_settled,
        settings=MomentsSection(),
        clock=ManualClock(),
        is_live=True,
    )


KNOWS_THINGS = Wording(
    rules=(
        WordingRule(r"(?:an?|the) (\w+ \w+) appears", "Is there a {1}?", about_event=False),
        WordingRule(r"there is an? (\w+ \w+)", "Is there a {1}?", about_event=False),
        WordingRule(r"an? (\w+ \w+) leaves", "Has a {1} just left?"),
    )
)
"""A model that can be asked for "a red circle", and not for "a circle"."""


class Sorting(ScriptedEngine):
    """Sees things in the clips of some seconds; what it has no question for it takes for so."""

    def __init__(self, **seen: range) -> None:
        super().__init__()
        self.seen = {name.replace("_", " "): times for name, times in seen.items()}
        self.asked: list[str] = []

    @property
    def info(self) -> EngineInfo:
        return replace(super().info, wording=KNOWS_THINGS)

    async def check(self, check: Check) -> CheckResult:
        self.asked.append(check.text)
        at_s = math.floor(check.asked_s)
        is_so = True
        if (
            known := re.match(r"Is there an? (.+)\?|Has an? (.+) just left\?", check.text)
        ) is not None:
            times = self.seen.get(known[1] or known[2], range(9))
            is_so = at_s in times if known[1] else at_s == times.stop
        return CheckResult(logprobs=(0.0, -8.0) if is_so else (-8.0, 0.0))


CIRCLES = (
    "A blue cross and an orange circle",
    "The blue cross turned green.",
    "A green circle appeared.",
    "The orange circle left.",
    "The green circle turned red.",
    "The sign went away.",
)
SEEN = {"orange_circle": range(3), "green_circle": range(2, 4), "red_circle": range(4, 9)}


@pytest.mark.parametrize(
    ("asked", "moments", "is_exact"),
    [
        ("How often did a circle appear?", [0.0, 2.0], True),
        ("When did a circle first appear?", [0.0], True),
        ("When did a circle last appear?", [2.0], True),
        ("When did a circle leave?", [3.0], True),
        ("When did something green appear?", [2.0], True),
        ("How often did the sign go away?", [5.0], False),
        ("When did the cross turn green?", [1.0], False),
    ],
)
async def test_of_a_kind_each_thing_is_looked_for_by_itself(
    asked: str, moments: list[float], is_exact: bool
) -> None:
    diary, engine = Kept(*CIRCLES), Sorting(**SEEN)
    finder = _finder(diary, Summaries(diary, WallClock(is_known=False)))
    question = Question(text=asked, stream_id=StreamId("door"), asked_s=9.0)
    events = [one async for one in finder.answer(question, Now.of(question, None), engine)]
    end = events[-1]
    assert isinstance(end, AnswerEnd)
    assert ([one.at_s for one in end.moments], end.moments_exact) == (moments, is_exact)
    assert all(re.match("Is there|Has a", one) for one in engine.asked)  # what it is good at


async def test_what_only_came_is_left_to_the_model_when_asked_for_a_leaving() -> None:
    diary = Kept("A green circle appeared.")
    finder = _finder(diary, Summaries(diary, WallClock(is_known=False)))
    text = "When did a circle leave?"
    question = Question(text=text, stream_id=StreamId("door"), asked_s=9.0)
    events = finder.answer(question, Now.of(question, None), Sorting(), otherwise=_model_says)
    assert [event async for event in events] == [AnswerDelta("Twice.")]


@pytest.mark.parametrize(("hint", "moments"), [("Something red appeared", [2.0]), ("Dark", None)])
async def test_a_colour_that_came_without_a_name_is_looked_at_too(
    hint: str, moments: list[float] | None
) -> None:
    diary = Kept("Dark", "A blue box", f"A blue box. {hint}", "A blue box", "Dark")
    finder = _finder(diary, Summaries(diary, WallClock(is_known=False)))
    text = "How often did a red box appear?"
    question = Question(text=text, stream_id=StreamId("door"), asked_s=9.0)
    events = finder.answer(question, Now.of(question, None), Seeing(2, 3), otherwise=_model_says)
    ends = [event for event in [one async for one in events] if isinstance(event, AnswerEnd)]
    assert [[one.at_s for one in end.moments] for end in ends] == ([moments] if moments else [])


async def test_where_the_diary_stops_answering_the_model_answers_alone() -> None:
    finder = _finder(ShortOfBreath(), cast(Summaries, None))  # nothing is told
    question = Question(text="How often was there a dog?", stream_id=StreamId("door"), asked_s=9.0)
    events = finder.answer(
        question, Now.of(question, None), ScriptedEngine(), otherwise=_model_says
    )
    assert [event async for event in events] == [AnswerDelta("Twice.")]


async def test_where_checks_contradict_all_of_a_digest_the_model_answers() -> None:
    diary = Kept("Dark", "A dog came in.")
    finder = _finder(diary, Summaries(diary, WallClock(is_known=False)))
    question = Question(text="What happened?", stream_id=StreamId("door"), asked_s=9.0)
    now, blind = Now.of(question, None), Seeing()
    *_, last = [one async for one in finder.answer(question, now, blind, otherwise=_model_says)]
    assert last == AnswerDelta("Twice.")


class Telling(Seeing):
    """Sees all, and can tell in its own words what was found."""

    def __init__(self) -> None:
        super().__init__(*range(9))
        self.told: list[str] = []

    async def answer(self, question: Question) -> AsyncIterator[AnswerEvent]:
        self.told.append(question.text)
        yield AnswerDelta("Ein Hund kam.")
        yield AnswerEnd(FinishReason.STOP, 1, 0, 4)


@pytest.mark.parametrize(
    ("asked", "is_told"), [("Summarise in German.", True), ("Summarise it.", False)]
)
async def test_a_question_that_says_how_to_answer_is_told_by_the_model(
    asked: str, is_told: bool
) -> None:
    diary, engine = Kept("Dark", "A dog came in."), Telling()
    finder = _finder(diary, Summaries(diary, WallClock(is_known=False)))
    question = Question(text=asked, stream_id=StreamId("door"), asked_s=9.0)
    said = [one async for one in finder.answer(question, Now.of(question, None), engine)]
    assert (AnswerDelta("Ein Hund kam.") in said) is is_told
    assert ["A dog came in" in one and asked in one for one in engine.told] == [True] * is_told


@pytest.mark.parametrize(
    ("asked", "work"),
    [
        ("What happened?", "diary.digest._pairs"),
        ("What happened?", "moments.proofreader.claims_of"),
        ("What happened?", "diary.digest._times"),
        ("How often did an orange circle leave?", "moments.stretches._has_phrase"),
        ("How often did an orange circle leave?", "moments.happenings._claims_of"),
        ("How often did a circle appear?", "moments.same_kind._names_in"),
        ("How often did the sign go away?", "moments.moment_finder.claiming"),
    ],
)
async def test_what_takes_long_of_a_long_diary_is_done_by_a_thread(
    asked: str, work: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[int] = set()
    module, _, name = f"onlooker.streams.{work}".rpartition(".")
    does = getattr(sys.modules[module], name)

    def noted(*arguments: Any, **more: Any) -> Any:
        threads.add(threading.get_ident())
        return does(*arguments, **more)

    monkeypatch.setattr(sys.modules[module], name, noted)
    diary, engine = Kept(*CIRCLES), Sorting(**SEEN)
    finder = _finder(diary, Summaries(diary, WallClock(is_known=False)))
    question = Question(text=asked, stream_id=StreamId("door"), asked_s=9.0)
    async for _ in finder.answer(question, Now.of(question, None), engine):
        pass
    assert threads
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("max_tokens", [14, 40, 400])
async def test_a_digest_and_what_is_said_before_it_keep_to_the_tokens(max_tokens: int) -> None:
    diary = Kept(*(f"A {color} dog came in." for color in ("red", "blue", "green")))
    finder = _finder(diary, Summaries(diary, WallClock(is_known=False)))
    question = Question(
        text="What happened?", stream_id=StreamId("door"), asked_s=9.0, max_tokens=max_tokens
    )
    now, engine = Now.of(question, None), Seeing(*range(9))
    *said, end = [one async for one in finder.answer(question, now, engine)]
    assert isinstance(end, AnswerEnd)
    whole = "".join(one.text for one in said if isinstance(one, AnswerDelta))
    assert end.num_output_tokens == num_tokens(whole) <= max_tokens


async def test_what_was_said_before_a_model_answers_counts_too() -> None:
    asked: list[Question] = []

    async def model_says(question: Question, engine: Engine) -> AsyncIterator[AnswerEvent]:
        asked.append(question)
        yield AnswerEnd(FinishReason.STOP, 0, 0, 2)

    diary = Kept("Dark", "A dog came in.")
    finder = _finder(diary, Summaries(diary, WallClock(is_known=False)))
    question = Question(text="What happened?", stream_id=StreamId("door"), asked_s=9.0)
    now = Now.of(question, None)
    said, end = [one async for one in finder.answer(question, now, Seeing(), otherwise=model_says)]
    assert isinstance(said, AnswerDelta)
    assert isinstance(end, AnswerEnd)
    num_said = num_tokens(said.text)
    assert (asked[0].max_tokens, end.num_output_tokens) == (
        question.max_tokens - num_said,
        num_said + 2,
    )


async def test_a_question_of_many_words_is_searched_for_once() -> None:
    class Asked(Kept):
        num_asked = 0

        async def find_all(self, query: DiaryQuery) -> list[DiaryEntry]:
            self.num_asked += 1
            return await super().find_all(query)

    diary, num_asked = Asked("Dark"), list[int]()
    finder = _finder(diary, Summaries(diary, WallClock(is_known=False)))
    for num_words in (MAX_LOOSE_WORDS, MAX_LOOSE_WORDS + 1):
        words = " ".join(f"word{at}" for at in range(num_words))
        question = Question(text=f"When did a {words} come?", stream_id=StreamId("a"), asked_s=9.0)
        now, diary.num_asked = Now.of(question, None), 0
        async for _ in finder.answer(question, now, Seeing(), otherwise=_model_says):
            pass
        num_asked.append(diary.num_asked)
    assert num_asked == [1 + MAX_LOOSE_WORDS, 1]


async def test_of_two_times_that_are_asked_about_one_may_be_empty() -> None:
    diary = Kept("Dark", "A red box", "Dark")
    finder = _finder(diary, Summaries(diary, WallClock(is_known=False)))
    text = "How often did a red box appear in the first ten seconds and in the last ten seconds?"
    question = Question(text=text, stream_id=StreamId("door"), asked_s=100.0)
    *_, end = [one async for one in finder.answer(question, Now.of(question, None), Seeing(1))]
    assert isinstance(end, AnswerEnd)
    assert [one.at_s for one in end.moments] == [1.0]


PARCELS = ("Dark", "A man with a parcel came.", "A dog came in.", "A parcel lay there.", "Dark")


async def _moments(
    diary: StreamDiary, asked: str, engine: Engine
) -> tuple[list[float], bool | None, bool]:
    """The moments of an answer, whether they are all, and whether the model had to answer."""
    finder = _finder(diary, Summaries(diary, WallClock(is_known=False)))
    question = Question(text=asked, stream_id=StreamId("door"), asked_s=9.0)
    events = finder.answer(question, Now.of(question, None), engine, otherwise=_model_says)
    *_, last = [one async for one in events]
    if not isinstance(last, AnswerEnd):
        assert last == AnswerDelta("Twice.")
        return [], None, True
    return [one.at_s for one in last.moments], last.moments_exact, False


@pytest.mark.parametrize(
    ("asked", "moments"),
    [
        ("When did the delivery come?", [1.0, 3.0]),
        ("When was the last delivery?", [4.0]),  # when it was gone
        ("When was the first delivery?", [1.0]),
    ],
)
async def test_what_the_diary_says_in_other_words_is_checked(
    asked: str, moments: list[float]
) -> None:
    # Not all may be there: the diary may have still other words for it.
    assert await _moments(Near(*PARCELS), asked, Seeing(1, 3)) == (moments, False, False)
    assert await _moments(Kept(*PARCELS), asked, Seeing(1, 3)) == ([], None, True)


async def test_what_is_near_and_not_so_is_not_told() -> None:
    asked = "When did the delivery come?"
    assert await _moments(Near(*PARCELS), asked, Seeing(1)) == ([1.0], False, False)
    assert await _moments(Near(*PARCELS), asked, Seeing()) == ([], None, True)  # it knows better
    assert await _moments(Near("Dark", "A dog came in."), asked, Seeing()) == ([], None, True)


async def test_what_is_near_comes_beside_what_is_named() -> None:
    told = ("Dark", "A delivery came.", "Dark", "A man with a parcel came.", "Dark")
    asked = "When did the delivery come?"
    assert await _moments(Near(*told), asked, Seeing(1, 3)) == ([1.0, 3.0], False, False)
    assert await _moments(Near(*told), asked, Seeing(1)) == ([1.0], True, False)
    assert await _moments(Kept(*told), asked, Seeing(1, 3)) == ([1.0], True, False)


async def test_what_no_check_can_tell_is_not_looked_for_by_meaning() -> None:
    engine = Sorting()
    found = await _moments(Near(*PARCELS), "When did the delivery come?", engine)
    assert (found, engine.asked) == (([], None, True), [])


async def test_where_meanings_come_too_late_words_must_do() -> None:
    class Late(Near):
        async def find_near(self, query: DiaryQuery, asked: str) -> list[DiaryEntry]:
            raise Overloaded("too late")

    told = ("Dark", "A delivery came.", "Dark", "A man with a parcel came.", "Dark")
    asked = "When did the delivery come?"
    assert await _moments(Late(*told), asked, Seeing(1, 3)) == ([1.0], True, False)
