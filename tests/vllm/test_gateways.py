"""Two gateways on one port in front of one engine core with the demo model: each answers about each
stream, one that dies is started again and its streams go on at the other, and so does the core."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from onlooker.clients.python.client import Client
from onlooker.core.errors import OnlookerError
from onlooker.core.guarantee import Guarantee
from onlooker.streams.perception.stills import encode_png
from tests.fakes.fleet import redis_of_a_fleet
from tests.fakes.processes import descendants, ended, kill, listener
from tests.vllm.in_process import frames
from tests.vllm.real_server import RealServer

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.redis,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(1200),  # an engine is started twice, a gateway three times
]

NUM_CLIPS = 6
ALERT_S = 120.0
"""In which what is to be seen in every clip is told, also on a busy machine."""

QUESTIONS = ("What was there at 1 seconds?", "What was there at 4 seconds?")

Told = dict[str, list[tuple[str, bool]]]
"""What was answered about each stream, and whether the memory was incomplete."""


@dataclass
class Course:
    """What a server with two gateways told, from its start to its end."""

    guarantees: set[Any] = field(default_factory=set)
    told: dict[str, Told] = field(default_factory=dict)
    """By what had just happened, then as `Told`."""
    alerts: dict[str, int] = field(default_factory=dict)
    active: list[str] = field(default_factory=list)
    """What each gateway's own figures say of its streams."""
    shared_metrics: int = 0
    cores: dict[str, set[int]] = field(default_factory=dict)
    """Processes of the engine core, by what had just happened."""
    restarts: str = ""
    status: int | None = None


@pytest.fixture(scope="module")
def course() -> Iterator[Course]:
    os.environ.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    with redis_of_a_fleet() as redis_url:
        yield asyncio.run(play(redis_url))


async def play(redis_url: str) -> Course:
    course = Course()
    server = RealServer(
        {
            "server.gateways": 2,
            "cache_store.redis.url": redis_url,
        }
    )
    await server.start()
    try:
        await befall(server, course)
        below = descendants(server.process.pid)
        server.terminate()
        course.status = await server.process.wait()
        await ended(below)
    finally:
        await server.kill()
    return course


async def befall(server: RealServer, course: Course) -> None:
    porter = server.process.pid
    async with Client(server.base) as anywhere, httpx.AsyncClient(base_url=server.base) as plain:
        listed = (await plain.get("/v1/servers")).json()["data"]
        urls = [one["url"] for one in sorted(listed, key=lambda one: one["name"])]
        for stream, url in zip(("left", "right"), urls, strict=True):
            async with Client(url) as gateway:
                await gateway.create_stream(stream, clock="virtual")
            made = await plain.post(
                f"/v1/streams/{stream}/watches", json={"condition": "there is a red triangle"}
            )
            assert made.status_code == 201, made.text
            for index in range(NUM_CLIPS):
                for half, pixels in enumerate(frames(index)):
                    reply = await anywhere.push_frame(
                        stream, encode_png(pixels), at_s=index + 0.5 * half
                    )
                    course.guarantees.add(reply.guarantee)
            course.alerts[stream] = await alerts(plain, stream)
        course.shared_metrics = (await plain.get("/metrics")).status_code
        course.told["at first"] = await told_by(urls)
        course.active = [await figure(url, "onlooker_streams_active") for url in urls]
        course.cores["at first"] = cores(porter)

        kill(listener(porter, urlsplit(urls[0]).port or 0))
        course.told["a gateway died"] = await told_by([server.base, server.base])
        course.cores["a gateway died"] = cores(porter)
        await ready(urls[0])
        course.restarts = await figure(urls[0], "onlooker_gateway_restarts_total")
        course.told["it came back"] = await told_by(urls)

        for pid in cores(porter):
            kill(pid)
        course.told["the core died"] = await told_by(urls)
        course.cores["the core died"] = cores(porter)


async def told_by(urls: list[str]) -> Told:
    """What is answered about each stream by the gateway that need not have it."""
    found: Told = {}
    for stream, url in zip(("right", "left"), urls, strict=True):
        async with Client(url) as gateway:
            found[stream] = [await asked(gateway, stream, question) for question in QUESTIONS]
    return found


async def asked(gateway: Client, stream: str, question: str) -> tuple[str, bool]:
    """The answer; asked again where that is what the error says."""
    while True:
        try:
            reply = await gateway.ask(stream, question, max_output_tokens=8)
        except OnlookerError as error:
            if not error.retryable:
                raise
            await asyncio.sleep(0.5)
        else:
            return reply.answer, reply.onlooker.memory_incomplete


async def alerts(plain: httpx.AsyncClient, stream: str) -> int:
    """How many a stream has, once it has some."""
    async with asyncio.timeout(ALERT_S):
        while True:
            if found := (await plain.get(f"/v1/streams/{stream}/alerts")).json()["data"]:
                return len(found)
            await asyncio.sleep(0.2)


async def ready(url: str) -> None:
    async with Client(url) as gateway:
        while not await gateway.ready():  # noqa: ASYNC110 - it can only be asked
            await asyncio.sleep(0.5)


async def figure(url: str, name: str) -> str:
    async with httpx.AsyncClient(base_url=url) as plain:
        lines = (await plain.get("/metrics")).text.splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name} "))


def cores(porter: int) -> set[int]:
    return {pid for pid, words in descendants(porter).items() if "EngineCore" in words}


def test_each_gateway_answers_about_the_streams_of_the_other(course: Course) -> None:
    told = course.told["at first"]
    assert told["left"] == told["right"]  # both were shown the same
    (first, _), (second, _) = told["left"]
    assert first != second
    assert not any(is_incomplete for _, is_incomplete in told["left"])


def test_frames_are_acknowledged_as_kept_in_redis(course: Course) -> None:
    assert course.guarantees == {Guarantee.SERVER}


def test_watches_raise_alerts_at_both(course: Course) -> None:
    assert course.alerts.keys() == {"left", "right"}


def test_each_tells_its_own_figures_and_the_shared_port_none(course: Course) -> None:
    assert course.active == ["1.0", "1.0"]
    assert course.shared_metrics == 404


def test_one_core_serves_both(course: Course) -> None:
    assert len(course.cores["at first"]) == 1


def test_streams_of_a_gateway_that_died_go_on_at_the_other(course: Course) -> None:
    assert course.told["a gateway died"] == course.told["at first"]
    assert course.cores["a gateway died"] == course.cores["at first"]


def test_a_gateway_that_died_is_started_again_on_the_same_core(course: Course) -> None:
    assert course.restarts == "1.0"
    assert course.told["it came back"] == course.told["at first"]


def test_a_core_that_died_is_started_again_once_and_remembers(course: Course) -> None:
    assert course.told["the core died"] == course.told["at first"]
    assert len(course.cores["the core died"]) == 1
    assert course.cores["the core died"] != course.cores["at first"]


def test_it_ends_in_order_and_leaves_no_process(course: Course) -> None:
    assert course.status == 0
