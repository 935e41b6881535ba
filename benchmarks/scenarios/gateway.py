"""What a frame costs before the model has it, beside one plain decode and resize of it.

A server in a process of its own, with its decoder processes, whose engine takes clips and does
nothing; many cameras over WebSocket in another. Processor time is counted by thread, as the
kernel tells it: of the event loop's thread, of the server's other threads, and of the decoder
processes. The plain limit is measured before and after each cell, in this process: libjpeg-turbo or
libav decodes the same messages, and one resize brings them to the same size. In the cells every
frame is looked at, and nearly all are kept, but for those in which nothing moves; the streams at
the end have the settings that a server has by default.

With ``--gateways`` the same crowd feeds servers with so many gateways, all of them servers of a
fleet on one Redis, so that one differs from two in nothing else.

With ``--find-crowd`` the largest crowd at a frame a second is looked for whose every frame is
acknowledged within the goal. What other programs of the machine took meanwhile is told beside each.

Not shown: the engine, TLS, networks, sources that the server pulls.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

from onlooker.benchmarks.gateway.camera_load import CameraLoad
from onlooker.benchmarks.gateway.camera_pictures import messages_of
from onlooker.benchmarks.gateway.plain import plain_ms
from onlooker.benchmarks.gateway.spent import Spent, gateways_of, machine_busy_s, spent_by
from onlooker.benchmarks.lone_server import LoneServer
from onlooker.benchmarks.report import rows
from onlooker.benchmarks.soak.lone_redis import LoneRedis
from onlooker.core.media import Codec

SIZES = ((320, 240), (640, 480), (1280, 720))
TARGETS = ((144, 144), (448, 336), (512, 384))
"""What the demo model, Qwen2-VL and Qwen3-VL are shown."""
CODECS = (Codec.JPEG, Codec.H264)
CELL_STREAMS, CELL_FPS = 16, 5.0
GOALS = {"ratio": 1.6, "loop_ms": 0.30, "ack_p99_ms": 400.0}
WARM_S = 2.0
CROWD_STEP = 50
"""The largest crowd is found to within so many streams."""
CROWD_TRIES = 2
"""A crowd is too large that fails so often in a row: once may be the machine's fault."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this scenario."""
    parser.add_argument("--cell-seconds", type=float, default=5, help="of a cell (gateway) [5]")
    parser.add_argument("--quick", action="store_true", help="few cells and streams (gateway)")
    parser.add_argument(
        "--gateways", default="", help="numbers of gateways, such as 1,2 (gateway) [none]"
    )
    parser.add_argument(
        "--shared-load", default="48x8", help="streams and frames a second of each (--gateways)"
    )
    parser.add_argument(
        "--find-crowd",
        default="",
        help="only find the largest crowd within the goal, between two such as 100,1000 (gateway)",
    )
    parser.add_argument(
        "--crowds", default="100,300,1000", help="streams at a frame a second (gateway)"
    )


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The figures."""
    if options.gateways:
        num_streams, fps = options.shared_load.split("x")
        shared = [
            await _shared(int(n), int(num_streams), float(fps), options)
            for n in options.gateways.split(",")
        ]
        return {"shared": shared}
    if options.find_crowd:
        fewest, most = (int(n) for n in options.find_crowd.split(","))
        tried = await _tried_crowds(fewest, most, options)
        within = [one for one in tried if _is_within_goal(one)]
        largest = max(within or tried[-1:], key=lambda one: int(one["n"]))
        return {"goals": GOALS, "crowds": tried, "streams_1fps": largest}
    cells = [
        (size, to, codec)
        for to in TARGETS
        for size in SIZES
        for codec in CODECS
        if not options.quick or (size in SIZES[:2] and to == TARGETS[1])
    ]
    seconds = options.cell_seconds
    found = [
        await _cell(size, to, codec, seed=options.seed, seconds=seconds)
        for size, to, codec in cells
    ]
    found += [
        await _cell(size, TARGETS[1], Codec.JPEG, seed=options.seed, seconds=seconds, moves=False)
        for size in SIZES[:2]
    ]
    crowds = [int(n) for n in options.crowds.split(",")]
    live = [await _live(n, 1.0, seed=options.seed, seconds=options.seconds) for n in crowds]
    fast = await _live(16, 30.0, seed=options.seed, seconds=seconds)
    return {"goals": GOALS, "cells": found, "streams_1fps": live[-1], "crowds": live, "fast": fast}


def table(figures: dict[str, Any]) -> str:
    """The figures for people."""
    if "shared" in figures:
        shared_titles = ("gateways", "streams", "fps", "ack p50 ms", "p99", "unacknowledged",
                         "dropped", "total ms", "loop", "cores", "fullest loop")  # fmt: skip
        names = ("gateways", "n", "fps", "ack_p50_ms", "ack_p99_ms", "unacknowledged", "dropped",
                 "total_ms", "loop_ms", "cores", "fullest_loop")  # fmt: skip
        return rows(shared_titles, [tuple(one[k] for k in names) for one in figures["shared"]])
    if "cells" not in figures:
        largest = figures["streams_1fps"]
        says = "within" if _is_within_goal(largest) else "none is within"
        return f"{_crowd_table(figures['crowds'])}\n\n{largest['n']} streams: {says} the goal"
    cells = [
        (
            *(one[k] for k in ("size", "to")),
            one["codec"] if one["moves"] else f"{one['codec']}, nothing moves",
            *(one[k] for k in ("total_ms", "loop_ms", "threads_ms")),
            *(one[k] for k in ("decoding_ms", "plain_ms", "ratio", "dropped")),
        )
        for one in figures["cells"]
    ]
    titles = (
        "frame", "to", "codec", "total ms", "loop", "threads", "decoding", "plain", "ratio",
        "dropped",
    )  # fmt: skip
    return f"{rows(titles, cells)}\n\n{_crowd_table([*figures['crowds'], figures['fast']])}"


def _crowd_table(crowds: list[dict[str, Any]]) -> str:
    names = ("n", "fps", "ack_p50_ms", "ack_p99_ms", "dropped", "unacknowledged", "total_ms",
             "loop_ms", "cores", "client_cores", "others_cores", "mib_a_stream")  # fmt: skip
    titles = ("streams", "fps", "ack p50 ms", "p99", "dropped", "unacknowledged", "total ms",
              "loop", "cores", "client", "others", "MiB a stream")  # fmt: skip
    return rows(titles, [tuple(one[k] for k in names) for one in crowds])


async def _cell(
    size: tuple[int, int],
    to: tuple[int, int],
    codec: Codec,
    *,
    seed: int,
    seconds: float,
    moves: bool = True,
) -> dict[str, Any]:
    """Every frame of some streams is looked at."""
    messages = messages_of(codec, *size, seed=seed, moves=moves)
    before_ms = await asyncio.to_thread(plain_ms, codec, messages, *to)
    async with AsyncExitStack() as stack:
        settings = {
            "streams.perception.clip_interval_s": str(1 / CELL_FPS),
            "streams.max_lag_s": "60",
            "streams.mailbox_frames": "64",
            "scheduler.policy": "fcfs",  # a busy machine makes frames late; nothing is left out
        }
        server = await _server(stack, to, settings)
        load = CameraLoad(
            port=server.port, num_streams=CELL_STREAMS, fps=CELL_FPS, warm_s=WARM_S,
            seconds=seconds, codec=codec, width=size[0], height=size[1], seed=seed, moves=moves,
        )  # fmt: skip
        spent, _, gathered = await _fed(server, load)
    after_ms = await asyncio.to_thread(plain_ms, codec, messages, *to)
    limit_ms = (before_ms + after_ms) / 2
    num_seen = max(1, gathered["acknowledged"] - sum(gathered["dropped"].values()))
    return {
        "size": _name(size),
        "to": _name(to),
        "codec": codec.name.lower(),
        "moves": moves,
        "total_ms": round(spent.total_ms / num_seen, 3),
        "loop_ms": round(spent.loop_ms / num_seen, 3),
        "threads_ms": round(spent.threads_ms / num_seen, 3),
        "decoding_ms": round(spent.decoding_ms / num_seen, 3),
        "plain_ms": round(limit_ms, 3),
        "ratio": round(spent.total_ms / num_seen / limit_ms, 3),
        "kib_a_frame": round(statistics.mean(len(m) for m in messages) / 1024, 1),
        "dropped": sum(gathered["dropped"].values()),
        "ack_p99_ms": gathered["ack_p99_ms"],
    }


async def _tried_crowds(
    fewest: int, most: int, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Crowds of streams at a frame a second, each half way between the largest that was within the
    goal and the smallest that was not."""
    tried: list[dict[str, Any]] = []

    async def is_carried(num: int) -> bool:
        for _ in range(CROWD_TRIES):
            tried.append(await _live(num, 1.0, seed=options.seed, seconds=options.seconds))
            if _is_within_goal(tried[-1]):
                return True
        return False

    if not await is_carried(fewest) or await is_carried(most):
        return tried
    while most - fewest > CROWD_STEP:
        middle = (fewest + most) // 2
        if await is_carried(middle):
            fewest = middle
        else:
            most = middle
    return tried


def _is_within_goal(crowd: Mapping[str, Any]) -> bool:
    """Whether every frame was acknowledged in time, and none was lost."""
    is_whole = not crowd["dropped"] and not crowd["unacknowledged"]
    p99_ms = crowd["ack_p99_ms"]
    return is_whole and p99_ms is not None and p99_ms <= GOALS["ack_p99_ms"]


async def _shared(
    num_gateways: int, num_streams: int, fps: float, options: argparse.Namespace
) -> dict[str, Any]:
    """The same streams at a server with so many gateways."""
    async with LoneRedis() as redis:
        fleet = {
            "server.gateways": str(num_gateways),
            "cache_store.redis.url": redis.url,
            "cache_store.journal.store": "none",
            "fleet.name": "bench",
        }
        figures = await _live(
            num_streams, fps, seed=options.seed, seconds=options.seconds, more=fleet
        )
    return {"gateways": num_gateways, **figures}


async def _live(
    num_streams: int,
    fps: float,
    *,
    seed: int,
    seconds: float,
    more: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Streams of 320 x 240 with the settings that a server has by default, but for its limits and
    those that are given."""
    async with AsyncExitStack() as stack:
        room = str(num_streams + 16)
        settings = {
            "server.max_connections": room,
            "streams.max_streams": room,
            "server.max_guests": room,
            "server.max_guests_per_address": room,
            **more,
        }
        server = await _server(stack, (448, 336), settings)
        empty_bytes = server.holdings().rss_bytes
        load = CameraLoad(
            port=server.port, num_streams=num_streams, fps=fps, warm_s=WARM_S, seconds=seconds,
            codec=Codec.JPEG, width=320, height=240, seed=seed,
        )  # fmt: skip
        spent, held_bytes, gathered = await _fed(server, load)
    num = max(1, gathered["acknowledged"])
    lasted_ms = gathered["lasted_ms"]  # may be longer than `seconds`
    loops_ms = gathered["loops_ms"]
    return {
        "n": num_streams,
        "fps": fps,
        "ack_p50_ms": gathered["ack_p50_ms"],
        "ack_p99_ms": gathered["ack_p99_ms"],
        "dropped": sum(gathered["dropped"].values()),
        "unacknowledged": gathered["sent"] - gathered["acknowledged"],
        "total_ms": round(spent.total_ms / num, 3),
        "loop_ms": round(spent.loop_ms / num, 3),
        "fullest_loop": round(max(loops_ms) / lasted_ms, 3),
        "cores": round(spent.total_ms / lasted_ms, 3),
        "client_cores": round(gathered["client_cpu_ms"] / lasted_ms, 3),
        "client_late_p99_ms": gathered["late_p99_ms"],
        "others_cores": gathered["others_cores"],
        "mib_a_stream": round((held_bytes - empty_bytes) / num_streams / 2**20, 3),
    }


async def _server(
    stack: AsyncExitStack, to: tuple[int, int], settings: dict[str, str]
) -> LoneServer:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="onlooker-gateway-")))
    server = LoneServer(
        folder,
        settings=lambda _: settings,
        command=lambda port, assigned: (
            "onlooker.benchmarks.gateway.idle_server",
            *(str(number) for number in (port, *to)),
            *assigned,
        ),
    )
    await server.start()
    stack.push_async_callback(server.stop)
    return server


async def _fed(server: LoneServer, load: CameraLoad) -> tuple[Spent, int, dict[str, Any]]:
    """What the server spent while the cameras fed it, what it held then, and what became of it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "onlooker.benchmarks.gateway.camera_load",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(asdict(load)).encode() + b"\n")
        await _until(process.stdout, b"warm")
        gateways = gateways_of(server.pid)
        before = [spent_by(one) for one in gateways]
        begun_s, busy_before_s = time.monotonic(), machine_busy_s()
        process.stdin.write(b"\n")
        await _until(process.stdout, b"sent")
        each = [spent_by(one).since(then) for one, then in zip(gateways, before, strict=True)]
        spent = Spent.of_all(each)
        lasted_s, busy_s = time.monotonic() - begun_s, machine_busy_s() - busy_before_s
        held_bytes = server.holdings().rss_bytes
        process.stdin.write(b"\n")
        gathered: dict[str, Any] = json.loads(await process.stdout.readline())
        gathered["loops_ms"] = [one.loop_ms for one in each]
        gathered["lasted_ms"] = 1000 * lasted_s
        ours_s = (spent.total_ms + gathered["client_cpu_ms"]) / 1000
        gathered["others_cores"] = round(max(0.0, busy_s - ours_s) / lasted_s, 2)
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return spent, held_bytes, gathered


async def _until(out: asyncio.StreamReader, word: bytes) -> None:
    while (line := await out.readline()).strip() != word:
        assert line, "the cameras ended early; see what it said above"


def _name(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
