"""`CoreKeeper`: starts the engine core of several gateways, gives out its seats, and notices its
end."""

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

from onlooker.core.errors import ConfigError
from onlooker.engine.shared_core import CORE_IS_UP, CoreSeat

_log = logging.getLogger("onlooker.server.gateways")

SPARE_SEATS = 16
"""Seats of a core beyond one for each gateway: so many gateways may die and come back before the
core is started again, too."""

END_S = 15.0
"""Seconds that the core's process gets to end before it is killed."""


class Process(Protocol):
    """A process that was started, as `multiprocessing` has them."""

    @property
    def sentinel(self) -> int: ...

    @property
    def exitcode(self) -> int | None: ...

    def kill(self) -> None: ...

    def join(self, timeout: float | None = None) -> None: ...


StartCore = Callable[[Sequence[CoreSeat]], tuple[Process, Connection]]
"""Starts a process that runs a core with these seats; gives it, and this end of its link."""


@dataclass(eq=False, slots=True)
class _Core:
    """One life of the engine core."""

    life: int
    process: Process
    link: Connection
    free: list[CoreSeat]
    started: "asyncio.Future[None]"
    """Fails with `ConfigError` where the core does not start."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class CoreKeeper:
    """All on the event loop; `close` once.

    Args:
        start: starts a core's process.
        on_death: told of each life that has ended, whatever ended it.
    """

    def __init__(
        self, start: StartCore, *, num_gateways: int, on_death: Callable[[int], None]
    ) -> None:
        self._start, self._on_death = start, on_death
        self._num_seats = num_gateways + SPARE_SEATS
        self._folder = Path(tempfile.mkdtemp(prefix="onlooker-"))  # for its owner's eyes only
        self._life = 0
        self._core: _Core | None = None

    def begin(self) -> None:
        """Start a core unless there is one. `seat` does so, too, when the first gateway asks."""
        if self._core is None:
            self._core = self._begin()

    async def seat(self, *, dead_life: int | None = None) -> CoreSeat:
        """A seat at a core that takes work; starts one where there is none.

        Args:
            dead_life: a life in which a gateway has seen the core die, though its process may take
                a while to end.

        Raises:
            ConfigError: the core does not start; says why.
        """
        while True:
            core = self._core
            if core is not None and (core.life == dead_life or core.link.closed):
                await self._end(core)  # or wait until it has, where that was begun
            elif core is not None and core.started.done() and not core.free:
                _log.warning("the engine core has no seat left, and is started again")
                await self._end(core)
            self.begin()
            core = self._core
            assert core is not None
            await asyncio.shield(core.started)
            if core is self._core and core.free:
                return core.free.pop(0)

    async def close(self) -> None:
        """End the core, and wait until it has."""
        if self._core is not None:
            await self._end(self._core)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _begin(self) -> _Core:
        self._life += 1
        seats = tuple(self._seat(index) for index in range(self._num_seats))
        process, link = self._start(seats)
        loop = asyncio.get_running_loop()
        core = _Core(self._life, process, link, list(seats), loop.create_future())
        core.started.add_done_callback(lambda started: started.exception())  # perhaps nobody asks
        loop.add_reader(link.fileno(), self._hear, core)
        loop.add_reader(process.sentinel, self._note_end, core)
        return core

    def _seat(self, index: int) -> CoreSeat:
        place = f"ipc://{self._folder}/{self._life}-{index}"
        return CoreSeat(self._life, index, self._num_seats, f"{place}-in", f"{place}-out")

    def _hear(self, core: _Core) -> None:
        try:
            text = core.link.recv()
        except (EOFError, OSError):
            self._deafen(core)
            return
        if text == CORE_IS_UP:
            core.started.set_result(None)
        else:
            core.started.set_exception(ConfigError(text))

    def _deafen(self, core: _Core) -> None:
        if not core.link.closed:
            asyncio.get_running_loop().remove_reader(core.link.fileno())
            core.link.close()

    def _note_end(self, core: _Core) -> None:
        """The process has ended, by itself or since it was told to."""
        asyncio.get_running_loop().remove_reader(core.process.sentinel)
        if not core.link.closed and core.link.poll():
            self._hear(core)  # it had something to say before
        self._deafen(core)
        core.process.join()
        if self._core is core:
            self._core = None
        if not core.started.done():
            code = core.process.exitcode
            core.started.set_exception(
                ConfigError(f"the engine's process ended before it was ready (status {code})")
            )
        self._on_death(core.life)
        core.ended.set()

    async def _end(self, core: _Core) -> None:
        self._deafen(core)  # which is what tells it to end
        try:
            async with asyncio.timeout(END_S):
                await core.ended.wait()
        except TimeoutError:
            _log.error("the engine core did not end in time and is killed")
            core.process.kill()
            await core.ended.wait()
