"""Of which clip an answer told, by looking at each of them alone."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.core.errors import EngineDead, EngineFailed, OnlookerError, TooLarge
from onlooker.core.ids import StreamId
from onlooker.engine.checks import Check, CheckResult
from onlooker.engine.interface import Question, Turn
from onlooker.engine.memory.said_times import UnsettledTime
from onlooker.engine.memory.timeline import RememberedClip
from onlooker.engine.vllm_adapter.gateway.checker import Checker
from onlooker.engine.vllm_adapter.gateway.time_finder import MAX_CLIPS, TimeFinder
from tests.unit.engine.memory.test_recall import make_memory

QUESTION = Question(text="When did it come?", stream_id=StreamId("door"), asked_s=90.0)
SAID = UnsettledTime(3513.0, "It came at ")


@dataclass
class Looks:
    """A checker for which `perplexity` says how unlikely the words are from a clip."""

    perplexity: Callable[[RememberedClip], float]
    seen: list[tuple[Check, int]] = field(default_factory=list)

    async def check(self, check: Check, clips: Sequence[RememberedClip]) -> CheckResult:
        (clip,) = clips
        self.seen.append((check, clip.clip_index))
        await asyncio.sleep(0)
        return CheckResult(perplexity=self.perplexity(clip))


def find(looks: Looks, clips: Sequence[RememberedClip], **options: Any) -> float | None:
    question = cast(Question, options.get("question", QUESTION))
    finder = TimeFinder(cast(Checker, looks))
    return asyncio.run(finder.find(question, options.get("said", SAID), clips))


def clips_of(count: int) -> list[RememberedClip]:
    return make_memory(count).recent(count)


@given(st.lists(st.floats(1, 100), min_size=1, max_size=20, unique=True))
def test_the_clip_from_which_the_words_are_likeliest_is_told(perplexities: list[float]) -> None:
    clips = clips_of(len(perplexities))
    of_clip = dict(zip((clip.clip_index for clip in clips), perplexities, strict=True))
    told_s = find(Looks(lambda clip: of_clip[clip.clip_index]), clips)
    best = min(clips, key=lambda clip: of_clip[clip.clip_index])
    assert told_s == (best.start_s + best.end_s) / 2


def test_each_clip_is_asked_for_the_words_before_the_time() -> None:
    looks = Looks(lambda clip: 1.0 + clip.clip_index)
    find(looks, clips_of(5))
    assert sorted(index for _, index in looks.seen) == [0, 1, 2, 3, 4]
    assert {(check.text, check.given) for check, _ in looks.seen} == {
        ("When did it come?", "It came at")
    }


def test_no_more_clips_are_looked_at_than_may_be() -> None:
    looks = Looks(lambda clip: 1.0 + clip.clip_index)
    find(looks, clips_of(MAX_CLIPS + 10))
    assert len(looks.seen) == MAX_CLIPS


@pytest.mark.parametrize(
    ("said", "question"),
    [
        (UnsettledTime(9.0, " "), QUESTION),
        (SAID, Question(text="When?", dialogue=(Turn("Is it red?", "Yes", 1.0),))),
    ],
    ids=["nothing is said before the time", "the question leans on others"],
)
def test_nothing_is_looked_at_where_that_would_tell_nothing(
    said: UnsettledTime, question: Question
) -> None:
    looks = Looks(lambda clip: 1.0 + clip.clip_index)
    assert find(looks, clips_of(3), said=said, question=question) is None
    assert looks.seen == []


def test_a_tie_tells_nothing() -> None:
    assert find(Looks(lambda clip: 1.0), clips_of(3)) is None
    assert find(Looks(lambda clip: 1.0), []) is None


@pytest.mark.parametrize("error", [EngineFailed("gone"), EngineDead("gone"), TooLarge("long")])
def test_a_look_that_fails_tells_nothing_and_the_answer_goes_on(error: OnlookerError) -> None:
    def gone(clip: RememberedClip) -> float:
        raise error

    assert find(Looks(gone), clips_of(3)) is None
