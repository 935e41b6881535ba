"""A real redis-server on a Unix socket, for one test session."""

import signal
import socket
import subprocess
from pathlib import Path

import pytest
import redis

from tests.fakes.waiting import WAIT_S, in_time


class RedisServer:
    """One server process; `start` begins with an empty memory every time.

    Two servers may share a folder under different names.
    """

    def __init__(self, folder: Path, name: str = "redis") -> None:
        self._folder = folder
        self._socket = folder / f"{name}.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self._socket

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    def client(self) -> "redis.Redis":
        return redis.Redis(unix_socket_path=str(self._socket), socket_timeout=WAIT_S)

    def start(self, *options: str) -> None:
        """`options` as on the command line of redis-server."""
        command = [
            "redis-server", "--port", "0", "--unixsocket", str(self._socket), "--save", "",
            "--appendonly", "no", "--dir", str(self._folder), *options,
        ]  # fmt: skip
        process = self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        in_time("redis-server to be ready", lambda: _read_until_ready(process))

    def kill(self) -> None:
        """End it without warning."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def hang(self) -> None:
        """It keeps its connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


def _read_until_ready(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if b"eady to accept connections" in line:
            return
    pytest.fail("redis-server ended before it was ready")


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def flush(server: RedisServer) -> None:
    """Empty it."""
    with server.client() as client:
        client.flushall()
