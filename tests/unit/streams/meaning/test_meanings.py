"""The diary by meaning: which sentences are near, and what is kept of them."""

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from onlooker.cache_store.config import DiarySection
from onlooker.cache_store.opening import open_diary
from onlooker.core.clock import ManualClock
from onlooker.core.errors import Overloaded
from onlooker.core.ids import StreamId
from onlooker.core.metrics import Metrics
from onlooker.streams.diary.diary_keeper import DiaryKeeper
from onlooker.streams.diary.stream_diary import StreamDiary
from onlooker.streams.meaning.meanings import BESIDE_BYTES, Meanings
from tests.fakes.diaries import make_entry, query
from tests.fakes.embedder import WordEmbedder
from tests.fakes.waiting import limited, until

DOOR, HALL, YARD = (StreamId(f"default/{name}") for name in ("door", "hall", "yard"))
PARCEL, DOG, RAIN = "A man with a parcel came.", "A dog ran by.", "It began to rain."


@dataclass
class Searched:
    """Two diaries that are searched by meaning."""

    keeper: DiaryKeeper
    meanings: Meanings
    embedder: WordEmbedder
    metrics: Metrics
    clock: ManualClock

    def diary(self, stream_id: StreamId = DOOR, hidden_s: float = math.inf) -> StreamDiary:
        """What begins from `hidden_s` on was deleted, and is not gone yet."""
        return StreamDiary(
            stream_id, self.keeper, is_forgotten=lambda start_s, end_s: start_s >= hidden_s
        )

    async def near(
        self, asked: str, stream_id: StreamId = DOOR, hidden_s: float = math.inf, **wanted: Any
    ) -> list[float]:
        """When the entries begin that are near to some words."""
        found = await self.diary(stream_id, hidden_s).find_near(query(**wanted), asked)
        return [one.start_s for one in found]

    def told(self, *texts: str, stream_id: StreamId = DOOR) -> None:
        """Some sentences, a second each."""
        self.diary(stream_id).add([make_entry(float(at), text) for at, text in enumerate(texts)])

    def count(self, outcome: str) -> float:
        value = self.metrics.registry.get_sample_value(
            "onlooker_diary_vectors_total", {"outcome": outcome}
        )
        return value or 0.0

    @property
    def num_kept(self) -> float:
        num_bytes = self.metrics.registry.get_sample_value("onlooker_diary_vectors_size_bytes")
        return (num_bytes or 0.0) / (BESIDE_BYTES + 2 * self.embedder.num_dims)


@asynccontextmanager
async def searched(
    embedder: WordEmbedder | None = None, *, max_vectors: int | None = None, **settings: Any
) -> AsyncIterator[Searched]:
    clock, metrics, embedder = ManualClock(), Metrics(), embedder or WordEmbedder()
    section = DiarySection(**settings)
    if max_vectors is not None:  # less than a setting may be
        each_bytes = BESIDE_BYTES + 2 * embedder.num_dims
        section = section.model_copy(update={"vector_bytes": max_vectors * each_bytes})
    meanings = Meanings(embedder, settings=section, clock=clock, metrics=metrics)
    keeper = DiaryKeeper(
        open_diary(section, None),
        settings=section,
        clock=clock,
        metrics=metrics,
        meanings=meanings,
    )
    try:
        yield Searched(keeper, meanings, embedder, metrics, clock)
    finally:
        await keeper.close()


async def test_what_says_it_in_other_words_is_found() -> None:
    async with searched() as diary:
        diary.told(PARCEL, DOG, RAIN, "Two couriers came.")
        assert await diary.near("delivery") == [0.0, 3.0]
        assert await diary.near("delivery", start_s=1.0) == [3.0]
        assert await diary.near("animal") == [1.0]
        assert await diary.near("nonsense") == []


async def test_without_meanings_none_is_found() -> None:
    section, clock, metrics = DiarySection(), ManualClock(), Metrics()
    keeper = DiaryKeeper(open_diary(section, None), settings=section, clock=clock, metrics=metrics)
    diary = StreamDiary(DOOR, keeper, is_forgotten=lambda start_s, end_s: False)
    diary.add([make_entry(0.0, PARCEL)])
    assert not diary.knows_meanings
    assert await diary.find_near(query(), "parcel") == []
    await keeper.close()


async def test_the_nearest_are_found_and_of_equally_near_ones_the_first_asked_for() -> None:
    mixed = "A dog sniffed at a parcel in the rain."
    async with searched(max_near=2) as diary:
        diary.told(mixed, PARCEL, mixed, PARCEL, PARCEL)
        assert await diary.near("delivery") == [1.0, 3.0]
        assert await diary.near("delivery", newest_first=True) == [3.0, 4.0]
        assert await diary.near("delivery", end_s=2.0) == [0.0, 1.0]
    async with searched(min_nearness=0.9) as diary:
        diary.told(mixed, PARCEL)
        assert await diary.near("delivery") == [1.0]


async def test_a_text_is_embedded_once_and_not_on_the_event_loop() -> None:
    async with searched() as diary:
        diary.told(PARCEL, DOG, PARCEL)
        for _ in range(2):
            assert await diary.near("delivery") == [0.0, 2.0]
        assert sorted(diary.embedder.embedded) == sorted([PARCEL, DOG, "delivery", "delivery"])
        assert threading.get_ident() not in diary.embedder.threads
        assert (diary.count("made"), diary.num_kept) == (2, 2)


async def test_vectors_go_with_their_entries() -> None:
    async with searched() as diary:
        diary.told(PARCEL, DOG, RAIN, PARCEL)
        diary.told(PARCEL, stream_id=HALL)
        assert await diary.near("delivery") == [0.0, 3.0]
        assert await diary.near("delivery", HALL) == [0.0]
        assert await diary.keeper.forget(DOOR, 0.2, 1.2) == 2
        assert diary.num_kept == 3, "of the dog; another entry of the door tells of the parcel"
        assert await diary.near("delivery") == [3.0]
        assert await diary.keeper.forget(DOOR, 3.2, 9.0) == 1
        assert diary.num_kept == 2
        await diary.keeper.delete(DOOR)
        assert diary.num_kept == 1
        assert await diary.near("delivery", HALL) == [0.0]
        diary.keeper.begin(HALL, [(0.0, math.inf)], epoch=None)
        assert await diary.near("delivery", HALL) == []
        assert (diary.num_kept, diary.count("deleted")) == (0, 4)


async def test_what_is_too_old_has_no_vector() -> None:
    async with searched(keep_for_s=10.0) as diary:
        wall_s = diary.clock.wall_s()
        told = [make_entry(0.0, PARCEL, wall_s=wall_s), make_entry(6.0, DOG, wall_s=wall_s + 6.0)]
        diary.diary().add(told)
        assert await diary.near("delivery") == [0.0]
        diary.clock.advance(12.0)
        await diary.keeper.sweep()
        assert diary.num_kept == 1
        assert await diary.near("animal") == [6.0]


async def test_what_was_deleted_meanwhile_is_not_kept() -> None:
    class Deleting(WordEmbedder):
        """While it embeds a sentence, somebody deletes it."""

        def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
            if PARCEL in texts:
                diary.meanings.forget(DOOR, 0.0, 9.0)
            return super().embed(texts)

    async with searched(Deleting()) as diary:
        diary.told(PARCEL)
        assert await diary.near("delivery") == [0.0]  # as it was asked before
        assert diary.num_kept == 0


async def test_what_is_hidden_is_not_found() -> None:
    async with searched() as diary:
        diary.told(PARCEL, PARCEL)
        assert await diary.near("delivery", hidden_s=1.0) == [0.0]


async def test_vectors_of_who_was_not_asked_for_longest_go_first() -> None:
    async with searched(max_vectors=4) as diary:
        for stream_id in (DOOR, HALL, YARD):
            diary.told(PARCEL, DOG, stream_id=stream_id)
        for stream_id in (DOOR, HALL, DOOR):
            assert await diary.near("delivery", stream_id) == [0.0]
        assert (diary.num_kept, diary.count("made"), diary.count("let_go")) == (4, 4, 0)
        assert await diary.near("delivery", YARD) == [0.0]
        assert (diary.num_kept, diary.count("made"), diary.count("let_go")) == (4, 6, 2)
        assert await diary.near("delivery", DOOR) == [0.0]
        assert diary.count("made") == 6, "the door's are all there"
        assert await diary.near("delivery", HALL) == [0.0]
        assert diary.count("made") == 8, "the hall's were made again"


async def test_a_vector_stays_while_a_newer_entry_says_the_same() -> None:
    async with searched() as diary:
        diary.told(PARCEL)
        assert await diary.near("delivery") == [0.0]
        diary.diary().add([make_entry(3.0, PARCEL)])
        assert await diary.near("delivery") == [0.0, 3.0]
        assert await diary.keeper.forget(DOOR, 0.0, 1.0) == 1
        assert await diary.near("delivery") == [3.0]
        assert (diary.num_kept, diary.count("made")) == (1, 1)


@given(
    texts=st.lists(st.sampled_from([PARCEL, DOG, RAIN, "Nothing.", "A cat."]), max_size=8),
    max_vectors=st.integers(0, 6),
    asked=st.lists(st.sampled_from(["delivery", "animal", "weather"]), min_size=1, max_size=4),
)
async def test_what_is_found_depends_on_no_limit_of_what_is_kept(
    texts: list[str], max_vectors: int, asked: list[str]
) -> None:
    async with searched(max_vectors=max_vectors) as few, searched() as many:
        for diary in (few, many):
            diary.told(*texts)
        for words in asked:
            assert await few.near(words) == await many.near(words)
            assert few.num_kept <= max_vectors
        assert many.num_kept == len(set(texts))


async def test_who_waits_too_long_is_told_and_the_next_finds_it_ready() -> None:
    entered, free = threading.Event(), threading.Event()

    class Slow(WordEmbedder):
        def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
            entered.set()
            free.wait()
            return super().embed(texts)

    async with searched(Slow()) as diary:
        diary.told(PARCEL)
        asking = asyncio.create_task(diary.near("delivery"))
        try:
            await until(entered.is_set)
            async with limited("the answer that it takes too long"):
                while not asking.done():  # until it waits by the clock
                    diary.clock.advance(5.0)
                    await asyncio.sleep(0)
            with pytest.raises(Overloaded):
                await asking
        finally:
            free.set()
        assert await diary.near("delivery") == [0.0]
        assert diary.count("made") == 1
