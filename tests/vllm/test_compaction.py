"""Clips that are compacted in a real engine: answers from them, evidence, and a restart."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from onlooker.cache_store.config import CacheStoreSection, DiskSection
from onlooker.core.clock import SystemClock
from onlooker.core.ids import StreamId
from onlooker.core.metrics import Metrics
from onlooker.engine.care import Care
from onlooker.engine.config import EngineSection, VllmSection
from onlooker.engine.memory.compaction import COMPACTIONS, CompactionSection
from onlooker.engine.memory.config import MemorySection
from onlooker.engine.vllm_adapter.engine import make_engine
from onlooker.engine.vllm_adapter.wire import flush_segments
from tests.vllm.test_engines import MODEL, ask, make_clip, question

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

NUM_CLIPS = 16
QUESTIONS = ("Was there ever a red circle?", "What was there at 3 seconds?", "How many objects?")


def make(folder: Path, keep_ratio: float) -> Any:
    compaction = CompactionSection(
        method="vsb",
        keep_ratio=keep_ratio,
        min_places=2,
        behind_clips=4,
        batch_clips=2,
        max_load_ratio=1.0,
    )
    settings = EngineSection(
        model=MODEL,
        mode="segments",
        memory=MemorySection(recent_clips=4, retrieved_clips=3, compaction=compaction),
        vllm=VllmSection(max_model_len=1024),
    )
    store = CacheStoreSection(disk=DiskSection(path=folder))
    return make_engine(settings, SystemClock(), Metrics(), store)


async def watch(engine: Any, stream: str, method: str) -> None:
    await engine.open_stream(StreamId(stream))
    for index in range(NUM_CLIPS):
        await engine.ingest(make_clip(stream, index), Care(compaction=method))
    await engine.compactor.settled()


async def answers(engine: Any, stream: str) -> list[tuple[str, Any]]:
    """What is answered about a stream, and on which spans of time that rests."""
    found = []
    for text in QUESTIONS:
        reply, end = await ask(engine, question(stream, text))
        assert not end.memory_incomplete
        found.append((reply, end.clip_spans_s))
    return found


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two engines, one after the other on one folder, remembered and answered."""
    os.environ.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    folder = tmp_path_factory.mktemp("segments")
    found: dict[str, Any] = {}

    async def first() -> None:
        """A part of each clip is kept, by every method."""
        engine = make(folder, 0.4)
        await engine.start(lambda line: None)
        for method in ("off", *COMPACTIONS):
            await watch(engine, f"some-{method}", method)
            found[f"some {method}"] = await answers(engine, f"some-{method}")
        found["bytes"] = dict((await engine.take_stock({})).remembered)
        assert (await engine.runner.ask_workers(flush_segments(60.0))) == [True]
        await engine.close()

    async def second() -> None:
        """All rows are kept."""
        engine = make(folder, 1.0)
        await engine.start(lambda line: None)
        for method in COMPACTIONS:
            await engine.open_stream(StreamId(f"some-{method}"))
            found[f"some {method} again"] = await answers(engine, f"some-{method}")
        for method in ("off", "value_norm"):
            await watch(engine, f"all-{method}", method)
            found[f"all {method}"] = await answers(engine, f"all-{method}")
        _, end = await ask(engine, question("all-value_norm", QUESTIONS[1]))
        found["told"] = [one.is_compacted for one in end.evidence]
        await engine.close()

    asyncio.run(first())
    asyncio.run(second())
    return found


def test_with_all_rows_kept_answers_are_the_same(lives: dict[str, Any]) -> None:
    assert lives["all value_norm"] == lives["all off"]
    assert lives["told"] == [True]


def test_what_was_compacted_is_found_again_after_a_restart(lives: dict[str, Any]) -> None:
    for method in COMPACTIONS:
        assert lives[f"some {method} again"] == lives[f"some {method}"]


def test_what_is_remembered_gets_smaller(lives: dict[str, Any]) -> None:
    whole = lives["bytes"][StreamId("some-off")]
    for method in COMPACTIONS:
        # Twelve of the sixteen clips of 15 tokens keep their six tokens of text, and two places.
        assert lives["bytes"][StreamId(f"some-{method}")] == whole * (4 * 15 + 12 * 8) / (16 * 15)
