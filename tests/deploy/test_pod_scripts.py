"""The scripts that the chart's pods run, with a real server, and with a stand-in for Kubernetes."""

import asyncio
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from deploy.helm.onlooker.files.deletion_cost import ANNOTATION
from deploy.helm.onlooker.files.drain import admin_key
from onlooker.server.gateway import Phase
from tests.contract.redis_server import free_port
from tests.fakes.fleet import member, redis_of_a_fleet
from tests.fakes.served import KEY, Served, serving
from tests.fakes.waiting import WAIT_S, in_time, limited

FILES = Path(__file__).resolve().parents[2] / "deploy" / "helm" / "onlooker" / "files"
AUTH = {"authorization": f"Bearer {KEY}"}


async def start(script: str, *arguments: str, **environ: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, str(FILES / script), *arguments,
        env={**os.environ, "ONLOOKER_SERVER__API_KEYS": KEY, **environ},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    async with limited("a script to end"):
        out, err = await process.communicate()
    return process.returncode, (out + err).decode()


async def open_stream(served: Served, name: str) -> None:
    async with served.http(headers=AUTH) as http:
        assert (await http.post("/v1/streams", json={"id": name})).status_code == 201


# ---- draining ----
@pytest.mark.redis
async def test_the_server_is_drained_and_waited_for() -> None:
    with redis_of_a_fleet() as redis_url:
        async with member(redis_url, "a") as a:
            await open_stream(a, "door")
            script = await start("drain.py", "--limit-s", str(WAIT_S), "--server", a.base)
            status, told = await ended(script)
            assert (status, told) == (0, "drain: 0 streams and connections are left\n")
            assert a.gateway.phase is Phase.DRAINING
            assert a.gateway.hub.streams() == []


async def test_a_server_that_keeps_its_streams_is_not_waited_for_beyond_the_limit() -> None:
    async with serving(server__api_keys=[KEY]) as alone:
        await open_stream(alone, "door")
        status, told = await ended(
            await start("drain.py", "--limit-s", "0", "--server", alone.base)
        )
    assert (status, told) == (0, "drain: 1 streams and connections are left\n")


async def test_a_server_that_is_gone_is_told() -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    status, told = await ended(await start("drain.py", "--limit-s", "5", "--server", gone))
    assert status == 1
    assert "refused" in told


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ("one", "one"),
        ("acme:one,two", "one"),
        ("acme+read+ask:one, acme+read+admin:two", "two"),
        ("+push:one,three", "three"),
    ],
)
def test_the_first_key_that_may_drain_is_shown(keys: str, key: str) -> None:
    assert admin_key(keys) == key


def test_keys_of_which_none_may_drain_are_told() -> None:
    with pytest.raises(ValueError, match="none of the API keys has the scope admin"):
        admin_key("acme+read:one")


# ---- what deleting the pod would cost ----
@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of an HTTP server of the test's own."""
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def kubernetes(patches: "Queue[tuple[str, str, str, Any]]") -> Iterator[str]:
    """The address of something that takes what is to be changed, as Kubernetes' API does."""

    class Api(BaseHTTPRequestHandler):
        def do_PATCH(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            told = self.headers["authorization"], self.headers["content-type"]
            patches.put((self.path, *told, body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    with listening(Api) as address:
        yield address


async def test_kubernetes_hears_how_many_streams_are_open_whenever_that_changes(
    tmp_path: Path,
) -> None:
    (tmp_path / "token").write_text("its-token\n")
    (tmp_path / "namespace").write_text("video\n")
    patches: Queue[tuple[str, str, str, Any]] = Queue()

    async def next_patch() -> tuple[str, str, str, Any]:
        return await asyncio.to_thread(in_time, "a patch", patches.get)

    async with serving(server__api_keys=[KEY], server__metrics_need_key=True) as served:
        with kubernetes(patches) as api:
            script = await start(
                "deletion_cost.py", "--every-s", "0.05", "--server", served.base, "--api", api,
                "--account", str(tmp_path), POD_NAME="rel-onlooker-1",
            )  # fmt: skip
            first = await next_patch()
            await open_stream(served, "door")
            second = await next_patch()
            script.terminate()
            status, told = await ended(script)
    costs = [body["metadata"]["annotations"][ANNOTATION] for *_, body in (first, second)]
    assert costs == ["0", "1"]
    assert first[:3] == (
        "/api/v1/namespaces/video/pods/rel-onlooker-1",
        "Bearer its-token",
        "application/merge-patch+json",
    )
    assert (status, told) == (0, "")
    assert patches.empty()


async def test_trouble_of_one_kind_is_told_once() -> None:
    asked: Queue[str] = Queue()

    class Mute(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.put(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    with listening(Mute) as mute:
        script = await start(
            "deletion_cost.py", "--every-s", "0.01", "--server", mute, POD_NAME="rel-onlooker-1"
        )
        for _ in range(3):
            await asyncio.to_thread(in_time, "a question", asked.get)
        script.terminate()
        status, told = await ended(script)
    assert status == 0
    assert told == "deletion cost: the server does not tell how many streams it has\n"
