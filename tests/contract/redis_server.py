"""A real redis-server on a Unix socket, for one test session."""

import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from tests.fakes.waiting import WAIT_S, in_time

READY = b"eady to accept connections"
LOAD_DELAY_US = 100_000
"""Between two keys that a slow start reads."""


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
        process = self._begin(*options)
        in_time("redis-server to be ready", lambda: _read_until(process, READY))

    @contextmanager
    def loading(self) -> Iterator[Callable[[], None]]:
        """Start it with the file that `SAVE` wrote, of which it reads a few keys a second and
        answers LOADING meanwhile; the function that is given lets it read on, and waits for that.
        """
        process = self._begin(
            "--dbfilename", "dump.rdb", "--key-load-delay", str(LOAD_DELAY_US),
            "--loading-process-events-interval-bytes", "1024",
        )  # fmt: skip

        def finish() -> None:
            with self.client() as client:
                client.config_set("key-load-delay", 0)
            in_time("redis-server to have read its file", lambda: _read_until(process, READY))

        in_time("redis-server to read its file", lambda: self._await_loading())
        yield finish

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

    def _begin(self, *options: str) -> "subprocess.Popen[bytes]":
        command = [
            "redis-server", "--port", "0", "--unixsocket", str(self._socket), "--save", "",
            "--appendonly", "no", "--dir", str(self._folder), *options,
        ]  # fmt: skip
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        return self._process

    def _await_loading(self) -> None:
        while True:
            try:
                with self.client() as client:
                    client.ping()
                pytest.fail("redis-server had read its file before it could be asked")
            except redis.exceptions.BusyLoadingError:
                return
            except redis.ConnectionError:
                continue  # it does not listen yet


def _read_until(process: "subprocess.Popen[bytes]", words: bytes) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
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
