"""`PorterLink`: a gateway's end of the pipe to the process that started it."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

from onlooker.core.errors import ConfigError
from onlooker.engine.shared_core import CoreSeat
from onlooker.server.gateways.messages import (
    CoreDied,
    FromGateway,
    SeatGiven,
    SeatRefused,
    SeatWanted,
    ToGateway,
)

_log = logging.getLogger("onlooker.server.gateways")


def _stop_process() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


class PorterLink:
    """An `onlooker.engine.shared_core.SharedCore`. ``async with`` it on the event loop, where all
    of it is used; `tell` may be called before.

    Args:
        on_lost: called when nobody is at the other end any more.
    """

    def __init__(
        self,
        pipe: Connection,
        *,
        gateway: int,
        num_gateways: int,
        on_lost: Callable[[], None] = _stop_process,
    ) -> None:
        self._pipe, self._on_lost = pipe, on_lost
        self.gateway, self.num_gateways = gateway, num_gateways
        self._dead_life = 0
        """The newest life of the core that is known to have ended."""
        self._died = asyncio.Event()
        self._asking = asyncio.Lock()
        self._answer: asyncio.Future[CoreSeat] | None = None

    async def __aenter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self._pipe.fileno(), self._hear)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._pipe.fileno())

    def tell(self, message: FromGateway) -> None:
        """Tell the porter; where nobody is there any more, that is noticed elsewhere."""
        try:
            self._pipe.send(message)
        except OSError:
            _log.debug("the porter is gone")

    async def seat(self, *, dead_life: int | None = None) -> CoreSeat:
        async with self._asking:
            self._answer = asyncio.get_running_loop().create_future()
            self.tell(SeatWanted(dead_life))
            return await self._answer

    async def gone(self, life: int) -> None:
        while self._dead_life < life:
            await self._died.wait()

    def _hear(self) -> None:
        try:
            while self._pipe.poll():
                self._take(self._pipe.recv())
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())
            self._on_lost()

    def _take(self, message: ToGateway) -> None:
        answer = self._answer
        match message:
            case CoreDied(life):
                self._dead_life = max(self._dead_life, life)
                died, self._died = self._died, asyncio.Event()
                died.set()
            case SeatGiven(seat) if answer is not None and not answer.done():
                answer.set_result(seat)
            case SeatRefused(text) if answer is not None and not answer.done():
                answer.set_exception(ConfigError(text))
