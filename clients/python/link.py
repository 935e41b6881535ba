"""Keeps a stream connected: dials, reads, writes, and dials again as the policy says."""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK

from onlooker.clients.python.connection import Dial, why_closed
from onlooker.clients.python.options import Reconnect
from onlooker.clients.python.outbox import FrameOutbox
from onlooker.core.clock import Clock
from onlooker.core.errors import CapacityError, InvalidRequest, OnlookerError, ServiceError
from onlooker.core.protocol.server_events import (
    AnyServerEvent,
    SessionClosing,
    SessionObject,
    UnknownEvent,
    parse_server_event,
)
from onlooker.core.waiting import cancel

_log = logging.getLogger("onlooker.clients.link")

MOVED = "moved"
"""Why a connection ends whose stream goes on at another server: it is waited for already."""

MOVED_SPREAD_S = 0.1
"""Within so many seconds a client comes back there; not all in the same moment."""

AnyEvent = AnyServerEvent | UnknownEvent


class Link:
    """The link of a stream to the server: one connection at a time.

    The callbacks are called on the event loop and must not wait.
    """

    def __init__(
        self,
        *,
        dial: Dial,
        policy: Reconnect,
        clock: Clock,
        outbox: FrameOutbox,
        greeting: str | None,
        on_session: Callable[[SessionObject], None],
        on_event: Callable[[AnyEvent], None],
        on_lost: Callable[[OnlookerError, float | None], None],
    ) -> None:
        self._dial, self._policy, self._clock = dial, policy, clock
        self._outbox, self._greeting = outbox, greeting
        self._on_session, self._on_event, self._on_lost = on_session, on_event, on_lost
        self._rng = random.Random()  # noqa: S311 - spreads reconnections, guards nothing
        self._retry_after_s = 0.0
        self._is_moved = False
        self.established = asyncio.Event()
        """Set from the first connection on, also while there is none."""

    async def run(self) -> None:
        """Connect, and connect again; returns when the stream has ended.

        `on_lost` gets the reason and the seconds until the next attempt; None: there is none.
        """
        attempt = 0
        while True:
            try:
                async with self._dial() as (socket, session):
                    attempt = 0
                    if self._greeting is not None:
                        await socket.send(self._greeting)
                    self._on_session(session)
                    self.established.set()
                    await self._serve(socket)
            except OnlookerError as error:
                lost = error
            except Exception as error:  # nobody may wait for a link that has ended unheard
                _log.exception("the link to the server failed")
                fault = f"the client failed, which is a fault of its own: {error!r}"
                self._outbox.connection_lost()
                self._on_lost(ServiceError(fault), None)
                return
            self._outbox.connection_lost()
            if not self._is_worth_another(lost, attempt):
                self._on_lost(lost, None)
                return
            named_s = lost.retry_after_s if isinstance(lost, CapacityError) else 0.0
            wait_s = self._policy.wait_s(attempt, max(named_s, self._retry_after_s), self._rng)
            if self._is_moved and attempt == 0:
                wait_s = self._rng.uniform(0.0, MOVED_SPREAD_S)
            self._retry_after_s, self._is_moved = 0.0, False
            self._on_lost(lost, wait_s)
            attempt += 1
            await self._clock.sleep(wait_s)

    def _is_worth_another(self, lost: OnlookerError, attempt: int) -> bool:
        """Whether to dial again. A first attempt is not repeated: its caller waits to be told."""
        if not self.established.is_set() or not lost.retryable:
            return False
        return self._policy.attempts is None or attempt < self._policy.attempts

    async def _serve(self, socket: ClientConnection) -> None:
        """Write and read until the connection ends; always raises."""
        writer = asyncio.create_task(self._write(socket))
        try:
            async for message in socket:
                event = parse_server_event(message)
                if isinstance(event, SessionClosing):
                    self._retry_after_s = event.retry_after_s or 0.0
                    self._is_moved = event.reason == MOVED
                self._on_event(event)
            raise why_closed(ConnectionClosedOK(socket.protocol.close_rcvd, None))
        except ValueError as error:
            raise InvalidRequest(f"the server does not speak this protocol: {error}") from error
        finally:
            await cancel(writer)

    async def _write(self, socket: ClientConnection) -> None:
        with suppress(ConnectionClosed):  # the reader learns of it too, and says why
            while True:
                await socket.send(await self._outbox.take())
