"""`Drain`: empties a server, so that it may be stopped or left alone, and clients hardly notice.

Not ready, and nothing new. The streams leave one after the other (`onlooker.streams.departures`),
each between two answers: all of it stored, free for another server to go on with, and then its
clients are told, who come back elsewhere. Until its turn a stream is served as before. What is
passed on to other servers is let go of at the same pace. A server that is drained and not stopped
still passes calls on to others. Where there are no other servers, streams stay until the process
ends.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress

from onlooker.core.waiting import cancel, within
from onlooker.server.drainable import Drainable
from onlooker.server.fleet.fleet_relay import FleetRelay
from onlooker.server.gateway import Gateway, Phase
from onlooker.streams.departures import CALM_SHARE, pause_s

_log = logging.getLogger("onlooker.server.drain")

POLL_S = 0.02

PROGRESS_S = 2.0
"""Between two lines in the log that say how draining goes."""

STORE_SHARE = 0.3
"""Part of ``close_s`` in which streams are let go whose answers did not end in time."""

Progress = Callable[[str], None]


class Drain:
    """Of one server. `run` to stop afterwards; `begin`, and perhaps `cancel`, to go on."""

    def __init__(self, gateway: Gateway, *, progress: Progress = lambda line: None) -> None:
        self._gateway, self._progress = gateway, progress
        self._task: asyncio.Task[None] | None = None
        self.is_hurried = False
        """Whether answers are waited for no longer."""
        self.waits_for = ""
        """What it is waiting for, in plain words."""

    def begin(self) -> None:
        """Drain in the background. Idempotent; does nothing on a server that is not ready."""
        if self._gateway.phase is Phase.READY:
            self._gateway.begin_drain()
            self._task = asyncio.create_task(self._empty(), name="drain")

    async def cancel(self) -> None:
        """Take work again. Streams that were let go stay where they are; connections that were told
        to go end all the same. Does nothing where the server is being stopped."""
        gateway = self._gateway
        if gateway.phase is not Phase.DRAINING or gateway.is_leaving:
            return
        await self.close()
        gateway.end_drain()
        _log.info("the drain was called off")
        await self._tell_others()

    async def close(self) -> None:
        """End what runs in the background."""
        if self._task is not None:
            task, self._task = self._task, None
            await cancel(task)

    async def run(self, limit_s: float) -> None:
        """Drain. Answers that take longer than `limit_s` seconds are not waited for."""
        await self._tell_others()
        gateway, clock = self._gateway, self._gateway.clock
        hub, connections = gateway.hub, gateway.connections
        self.waits_for = "answers and connections to end"
        now_s = clock.now_s()
        until_s, calm_until_s, tell_at_s = now_s + limit_s, now_s + limit_s * CALM_SHARE, now_s
        moving = passing = None
        if gateway.relay is not None:
            moving = asyncio.create_task(hub.move_all(deadline_s=limit_s), name="move streams")
            passing = asyncio.create_task(self._let_go(gateway.relay, calm_until_s))
        before = set(connections)

        def there() -> set[Drainable]:
            """What has to end: what came since is passed on, where the server stays a door."""
            return set(connections) if gateway.is_leaving else before & connections

        is_told = moving is None
        if is_told:
            _tell(there())
        try:
            while (
                self._is_busy(there(), moving) and not self.is_hurried and clock.now_s() < until_s
            ):
                if not is_told and (not self._is_moving(moving) or clock.now_s() >= calm_until_s):
                    is_told = True
                    _tell(there())
                self.waits_for = f"{hub.num_answers} answers and {len(there())} connections to end"
                if clock.now_s() >= tell_at_s:
                    tell_at_s += PROGRESS_S
                    self._tell_progress(until_s - clock.now_s())
                await clock.sleep(POLL_S)
            if moving is not None and not self.is_hurried:
                self.waits_for = "streams to be stored"
                with suppress(TimeoutError):
                    await within(clock, gateway.settings.server.close_s * STORE_SHARE, moving)
        finally:
            for task in (moving, passing):
                if task is not None:
                    await cancel(task)

    async def _let_go(self, relay: FleetRelay, until_s: float) -> None:
        """Let go of what is passed on to other servers until then, evenly spread."""
        clock, step_s = self._gateway.clock, self._gateway.settings.streams.move_every_s
        waiting = relay.passed_on()
        while waiting:
            waiting.pop().drain()
            left_s = until_s - clock.now_s()
            await clock.sleep(pause_s(len(waiting), left_s, at_most_s=step_s))

    def _tell_progress(self, left_s: float) -> None:
        hub = self._gateway.hub
        _log.info(
            "draining",
            extra={
                "answers": hub.num_answers,
                "connections": len(self._gateway.connections),
                "streams": len(hub.streams()),
                "left_s": round(left_s, 1),
            },
        )
        self._progress(f"{hub.num_answers} answers under way, {left_s:.0f} s left")

    @staticmethod
    def _is_moving(moving: "asyncio.Task[None] | None") -> bool:
        """Whether streams are being let go."""
        return moving is not None and not moving.done()

    def _is_busy(self, there: set[Drainable], moving: "asyncio.Task[None] | None") -> bool:
        return bool(there or self._gateway.hub.num_answers or self._is_moving(moving))

    async def _empty(self) -> None:
        before = set(self._gateway.connections)
        await self.run(self._gateway.settings.server.drain_s)
        for connection in before & self._gateway.connections:  # what came since is passed on
            connection.end_now()
        _log.info("drained")

    async def _tell_others(self) -> None:
        if self._gateway.herald is not None:
            await self._gateway.herald.tell(self._gateway.describe())


def _tell(connections: Iterable[Drainable]) -> None:
    for connection in connections:
        connection.drain()
