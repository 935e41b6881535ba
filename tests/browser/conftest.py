"""A server in a process of its own, and cameras that play files."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from onlooker.clients.python.child import free_port
from onlooker.demo_model.video import write_video
from tests.browser.chromium import missing

READY_S = 240.0
CAMERA_FPS = 5


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = missing()
    for item in items:
        if "tests/browser" in item.path.as_posix():
            item.add_marker(pytest.mark.browser)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@dataclass
class Served:
    """A running server."""

    url: str
    port: int
    process: "subprocess.Popen[bytes]"

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)


@contextmanager
def served(log: Path, *arguments: str, port: int = 0, **environ: str) -> Iterator[Served]:
    """``onlooker serve`` until the block ends."""
    port = port or free_port(0)
    command = [
        sys.executable, "-c", "from onlooker.server.cli import main; main()",
        "serve", "--port", str(port), *arguments,
    ]  # fmt: skip
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **environ})
    server = Served(f"http://127.0.0.1:{port}", port, process)
    try:
        wait_for(lambda: _is_ready(server, log), READY_S, "the server to be ready")
        yield server
    finally:
        server.stop()


def _is_ready(server: Served, log: Path) -> bool:
    if server.process.poll() is not None:
        pytest.fail(
            f"the server ended with {server.process.returncode}:\n{log.read_text()[-3000:]}"
        )
    try:
        return httpx.get(f"{server.url}/readyz", timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def wait_for(holds: Callable[[], Any], timeout_s: float, what: str) -> Any:
    """Poll until something is true; returns it."""
    deadline = time.monotonic() + timeout_s
    while True:
        if result := holds():
            return result
        if time.monotonic() > deadline:
            pytest.fail(f"waited {timeout_s:.0f} s for {what}")
        time.sleep(0.1)


@pytest.fixture(scope="session")
def fake_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The scripted engine: its answers tell what colour the clips had that it saw."""
    log = tmp_path_factory.mktemp("fake") / "server.log"
    with served(log, "--mode", "fake") as server:
        yield server


def plain(color: tuple[int, int, int], seconds: float) -> list[Any]:
    return [np.full((240, 320, 3), color, np.uint8)] * round(seconds * CAMERA_FPS)


@pytest.fixture(scope="session")
def red_then_blue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A camera that sees red for four seconds, then blue for four, again and again."""
    path = tmp_path_factory.mktemp("camera") / "colours.y4m"
    write_video(path, [*plain((220, 30, 30), 4), *plain((40, 60, 220), 4)], fps=CAMERA_FPS)
    return path
