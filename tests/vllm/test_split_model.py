"""A model that is split over two workers answers as one that is not, and remembers over a restart.

Three starts of vLLM with two workers take minutes, so `make test` leaves these out: `make
test-slow` runs them.
"""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from onlooker.cache_store.config import CacheStoreSection, DiskSection
from onlooker.core.clock import SystemClock
from onlooker.core.ids import StreamId
from onlooker.core.metrics import Metrics
from onlooker.engine.config import EngineSection, VllmSection
from onlooker.engine.interface import AnswerDelta, AnswerEnd, Remembered
from onlooker.engine.memory.config import MemorySection
from onlooker.engine.memory.ranking import Ranking
from onlooker.engine.sampling import Sampling
from onlooker.engine.vllm_adapter.engine import make_engine
from onlooker.engine.vllm_adapter.wire import flush_segments
from tests.vllm.test_engines import MODEL, make_clip, open_with_clips, question

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("ignore"),
]

NUM_CLIPS = 16
QUESTIONS = ("Was there ever a red circle?", "What was there at 3 seconds?", "How many objects?")
TOLERANCE = 1e-3
"""Log probabilities, float32: sums over heads are in another order."""


def make(num_parts: int, folder: Path) -> Any:
    os.environ.pop("VLLM_CPU_OMP_THREADS_BIND", None)  # that of an engine before
    settings = EngineSection(
        model=MODEL,
        mode="segments",
        # In one pass, so that every layer of both workers chooses for itself.
        memory=MemorySection(
            recent_clips=4, retrieved_clips=3, retrieval="layers", ranking=Ranking()
        ),
        vllm=VllmSection(max_model_len=1024, tensor_parallel_size=num_parts),
    )
    return make_engine(
        settings, SystemClock(), Metrics(), CacheStoreSection(disk=DiskSection(path=folder))
    )


async def answers(engine: Any) -> list[tuple[str, Any, list[float], list[str]]]:
    """Each question's answer: its words, what it saw, the logarithms of its tokens' probabilities,
    and the tiers that it read."""
    found = []
    for text in QUESTIONS:
        asked = question("door", text, sampling=Sampling(num_alternatives=1))
        chances: list[float] = []
        words = ""
        async for event in engine.answer(asked):
            if isinstance(event, AnswerDelta):
                words += event.text
                chances += [one.logprob for one in event.chances]
            if isinstance(event, AnswerEnd):
                assert not event.memory_incomplete
                tiers = [one.tier for one in event.evidence]
                found.append((words, event.clip_spans_s, chances, tiers))
    return found


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an engine with one worker, and after it two with two on one folder, remembered and
    answered; then again one with one worker, on the folder of the two."""
    os.environ.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    folder = tmp_path_factory.mktemp("split")
    found: dict[str, Any] = {}

    async def life(name: str, num_parts: int, place: Path, *, is_new: bool) -> None:
        engine = make(num_parts, place)
        await engine.start(lambda line: None)
        if is_new:
            await open_with_clips(engine, "door", NUM_CLIPS)
            traced = question("door", QUESTIONS[0])
            found[f"{name} trace"] = (await engine.trace(traced)).layers
        else:
            found[f"{name} opened"] = await engine.open_stream(StreamId("door"))
        if is_new or found[f"{name} opened"].next_clip_index:
            found[name] = await answers(engine)
            found[f"{name} again"] = await answers(engine)
        assert all(await engine.runner.ask_workers(flush_segments(60.0)))
        found[f"{name} stock"] = await engine.take_stock({StreamId("door"): [0, 1]})
        if name == "restarted":
            await engine.ingest(make_clip("door", NUM_CLIPS))
            found["later"] = await answers(engine)
        await engine.close_stream(StreamId("door"), forget=False)
        await engine.close()

    asyncio.run(life("whole", 1, folder / "whole", is_new=True))
    asyncio.run(life("split", 2, folder / "split", is_new=True))
    asyncio.run(life("restarted", 2, folder / "split", is_new=False))
    asyncio.run(life("joined", 1, folder / "split", is_new=False))
    return found


def test_a_split_model_answers_and_sees_what_a_whole_one_does(lives: dict[str, Any]) -> None:
    for whole, split in zip(lives["whole"], lives["split"], strict=True):
        assert split[:2] == whole[:2]
        assert split[2] == pytest.approx(whole[2], abs=TOLERANCE)


def test_every_layer_ranks_by_all_heads(lives: dict[str, Any]) -> None:
    layers = list(zip(lives["whole trace"], lives["split trace"], strict=True))
    assert layers
    for whole, split in layers:
        for name in ("mean_key", "page_mean", "late_interaction"):
            assert split[name] == pytest.approx(whole[name], abs=TOLERANCE)


def test_after_a_restart_it_answers_as_before_from_the_disk(lives: dict[str, Any]) -> None:
    assert lives["restarted opened"] == Remembered(NUM_CLIPS, NUM_CLIPS - 0.5)
    before = [answer[0] for answer in lives["split"]]
    # What is not held ready is chosen first, for all layers at once: fewer clips are seen.
    assert [answer[0] for answer in lives["restarted"]] == before
    assert "disk" in lives["restarted"][0][3]
    assert set(lives["restarted again"][0][3]) == {"device"}


def test_new_clips_join_the_old_ones(lives: dict[str, Any]) -> None:
    assert lives["later"][2][1][-1][1] == NUM_CLIPS + 0.5


def test_both_workers_hold_together_what_one_would(lives: dict[str, Any]) -> None:
    whole, split = lives["whole stock"], lives["split stock"]
    assert split.held == whole.held
    assert split.durable == {StreamId("door"): [0, 1]}
    for tier in ("memory", "disk"):
        assert split.tiers[tier]["num_records"] == whole.tiers[tier]["num_records"]
        # Each half of a record has a head of its own.
        used = [stock.tiers[tier]["used_bytes"] for stock in (whole, split)]
        assert used[0] < used[1] < used[0] * 1.05


def test_what_two_workers_stored_one_does_not_read_and_counts(lives: dict[str, Any]) -> None:
    assert lives["joined opened"] == Remembered()
    assert lives["joined stock"].tiers["disk"]["foreign"] == 1
