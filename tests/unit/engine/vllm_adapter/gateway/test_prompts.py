"""Prompts that have to fit one engine step."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from onlooker.core.errors import TooLarge
from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Frame
from onlooker.engine.memory.stream_memory import Recall
from onlooker.engine.memory.timeline import Passage, Timeline
from tests.fakes.memory import remembered
from tests.unit.engine.memory.test_notes import asked, make_memory, make_prompts

Prompting = Callable[[Any, Recall], Awaitable[Any]]


def asking(prompts: Any, recall: Recall) -> Awaitable[Any]:
    found: Awaitable[Any] = prompts.asking(make_memory(), asked("x" * 20), recall, [])
    return found


def probing(prompts: Any, recall: Recall) -> Awaitable[Any]:
    found: Awaitable[Any] = prompts.probing(make_memory(), asked("x" * 20), recall)
    return found


def choosing() -> Recall:
    """One slot, and three clips to choose among."""
    timeline = Timeline([remembered(f"s/{index}", index) for index in range(3)])
    return Recall([], [], candidates=Passage(timeline, [(0, 3)]), num_slots=1)


@pytest.mark.parametrize("prompting", [asking, probing])
def test_a_question_that_chooses_clips_and_fits_no_step_is_refused_with_advice(
    prompting: Prompting,
) -> None:
    """vLLM would tear it apart, and it would choose by a part of its words."""
    builder = asyncio.run(_awaited(prompting(make_prompts(step_tokens=20), choosing())))
    assert builder.num_computed_tokens == 20
    with pytest.raises(TooLarge, match=r"20 tokens long.* 19 at most.*max_num_batched_tokens"):
        asyncio.run(_awaited(prompting(make_prompts(step_tokens=19), choosing())))


def test_a_question_that_chooses_nothing_may_come_in_pieces() -> None:
    builder = asyncio.run(_awaited(asking(make_prompts(step_tokens=5), Recall([], []))))
    assert builder.num_computed_tokens == 20


async def _awaited(prompt: Awaitable[Any]) -> Any:
    return await prompt


@pytest.mark.parametrize("newest_whole", [True, False])
@pytest.mark.parametrize("shown_ratio", [0.4, 1.0])
async def test_an_answer_sees_the_newest_clip_whole_where_it_was_thinned(
    newest_whole: bool, shown_ratio: float
) -> None:
    thinned = [
        replace(one, tokens=replace(one.tokens, shown_ratio=shown_ratio))
        for one in (remembered(f"s/{index}", index) for index in range(3))
    ]
    pixels = np.zeros((8, 8, 3), np.uint8)
    frames = Frame(0, 2.0, 0.0, pixels), Frame(1, 2.5, 0.0, pixels)
    newest = Clip(StreamId("s"), 2, frames)
    prompts = make_prompts(token_drop={"newest_whole": newest_whole})
    builder = await prompts.asking(make_memory(), asked(), Recall([], thinned), [], newest)
    prompt = builder.build()
    is_made_whole = newest_whole and shown_ratio < 1
    loads = [load.key for load in prompt.plan.loads if load.key.startswith("s/")]
    assert loads == (["s/0", "s/1"] if is_made_whole else ["s/0", "s/1", "s/2"])
    assert len(prompt.computed) == int(is_made_whole)


async def test_a_clip_that_is_not_the_newest_stays_as_it_is() -> None:
    """The newest came after the question was asked."""
    (one,) = (remembered("s/1", 1),)
    thinned = replace(one, tokens=replace(one.tokens, shown_ratio=0.4))
    pixels = np.zeros((8, 8, 3), np.uint8)
    newest = Clip(StreamId("s"), 2, (Frame(0, 2.0, 0.0, pixels), Frame(1, 2.5, 0.0, pixels)))
    builder = await make_prompts().asking(make_memory(), asked(), Recall([], [thinned]), [], newest)
    assert builder.build().computed == []
