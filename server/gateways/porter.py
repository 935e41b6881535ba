"""`Porter`: holds the port, starts the gateways and their engine core, and starts again what dies.

It serves nothing itself and keeps nothing of streams, so that it has next to nothing to fail at.
"""

import asyncio
import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Protocol

from onlooker.core.backoff import Backoff
from onlooker.core.clock import Clock
from onlooker.core.errors import ConfigError, OnlookerError
from onlooker.server.config import ServerSection
from onlooker.server.gateways.core_keeper import CoreKeeper, Process
from onlooker.server.gateways.messages import (
    BecameReady,
    CoreDied,
    FromGateway,
    Progressed,
    SeatGiven,
    SeatRefused,
    SeatWanted,
    StartFailed,
    ToGateway,
)

_log = logging.getLogger("onlooker.server.gateways")

BACKOFF = Backoff(0.5, 30.0)
"""Before a gateway that died is started again."""

CALM_S = 60.0
"""A gateway that lived for so long has not failed to start."""

SPARE_S = 2.0
"""Seconds beyond their own limit after which gateways that do not end are killed."""


class GatewayHandle(Process, Protocol):
    """A gateway's process."""

    @property
    def pid(self) -> int | None: ...

    def terminate(self) -> None: ...


StartGateway = Callable[[int, int], tuple[GatewayHandle, Connection]]
"""Starts gateway `index` for the so-many-th time, counted from 0; gives its process, and this end
of its pipe."""


@dataclass(eq=False, slots=True)
class _Child:
    """A gateway that runs."""

    index: int
    process: GatewayHandle
    pipe: Connection
    started_at_s: float
    failure: StartFailed | None = None
    is_ready: bool = False
    chores: "set[asyncio.Task[None]]" = field(default_factory=set)


class Porter:
    """One for a process; `run` once, on the event loop of its main thread.

    Args:
        make_keeper: makes what keeps the engine core, given whom to tell of its deaths; None where
            each gateway has an engine of its own.
        on_ready: called when all gateways take work for the first time.
        progress: told what the start is waiting for.
    """

    def __init__(
        self,
        section: ServerSection,
        *,
        start: StartGateway,
        make_keeper: Callable[[Callable[[int], None]], CoreKeeper] | None,
        clock: Clock,
        progress: Callable[[str], None],
        on_ready: Callable[[BecameReady], None],
    ) -> None:
        self._section, self._start, self._clock = section, start, clock
        self._progress, self._on_ready = progress, on_ready
        self._keeper = None if make_keeper is None else make_keeper(self._tell_death)
        self._children: dict[int, _Child] = {}
        self._num_starts = [0] * section.gateways
        self._num_failures = [0] * section.gateways
        self._was_ready: set[int] = set()
        self._restarts: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._emptied = asyncio.Event()
        self._failure: OnlookerError | None = None

    async def run(self) -> OnlookerError | None:
        """Serve until a signal; returns why the start failed, if it did."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)
        try:
            if self._keeper is not None:
                self._keeper.begin()
            for index in range(self._section.gateways):
                self._begin(index)
            await self._stopping.wait()
            await self._end_children()
        finally:
            for task in self._restarts:
                task.cancel()
            if self._keeper is not None:
                await self._keeper.close()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
        return self._failure

    def stop(self) -> None:
        """Have all gateways stop in order; called a second time, at once."""
        self._stopping.set()
        for child in self._children.values():
            child.process.terminate()
        if not self._children:
            self._emptied.set()

    def _begin(self, index: int) -> None:
        process, pipe = self._start(index, self._num_starts[index])
        self._num_starts[index] += 1
        child = _Child(index, process, pipe, self._clock.now_s())
        self._children[index] = child
        loop = asyncio.get_running_loop()
        loop.add_reader(pipe.fileno(), self._hear, child)
        loop.add_reader(process.sentinel, self._note_end, child)

    async def _end_children(self) -> None:
        limit_s = self._section.drain_s + self._section.close_s + SPARE_S
        try:
            async with asyncio.timeout(limit_s):
                await self._emptied.wait()
        except TimeoutError:
            for child in list(self._children.values()):
                _log.error("a gateway did not end in time", extra={"gateway": child.index})
                child.process.kill()
            await self._emptied.wait()

    # ---- what gateways say

    def _hear(self, child: _Child) -> None:
        try:
            while child.pipe.poll():
                self._take(child, child.pipe.recv())
        except (EOFError, OSError):
            self._deafen(child)

    def _take(self, child: _Child, message: FromGateway) -> None:
        match message:
            case SeatWanted(dead_life):
                task = asyncio.create_task(self._seat(child, dead_life), name="seat")
                child.chores.add(task)
                task.add_done_callback(child.chores.discard)
            case Progressed(line) if child.index == 0 and len(self._was_ready) == 0:
                self._progress(line)
            case BecameReady():
                self._note_ready(child, message)
            case StartFailed():
                child.failure = message
            case _:
                pass

    async def _seat(self, child: _Child, dead_life: int | None) -> None:
        assert self._keeper is not None
        try:
            answer: ToGateway = SeatGiven(await self._keeper.seat(dead_life=dead_life))
        except ConfigError as error:
            answer = SeatRefused(error.message)
        self._tell(child, answer)

    def _tell(self, child: _Child, message: ToGateway) -> None:
        try:
            child.pipe.send(message)
        except OSError:
            _log.debug("a gateway is gone", extra={"gateway": child.index})

    def _tell_death(self, life: int) -> None:
        if not self._stopping.is_set():
            _log.error("the engine core has ended", extra={"life": life})
        for child in self._children.values():
            self._tell(child, CoreDied(life))

    def _note_ready(self, child: _Child, message: BecameReady) -> None:
        child.is_ready = True
        was_all = len(self._was_ready) == self._section.gateways
        self._was_ready.add(child.index)
        if was_all:
            _log.info("a gateway takes work again", extra={"gateway": child.index})
        elif len(self._was_ready) == self._section.gateways:
            self._on_ready(message)

    # ---- what becomes of them

    def _deafen(self, child: _Child) -> None:
        if not child.pipe.closed:
            asyncio.get_running_loop().remove_reader(child.pipe.fileno())
            child.pipe.close()

    def _note_end(self, child: _Child) -> None:
        asyncio.get_running_loop().remove_reader(child.process.sentinel)
        if not child.pipe.closed:
            self._hear(child)  # it may have had something to say before
        self._deafen(child)
        for task in child.chores:
            task.cancel()
        child.process.join()
        del self._children[child.index]
        if self._stopping.is_set():
            if not self._children:
                self._emptied.set()
            return
        if child.failure is not None and child.index not in self._was_ready:
            self._fail(child.failure)
            return
        self._start_again(child)

    def _fail(self, failure: StartFailed) -> None:
        """A gateway that cannot start at all: none of them can."""
        error = ConfigError if failure.is_config else OnlookerError
        self._failure = error(failure.message)
        self.stop()

    def _start_again(self, child: _Child) -> None:
        index = child.index
        lived_s = self._clock.now_s() - child.started_at_s
        calm = child.is_ready and lived_s > CALM_S
        self._num_failures[index] = 1 if calm else self._num_failures[index] + 1
        wait_s = BACKOFF.wait_s(self._num_failures[index])
        reason = "" if child.failure is None else child.failure.message
        status = child.process.exitcode
        extra = {"gateway": index, "status": status, "reason": reason, "again_in_s": wait_s}
        _log.error("a gateway died and is started again", extra=extra)
        task = asyncio.create_task(self._begin_later(index, wait_s), name="start again")
        self._restarts.add(task)
        task.add_done_callback(self._restarts.discard)

    async def _begin_later(self, index: int, wait_s: float) -> None:
        while True:
            await self._clock.sleep(wait_s)
            if self._stopping.is_set():
                return
            try:
                self._begin(index)
            except (ConfigError, OSError) as error:
                self._num_failures[index] += 1
                wait_s = BACKOFF.wait_s(self._num_failures[index])
                extra = {"gateway": index, "reason": str(error), "again_in_s": wait_s}
                _log.error("a gateway could not be started again", extra=extra)
            else:
                return
