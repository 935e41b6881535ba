"""Ray Serve places servers, as operators start it: Ray, its HAProxy, two servers on one Redis."""

import asyncio
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from onlooker.clients.python import Client, RemoteStream
from onlooker.core.jpeg import encode_jpeg
from onlooker.core.protocol.http import ServerList, ServerObject
from tests.contract.redis_server import free_port
from tests.fakes.fleet import redis_of_a_fleet
from tests.fakes.served import KEY

pytestmark = [pytest.mark.ray, pytest.mark.redis, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / os.environ.get("ONLOOKER_TEST_RAY", "runs/ray-serve") / "bin"
LIMIT_S = 300.0
"""Ray takes a minute to start on a machine that has nothing else to do."""

IDLE_S = 75
"""Two servers have hardly anything to do here, and one is taken away after so long: long enough for
the streams to be there."""

APP = "onlooker.deploy.ray:app"
KEEP_FOR_S = 3600.0
AUTH = {"authorization": f"Bearer {KEY}"}


def door() -> dict[str, str]:
    """What puts Ray's HAProxy in front, as the module says."""
    told = subprocess.run(
        [str(BIN / "python"), "-m", "onlooker.deploy.ray"],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": "src"},
        cwd=ROOT,
    )  # fmt: skip
    words = (shlex.split(line) for line in told.stdout.splitlines())
    return dict(word.split("=", 1) for export, word in words if export == "export")


class Ray:
    """One node of Ray with Serve on it, at loopback addresses and ports of its own."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self._folder = folder
        self._gcs = f"127.0.0.1:{free_port()}"
        self._http = free_port()
        self.base = f"http://127.0.0.1:{self._http}"
        self._environ = {
            **os.environ,
            **door(),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "PYTHONPATH": "src",
            "RAY_ADDRESS": self._gcs,
            # Loopback addresses stay what they are, so that nothing leaves the machine.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "120",
            "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
            "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
            "ONLOOKER_CACHE_STORE__REDIS__URL": redis_url,
            "ONLOOKER_SERVER__API_KEYS": KEY,
            "ONLOOKER_ENGINE__MODE": "fake",
            "ONLOOKER_STREAMS__PERCEPTION__GATE_THRESHOLD": "0",
        }  # fmt: skip
        self._node: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environ = {k: v for k, v in self._environ.items() if k != "RAY_ADDRESS"}
        with (self._folder / "ray.log").open("wb") as log:
            self._node = subprocess.Popen(
                ["ray", "start", "--head", "--block", "--node-ip-address=127.0.0.1",
                 f"--port={self._gcs.rpartition(':')[2]}", "--num-cpus=4",
                 "--include-dashboard=false", f"--temp-dir={self._folder}",
                 "--object-store-memory=100000000"],
                env=environ, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT,
                executable=str(BIN / "ray"), start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + LIMIT_S
        while self._serve("start", "--http-host=127.0.0.1", f"--http-port={self._http}"):
            assert self._node.poll() is None, (self._folder / "ray.log").read_text()
            assert time.monotonic() < deadline, (self._folder / "serve.log").read_text()

    def deploy(self, **options: Any) -> None:
        """As ``serve run`` with these options."""
        given = [f"{name}={value}" for name, value in {"num_cpus": 0.5, **options}.items()]
        status = self._serve("run", "--non-blocking", APP, *given)
        assert status == 0, (self._folder / "serve.log").read_text()[-4000:]

    def stop(self) -> None:
        if self._node is not None:
            os.killpg(self._node.pid, signal.SIGTERM)
            try:
                self._node.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self._node.pid, signal.SIGKILL)
                self._node.wait()

    def _serve(self, *arguments: str) -> int:
        with (self._folder / "serve.log").open("ab") as log:
            return subprocess.run(
                ["serve", *arguments], env=self._environ, executable=str(BIN / "serve"),
                stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, timeout=LIMIT_S, check=False,
            ).returncode  # fmt: skip


@contextmanager
def running(folder: Path) -> Iterator[Ray]:
    with redis_of_a_fleet() as redis_url:
        ray = Ray(folder, redis_url)
        try:
            ray.start()
            yield ray
        finally:
            ray.stop()


async def servers(http: httpx.AsyncClient) -> list[ServerObject]:
    """What the servers say of themselves; nothing while none answers."""
    try:
        reply = await http.get("/v1/servers")
    except httpx.TransportError:
        return []
    return ServerList.model_validate_json(reply.content).data if reply.is_success else []


async def become(http: httpx.AsyncClient, holds: Callable[[list[ServerObject]], bool]) -> None:
    """Wait until what the servers say of themselves is so."""
    deadline = time.monotonic() + LIMIT_S
    while not holds(told := await servers(http)):
        assert time.monotonic() < deadline, told
        await asyncio.sleep(0.2)


async def show(stream: RemoteStream, start: int, end: int) -> None:
    for number in range(start, end):
        picture = np.full((48, 64, 3), number * 10 % 256, np.uint8)
        await stream.send_frame(encode_jpeg(picture), at_s=number * 0.5)
    await stream.drain(timeout_s=LIMIT_S)


async def test_streams_go_on_when_ray_takes_their_server_away(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    names = ["door", "yard", "gate", "hall"]
    with running(tmp_path_factory.mktemp("r")) as ray:
        ray.deploy(initial_servers=2, min_servers=1, max_servers=2, remove_after_s=IDLE_S)
        async with AsyncExitStack() as opened:
            client = await opened.enter_async_context(Client(ray.base, api_key=KEY))
            http = httpx.AsyncClient(base_url=ray.base, headers=AUTH, trust_env=False, timeout=60)
            await opened.enter_async_context(http)
            await become(http, lambda told: [one.status for one in told] == ["ready", "ready"])
            streams = [
                await opened.enter_async_context(client.stream(name, clock="virtual"))
                for name in names
            ]
            await asyncio.gather(*(show(stream, 0, 10) for stream in streams))
            for name in names:
                assert (await client.ask(name, "What was there?")).answer
                await client.set_keep_for(name, KEEP_FOR_S)
            await become(http, lambda told: sum(one.streams for one in told) == len(names))
            first = await servers(http)
            spread = [one.streams for one in first]
            await become(http, lambda told: [one.streams for one in told] == [len(names)])
            left = await servers(http)
            kept = [(await client.get_stream(name)).keep_for_s for name in names]
            await asyncio.gather(*(show(stream, 10, 14) for stream in streams))
            answers = [(await client.ask(name, "What was there?")).answer for name in names]
    assert min(spread) > 0, f"one server had all: {spread}"
    assert {one.name for one in left} < {one.name for one in first}, "no server was started anew"
    assert kept == [KEEP_FOR_S] * len(names), "they are the same streams"
    assert all("up to 6.50 s" in answer for answer in answers), answers
