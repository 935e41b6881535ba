"""What was acknowledged as remembered survives `kill -9`, of vLLM's process and of the server."""

import asyncio
import contextlib
import gc
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from onlooker.cache_store.config import CacheStoreSection, DiskSection, JournalSection
from onlooker.cache_store.opening import open_journal
from onlooker.clients.python import Client, ClientOptions
from onlooker.core.clock import SystemClock
from onlooker.core.errors import EngineRestarting
from onlooker.core.guarantee import Guarantee
from onlooker.core.ids import StreamId
from onlooker.core.media import Codec, EncodedFrame
from onlooker.core.metrics import Metrics
from onlooker.engine.interface import AnswerDelta, AnswerEnd, Question
from onlooker.engine.vllm_adapter.engine import make_engine
from onlooker.server.config import Settings
from onlooker.server.wiring import make_hub
from onlooker.streams.hub import StreamHub
from onlooker.streams.journaling import JournalKeeper
from onlooker.streams.perception.stills import encode_png
from onlooker.streams.stream import Stream, StreamOptions
from tests.vllm.in_process import frames
from tests.vllm.real_server import RealServer
from tests.vllm.test_engines import MODEL

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(900),  # several engines are started, one after the other
]

DOOR = StreamId("door")
THEN = "What was there at 3 seconds?"
EVER = "Was there ever a red circle?"
SETTINGS: dict[str, Any] = {
    "engine": {
        "model": MODEL,
        "mode": "segments",
        "memory": {"recent_clips": 4, "retrieved_clips": 3},
        "restarts": {"wait_s": 600.0},
        "vllm": {"max_model_len": 1024},
    },
    "streams": {"clock": "virtual", "perception": {"gate_threshold": 0.0}},
    "scheduler": {"policy": "fcfs"},
}


def pictures(first: int, end: int) -> list[EncodedFrame]:
    """Two for each clip from index `first` to before `end`."""
    return [
        EncodedFrame(2 * index + k, index + 0.5 * k, Codec.PNG, encode_png(pixels), 0.0)
        for index in range(first, end)
        for k, pixels in enumerate(frames(index))
    ]


async def answer(stream: Stream, text: str, **options: Any) -> tuple[str, AnswerEnd]:
    events = stream.ask(Question(text=text, max_tokens=8, **options))
    found = [event async for event in events]
    assert isinstance(found[-1], AnswerEnd)
    return "".join(e.text for e in found if isinstance(e, AnswerDelta)), found[-1]


def kill_core() -> None:
    """End vLLM's process, a child of this one, without warning."""
    for child in multiprocessing.active_children():
        if child.pid is not None and "EngineCore" in child.name:
            os.kill(child.pid, signal.SIGKILL)


@contextlib.asynccontextmanager
async def running(folder: Path, metrics: Metrics) -> AsyncIterator[StreamHub]:
    clock, settings = SystemClock(), Settings.model_validate(SETTINGS)
    section = JournalSection(path=folder / "journal")
    store = CacheStoreSection(disk=DiskSection(path=folder / "segments"), journal=section)
    keeper = JournalKeeper(open_journal(section), settings=section, clock=clock, metrics=metrics)
    engine = make_engine(settings.engine, clock, metrics, store)
    hub = make_hub(settings, engine=engine, clock=clock, metrics=metrics, journal=keeper)
    await hub.start(lambda line: None)
    try:
        yield hub
    finally:
        await hub.close(deadline_s=0.0)


async def killed_while_ingesting(stream: Stream, found: dict[str, Any]) -> None:
    feeding = asyncio.create_task(feed(stream, pictures(6, 10)))
    await asyncio.sleep(0)
    kill_core()
    await feeding
    found["ingesting"] = [await answer(stream, THEN), await answer(stream, EVER)]
    found["status"] = stream.status()


async def feed(stream: Stream, frames: list[EncodedFrame]) -> list[Guarantee | None]:
    return [(await stream.push_wait(frame)).guarantee for frame in frames]


async def killed_while_answering(stream: Stream, folder: Path, found: dict[str, Any]) -> None:
    try:
        await answer_and_kill(stream)
        await answer(stream, EVER)  # the one before had come whole when its engine was ended
    except EngineRestarting as error:
        found["is error retryable"] = error.retryable
    damage(folder)  # while no engine looks
    found["damaged"] = [await answer(stream, "What was there at 2 seconds?"),
                        await answer(stream, "What was there at 1 seconds?"),
                        await answer(stream, "What was there at 5 seconds?")]  # fmt: skip


async def answer_and_kill(stream: Stream) -> None:
    """Ask, and end vLLM's process at the first event."""
    is_killed = False
    async for _ in stream.ask(Question(text=EVER, max_tokens=400)):
        if not is_killed:
            kill_core()
            is_killed = True


def damage(folder: Path) -> None:
    """The records of two clips: a flipped bit in one, a third one in place of the other."""
    records = sorted(path for path in folder.rglob("*") if path.is_file() and "clip" in str(path))
    assert len(records) == 10
    flipped = bytearray(records[2].read_bytes())
    flipped[-100] ^= 1
    records[2].write_bytes(flipped)
    records[1].write_bytes(records[7].read_bytes())


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What one server answered over three lives of its engine."""
    os.environ.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    folder, metrics = tmp_path_factory.mktemp("durable"), Metrics()
    found: dict[str, Any] = {"metrics": metrics}

    async def scenario() -> None:
        async with running(folder, metrics) as hub:
            stream = await hub.open_stream(DOOR, StreamOptions(clock="virtual"))
            stream.claim_source("test")
            found["guarantees"] = await feed(stream, pictures(0, 6))
            found["before"] = [await answer(stream, THEN)]
            await killed_while_ingesting(stream, found)
            await asyncio.sleep(3.0)  # all is written, and the journal has heard of it
            found["journal bytes"] = metrics.registry.get_sample_value("onlooker_journal_bytes")
            await killed_while_answering(stream, folder / "segments", found)

    asyncio.run(scenario())
    yield found
    gc.collect()  # vLLM leaves the contexts of its sockets to the collector, which warns


def test_the_acknowledgement_says_what_a_frame_survives(lives: dict[str, Any]) -> None:
    assert set(lives["guarantees"]) == {Guarantee.SECOND}


def test_killed_while_ingesting_nothing_acknowledged_is_lost(lives: dict[str, Any]) -> None:
    status = lives["status"]
    assert (status.kept, status.clips_lost) == (20, 0)
    assert status.seen_until_s == 9.5
    (text, end), (_, later) = lives["ingesting"]
    assert (text, end.clip_spans_s) == (lives["before"][0][0], ((3.0, 4.0),))
    assert not end.memory_incomplete
    assert later.clip_spans_s[-1][1] == 9.5


def test_the_journal_lets_go_of_what_the_disk_has(lives: dict[str, Any]) -> None:
    assert lives["journal bytes"] < 100_000


def test_killed_while_answering_the_answer_says_so_and_the_next_one_comes(
    lives: dict[str, Any],
) -> None:
    assert lives["is error retryable"]
    _, end = lives["damaged"][2]
    assert end.clip_spans_s == ((5.0, 6.0),)
    value = lives["metrics"].registry.get_sample_value
    assert value("onlooker_engine_restarts_total", {"outcome": "started"}) == 2


def test_damaged_and_foreign_records_are_never_shown(lives: dict[str, Any]) -> None:
    for second, (_, end) in zip((2.0, 1.0), lives["damaged"], strict=False):
        assert end.memory_incomplete
        assert not any(start < second + 0.5 and until > second for start, until in end.clip_spans_s)


# ---- the server itself


def test_a_killed_server_comes_back_with_all_that_it_acknowledged(tmp_path: Path) -> None:
    asyncio.run(killed_server(tmp_path))


async def killed_server(folder: Path) -> None:
    os.environ.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    server = RealServer(
        {
            "cache_store.disk.path": folder / "segments",
            "cache_store.journal.path": folder / "journal",
        }
    )
    options = ClientOptions(answer_timeout_s=600)
    await server.start()
    client = Client(server.base, options=options)
    async with client, client.stream("door", clock="virtual") as stream:
        for index in range(6):
            for k, pixels in enumerate(frames(index)):
                await stream.send_frame(pixels, at_s=index + 0.5 * k)
        await stream.drain(600)
        before = await stream.ask(THEN)
        for k, pixels in enumerate(frames(6)):
            await stream.send_frame(pixels, at_s=6 + 0.5 * k)
        await stream.drain(600)  # acknowledged, perhaps not seen
        assert stream.last_ack is not None
        assert (stream.last_ack.guarantee, stream.last_ack.totals.kept) == ("second", 14)
        await server.kill()
    await server.start()
    try:
        async with Client(server.base, options=options) as client:
            await client.create_stream("door", clock="virtual")
            after = await client.ask("door", THEN)
            info = await client.get_stream("door")
            assert (info.clips, info.seen_until_s) == (7, 6.5)
            assert after.answer == before.text
            assert not after.onlooker.memory_incomplete
            assert after.onlooker.clip_spans_s == [(3.0, 4.0)]
    finally:
        await server.kill()
