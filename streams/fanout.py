"""One stream's events to any number of subscribers, none of whom can hold up the stream.

Events are numbered 1, 2, 3 … per stream. Acknowledgements come by the thousand, so they have a
queue of their own in each subscription (oldest dropped first) and are not retained; everything else
is retained in a ring, so that a subscriber that comes back with the last number it saw gets what it
missed. The closing event reaches every subscriber.

Where the stream outlives the server, an alert is kept before anybody is told of it
(`onlooker.streams.alert_ledger`), and what happens meanwhile is held back, so that nothing with a
larger number is seen before it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from heapq import merge
from operator import itemgetter

from onlooker.core.metrics import Metrics
from onlooker.streams.alert_ledger import AlertLedger, KeptAlert
from onlooker.streams.belongings import Saved
from onlooker.streams.config import StreamsSection
from onlooker.streams.events import (
    AnswerFinished,
    ClipLost,
    ClipSeen,
    FrameAck,
    HealthChanged,
    SceneChanged,
    StreamEnded,
    StreamEvent,
)
from onlooker.watches.events import AlertRaised

Numbered = tuple[int, StreamEvent]


class Subscription(AsyncIterator[Numbered]):
    """An async iterator of (event number, event) that ends after `StreamEnded` or `close`."""

    def __init__(
        self,
        log: "EventLog",
        *,
        max_events: int,
        wakes_for_all: bool = True,
        is_viewer: bool = True,
    ) -> None:
        """`wakes_for_all`, `is_viewer`: as `EventLog.subscribe` has them."""
        self._log, self._wakes_for_all = log, wakes_for_all
        self._quiet = (FrameAck,) if wakes_for_all else (FrameAck, ClipSeen, ClipLost)
        self._max_events = max_events
        self.is_viewer = is_viewer
        self._events: deque[Numbered] = deque()
        self._acks: deque[Numbered] = deque()
        self._arrived = asyncio.Event()
        self._closed = False
        self.num_dropped = 0
        """Events lost because the subscriber was slow."""

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> Numbered:
        while True:
            if (event := self.take()) is not None:
                return event
            if self._closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()

    def take(self) -> Numbered | None:
        """Return the oldest event that waits, or None; never waits."""
        if not self._acks:
            return self._events.popleft() if self._events else None
        if not self._events or self._acks[0][0] < self._events[0][0]:
            return self._acks.popleft()
        return self._events.popleft()

    def take_quiet(self) -> Numbered | None:
        """Return the oldest event that waits of those for which a subscriber need not be woken, or
        None; never waits. What else waits is left where it is."""
        return self._acks.popleft() if self._acks else None

    def close(self) -> None:
        """Stop listening; what waits is let go. Idempotent."""
        self._log.discard(self)
        self._events.clear()
        self._acks.clear()
        self._end()

    def _end(self) -> None:
        self._closed = True
        self._arrived.set()

    def _offer(self, numbered: Numbered) -> StreamEvent | None:
        """Queue an event; return the one that had to go for it, if any."""
        if isinstance(numbered[1], FrameAck) and not self.is_viewer:
            return None
        is_quiet = isinstance(numbered[1], self._quiet)
        queue = self._acks if is_quiet else self._events
        lost = queue.popleft()[1] if len(queue) >= self._max_events else None
        if lost is not None:
            self.num_dropped += 1
        queue.append(numbered)
        if isinstance(numbered[1], StreamEnded):
            self._closed = True
        if self._wakes_for_all or not is_quiet:
            self._arrived.set()
        return lost


def _nothing() -> None:
    pass


@dataclass(slots=True)
class _Held:
    """An event that nobody has been told of yet."""

    event: StreamEvent
    due_to: tuple[str, ...] = ()
    then: Callable[[], None] = _nothing
    is_gone: bool = False
    """Whether what it tells of was deleted meanwhile."""


class EventLog:
    """Numbers events, retains them and hands them out. Lives on the event loop."""

    def __init__(
        self,
        *,
        num_retained: int,
        metrics: Metrics,
        num_alerts_retained: int = 256,
        ledger: AlertLedger | None = None,
    ) -> None:
        """`num_retained` bounds the retained events other than alerts, which have a bound of their
        own, so that clips do not push them out. `ledger` keeps alerts and numbers, and brings those
        of earlier owners; None: they end with this log."""
        self._retained: deque[Numbered] = deque(maxlen=num_retained)
        self._alerts: deque[Numbered] = deque(maxlen=num_alerts_retained)
        self._subscriptions: set[Subscription] = set()
        self._metrics = metrics
        self._last_number = 0
        self._is_closed = self._is_lost = False
        self._ledger = ledger
        self._held: deque[_Held] = deque()
        """While the first of them, an alert, is being kept: it and all that came after."""
        if ledger is not None:
            self._last_number = ledger.last_event
            for kept in ledger.alerts:
                self._alerts.append((kept.event_number, AlertRaised(kept.alert)))

    @classmethod
    def of(
        cls, settings: StreamsSection, metrics: Metrics, ledger: AlertLedger | None = None
    ) -> "EventLog":
        """A log with the bounds of the settings."""
        return cls(
            num_retained=settings.events_retained,
            num_alerts_retained=settings.alerts_retained,
            metrics=metrics,
            ledger=ledger,
        )

    @property
    def num_subscribers(self) -> int:
        return sum(one.is_viewer for one in self._subscriptions)

    @property
    def last_number(self) -> int:
        """The number of the newest event; 0 before the first."""
        return self._last_number

    def publish(self, event: StreamEvent) -> None:
        """Number `event` and give it to everyone. Nothing follows a `StreamEnded`."""
        if isinstance(event, FrameAck) and not (self._held or self._is_closed or self._is_lost):
            self._give_out(event)  # of which there are more than of everything else
        else:
            self._publish(_Held(event))

    def publish_alert(
        self,
        event: AlertRaised,
        *,
        due_to: tuple[str, ...] = (),
        then: Callable[[], None] = _nothing,
    ) -> None:
        """As `publish`, for an alert; `then` is called once it has been told, which does not happen
        where another server owns the stream by now. `due_to`: the outlets by which it goes out."""
        self._publish(_Held(event, due_to, then))

    def _publish(self, held: _Held) -> None:
        if self._is_closed:
            return
        if self._is_lost:
            self._publish_lost(held.event)
            return
        if self._held:
            self._hold(held)
            return
        if isinstance(held.event, AlertRaised) and self._ledger is not None:
            self._held.append(held)
            self._ledger.keep_alert(
                KeptAlert(self._last_number + 1, held.event.alert),
                due_to=held.due_to,
                told=self._note_kept,
            )
            return
        self._give_out(held.event)
        held.then()

    def _hold(self, held: _Held) -> None:
        self._held.append(held)
        if len(self._held) > (self._retained.maxlen or 0) + 1:
            lost = self._held[1]  # the first is on its way
            del self._held[1]
            self._metrics.events_dropped.labels(kind=type(lost.event).__name__).inc()

    def _note_kept(self, saved: Saved) -> None:
        """The alert that was being kept is, or is not. Where the disk fails, it is told all the
        same, as everything is that ends with this server."""
        first = self._held.popleft()
        assert isinstance(first.event, AlertRaised)
        assert self._ledger is not None
        if first.is_gone:
            self._ledger.forget([first.event.alert.number])
        elif saved is Saved.REFUSED:
            self._is_lost = True
            self._publish_lost(first.event)
        else:
            self._give_out(first.event)
            first.then()
        rest, self._held = self._held, deque()
        for held in rest:
            if not held.is_gone:
                self._publish(held)

    def _publish_lost(self, event: StreamEvent) -> None:
        """The stream goes on at another server, where an alert that nobody was told of here may
        have been kept after all, under the next number. So whoever listens here is told of the end
        alone, which takes no number, and comes back there with the last one."""
        if isinstance(event, StreamEnded):
            self._last_number -= 1
            self._give_out(event)
        elif isinstance(event, AlertRaised):
            self._metrics.alerts.labels(outcome="not_kept").inc()

    def _give_out(self, event: StreamEvent) -> None:
        self._last_number += 1
        if self._ledger is not None:
            self._ledger.reach(self._last_number)
        numbered = (self._last_number, event)
        if isinstance(event, AlertRaised):
            self._alerts.append(numbered)
        elif not isinstance(event, FrameAck):
            self._retained.append(numbered)
        for subscription in self._subscriptions:
            if (lost := subscription._offer(numbered)) is not None:
                self._metrics.events_dropped.labels(kind=type(lost).__name__).inc()
        if isinstance(event, StreamEnded):
            self._is_closed = True
            self._subscriptions.clear()

    def subscribe(
        self,
        *,
        max_events: int,
        after: int | None = None,
        wakes_for_all: bool = True,
        is_viewer: bool = True,
    ) -> Subscription:
        """Listen from now on, or from what is retained after event number `after`.

        `max_events` bounds what waits for this subscriber, acknowledgements and others each. A
        subscriber that looks by itself now and then (`Subscription.take_quiet`) need not be woken
        for frames and clips: `wakes_for_all`. `is_viewer`: whether the stream is in use as long as
        this subscriber listens; one that is none gets no acknowledgements.
        """
        subscription = Subscription(
            self,
            max_events=max(1, max_events),
            wakes_for_all=wakes_for_all,
            is_viewer=is_viewer,
        )
        if after is not None and after > self._last_number:
            after = 0  # the number is of another life of this stream: all of this one is new
        if after is not None:
            for numbered in merge(self._retained, self._alerts, key=itemgetter(0)):
                if numbered[0] > after:
                    subscription._offer(numbered)
        if self._is_closed:
            if after is None and self._retained:
                subscription._offer(self._retained[-1])
            subscription._end()
        else:
            self._subscriptions.add(subscription)
        return subscription

    def forget(self, start_s: float, end_s: float, *, is_aged: bool) -> int:
        """Let go of what tells of a span of stream time, also where it waits for subscribers:
        alerts and scenes in it, and answers to questions that were asked after its start, or with
        `is_aged` within it. Returns how many alerts were retained of it."""

        def is_gone(event: StreamEvent) -> bool:
            match event:
                case AlertRaised():
                    return event.alert.start_s <= end_s and event.alert.end_s >= start_s
                case SceneChanged() | HealthChanged():
                    return start_s <= event.at_s <= end_s
                case AnswerFinished():
                    return event.asked_s >= start_s and (not is_aged or event.asked_s <= end_s)
                case _:
                    return False

        num_before = len(self._alerts)
        gone = [event for _, event in self._alerts if is_gone(event)]
        if self._ledger is not None:
            self._ledger.forget(one.alert.number for one in gone if isinstance(one, AlertRaised))
        for held in self._held:
            held.is_gone = held.is_gone or is_gone(held.event)
        for queue in (self._retained, self._alerts):
            _keep(queue, is_gone)
        for subscription in self._subscriptions:
            _keep(subscription._events, is_gone)
        return num_before - len(self._alerts)

    def discard(self, subscription: Subscription) -> None:
        self._subscriptions.discard(subscription)


def _keep(queue: deque[Numbered], is_gone: Callable[[StreamEvent], bool]) -> None:
    kept = [numbered for numbered in queue if not is_gone(numbered[1])]
    if len(kept) < len(queue):
        queue.clear()
        queue.extend(kept)
