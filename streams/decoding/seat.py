"""`Seat`: where a thread that is not the event loop waits for its turns."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from typing import Protocol


class HeldTurn(Protocol):
    """A turn that was taken."""

    def end(self, spent_s: float) -> None:
        """Give it back, on the event loop."""
        ...


class SeatLeft(Exception):
    """The seat was left: there are no more turns."""


class Seat:
    """One thread's turns, one after the other. Made on the event loop that gives them out.

    Args:
        take: waits for a turn, on the event loop.
        take_at_once: a turn where one is free, on the event loop; None where none is.
    """

    def __init__(
        self,
        take: Callable[[], Awaitable[HeldTurn]],
        take_at_once: Callable[[], HeldTurn | None],
    ) -> None:
        self._take, self._take_at_once = take, take_at_once
        self._loop = asyncio.get_running_loop()
        self._changed = threading.Condition()
        self._turn: HeldTurn | None = None
        self._waiting: asyncio.Task[None] | None = None
        self._is_left = False
        self._spent_s = 0.0

    def spend(self, spent_s: float) -> None:
        """Charge processor time to the turn that is held, or else to the next."""
        self._spent_s += spent_s

    def take(self) -> None:
        """Wait for a turn, unless one is held; blocks. Raises `SeatLeft`."""
        if self._turn is not None:
            return
        try:
            self._loop.call_soon_threadsafe(self._begin)
        except RuntimeError:  # the loop is closed
            raise SeatLeft from None
        with self._changed:
            self._changed.wait_for(lambda: self._turn is not None or self._is_left)
        if self._is_left:
            self.give_back()
            raise SeatLeft

    def give_back(self) -> None:
        """The turn, if any, is over."""
        turn, self._turn = self._turn, None
        if turn is not None:
            spent_s, self._spent_s = self._spent_s, 0.0
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(turn.end, spent_s)

    def leave(self) -> None:
        """Have no more turns; who waits for one hears of it. From any thread."""
        with self._changed:
            self._is_left = True
            self._changed.notify_all()
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop_waiting)

    # ---- on the event loop

    def _begin(self) -> None:
        if self._is_left:
            return
        turn = self._take_at_once()
        if turn is not None:
            self._have(turn)
        else:
            self._waiting = self._loop.create_task(self._wait())

    async def _wait(self) -> None:
        self._have(await self._take())

    def _have(self, turn: HeldTurn) -> None:
        with self._changed:
            is_left = self._is_left
            if not is_left:
                self._turn = turn
                self._changed.notify_all()
        if is_left:
            turn.end(0.0)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
