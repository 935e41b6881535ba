"""`Turns`: who may have something decoded now. Fair between tenants, whatever they send."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from onlooker.core.clock import Clock

BURST_S = 2.0
"""A tenant that was quiet may spend so many seconds' share at once."""


SWEEP_S = 1.0
"""How often accounts are looked through for those that hold nothing any more."""


class Place:
    """A place in the line for a turn. Made by `Turns.queue`."""

    __slots__ = ("_line", "_turns", "begin")

    def __init__(self, turns: "Turns", line: "deque[Place]", begin: Callable[[], None]) -> None:
        self._turns, self._line = turns, line
        self.begin = begin

    def leave(self) -> None:
        """Wait no more. Does nothing where the turn has come."""
        if self in self._line:
            self._line.remove(self)
            self._turns.note_left()


@dataclass(slots=True, eq=False)
class _Account:
    """One tenant's."""

    left_s: float
    """Processor time that it may spend before it is overdrawn."""
    filled_at_s: float
    served_at: float
    """Which turn was its last, counted over all tenants."""
    num_busy: int = 0
    num_aside: int = 0
    waiting: deque[Place] = field(default_factory=deque)


class Turns:
    """A bounded number of turns, given out to tenants one after the other. All on the event loop.

    No tenant gets the last free turn of two or more, so that another one's message finds a place
    whatever the first sends. A tenant that spent more processor time than its share waits behind
    those that did not, and gets one turn at a time. What takes long steps aside: it goes on, but
    its turn is given to the next.

    Args:
        num_turns: how many there are; as many more may be aside.
        share: processor seconds a second for each tenant.
    """

    def __init__(self, *, num_turns: int, share: float, clock: Clock) -> None:
        self._num_free, self._share, self._clock = num_turns, share, clock
        self._most_each = max(1, num_turns - 1)
        self._accounts: dict[str, _Account] = {}
        self._num_given = 0
        self._num_busy = self._num_aside = self._num_waiting = 0
        self._is_giving_out = False
        self._swept_at_s = clock.now_s()
        self._max_aside = num_turns
        self._moved_at_s = clock.now_s()

    def take_at_once(self, tenant: str) -> bool:
        """Take a turn where one is free for the tenant; who gets it gives it back."""
        if not self._num_free:
            return False
        account = self._account(tenant)
        if account.waiting or not self._may(account):
            return False
        self._grant(account)
        return True

    def queue(self, tenant: str, begin: Callable[[], None]) -> Place:
        """Wait for a turn: `begin` is called when it has come, perhaps before this returns, by
        whoever gives one back. It raises nothing, and sees to it that the turn is given back."""
        account = self._account(tenant)
        place = Place(self, account.waiting, begin)
        account.waiting.append(place)
        self._num_waiting += 1
        self._give_out()
        return place

    async def take(self, tenant: str) -> None:
        """Wait for a turn; who gets it gives it back."""
        if not self._num_waiting and self.take_at_once(tenant):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def begin() -> None:
            if turn.cancelled():  # whoever waited for it will hear of that, but has not yet
                self.give_back(tenant, spent_s=0.0)
            else:
                turn.set_result(None)

        place = self.queue(tenant, begin)
        if turn.done():  # at once: nobody else is let in between
            return
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                place.leave()
            else:
                self.give_back(tenant, spent_s=0.0)
            raise

    def note_left(self) -> None:
        """Somebody has left the line."""
        self._num_waiting -= 1

    def give_back(self, tenant: str, *, spent_s: float) -> None:
        """The turn is over; so much processor time went into it."""
        account = self._accounts[tenant]
        account.num_busy -= 1
        self._num_busy -= 1
        self._num_free += 1
        self._charge(tenant, spent_s)

    def step_aside(self, tenant: str) -> bool:
        """What has the turn goes on for longer: let others in, if there is room. Whoever stepped
        aside comes back, in place of giving the turn back."""
        if self._num_aside >= self._max_aside:
            return False
        account = self._accounts[tenant]
        account.num_busy -= 1
        account.num_aside += 1
        self._num_busy -= 1
        self._num_aside += 1
        self._num_free += 1
        self._give_out()
        return True

    def come_back(self, tenant: str, *, spent_s: float) -> None:
        """What had stepped aside is over; so much processor time went into it."""
        account = self._accounts[tenant]
        account.num_aside -= 1
        self._num_aside -= 1
        self._charge(tenant, spent_s)

    def num_waiting(self, tenant: str) -> int:
        """Who waits for a turn of a tenant."""
        account = self._accounts.get(tenant)
        return 0 if account is None else len(account.waiting)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being decoded, and nothing waits for it."""
        return not (self._num_busy or self._num_aside or self._num_waiting)

    @property
    def stalled_s(self) -> float:
        """For how long there has been something to do without anything being done."""
        return 0.0 if self.is_idle else self._clock.now_s() - self._moved_at_s

    def _account(self, tenant: str) -> _Account:
        """The account of a tenant that wants something decoded."""
        if self.is_idle:
            self._moved_at_s = self._clock.now_s()
        account = self._accounts.get(tenant)
        if account is None:
            now_s = self._clock.now_s()
            # Before who was served last, and behind who has waited since before that.
            served_at = self._num_given - 0.5
            account = _Account(self._share * BURST_S, now_s, served_at)
            self._accounts[tenant] = account
        return account

    def _charge(self, tenant: str, spent_s: float) -> None:
        account = self._accounts[tenant]
        now_s = self._fill(account)
        account.left_s -= spent_s
        self._moved_at_s = now_s
        self._give_out()
        if now_s - self._swept_at_s >= SWEEP_S:
            self._swept_at_s = now_s
            for other in list(self._accounts):
                self._forget_idle(other)
        elif tenant in self._accounts:  # who was let in just now may have been done at once
            self._forget_idle(tenant)

    def _give_out(self) -> None:
        if self._is_giving_out:  # somebody was done as soon as they had begun; the next is seen to
            return
        self._is_giving_out = True
        try:
            while self._num_free and self._num_waiting and (tenant := self._next()) is not None:
                account = self._accounts[tenant]
                place = account.waiting.popleft()
                self._num_waiting -= 1
                self._grant(account)
                place.begin()
        finally:
            self._is_giving_out = False

    def _grant(self, account: _Account) -> None:
        self._num_given += 1
        account.served_at = self._num_given
        self._num_free -= 1
        self._num_busy += 1
        account.num_busy += 1

    def _next(self) -> str | None:
        """Whose turn it is: of those within their share, or else of the others, the one whose last
        turn is longest ago."""
        eligible = [one for one in self._accounts.items() if one[1].waiting and self._may(one[1])]
        first = min(eligible, key=lambda one: (one[1].left_s <= 0, one[1].served_at), default=None)
        return None if first is None else first[0]

    def _may(self, account: _Account) -> bool:
        """Whether the tenant may have one more turn."""
        if account.left_s <= 0:  # else it is within its share, however much has grown since
            self._fill(account)
        if account.left_s <= 0:
            return not account.num_busy and not account.num_aside
        return account.num_busy < self._most_each

    def _fill(self, account: _Account) -> float:
        """Give an account what has grown meanwhile; returns the time."""
        now_s = self._clock.now_s()
        grown_s = account.left_s + (now_s - account.filled_at_s) * self._share
        account.left_s, account.filled_at_s = min(grown_s, self._share * BURST_S), now_s
        return now_s

    def _forget_idle(self, tenant: str) -> None:
        """Drop an account that holds nothing a new one would not."""
        account = self._accounts[tenant]
        if account.num_busy or account.num_aside or account.waiting:
            return
        self._fill(account)
        if account.left_s >= self._share * BURST_S:
            del self._accounts[tenant]
