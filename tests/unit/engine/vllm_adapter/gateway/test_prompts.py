"""Prompts that have to fit one engine step."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from onlooker.core.errors import TooLarge
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
