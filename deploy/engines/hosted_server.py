"""`HostedServer`: one server in a process that belongs to something else, which calls it as an ASGI
app and says when it should go.

It listens at a port of its own too, for the other servers of the fleet and for Prometheus. It is
always one of a fleet: whoever places servers starts the next one before the last has ended.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from fastapi import FastAPI

from onlooker.core.clock import SystemClock
from onlooker.core.errors import ConfigError
from onlooker.core.metrics import Metrics
from onlooker.core.settings import load_settings
from onlooker.server.certificates import open_certificates
from onlooker.server.config import Settings
from onlooker.server.drain import Drain
from onlooker.server.serving import address, bind, make_server, serve
from onlooker.server.wiring import make_engine, make_gateway

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class HostedServer:
    """An ASGI app. Its lifespan starts the server, and ends when the model is loaded.

    Args:
        name: that no other server has.
        host: address of this machine at which the other servers reach it.
        overrides: settings by name, over those of `environ`.

    Raises:
        ConfigError: a setting is wrong, or there is no Redis to share.
    """

    def __init__(
        self,
        *,
        name: str,
        host: str,
        overrides: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        given = {
            **(overrides or {}),
            "server.host": host,
            "server.port": 0,
            "fleet.name": name,
        }
        alone = load_settings(Settings, environ=environ, overrides={"server.port": 0})
        if alone.cache_store.redis is None and "cache_store.redis.url" not in given:
            raise ConfigError(
                "servers that something else places share their memory in Redis: set "
                "ONLOOKER_CACHE_STORE__REDIS__URL where they run"
            )
        settings = load_settings(Settings, environ=environ, overrides=given)
        self._bound = bind(settings.server)
        self.url = address(settings.server, self._bound)
        """Where other servers reach this one."""
        given |= {"server.port": self._bound.getsockname()[1], "fleet.url": self.url}
        settings = load_settings(Settings, environ=environ, overrides=given)
        self.section = settings.server
        """The settings of its doors."""
        clock, metrics = SystemClock(), Metrics()
        self._gateway = make_gateway(
            settings,
            engine=make_engine(settings, clock=clock, metrics=metrics),
            clock=clock,
            metrics=metrics,
        )
        self._ready = asyncio.Event()
        self._server, self._failures = make_server(
            self._gateway,
            certificates=open_certificates(
                settings.server.tls, host=host, clock=clock, metrics=metrics
            ),
            on_ready=self._ready.set,
        )
        app = self._server.config.app
        assert isinstance(app, FastAPI)
        self._app = app
        self._serving: asyncio.Task[None] | None = None

    @property
    def load(self) -> float:
        """What it has to do, as a share of what it can do at full quality."""
        return 1.0 - self._gateway.hub.room.ratio

    @property
    def num_streams(self) -> int:
        """How many streams are open here."""
        return len(self._gateway.hub.streams())

    def check(self) -> None:
        """Nothing, unless the server must be started again.

        Raises:
            RuntimeError: it must, and why.
        """
        if self._serving is not None and self._serving.done():
            raise RuntimeError("the server has ended")
        if self._ready.is_set() and not self._gateway.hub.alive():
            raise RuntimeError("the engine is gone")

    def begin_drain(self) -> None:
        """Hand streams over to the others. Returns at once."""
        drain: Drain = self._app.state.drain
        drain.begin()

    async def start(self) -> None:
        """Serve, and wait until the model is loaded.

        Raises:
            OnlookerError: it cannot be.
        """
        self._serving = asyncio.create_task(serve(self._server, self._bound), name="server")
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait({ready, self._serving}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if not self._ready.is_set():
            await self._serving
            raise self._failures[0] if self._failures else RuntimeError("the server has ended")

    async def stop(self) -> None:
        """Drain, within the settings' ``drain_s + close_s``, and end."""
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving
        self._bound.close()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        await receive()
        try:
            await self.start()
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})
