"""A restarted server remembers: what was stored is found again, and answers are the same."""

import asyncio
import multiprocessing
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from onlooker.cache_store.config import CacheStoreSection, DiskSection
from onlooker.core.clock import SystemClock
from onlooker.core.ids import StreamId, tenant_stream_id
from onlooker.core.metrics import Metrics
from onlooker.engine.config import EngineSection, VllmSection
from onlooker.engine.interface import Remembered
from onlooker.engine.memory.config import MemorySection
from onlooker.engine.vllm_adapter.engine import make_engine
from onlooker.engine.vllm_adapter.wire import flush_segments
from tests.vllm.test_engines import MODEL, ask, make_clip, open_with_clips, question

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

NUM_CLIPS = 16
QUESTIONS = ("Was there ever a red circle?", "What was there at 3 seconds?", "How many objects?")


def make(folder: Path) -> Any:
    settings = EngineSection(
        model=MODEL,
        mode="segments",
        memory=MemorySection(recent_clips=4, retrieved_clips=3),
        vllm=VllmSection(max_model_len=1024),
    )
    store = CacheStoreSection(disk=DiskSection(path=folder))
    return make_engine(settings, SystemClock(), Metrics(), store)


async def answers(engine: Any) -> list[tuple[str, Any, bool]]:
    found = []
    for text in QUESTIONS:
        reply, end = await ask(engine, question("door", text))
        found.append((reply, end.clip_spans_s, end.memory_incomplete))
    return found


async def without_room(engine: Any, stream_id: StreamId) -> dict[str, Any]:
    """What becomes of a stream while vLLM's processes may write no file as large as a segment. The
    kernel refuses the writes (EFBIG), as it does on a full disk (ENOSPC); names it still takes."""
    waiting = {stream_id: [0, 1]}
    before = (await engine.take_stock({})).tiers["disk"]["refused"]
    pids = [child.pid for child in multiprocessing.active_children() if child.pid is not None]
    limits = [resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in pids]
    for pid, (_, hard) in zip(pids, limits, strict=True):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        await open_with_clips(engine, stream_id, 2)
        assert (await engine.runner.ask_workers(flush_segments(60.0))) == [True]
        stock = await engine.take_stock(waiting)
        _, end = await ask(engine, question(stream_id, "What was there at 1 seconds?"))
    finally:
        for pid, limit in zip(pids, limits, strict=True):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)
    refused = stock.tiers["disk"]["refused"] - before
    found = {"durable": stock.durable, "refused": refused, "end": end}
    while not (later := (await engine.take_stock(waiting)).durable.get(stream_id)):
        pass
    return {**found, "durable later": later}


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two engines, one after the other on one folder, remembered and answered."""
    os.environ.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    folder = tmp_path_factory.mktemp("segments")
    found: dict[str, Any] = {}

    async def first() -> None:
        engine = make(folder)
        await engine.start(lambda line: None)
        await open_with_clips(engine, "door", NUM_CLIPS)
        await open_with_clips(engine, "gone", 2)
        found["before"] = await answers(engine)
        await engine.close_stream(StreamId("door"), forget=False)
        await engine.close_stream(StreamId("gone"), forget=True)
        await engine.close()

    async def second() -> None:
        engine = make(folder)
        await engine.start(lambda line: None)
        found["door"] = await engine.open_stream(StreamId("door"))
        found["gone"] = await engine.open_stream(StreamId("gone"))
        found["told"] = [(await ask(engine, question("door", QUESTIONS[1])))[1] for _ in range(2)]
        acme = tenant_stream_id("acme", "door")
        found["acme"] = await engine.open_stream(acme)
        await engine.ingest(make_clip(acme, 0))
        found["acme answer"] = (await ask(engine, question(acme, "How many objects?")))[1]
        await engine.close_stream(acme, forget=True)
        found["after"] = await answers(engine)
        await engine.ingest(make_clip("door", NUM_CLIPS))
        found["later"] = await answers(engine)
        await engine.close()

    async def third() -> None:
        engine = make(folder)
        await engine.start(lambda line: None)
        await engine.open_stream(StreamId("door"))
        for path in folder.rglob("*"):  # the medium fails under a running engine
            if path.is_file() and path.stat().st_size > 10_000:
                content = bytearray(path.read_bytes())
                content[-100] ^= 1
                path.write_bytes(content)
        found["damaged"] = await answers(engine)
        await engine.ingest(make_clip("door", NUM_CLIPS + 1))
        found["no room"] = await without_room(engine, StreamId("late"))
        await engine.close()

    asyncio.run(first())
    asyncio.run(second())
    asyncio.run(third())
    return found


def test_a_stream_goes_on_where_it_was(lives: dict[str, Any]) -> None:
    assert lives["door"] == Remembered(NUM_CLIPS, NUM_CLIPS - 0.5)


def test_a_stream_that_was_closed_on_purpose_is_new(lives: dict[str, Any]) -> None:
    assert lives["gone"] == Remembered()


def test_another_tenants_stream_of_the_same_name_is_another_stream(lives: dict[str, Any]) -> None:
    """Nor does forgetting it touch the first: see the answers afterwards."""
    assert lives["acme"] == Remembered()
    assert lives["acme answer"].clip_spans_s == ((0.0, 0.5),)
    assert not lives["acme answer"].memory_incomplete


def test_answers_after_a_restart_are_those_from_before(lives: dict[str, Any]) -> None:
    assert lives["after"] == lives["before"]


def test_an_answer_tells_from_which_tier_its_evidence_came(lives: dict[str, Any]) -> None:
    first, second = lives["told"]
    assert [(e.start_s, e.source, e.tier) for e in first.evidence] == [(3.0, "named", "disk")]
    assert [e.tier for e in second.evidence] == ["device"]
    assert first.fetched_bytes["disk"] == second.fetched_bytes["device"] > 0
    assert first.fetched_ratio == pytest.approx(1 / NUM_CLIPS)


def test_new_clips_join_the_old_ones(lives: dict[str, Any]) -> None:
    _, spans, incomplete = lives["later"][1]
    assert spans == ((3.0, 4.0),)
    assert not incomplete
    _, spans, incomplete = lives["later"][2]
    assert spans[-1][1] == NUM_CLIPS + 0.5
    assert not incomplete


def test_damaged_files_are_missed_and_said_so(lives: dict[str, Any]) -> None:
    _, spans, incomplete = lives["damaged"][0]
    assert incomplete
    assert spans == ()  # every clip was damaged, and none was used


def test_a_disk_without_room_costs_no_answer_and_is_written_later(lives: dict[str, Any]) -> None:
    found = lives["no room"]
    assert found["refused"] >= 2
    assert found["durable"] == {}
    assert found["end"].clip_spans_s == ((1.0, 1.5),)
    assert not found["end"].memory_incomplete
    assert set(found["durable later"]) <= {0, 1}
