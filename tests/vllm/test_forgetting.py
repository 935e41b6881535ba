"""Deleted clips on real vLLM: what is asked afterwards is answered as if they had never been."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from onlooker.cache_store.config import CacheStoreSection, DiskSection
from onlooker.core.clock import SystemClock
from onlooker.core.ids import StreamId
from onlooker.core.metrics import Metrics
from onlooker.engine.config import EngineSection, VllmSection
from onlooker.engine.memory.config import MemorySection
from onlooker.engine.vllm_adapter.engine import make_engine
from onlooker.engine.vllm_adapter.wire import flush_segments
from tests.vllm.test_engines import MODEL, Mode, ask, make_clip, open_with_clips, question

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

DOOR, TWIN = StreamId("acme/door"), StreamId("acme/twin")
NUM, NUM_LEFT = 8, 5
QUESTIONS = ("What objects are there?", "Was there ever a red circle?", "How many objects?")


@pytest.fixture(scope="module", params=get_args(Mode))
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What an engine of each mode answered before and after a deletion, and what was left."""
    os.environ.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    folder: Path = tmp_path_factory.mktemp("segments")
    settings = EngineSection(
        model=MODEL,
        mode=request.param,
        window_clips=8,
        memory=MemorySection(recent_clips=4, retrieved_clips=3),
        vllm=VllmSection(max_model_len=1024),
    )
    store = CacheStoreSection(disk=DiskSection(path=folder))

    def on_disk() -> set[str]:
        """The indices of the door's clips of which there is a file."""
        paths = (path for path in folder.rglob("*") if path.is_file() and "door" in str(path))
        return {path.stem.lstrip("0") or "0" for path in paths if "clip" in str(path)}

    async def answers(engine: Any, stream: StreamId) -> list[tuple[str, Any, bool]]:
        replies = []
        for text in QUESTIONS:
            reply, end = await ask(engine, question(stream, text))
            replies.append((reply, end.clip_spans_s, end.memory_incomplete))
        return replies

    async def scenario() -> dict[str, Any]:
        engine: Any = make_engine(settings, SystemClock(), Metrics(), store)
        await engine.start(lambda line: None)
        told: dict[str, Any] = {"mode": request.param}
        try:
            await open_with_clips(engine, DOOR, NUM)
            await open_with_clips(engine, TWIN, NUM_LEFT)
            if request.param == "segments":
                assert await engine.runner.ask_workers(flush_segments(60.0)) == [True]
            told["before"], told["files before"] = await answers(engine, DOOR), on_disk()
            told["report"] = await engine.forget(DOOR, float(NUM_LEFT), 1e6)
            told["after"], told["files after"] = await answers(engine, DOOR), on_disk()
            told["never had"] = await answers(engine, TWIN)
            # In the middle, with clips after it that have to be placed anew.
            await engine.forget(DOOR, 2.0, 2.9)
            told["middle"] = await answers(engine, DOOR)
            await engine.ingest(make_clip(DOOR, NUM))
            told["goes on"] = await answers(engine, DOOR)
            await engine.close_stream(DOOR, forget=False)
            told["opened again"] = await engine.open_stream(DOOR)
        finally:
            await engine.close()
        return told

    with asyncio.Runner() as runner:
        return runner.run(scenario())


def spans_of(replies: Any) -> Iterator[tuple[float, float]]:
    for _, spans, _ in replies:
        yield from spans


def said(replies: Any) -> list[tuple[str, bool]]:
    return [(text, incomplete) for text, _, incomplete in replies]


def test_answers_are_those_of_a_stream_that_never_had_the_clips(found: Any) -> None:
    rested_on = max(end for _, end in spans_of(found["before"]))
    assert rested_on > NUM_LEFT, "else the test could not fail"
    assert said(found["after"]) == said(found["never had"])
    # The last clip that is left had stood for what was there until the next one began.
    assert max(end for _, end in spans_of(found["after"])) <= NUM_LEFT
    assert found["report"].clip_indices == {5, 6, 7}
    assert found["report"].num_bytes > 0
    assert found["report"].unreached == ()


def test_no_answer_rests_on_a_deleted_time_and_none_calls_its_memory_incomplete(
    found: Any,
) -> None:
    for part in ("middle", "goes on"):
        assert not any(start < 2.9 and end > 2.0 for start, end in spans_of(found[part]))
        assert not any(incomplete for _, _, incomplete in found[part])
    assert any(end > NUM for _, end in spans_of(found["goes on"]))


def test_the_disk_has_the_clips_that_are_left_and_no_others(found: Any) -> None:
    is_stored = found["mode"] == "segments"
    assert found["files before"] == {str(index) for index in range(NUM if is_stored else 0)}
    assert found["files after"] == {str(index) for index in range(NUM_LEFT if is_stored else 0)}
    assert found["opened again"].missing == ({2, 5, 6, 7} if is_stored else set())
