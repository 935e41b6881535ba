"""Every kind of tier behind one fixture, and the real Redis that some of them need."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from onlooker.cache_store.config import RedisSection
from onlooker.cache_store.opening import open_redis
from onlooker.cache_store.tier import StoreTier
from onlooker.cache_store.tiers.redis import RedisTier
from onlooker.core.clock import Clock, ManualClock
from tests.contract.redis_server import RedisServer, flush
from tests.fakes.faulty_tier import FaultyTier
from tests.unit.cache_store.factories import make_disk, make_memory


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server on this machine; `make setup` installs one where it may")
    # A Unix socket's path may have 107 characters at most; pytest's own folders are longer.
    with tempfile.TemporaryDirectory(prefix="ol") as folder:
        server = RedisServer(Path(folder))
        server.start()
        yield server
        server.kill()


@pytest.fixture
def redis_clean(redis_server: RedisServer) -> RedisServer:
    flush(redis_server)
    return redis_server


@pytest.fixture
def lone_redis() -> Iterator[RedisServer]:
    """A server of one test's own, not yet started."""
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server on this machine; `make setup` installs one where it may")
    with tempfile.TemporaryDirectory(prefix="ol") as folder:
        server = RedisServer(Path(folder))
        yield server
        server.kill()


MakeRedis = Callable[..., RedisTier]


@pytest.fixture
def make_redis(redis_clean: RedisServer) -> Iterator[MakeRedis]:
    opened: list[RedisTier] = []

    def make(clock: Clock | None = None, **settings: object) -> RedisTier:
        section = RedisSection.model_validate(
            {"url": redis_clean.url, "batch_bytes": 4096, "batch_records": 5} | settings
        )
        opened.append(open_redis(section, clock=clock or ManualClock()))
        return opened[-1]

    yield make
    for tier in opened:
        tier.close()


@pytest.fixture(
    params=[
        "memory",
        "disk",
        "disk-synced",
        pytest.param("redis", marks=pytest.mark.redis),
        "faulty-memory",
        "faulty-disk",
    ]
)
def tier(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreTier]:
    kind: str = request.param
    made: StoreTier
    if kind.endswith("memory"):
        made = make_memory()
    elif kind == "redis":
        made = request.getfixturevalue("make_redis")()
    else:
        made = make_disk(tmp_path / "disk", sync=kind == "disk-synced")
    if kind.startswith("faulty"):
        made = FaultyTier(made, seed=0)
    yield made
    made.close()
