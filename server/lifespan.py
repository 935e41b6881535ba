"""Start and stop, in order, each step with a deadline.

Start: the port is open at once and answers ``/healthz``; ``/readyz`` turns 200 when the model is
loaded. Stop: ``/readyz`` turns 503, connections hear `session.closing` and end with 1001 when their
answers have (or the time to drain is over), event readers end, then streams and the engine stop.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from onlooker.core.errors import ConfigError, OnlookerError
from onlooker.server.errors import hide
from onlooker.server.gateway import Gateway, Phase

_log = logging.getLogger("onlooker.server.lifespan")

POLL_S = 0.02

Progress = Callable[[str], None]


class Lifecycle:
    """Runs one server's start and stop. `start` once, then `stop` once."""

    def __init__(
        self,
        gateway: Gateway,
        *,
        progress: Progress = lambda line: None,
        on_ready: Callable[[], None] = lambda: None,
        on_failure: Callable[[OnlookerError], None] = lambda error: None,
    ) -> None:
        self._gateway = gateway
        self._progress = progress
        self._on_ready = on_ready
        self._on_failure = on_failure
        self._starting: asyncio.Task[None] | None = None
        self._pushers: asyncio.Task[None] | None = None
        self._is_stopped = False
        self._is_hurried = False

    def start(self) -> None:
        """Begin to load the model; returns at once."""
        self._starting = asyncio.create_task(self._start(), name="start")
        self._pushers = asyncio.create_task(self._gateway.pushers.run(), name="pushers")

    async def started(self) -> None:
        """Wait until the start has ended, well or badly."""
        assert self._starting is not None
        await asyncio.wait([self._starting])

    def hurry(self) -> None:
        """Wait no longer for running answers. May be called from a signal handler."""
        self._is_hurried = True

    async def stop(self) -> None:
        """Drain and stop. Idempotent."""
        if self._is_stopped:
            return
        self._is_stopped = True
        gateway, server = self._gateway, self._gateway.settings.server
        if gateway.phase is not Phase.FAILED:
            gateway.phase = Phase.DRAINING
        for task in (self._starting, self._pushers):
            if task is not None and not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        await self._drain(server.drain_s)
        gateway.stopping.set()
        gateway.pictures.close()
        try:
            async with asyncio.timeout(server.close_s):
                await gateway.hub.close(deadline_s=0.0)
        except TimeoutError:
            _log.warning("the engine did not stop in time", extra={"close_s": server.close_s})

    async def _start(self) -> None:
        gateway = self._gateway
        try:
            await gateway.hub.start(self._note)
        except asyncio.CancelledError:
            raise
        except OnlookerError as error:
            self._fail(error)
        except Exception as error:
            self._fail(hide(error, where="start"))
        else:
            gateway.phase = Phase.READY
            self._on_ready()

    def _note(self, line: str) -> None:
        self._gateway.progress = line
        self._progress(line)

    def _fail(self, error: OnlookerError) -> None:
        self._gateway.phase = Phase.FAILED
        if not isinstance(error, ConfigError):
            _log.error("the engine did not start", extra={"code": error.code})
        self._on_failure(error)

    async def _drain(self, deadline_s: float) -> None:
        connections, clock = self._gateway.connections, self._gateway.clock
        for connection in list(connections):
            connection.drain()
        until_s = clock.now_s() + deadline_s
        while connections and clock.now_s() < until_s and not self._is_hurried:
            await clock.sleep(POLL_S)
        for connection in list(connections):
            connection.end_now()
        until_s = clock.now_s() + 2.0  # time for their farewells
        while connections and clock.now_s() < until_s:
            await clock.sleep(POLL_S)
