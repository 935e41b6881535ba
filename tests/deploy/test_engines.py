"""What places servers, as far as it needs nothing of others: see tests/ray for the rest."""

import asyncio
import re
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from onlooker.core.errors import ConfigError
from onlooker.deploy.hosted_server import HostedServer, Message
from onlooker.deploy.wanted import wanted_servers
from tests.fakes.fleet import redis_of_a_fleet
from tests.fakes.served import KEY
from tests.fakes.waiting import limited, until

ROOT = Path(__file__).resolve().parents[2]
AUTH = {"authorization": f"Bearer {KEY}"}


@pytest.mark.parametrize(
    ("loads", "wanted"),
    [
        ([0.0, 0.0], 1),
        ([0.7, 0.7], 2),
        ([0.71, 0.7], 3),
        ([0.3, 0.3], 1),
        ([1.4], 2),
        ([-0.2, 0.7], 1),
        ([0.7] * 100, 100),
    ],
)
def test_there_are_as_many_servers_as_their_load_asks_for(loads: list[float], wanted: int) -> None:
    assert wanted_servers(loads, target=0.7, num_running=len(loads), before=7) == wanted


@pytest.mark.parametrize(("loads", "num_running"), [([], 0), ([], 2), ([0.1], 2)])
def test_while_a_load_is_not_known_there_are_as_many_servers_as_before(
    loads: list[float], num_running: int
) -> None:
    assert wanted_servers(loads, target=0.7, num_running=num_running, before=7) == 7


# ---- a server in somebody else's process ----
def environ(redis_url: str) -> dict[str, str]:
    return {
        "ONLOOKER_CACHE_STORE__REDIS__URL": redis_url,
        "ONLOOKER_SERVER__API_KEYS": KEY,
        "ONLOOKER_ENGINE__MODE": "fake",
        "ONLOOKER_FLEET__TIMEOUT_S": "30",
    }


@asynccontextmanager
async def hosted(name: str, redis_url: str) -> AsyncIterator[HostedServer]:
    """A server while the block runs, as an ASGI host runs its lifespan."""
    server = HostedServer(name=name, host="127.0.0.1", environ=environ(redis_url))
    to_server: asyncio.Queue[Message] = asyncio.Queue()
    told: asyncio.Queue[Message] = asyncio.Queue()
    running = asyncio.create_task(server({"type": "lifespan"}, to_server.get, told.put))
    to_server.put_nowait({"type": "lifespan.startup"})
    async with limited("the server to start"):
        assert await told.get() == {"type": "lifespan.startup.complete"}
    try:
        yield server
    finally:
        to_server.put_nowait({"type": "lifespan.shutdown"})
        async with limited("the server to stop"):
            assert await told.get() == {"type": "lifespan.shutdown.complete"}
            await running


def inside(server: HostedServer) -> httpx.AsyncClient:
    """A client of the app itself, as its host calls it."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(server), base_url="http://host", headers=AUTH
    )


@pytest.mark.redis
async def test_a_hosted_server_answers_its_host_and_at_its_own_address() -> None:
    with redis_of_a_fleet() as redis_url:
        async with hosted("a", redis_url) as server:
            server.check()
            async with inside(server) as calls:
                made = await calls.post("/v1/streams", json={"id": "door"})
            async with httpx.AsyncClient(
                base_url=server.url, headers=AUTH, trust_env=False
            ) as others:
                seen = await others.get("/v1/streams/door")
            assert (made.status_code, seen.status_code) == (201, 200)
            assert server.num_streams == 1
            assert 0 <= server.load < 1


@pytest.mark.redis
async def test_streams_of_a_hosted_server_that_is_to_go_go_on_at_another() -> None:
    with redis_of_a_fleet() as redis_url:
        async with hosted("a", redis_url) as first, hosted("b", redis_url) as second:
            async with inside(first) as calls:
                await calls.post("/v1/streams", json={"id": "door"})
                first.begin_drain()
                await until(lambda: first.num_streams == 0)
                assert (await calls.get("/readyz")).status_code == 503
            first.check()  # it goes by itself, and need not be replaced
            async with inside(second) as calls:
                assert (await calls.post("/v1/streams", json={"id": "door"})).status_code == 201
            assert second.num_streams == 1


@pytest.mark.redis
async def test_a_hosted_server_that_has_ended_must_be_replaced() -> None:
    with redis_of_a_fleet() as redis_url:
        async with hosted("a", redis_url) as server:
            pass
    with pytest.raises(RuntimeError, match="the server has ended"):
        server.check()


def test_without_redis_it_is_said_what_to_set() -> None:
    with pytest.raises(ConfigError, match="set ONLOOKER_CACHE_STORE__REDIS__URL"):
        HostedServer(name="a", host="127.0.0.1", environ={"ONLOOKER_SERVER__API_KEYS": KEY})


# ---- packaging ----
def test_what_places_servers_is_linked_and_shipped() -> None:
    link = ROOT / "src" / "onlooker" / "deploy"
    assert link.readlink() == Path("../../deploy/engines")
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert wheel["targets"]["wheel"]["sources"]["deploy/engines"] == "onlooker/deploy"


def test_only_one_file_knows_of_ray() -> None:
    named = [
        path.name
        for path in (ROOT / "deploy" / "engines").glob("*.py")
        if re.search(r"^(import|from) ray\b", path.read_text(), re.MULTILINE)
    ]
    assert named == ["ray.py"]
