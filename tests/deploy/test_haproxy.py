"""The HAProxy in front of a fleet, with two real servers on one real Redis."""

import asyncio
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.contract.redis_server import free_port
from tests.fakes.fleet import member, redis_of_a_fleet
from tests.fakes.served import KEY, Served, next_event
from tests.fakes.waiting import limited

CONFIG = Path(__file__).parents[2] / "deploy" / "haproxy" / "haproxy.cfg"
AUTH = {"authorization": f"Bearer {KEY}"}
STREAMS = [f"stream-{number}" for number in range(12)]


@pytest.fixture(autouse=True)
def haproxy() -> None:
    if shutil.which("haproxy") is None:
        pytest.skip("no haproxy on this machine; `make setup` installs one where it may")


def config_for(folder: Path, *, port: int, servers: list[Served]) -> Path:
    """The file as it is, but for where it listens and which servers there are."""
    text = CONFIG.read_text().replace("bind :8000", f"bind 127.0.0.1:{port}")
    text = text.replace("bind :8404", f"bind 127.0.0.1:{free_port()}")
    listed = "\n".join(
        f"    server s{number} {one.base.removeprefix('http://')}"
        for number, one in enumerate(servers)
    )
    text = re.sub(r"^    server-template .*$", listed, text, flags=re.MULTILINE)
    text = text.replace("/tmp/haproxy.sock", str(folder / "haproxy.sock"))
    path = folder / "haproxy.cfg"
    path.write_text(text)
    return path


@asynccontextmanager
async def door(config: Path, port: int) -> AsyncIterator[httpx.AsyncClient]:
    """HAProxy, and a client of it, as soon as a server is behind it."""
    process = await asyncio.create_subprocess_exec("haproxy", "-db", "-f", str(config))
    base = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient(base_url=base, headers=AUTH, trust_env=False) as client:
            async with limited("haproxy to find the servers"):
                while not await is_open(client):
                    assert process.returncode is None
            yield client
    finally:
        process.terminate()
        await process.wait()


async def is_open(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def redis_url() -> Iterator[str]:
    with redis_of_a_fleet() as url:
        yield url


def test_the_file_is_valid() -> None:
    checked = subprocess.run(
        ["haproxy", "-c", "-f", str(CONFIG)],
        env={"ONLOOKER_SERVERS": "onlooker-fleet:8000"},
        executable=shutil.which("haproxy"),
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stderr
    assert "WARNING" not in checked.stderr


@pytest.mark.redis
async def test_a_stream_is_reached_at_one_server_by_path_query_and_body(
    redis_url: str, tmp_path: Path
) -> None:
    async with member(redis_url, "a") as a, member(redis_url, "b") as b:
        port = free_port()
        async with door(config_for(tmp_path, port=port, servers=[a, b]), port) as client:
            for name in STREAMS:
                await connected(port, name)
            owned = [one.metric("onlooker_streams_owned") for one in (a, b)]
            by_path = [await client.get(f"/v1/streams/{name}") for name in STREAMS]
            by_body = [await client.post("/v1/streams", json={"id": name}) for name in STREAMS]
    assert sum(owned) == len(STREAMS)
    assert min(owned) > 0
    assert {reply.status_code for reply in by_path} == {200}
    assert not any("onlooker-served-by" in reply.headers for reply in by_path)
    assert {reply.status_code for reply in by_body} == {409}


@pytest.mark.redis
async def test_streams_of_a_server_that_stops_go_on_at_another_and_the_rest_stay(
    redis_url: str, tmp_path: Path
) -> None:
    port = free_port()
    async with AsyncExitStack() as stack:
        a = await stack.enter_async_context(member(redis_url, "a"))
        async with member(redis_url, "b") as b:
            config = config_for(tmp_path, port=port, servers=[a, b])
            await stack.enter_async_context(door(config, port))
            for name in STREAMS:
                await connected(port, name)
            kept = {stream.name: stream for stream in a.gateway.hub.streams()}
            assert 0 < len(kept) < len(STREAMS)
        for name in STREAMS:
            await connected(port, name)
        now = {stream.name: stream for stream in a.gateway.hub.streams()}
        assert set(now) == set(STREAMS)
        assert all(now[name] is stream for name, stream in kept.items())


async def connected(port: int, name: str) -> None:
    """Connect to a stream, as clients do: again where no server takes the connection yet."""
    url = f"ws://127.0.0.1:{port}/v1/realtime?stream={name}"
    async with limited(f"a connection to {name}"):
        while True:
            try:
                async with connect(url, additional_headers=AUTH, proxy=None) as ws:
                    created = await next_event(ws, "session.created")
                    assert created["session"]["stream"] == name
                    return
            except InvalidStatus as refused:
                if refused.response.status_code != 503:
                    raise
