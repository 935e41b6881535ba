"""Questions about the past as a whole, where the diary does not answer throughout."""

from collections.abc import AsyncIterator
from typing import cast

from onlooker.cache_store.diary import DiaryEntry, DiaryQuery
from onlooker.core.clock import ManualClock
from onlooker.core.errors import Overloaded
from onlooker.core.ids import StreamId
from onlooker.engine.fake import ScriptedEngine
from onlooker.engine.interface import AnswerDelta, AnswerEvent, Engine, Question
from onlooker.engine.memory.times import Now
from onlooker.streams.diary.stream_diary import StreamDiary
from onlooker.streams.diary.summaries import Summaries
from onlooker.streams.moments.config import MomentsSection
from onlooker.streams.moments.moment_finder import MomentFinder
from tests.fakes.diaries import make_entry


class ShortOfBreath(StreamDiary):
    """Finds what is named, and does not answer who asks for all."""

    def __init__(self) -> None:
        pass

    async def find_all(self, query: DiaryQuery) -> list[DiaryEntry]:
        if not query.words:
            raise Overloaded("the diary does not answer")
        return [make_entry(1.0, "A dog came in.")]


async def _settled() -> None:
    pass


async def _model_says(question: Question, engine: Engine) -> AsyncIterator[AnswerEvent]:
    yield AnswerDelta("Twice.")


async def test_where_the_diary_stops_answering_the_model_answers_alone() -> None:
    finder = MomentFinder(
        ShortOfBreath(),
        cast(Summaries, None),  # nothing is told
        settle=_settled,
        settings=MomentsSection(),
        clock=ManualClock(),
        is_live=True,
    )
    question = Question(text="How often was there a dog?", stream_id=StreamId("door"), asked_s=9.0)
    events = finder.answer(
        question, Now.of(question, None), ScriptedEngine(), otherwise=_model_says
    )
    assert [event async for event in events] == [AnswerDelta("Twice.")]
