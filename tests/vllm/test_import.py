"""Recordings of the drawn world, imported by the wall clock and asked about by it."""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from onlooker.clients.python import Client
from onlooker.clients.python.importing.command import ImportCommand
from onlooker.clients.python.importing.plan import ImportPlan, import_options
from onlooker.demo_model.examples import TEST_SEED
from onlooker.demo_model.questions import DrawnQuestion, ask, correct
from onlooker.demo_model.render import render
from onlooker.demo_model.video import write_video
from onlooker.demo_model.view import DrawnClip
from onlooker.demo_model.world import World
from tests.vllm.real_server import RealServer

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(900)]

Importing = Callable[[RealServer, Path, Sequence[datetime]], Awaitable[None]]
"""Gets the recordings of a folder, which began at these times, into the stream ``door``."""

FPS = 10
LENGTH_S = 30
NUM_QUESTIONS = 12


def record(world: World, folder: Path, begun: datetime, world_s: int) -> None:
    """A recording of `LENGTH_S` seconds of the world from `world_s` on, with its time in its
    name."""
    scenes = (world.state_at(world_s + i / FPS) for i in range(LENGTH_S * FPS))
    pictures = (render(scene, 224, 224) for scene in scenes)
    write_video(folder / f"{begun:%Y-%m-%d_%H-%M-%S}.mp4", pictures, FPS, bitrate=2_000_000)


def questions(world: World) -> list[tuple[int, DrawnQuestion]]:
    """Questions about whole seconds of the world, whose answers do not hang on which pictures were
    picked."""
    rng = random.Random(4)
    found: list[tuple[int, DrawnQuestion]] = []
    while len(found) < NUM_QUESTIONS:
        seed, family = rng.random(), rng.choice(["at_time_color", "at_time_shape"])
        asked = [
            ask(world, clips(shift_s), 2 * LENGTH_S, random.Random(seed), family)
            for shift_s in (0.0, -0.2, 0.2)
        ]
        first = asked[0]
        if first is None or " at " not in first.text or first.evidence == ():
            continue
        at_s = first.evidence[0]
        same = all(
            q is not None and (q.text, q.answer) == (first.text, first.answer) for q in asked
        )
        if same and f"at {at_s} seconds" in first.text:
            found.append((at_s, first))
    return found


def clips(shift_s: float) -> list[DrawnClip]:
    starts = [max(0.0, i + shift_s) for i in range(2 * LENGTH_S)]
    return [DrawnClip(start_s + 0.25, (start_s, start_s + 0.5)) for start_s in starts]


async def by_the_command(server: RealServer, folder: Path, begun: Sequence[datetime]) -> None:
    """Import with ``onlooker import``."""
    plan = ImportPlan(places=(folder,), stream_id="door", zone=UTC)
    async with Client(server.base, options=import_options(None)) as client:
        command = ImportCommand(client, plan, Console(), ledger=folder.parent / "ledger")
        assert await command.run() == 0


async def by_the_server(server: RealServer, folder: Path, begun: Sequence[datetime]) -> None:
    """Have the server import what is uploaded."""
    async with httpx.AsyncClient(base_url=server.base, timeout=60, trust_env=False) as http:
        for start in begun:
            path = folder / f"{start:%Y-%m-%d_%H-%M-%S}.mp4"
            reply = await http.post(
                "/v1/streams/door/imports",
                params={"starts_at": start.isoformat()},
                content=await asyncio.to_thread(path.read_bytes),
                headers={"content-type": "video/mp4"},
            )
            assert reply.status_code == 202, reply.text
        async with asyncio.timeout(300):
            states = {"waiting"}
            while states & {"waiting", "running"}:
                await asyncio.sleep(0.2)
                listed = (await http.get("/v1/streams/door/imports")).json()["data"]
                states = {job["state"] for job in listed}
        assert [(job["state"], job["reason"]) for job in listed] == [("done", None)] * 2


@pytest.mark.parametrize("importing", [by_the_command, by_the_server])
def test_what_was_there_yesterday_is_answered_by_the_wall_clock(
    tmp_path: Path, importing: Importing
) -> None:
    asyncio.run(asked_by_the_wall_clock(tmp_path, importing))


async def asked_by_the_wall_clock(tmp_path: Path, importing: Importing) -> None:
    os.environ.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    world = World(TEST_SEED + 3)
    folder = tmp_path / "recordings"
    folder.mkdir()
    day = datetime.now(UTC) - timedelta(days=1)
    begun = day.replace(hour=13, minute=45, second=0, microsecond=0)
    later = begun + timedelta(minutes=25)
    record(world, folder, begun, 0)
    record(world, folder, later, LENGTH_S)

    def at(world_s: int) -> datetime:
        start, offset_s = (begun, world_s) if world_s < LENGTH_S else (later, world_s - LENGTH_S)
        return start + timedelta(seconds=offset_s)

    settings = {
        "cache_store.disk.path": tmp_path / "segments",
        "cache_store.journal.path": tmp_path / "journal",
        "engine.memory.timezone": "UTC",
        "engine.memory.recent_clips": 4,
        "engine.memory.retrieved_clips": 3,
    }
    server = RealServer(settings)
    await server.start()
    try:
        await importing(server, folder, (begun, later))
        async with Client(server.base) as client:
            info = await client.get_stream("door")
            assert info.totals.received == 4 * LENGTH_S
            assert not info.totals.dropped
            assert info.starts_at == begun.timestamp()
            num_right = 0
            for world_s, question in questions(world):
                text = question.text.replace(
                    f"at {world_s} seconds", f"at {at(world_s):%H:%M:%S} yesterday"
                )
                reply = await client.ask("door", text)
                spans = reply.onlooker.clip_spans_s
                stream_s = (at(world_s) - begun).total_seconds()
                print(text, "|", reply.answer, "|", question.answer, "|", spans)
                assert any(start_s <= stream_s < end_s for start_s, end_s in spans)
                num_right += correct(question, reply.answer)
            assert num_right >= NUM_QUESTIONS * 3 / 4
            last = questions(world)[0]
        await server.kill()
        await server.start()
        async with Client(server.base) as client:
            found = await client.create_stream("door", clock="virtual")
            assert found.starts_at == begun.timestamp()
            world_s, question = last
            text = question.text.replace(
                f"at {world_s} seconds", f"at {at(world_s):%H:%M:%S} yesterday"
            )
            reply = await client.ask("door", text)
            stream_s = (at(world_s) - begun).total_seconds()
            assert any(a <= stream_s < b for a, b in reply.onlooker.clip_spans_s)
    finally:
        await server.kill()
