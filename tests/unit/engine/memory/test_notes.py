"""Dialogue notes: kept after answers, shown in later ones, never to clips; each class of a context
within its budget."""

import asyncio
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.cache_store.key import StreamKey, parse_key
from onlooker.core.errors import ConfigError, EngineFailed, TooLarge
from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Frame
from onlooker.core.metrics import Metrics
from onlooker.engine.interface import Question, Turn
from onlooker.engine.memory.config import MemorySection
from onlooker.engine.memory.note_taker import MAX_WAITING, NoteTaker
from onlooker.engine.memory.notes import Note
from onlooker.engine.memory.recaller import check_budgets
from onlooker.engine.memory.retelling import Retelling
from onlooker.engine.memory.stream_memory import Recall, StreamMemory
from onlooker.engine.memory.thinning import Thinner
from onlooker.engine.vllm_adapter.gateway.prompts import SegmentPrompts
from tests.fakes.memory import make_tokens


class Runner:
    """Stands in for `VllmRunner`: a token for each character."""

    @property
    def tokenizer(self) -> "Runner":
        return self

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        return [ord(character) for character in text]


class Composer:
    """Stands in for `PromptComposer`."""

    watched_parts = ("<watch>", "<clip>")

    def parts(
        self, question: str, dialogue: tuple[Turn, ...], instructions: str | None, **tools: Any
    ) -> tuple[str, str, str]:
        said = "".join(turn.question for turn in dialogue)
        return instructions or "<watch>", "<clip>", said + question

    def neutral(self, text: str) -> str:
        return text


class Clips:
    """Stands in for `ClipPreparer`."""

    async def prepare(self, key: str, clip: Clip) -> Any:
        return make_tokens(key, num_tokens=2, extent=1), None


def make_prompts(*, step_tokens: int = 4096, **options: Any) -> Any:
    async def run(builder: Any) -> None:
        return None

    section = MemorySection(notes="notes", **options)
    thinner = Thinner(section.token_drop, tile=4, recent_clips=4)
    parts: Any = (Runner(), Composer(), Clips(), thinner)
    return SegmentPrompts(
        *parts,
        settings=section,
        recent_clips=4,
        stride_clips=None,
        step_tokens=step_tokens,
        run_for_effect=run,
        retelling=Retelling.REMARK,
    )


def make_memory() -> StreamMemory:
    return StreamMemory(StreamKey("m", "default", "s"))


def make_taker(prompts: Any, *, fails: bool = False, budget: int = 256) -> tuple[Any, Any, Any]:
    """A taker, the keys of what it saved, and what it dropped."""
    saved: list[Any] = []
    dropped: list[str] = []

    async def run(builder: Any) -> None:
        if fails:
            raise EngineFailed("no")
        saved.append(builder)

    async def drop(memory: StreamMemory, keys: list[str]) -> None:
        dropped.extend(keys)

    async def delete(memory: StreamMemory, keys: list[str]) -> None:
        dropped.extend(keys)

    taker = NoteTaker(
        Metrics(),
        budget_tokens=budget,
        prompt=prompts.noting,
        run=run,
        drop=drop,
        delete=delete,
    )
    return taker, saved, dropped


def asked(text: str = "what is it?", **options: Any) -> Question:
    return Question(text=text, stream_id=StreamId("s"), asked_s=12.0, **options)


def no_recall() -> Any:
    return Recall([], [])


def loaded(builder: Any) -> list[str]:
    return [span.key for span in builder._loads]


async def noted(memory: Any, prompts: Any, *answers: str, **options: Any) -> Any:
    made = make_taker(prompts, **options)
    for answer in answers:
        made[0].take(memory, asked(), answer)
        await made[0].settled()
    return made


def test_an_answer_becomes_a_note_that_later_prompts_show_after_the_sink() -> None:
    async def scenario() -> None:
        memory, prompts = make_memory(), make_prompts()
        _, saved, _ = await noted(memory, prompts, "a star", "a circle")
        (first,), (second,) = ([span.key for span in b._saves] for b in saved)
        assert loaded(saved[1])[1:] == [first]  # each is computed behind those before it
        prompt = await prompts.asking(memory, asked(), no_recall(), [])
        assert loaded(prompt)[1:] == [first, second]
        text = "".join(map(chr, memory.notes.within(256)[0].token_ids))
        assert text == "At 12 seconds: what is it? a star\n"

    asyncio.run(scenario())


def test_a_clip_never_sees_a_note() -> None:
    async def scenario() -> None:
        memory, prompts = make_memory(), make_prompts()
        await noted(memory, prompts, "a star")
        pixels = np.zeros((8, 8, 3), np.uint8)
        frames = (Frame(0, 0.0, 0.0, pixels), Frame(1, 0.5, 0.0, pixels))
        ingesting = await prompts.ingesting(memory, Clip(StreamId("s"), 0, frames))
        assert not set(loaded(ingesting.builder)) & set(memory.notes.keys())

    asyncio.run(scenario())


def test_with_notes_the_dialogue_that_came_along_is_left_out() -> None:
    async def scenario() -> None:
        question = asked(dialogue=(Turn("before?", "yes", 1.0),))
        for policy, expected in (("notes", "what is it?"), ("off", "before?what is it?")):
            prompts = make_prompts()
            prompts._settings = MemorySection.model_validate({"notes": policy})
            prompt = await prompts.asking(make_memory(), question, no_recall(), [])
            assert "".join(map(chr, prompt._ids)).endswith(">" + expected)

    asyncio.run(scenario())


def test_the_oldest_notes_make_room_and_are_dropped() -> None:
    async def scenario() -> None:
        memory, prompts = make_memory(), make_prompts(notes_tokens=80)
        _, saved, dropped = await noted(memory, prompts, "a", "b", "c", budget=80)
        keys = [builder._saves[0].key for builder in saved]
        assert memory.notes.keys() == keys[1:]
        assert dropped == keys[:1]

    asyncio.run(scenario())


def test_a_note_that_is_too_long_is_cut() -> None:
    async def scenario() -> None:
        memory, prompts = make_memory(), make_prompts(notes_tokens=40)
        await noted(memory, prompts, "long " * 100, budget=40)
        assert [len(note.token_ids) for note in memory.notes.within(40)] == [40]

    asyncio.run(scenario())


def test_a_note_that_fails_costs_nothing_else() -> None:
    async def scenario() -> None:
        memory, prompts = make_memory(), make_prompts()
        taker, _, _ = await noted(memory, prompts, "a star", fails=True)
        assert memory.notes.keys() == []
        assert taker._metrics.notes.labels("failed")._value.get() == 1
        await noted(memory, prompts, "a star")
        assert len(memory.notes.keys()) == 1

    asyncio.run(scenario())


def test_notes_that_wait_are_bounded() -> None:
    async def scenario() -> None:
        memory, prompts = make_memory(), make_prompts()
        taker, saved, _ = make_taker(prompts)
        for _ in range(MAX_WAITING + 3):
            taker.take(memory, asked(), "a star")
        await taker.settled()
        assert len(saved) == MAX_WAITING
        assert taker._metrics.notes.labels("refused")._value.get() == 3

    asyncio.run(scenario())


@given(st.lists(st.integers(1, 50), max_size=20), st.integers(0, 200))
def test_the_newest_notes_that_fit_are_shown(lengths: list[int], budget: int) -> None:
    memory = make_memory()
    for length in lengths:
        memory.notes.add(memory.notes.next_note([0] * length, 0.0))
    shown = memory.notes.within(budget)
    count = len(shown)
    assert [note.key for note in shown] == memory.notes.keys()[len(lengths) - count :]
    assert sum(lengths[len(lengths) - count :]) <= budget
    if count < len(lengths):
        assert sum(lengths[len(lengths) - count - 1 :]) > budget


def test_a_note_is_found_again_after_a_restart() -> None:
    memory = make_memory()
    note = memory.notes.next_note([1, 2, 3], 0.0)
    again = make_memory()
    again.notes.add(Note.restored(note.key, note.meta()), index=parse_key(note.key).index)
    assert again.notes.within(10) == [note]
    assert again.notes.next_note([4], 0.0).key != note.key


@pytest.mark.parametrize(
    ("question", "param"),
    [
        (asked("why? " * 30), "question"),
        (asked(dialogue=(Turn("x" * 99, "y", 0.0),)), None),  # left out, so not counted
        (asked(instructions="be brief " * 20), "instructions"),
    ],
)
def test_what_is_over_its_budget_is_refused(question: Question, param: str | None) -> None:
    async def scenario() -> None:
        prompts = make_prompts(question_tokens=64, sink_tokens=64)
        if param is None:
            await prompts.asking(make_memory(), question, no_recall(), [])
            return
        with pytest.raises(TooLarge) as refused:
            await prompts.asking(make_memory(), question, no_recall(), [])
        assert refused.value.param == param

    asyncio.run(scenario())


def test_clips_that_leave_no_room_for_a_question_are_refused_at_the_start() -> None:
    check_budgets(MemorySection(), 1024, max_clips=20, tokens_per_clip=48)
    with pytest.raises(ConfigError, match="retrieved_clips"):
        check_budgets(MemorySection(), 1024, max_clips=21, tokens_per_clip=48)
    with pytest.raises(ConfigError, match="notes"):
        check_budgets(MemorySection(notes="notes"), 1024, max_clips=20, tokens_per_clip=48)
