"""`PushSender`: alerts for phones and chats, each with its picture.

Every address of the settings has a bounded queue and a task of its own, so that one that is slow or
away holds up nothing but its own alerts. What cannot be delivered is given up after some attempts.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from onlooker.core.backoff import Backoff
from onlooker.core.clock import Clock
from onlooker.core.ids import StreamId, split_stream_id
from onlooker.core.metrics import Metrics
from onlooker.core.waiting import within
from onlooker.watches.config import PushSection
from onlooker.watches.outlets import AlertPicture, OutgoingAlert, is_chosen
from onlooker.watches.watch import Watch

_log = logging.getLogger("onlooker.watches")

PICTURE_S = 2.0
"""How long an alert waits for its picture."""


class Notifier(Protocol):
    """One address of a phone or a chat."""

    def notify(self, title: str, text: str, picture: AlertPicture | None) -> bool:
        """Deliver, and return whether that was taken. It blocks; called in a thread."""


@dataclass(slots=True, eq=False)
class _Pushed:
    """An alert, and how many addresses still have to take it or give it up."""

    outgoing: OutgoingAlert
    served: Callable[[], None]
    num_left: int

    def count_down(self) -> None:
        self.num_left -= 1
        if self.num_left == 0:
            self.served()


@dataclass(slots=True)
class _Address:
    """The alerts that wait for one address, oldest first."""

    notifier: Notifier
    waiting: deque[_Pushed] = field(default_factory=deque)
    task: "asyncio.Task[None] | None" = None
    is_well: bool = True


class PushSender:
    """Of one server; an `AlertOutlet`. Everything runs on the event loop, but for the notifiers."""

    def __init__(
        self, settings: PushSection, notifiers: Sequence[Notifier], clock: Clock, metrics: Metrics
    ) -> None:
        self._settings, self._clock, self._metrics = settings, clock, metrics
        self._backoff = Backoff(settings.backoff_min_s, settings.backoff_max_s)
        self._addresses = [_Address(notifier) for notifier in notifiers]
        self._threads = ThreadPoolExecutor(settings.max_threads, thread_name_prefix="push")

    @property
    def name(self) -> str:
        """See `AlertOutlet.name`."""
        return "push"

    def takes(self, stream_id: StreamId, watch: Watch) -> bool:
        """Whether the settings have the stream's alerts pushed."""
        settings = self._settings
        return bool(self._addresses) and is_chosen(stream_id, settings.tenants, settings.streams)

    def send(self, outgoing: OutgoingAlert, served: Callable[[], None]) -> None:
        """Queue an alert for every address. Never waits."""
        pushed = _Pushed(outgoing, served, len(self._addresses))
        for address in self._addresses:
            address.waiting.append(pushed)
            if len(address.waiting) > self._settings.max_queued:
                self._done(address.waiting.popleft(), "dropped")
            if address.task is None:
                address.task = asyncio.create_task(self._empty(address), name="push")

    def forget(self, stream_id: StreamId, start_s: float, end_s: float) -> int:
        """Let go of alerts that wait and touch a span of stream time; returns how many."""
        return self._drop(lambda one: one.outgoing.touches(stream_id, start_s, end_s))

    def is_busy(self, stream_id: StreamId) -> bool:
        """Whether alerts of a stream wait, of which each is delivered or given up in time."""
        return any(
            one.outgoing.stream_id == stream_id for each in self._addresses for one in each.waiting
        )

    async def let_go(self, stream_id: StreamId) -> None:
        """Push nothing more of a stream; one that is on its way is not stopped."""
        self._drop(lambda one: one.outgoing.stream_id == stream_id)

    async def close(self) -> None:
        """Stop, and let go of what waits. Threads that are at work end by themselves."""
        tasks = [address.task for address in self._addresses if address.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _drop(self, goes: Callable[[_Pushed], bool]) -> int:
        gone = {id(one) for each in self._addresses for one in each.waiting if goes(one)}
        for address in self._addresses:
            address.waiting = deque(one for one in address.waiting if id(one) not in gone)
        return len(gone)

    async def _empty(self, address: _Address) -> None:
        while address.waiting:
            pushed = address.waiting.popleft()
            self._done(pushed, await self._deliver(address, pushed.outgoing))
        address.task = None

    async def _deliver(self, address: _Address, outgoing: OutgoingAlert) -> str:
        picture = None
        if self._settings.pictures:
            with suppress(TimeoutError):
                picture = await within(self._clock, PICTURE_S, outgoing.picture())
        stream = split_stream_id(outgoing.stream_id)[1]
        work = partial(address.notifier.notify, stream, outgoing.alert.text, picture)
        for attempt in range(1, self._settings.max_attempts + 1):
            if await self._is_taken(work):
                address.is_well = True
                return "delivered"
            if attempt < self._settings.max_attempts:
                self._metrics.push_deliveries.labels("retried").inc()
                await self._clock.sleep(self._backoff.wait_s(attempt))
        if address.is_well:
            address.is_well = False
            _log.warning("alerts do not reach an address of watches.push.urls")
        return "given_up"

    async def _is_taken(self, work: Callable[[], bool]) -> bool:
        running = asyncio.get_running_loop().run_in_executor(self._threads, work)
        try:
            return await within(self._clock, self._settings.timeout_s, running)
        except TimeoutError:
            return False
        except Exception as error:  # a plug-in of others: whatever it raises is theirs
            _log.info("a push failed", extra={"why": type(error).__name__})
            return False

    def _done(self, pushed: _Pushed, outcome: str) -> None:
        self._metrics.push_deliveries.labels(outcome).inc()
        pushed.count_down()
