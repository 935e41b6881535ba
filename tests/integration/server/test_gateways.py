"""`onlooker serve --gateways 2` with scripted engines, as a person runs it, on a real Redis."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx
import pytest

from tests.fakes.fleet import redis_of_a_fleet
from tests.fakes.processes import descendants, ended, kill, listener

pytestmark = [pytest.mark.redis, pytest.mark.timeout(600)]


@dataclass
class Course:
    """What a server with two gateways told, from its start to its end."""

    said: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    owned: dict[str, int] = field(default_factory=dict)
    """Status of a call about the stream of each gateway, at the shared port."""
    after_death: int = 0
    """The same about the stream of one that has just died."""
    shared_metrics: tuple[int, str] = (0, "")
    """What the shared port says of figures."""
    restarts: str = ""
    status: int = -1


@pytest.fixture(scope="module")
def course() -> Iterator[Course]:
    with redis_of_a_fleet() as redis_url:
        yield asyncio.run(play(redis_url))


async def play(redis_url: str) -> Course:
    course = Course()
    porter = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "onlooker.server", "serve", "--mode", "fake", "--port", "0",
        "--gateways", "2", f"--set=cache_store.redis.url={redis_url}", stdout=subprocess.PIPE,
    )  # fmt: skip
    assert porter.stdout is not None
    try:
        async for line in porter.stdout:
            course.said.append(line.decode().strip())
            if course.said[-1].startswith("ready"):
                break
        await befall(course, porter.pid)
        below = descendants(porter.pid)
        porter.send_signal(signal.SIGTERM)
        course.status = await porter.wait()
        await ended(below)
    finally:
        if porter.returncode is None:
            porter.kill()
            await porter.wait()
    return course


async def befall(course: Course, porter: int) -> None:
    base = course.said[0].split("port open at ")[1]
    async with httpx.AsyncClient(base_url=base, timeout=30) as anywhere:
        listed = (await anywhere.get("/v1/servers")).json()["data"]
        course.urls = sorted(one["url"] for one in listed)
        course.names = sorted(one["name"] for one in listed)
        for index, url in enumerate(course.urls):
            async with httpx.AsyncClient(base_url=url) as gateway:
                made = await gateway.post("/v1/streams", json={"id": f"of-{index}"})
                assert made.status_code == 201, made.text
            found = await anywhere.get(f"/v1/streams/of-{index}")
            course.owned[f"of-{index}"] = found.status_code
        figures = await anywhere.get("/metrics")
        course.shared_metrics = figures.status_code, figures.text
    kill(listener(porter, urlsplit(course.urls[0]).port or 0))
    async with httpx.AsyncClient(base_url=course.urls[1], timeout=30) as other:
        course.after_death = (await other.get("/v1/streams/of-0")).status_code
    async with httpx.AsyncClient(base_url=course.urls[0], timeout=30) as again:
        course.restarts = await figure(again, "onlooker_gateway_restarts_total")


async def figure(gateway: httpx.AsyncClient, name: str) -> str:
    """What a gateway's own figures say, once it is there."""
    while True:
        try:
            lines = (await gateway.get("/metrics")).text.splitlines()
        except httpx.ConnectError:
            await asyncio.sleep(0.1)
        else:
            return next(line.split()[1] for line in lines if line.startswith(f"{name} "))


def test_one_port_is_named_and_one_more_for_each(course: Course) -> None:
    assert "2 gateways, port open at http://127.0.0.1:" in course.said[0]
    assert sorted(course.said[1].split(": ")[1].split()) == course.urls
    assert len(set(course.names)) == 2


def test_any_gateway_passes_on_what_is_about_the_other_ones_stream(course: Course) -> None:
    assert course.owned == {"of-0": 200, "of-1": 200}


def test_the_stream_of_a_gateway_that_died_goes_on_at_the_other_at_once(course: Course) -> None:
    assert course.after_death == 200


def test_a_gateway_that_died_is_started_again_and_counts_it(course: Course) -> None:
    assert course.restarts == "1.0"


def test_the_shared_port_says_where_each_gateway_tells_its_figures(course: Course) -> None:
    status, text = course.shared_metrics
    assert status == 404
    assert all(f"{url}/metrics" in text for url in course.urls)


def test_sigterm_ends_all_in_order(course: Course) -> None:
    assert course.status == 0
