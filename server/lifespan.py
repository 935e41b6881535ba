"""Start and stop, in order, each step with a deadline.

Start: the port is open at once and answers ``/healthz``; ``/readyz`` turns 200 when the model is
loaded. Stop: the server is drained (`onlooker.server.drain`): ``/readyz`` turns 503, connections
hear `session.closing` and end with 1001 when their answers have (or the time to drain is over).
Then event readers end, and streams and the engine stop.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from onlooker.core.errors import ConfigError, OnlookerError
from onlooker.core.heap import give_back_memory
from onlooker.core.waiting import cancel
from onlooker.server.config import unbounded_tenants
from onlooker.server.drain import POLL_S, Drain, Progress
from onlooker.server.errors import hide
from onlooker.server.gateway import Gateway, Phase

_log = logging.getLogger("onlooker.server.lifespan")

FAREWELL_S = 2.0
"""Time that connections get to say farewell, where ``close_s`` leaves as much."""

MIN_POST_S = 0.2
"""Time that the last spans of traces get to reach their collector, however late it is."""

START_SHARE, FAREWELL_SHARE, CLOSE_SHARE, UVICORN_SHARE = 0.1, 0.2, 0.75, 0.1
"""Parts of ``close_s``: to give up a start that is under way; to say farewell; for that and all
that the server has to close; for what uvicorn still has to send. The rest is Python's own exit."""


class Lifecycle:
    """Runs one server's start and stop. `start` once, then `stop` once."""

    def __init__(
        self,
        gateway: Gateway,
        *,
        progress: Progress = lambda line: None,
        on_ready: Callable[[], None] = lambda: None,
        on_failure: Callable[[OnlookerError], None] = lambda error: None,
        give_back: Callable[[], None] = give_back_memory,
    ) -> None:
        """`give_back` gives the system freed memory back; another one is for tests."""
        self._gateway = gateway
        self._progress = progress
        self._on_ready = on_ready
        self._on_failure = on_failure
        self._give_back = give_back
        self._starting: asyncio.Task[None] | None = None
        self._chores: list[asyncio.Task[None]] = []
        self._telling: asyncio.Task[None] | None = None
        self._posting: asyncio.Task[None] | None = None
        self._is_stopped = False
        self.drain = Drain(gateway, progress=progress)
        """What empties the server: before it stops, or on its own."""
        self._waits_for = "the server to notice that it should stop"

    @property
    def waits_for(self) -> str:
        """What the stop is waiting for, in plain words."""
        return self._waits_for or self.drain.waits_for

    def start(self) -> None:
        """Begin to load the model; returns at once."""
        self._warn_of_keys()
        self._starting = asyncio.create_task(self._start(), name="start")
        self._chores = [
            asyncio.create_task(self._gateway.pushers.run(), name="pushers"),
            asyncio.create_task(self._give_back_memory(), name="memory"),
        ]
        if self._gateway.exporter is not None:
            self._posting = asyncio.create_task(self._gateway.exporter.run(), name="traces")

    async def started(self) -> None:
        """Wait until the start has ended, well or badly."""
        assert self._starting is not None
        await asyncio.wait([self._starting])

    def hurry(self) -> None:
        """Wait no longer for running answers. May be called from a signal handler."""
        self.drain.is_hurried = True

    async def stop(self) -> None:
        """Drain and stop, within the settings' ``drain_s + close_s``. Idempotent."""
        if self._is_stopped:
            return
        self._is_stopped = True
        gateway, server = self._gateway, self._gateway.settings.server
        if gateway.phase is not Phase.FAILED:
            gateway.begin_drain()
        gateway.is_leaving = True
        await self._give_up_start(server.close_s * START_SHARE)
        await self.drain.close()
        self._waits_for = ""
        await self.drain.run(server.drain_s)
        until_s = gateway.clock.now_s() + server.close_s * CLOSE_SHARE
        await self._part(min(FAREWELL_S, server.close_s * FAREWELL_SHARE))
        gateway.stopping.set()
        if self._telling is not None:
            await cancel(self._telling)
        if gateway.mqtt is not None:
            await gateway.mqtt.close()  # before the streams end, which are away and not gone
        if gateway.herald is not None:
            await gateway.herald.close()
        if gateway.relay is not None:
            await gateway.relay.close()
        self._waits_for = "streams and the engine to stop"
        try:
            async with asyncio.timeout(until_s - gateway.clock.now_s()):
                await gateway.importer.close()
                await gateway.hub.close(deadline_s=0.0)
        except TimeoutError:
            _log.warning("the engine did not stop in time", extra={"close_s": server.close_s})
        await self._post_last_spans(max(MIN_POST_S, until_s - gateway.clock.now_s()))
        self._waits_for = "HTTP connections and threads to end"

    def _warn_of_keys(self) -> None:
        keys = [key.get_secret_value() for key in self._gateway.settings.server.api_keys]
        for tenant in unbounded_tenants(keys):
            _log.warning(
                "a key of one of several tenants names no scopes, and so may also drain the server "
                f"and read the usage of all tenants: write {tenant}+read+ask+push+watch:KEY in "
                "server.api_keys, with +admin for those who may",
                extra={"tenant": tenant},
            )

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
            await gateway.importer.start()
            gateway.phase = Phase.READY
            if gateway.herald is not None:
                hearing = [one.hear for one in (gateway.relay, gateway.placer) if one is not None]
                telling = gateway.herald.run(gateway.describe, *hearing)
                self._telling = asyncio.create_task(telling, name="herald")
            if gateway.mqtt is not None:
                following = gateway.mqtt.run(gateway.hub.streams)
                self._chores.append(asyncio.create_task(following, name="mqtt follower"))
            self._on_ready()

    async def _give_back_memory(self) -> None:
        """Give the system back regularly what was needed for a while. It is done in a thread: it
        takes milliseconds."""
        interval_s = self._gateway.settings.server.give_back_memory_s
        while True:
            await self._gateway.clock.sleep(interval_s)
            await asyncio.to_thread(self._give_back)

    def _note(self, line: str) -> None:
        self._gateway.progress = line
        self._progress(line)

    def _fail(self, error: OnlookerError) -> None:
        self._gateway.phase = Phase.FAILED
        if not isinstance(error, ConfigError):
            _log.error("the engine did not start", extra={"code": error.code})
        self._on_failure(error)

    async def _give_up_start(self, limit_s: float) -> None:
        """End the tasks of the start; what does not end within `limit_s` seconds is left alone."""
        self._waits_for = "the model's start to be given up"
        tasks = [
            task for task in (self._starting, *self._chores) if task is not None and not task.done()
        ]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=limit_s)

    async def _post_last_spans(self, limit_s: float) -> None:
        if self._posting is None or self._gateway.exporter is None:
            return
        self._waits_for = "the last spans to be posted"
        await cancel(self._posting)
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._gateway.exporter.close()

    async def _part(self, limit_s: float) -> None:
        """End the connections that are left, and let them say farewell."""
        connections, clock = self._gateway.connections, self._gateway.clock
        self._waits_for = "connections to say farewell"
        for connection in list(connections):
            connection.end_now()
        until_s = clock.now_s() + limit_s
        while connections and clock.now_s() < until_s:
            await clock.sleep(POLL_S)
