"""Several real servers on one real Redis."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from onlooker.cache_store.leases import RedisLeases
from onlooker.server.fleet.fleet_relay import FleetRelay
from onlooker.server.fleet_wiring import FENCE_S
from tests.contract.redis_server import RedisServer, free_port
from tests.fakes.served import KEY, Served, serving
from tests.fakes.waiting import in_time, until

READY = "ready: "
NAMESPACE = "onlooker:1"
SELDOM = {"fleet__notice_s": 60.0}
"""Settings of members that are made known to each other by the test."""


@contextmanager
def redis_of_a_fleet() -> Iterator[str]:
    """The URL of a Redis of one test's own."""
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server on this machine; `make setup` installs one where it may")
    with tempfile.TemporaryDirectory(prefix="ol") as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            yield server.url
        finally:
            server.kill()


@asynccontextmanager
async def member(redis_url: str, name: str, **overrides: Any) -> AsyncIterator[Served]:
    """One server of a fleet, in this process."""
    port = free_port()
    settings = {
        "server__port": port,
        "server__api_keys": [KEY],
        "cache_store__redis__url": redis_url,
        "cache_store__disk": None,
        "fleet__name": name,
        "fleet__url": f"http://127.0.0.1:{port}",
        "fleet__timeout_s": 30.0,
        "fleet__connect_s": 30.0,
        "fleet__lease_s": 60.0,
        **overrides,
    }
    async with serving(**settings) as served:
        yield served


async def acquaint(*members: Served) -> None:
    """Have servers of a fleet know of each other what each says of itself now, and nothing newer:
    see `SELDOM`."""
    for served in members:
        gateway = served.gateway
        assert gateway.herald is not None
        await gateway.herald.tell(gateway.describe())
    for served in members:
        gateway = served.gateway
        assert gateway.herald is not None
        assert gateway.relay is not None
        assert gateway.placer is not None
        await _has_heard(gateway.relay)
        servers = await gateway.herald.servers()
        gateway.relay.hear(servers)
        gateway.placer.hear(servers)


async def _has_heard(relay: FleetRelay) -> None:
    """Return when a server has heard of itself; it listens again in a minute."""
    await until(lambda: relay._heard_of)


@dataclass(frozen=True, slots=True)
class MemberApart:
    """A server of a fleet in a process of its own."""

    base: str
    process: "subprocess.Popen[str]"

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()


@contextmanager
def member_apart(redis_url: str, name: str) -> Iterator[MemberApart]:
    """One server of a fleet in a process of its own, which may be killed."""
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    settings = {
        "SERVER__PORT": str(port),
        "SERVER__API_KEYS": KEY,
        "SERVER__ACK_INTERVAL_S": "0.02",
        "ENGINE__MODE": "fake",
        "CACHE_STORE__REDIS__URL": redis_url,
        "FLEET__NAME": name,
        "FLEET__URL": base,
        "FLEET__LEASE_S": "600",
    }
    environ = {**os.environ, **{f"ONLOOKER_{key}": value for key, value in settings.items()}}
    command = [sys.executable, "-m", "onlooker.server", "serve"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = process.stdout
            ready = (line for line in lines if line.startswith(READY))
            in_time(f"{name} to be ready", lambda: next(ready))
            yield MemberApart(base, process)
        finally:
            process.kill()


@asynccontextmanager
async def lease_of(redis_url: str, stream: str, *, server: str, url: str) -> AsyncIterator[None]:
    """While the block runs, a stream of the default tenant is owned by a server of the test's."""
    leases = RedisLeases(
        redis_url,
        namespace=NAMESPACE,
        server=server,
        url=url,
        lease_s=600.0,
        fence_s=FENCE_S,
        timeout_s=30.0,
    )
    await leases.acquire(f"default/{stream}")
    try:
        yield
    finally:
        await leases.close()
