"""uvicorn, set up in code: the port first, then the model; drain before the sockets close."""

import asyncio
import gc
import logging
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn

from onlooker.core.clock import Clock
from onlooker.core.errors import ConfigError, OnlookerError
from onlooker.core.waiting import cancel
from onlooker.server.app import create_app
from onlooker.server.certificates import Certificates
from onlooker.server.config import ServerSection, check_exposure
from onlooker.server.doorstep import behind_tls
from onlooker.server.gateway import Gateway
from onlooker.server.last_resort import LastResort
from onlooker.server.lifespan import UVICORN_SHARE, Lifecycle
from onlooker.server.transport import TransportLimits, protocols

BACKLOG = 128
"""Connections that wait while the server is busy or begins; it asks for more once it serves."""

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

HURRY_S = 1.0
"""How long the process lives after a second signal."""

LEAVE_S = 2.0
"""How long its last threads get once everything was closed in order."""


def bind(section: ServerSection, *, shares: bool = False, listens: bool = True) -> socket.socket:
    """Take the port, before anything slow begins.

    Args:
        shares: whether further sockets of this user may take the same port, who say so as well.
        listens: whether connections are taken at once, or when the socket is served.

    Raises:
        ConfigError: the port is taken or not allowed, or the address is none of this machine's.
    """
    check_exposure(section)
    host, port = section.host.strip("[]"), section.port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # With the protocol's number: asyncio sends small writes at once only where it is TCP's.
        bound = socket.socket(*found[:3])
    except OSError as error:
        raise ConfigError(f"cannot listen on '{section.host}': {error.strerror}") from error
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shares:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind(found[4])
        if listens:
            bound.listen(BACKLOG)  # a second server that binds now must fail, not share
    except OSError as error:
        bound.close()
        raise ConfigError(
            f"cannot listen on {section.host}:{port}: {error.strerror or error}. Stop what uses "
            "it, or take another port with --port (0 takes any free one)"
        ) from error
    return bound


def address(section: ServerSection, bound: socket.socket) -> str:
    """Return the base URL at which the server is reached."""
    host, port = bound.getsockname()[:2]
    return base_url(section.model_copy(update={"host": host}), port)


def base_url(section: ServerSection, port: int) -> str:
    """The base URL of a server that listens on some port at ``section.host``."""
    host = section.host.strip("[]")
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared with, not bound to
        host = "127.0.0.1"
    scheme = "https" if section.tls.is_on else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{section.root_path}"


class GatewayServer(uvicorn.Server):
    """Drains the gateway before uvicorn closes its sockets."""

    def __init__(
        self,
        config: uvicorn.Config,
        lifecycle: Lifecycle,
        section: ServerSection,
        certificates: Certificates | None,
    ) -> None:
        super().__init__(config)
        self._lifecycle = lifecycle
        self._certificates = certificates
        self._limit_s = section.drain_s + section.close_s
        self._last_resort: LastResort | None = None
        self.stop_signals: Sequence[signal.Signals] = STOP_SIGNALS
        """Those that this server hears while it serves."""

    def end_in_any_case(self, clock: Clock) -> None:
        """From now on, whoever tells the server to stop ends this process within ``drain_s +
        close_s``, whatever holds it. For a process that does nothing else."""
        self._last_resort = LastResort(clock, lambda: self._lifecycle.waits_for)
        self._last_resort.start()

    async def main_loop(self) -> None:
        """Serve until told to stop, and look after the certificate meanwhile."""
        if self._certificates is None:
            await super().main_loop()
            return
        watching = asyncio.create_task(self._certificates.watch(), name="certificates")
        try:
            await super().main_loop()
        finally:
            await cancel(watching)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.limit_life(self._limit_s)
        await self._lifecycle.stop()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals while serving. Unlike uvicorn's, it does not raise them again afterwards:
        a server that was asked to stop and did has ended well."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in self.stop_signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop in order; asked a second time, at once."""
        if self.should_exit:
            self._lifecycle.hurry()
        self.limit_life(HURRY_S if self.should_exit else self._limit_s)
        super().handle_exit(sig, frame)

    def limit_life(self, limit_s: float) -> None:
        """Let this process, if it is the server's own, live for `limit_s` seconds more at most."""
        if self._last_resort is not None:
            self._last_resort.arm(limit_s)


def make_server(
    gateway: Gateway,
    *,
    certificates: Certificates | None = None,
    progress: Callable[[str], None] = lambda line: None,
    on_ready: Callable[[], None] = lambda: None,
    opens_when_ready: bool = False,
) -> tuple[GatewayServer, "list[OnlookerError]"]:
    """Return a server, and the list in which a failed start leaves its reason.

    Args:
        certificates: None serves without TLS.
        opens_when_ready: take no connections before the server takes work. Else it opens at once,
            and says what it waits for.
    """
    failures: list[OnlookerError] = []

    def on_failure(error: OnlookerError) -> None:
        failures.append(error)
        server.should_exit = True

    lifecycle = Lifecycle(gateway, progress=progress, on_ready=on_ready, on_failure=on_failure)
    app = create_app(gateway, lifecycle, opens_when_ready=opens_when_ready)
    config = uvicorn_config(app, gateway, certificates)
    server = GatewayServer(config, lifecycle, gateway.settings.server, certificates)
    return server, failures


def uvicorn_config(
    app: Any, gateway: Gateway, certificates: Certificates | None = None
) -> uvicorn.Config:
    """uvicorn's settings from ours. Its own limit on all sockets is not used: who is let in, and
    who must go when there are too many, is decided by the lobby and the gateway's places."""
    section = gateway.settings.server
    http, websocket = protocols(TransportLimits.of(section), gateway.lobby)
    return uvicorn.Config(
        app,
        http=http if certificates is None else behind_tls(http, certificates),
        ws=websocket,
        ws_max_size=section.max_message_bytes,
        ws_ping_interval=section.ping_interval_s,
        ws_ping_timeout=section.ping_timeout_s,
        ws_per_message_deflate=False,  # coded video does not shrink, and it costs time
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=section.keep_alive_s,
        timeout_graceful_shutdown=section.close_s * UVICORN_SHARE,  # type: ignore[arg-type] # any number
        root_path=section.root_path,
    )


def quiet_uvicorn() -> None:
    """Keep uvicorn's own lines to errors: it logs addresses with their queries, and warns of what
    our transport counts."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.ERROR)


async def serve(server: GatewayServer, *bound: socket.socket) -> None:
    """Serve on all that are `bound` until told to stop."""
    await server.serve(sockets=list(bound))


def run(server: GatewayServer, bound: socket.socket) -> None:
    """Serve until a signal, on an event loop of our own."""
    run_alone(server, serve(server, bound))


def run_alone(server: GatewayServer, serving: Coroutine[Any, Any, None]) -> None:
    """Run what serves on an event loop of our own, in a process that does nothing else."""
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(serving)
    # The interpreter looks through all that was ever loaded before it goes, several times, which
    # takes a second or two of a slow machine. The process takes its memory along.
    gc.freeze()
    server.limit_life(LEAVE_S)
