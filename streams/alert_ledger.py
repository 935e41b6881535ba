"""`AlertLedger`: what is kept of a stream's alerts, and of the numbers of its events.

    alerts/numbers     {"event": no event has a larger number, "alert": the number of the newest}
    alerts/<number>    an alert, and the number of its event
    alerts/due         by outlet (webhook, mqtt, push), the numbers of alerts that still wait for it

An alert is told to nobody before it is kept. So whoever was told of one finds it again with the
next owner, under the same number, and the next owner gives no number twice. Numbers of events are
set aside ahead of their use, many at a time; what is left of them when a server dies is not used.
"""

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from onlooker.streams.belongings import ALERTS, Belongings, Saved
from onlooker.watches.alert import Alert

T = TypeVar("T")

_log = logging.getLogger("onlooker.streams.alert_ledger")

NUMBERS, DUE = f"{ALERTS}/numbers", f"{ALERTS}/due"

SET_ASIDE = 10_000
"""Numbers of events that are set aside at a time; the next ones are when half of them are used. A
stream does not use that many before it notices that nothing can be kept."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """See above."""

    event: int = 0
    alert: int = 0


@dataclass(frozen=True, slots=True)
class KeptAlert:
    """An alert and the number of the event by which it was told."""

    event_number: int
    alert: Alert


_NUMBERS, _ALERT = TypeAdapter(Numbers), TypeAdapter(KeptAlert)
_DUE: TypeAdapter[dict[str, list[int]] | list[int]] = TypeAdapter(dict[str, list[int]] | list[int])
"""A list alone was written by servers that knew no outlet but webhooks."""


class AlertLedger:
    """Of one stream. Everything runs on the event loop.

    Args:
        max_alerts: alerts that are kept, the newest.
    """

    def __init__(self, belongings: Belongings, *, max_alerts: int) -> None:
        self._belongings, self._max_alerts = belongings, max_alerts
        documents = belongings.documents
        numbers = _read(_NUMBERS, documents.get(NUMBERS, b"")) or Numbers()
        found = [
            _read(_ALERT, content)
            for name, content in documents.items()
            if name.startswith(f"{ALERTS}/") and name not in (NUMBERS, DUE)
        ]
        self.alerts = sorted((one for one in found if one), key=lambda one: one.event_number)
        """What earlier owners kept, oldest first."""
        newest = self.alerts[-1] if self.alerts else None
        self.last_event = max(numbers.event, newest.event_number if newest else 0)
        """No earlier event has a larger number."""
        self.last_alert = max(numbers.alert, newest.alert.number if newest else 0)
        """The number of the newest alert."""
        due = _read(_DUE, documents.get(DUE, b"")) or {}
        by_outlet = {"webhook": due} if isinstance(due, list) else due
        self._due = {name: set(numbers) for name, numbers in by_outlet.items()}
        self._kept = deque(one.alert.number for one in self.alerts)
        self._set_aside = self.last_event

    @property
    def is_kept(self) -> bool:
        """Whether anything outlives the stream."""
        return self._belongings.are_kept

    @property
    def due(self) -> list[tuple[Alert, tuple[str, ...]]]:
        """Alerts of earlier owners that still wait for outlets, with their names, oldest first."""
        found = []
        for one in self.alerts:
            outlets = tuple(n for n, due in self._due.items() if one.alert.number in due)
            if outlets:
                found.append((one.alert, outlets))
        return found

    async def begin(self) -> None:
        """Set numbers aside, before the first event has one.

        Raises:
            Overloaded, ServiceError: they cannot be kept.
        """
        if self._belongings.are_kept:
            self.reach(self.last_event)
            await self._belongings.settle("the numbers of events")

    def reach(self, event_number: int) -> None:
        """An event has this number."""
        self.last_event = event_number
        if event_number + SET_ASIDE // 2 >= self._set_aside and self._belongings.are_kept:
            self._set_aside = event_number + SET_ASIDE
            self._keep_numbers()

    def keep_alert(
        self, kept: KeptAlert, *, due_to: Collection[str], told: Callable[[Saved], None]
    ) -> None:
        """Keep an alert with what it was raised by; `told` is called once that is written.
        `due_to` names the outlets that it waits for."""
        number = kept.alert.number
        self.last_alert = number
        self._belongings.keep(f"{ALERTS}/{number}", _ALERT.dump_json(kept))
        self._kept.append(number)
        while len(self._kept) > self._max_alerts:
            self._let_go(self._kept.popleft())
        for outlet in due_to:
            self._due.setdefault(outlet, set()).add(number)
        if due_to:
            self._keep_due()
        self._keep_numbers(told)

    def served(self, alert_number: int, outlet: str) -> None:
        """An outlet has told an alert, or has given it up."""
        if alert_number in self._due.get(outlet, ()):
            self._due[outlet].discard(alert_number)
            self._keep_due()

    def forget(self, alert_numbers: Iterable[int]) -> None:
        """Delete alerts."""
        gone = set(alert_numbers)
        self._kept = deque(number for number in self._kept if number not in gone)
        for number in gone:
            self._let_go(number)

    def end(self) -> None:
        """Nothing is told any more but that the stream has ended: what was set aside beyond the
        number of that is the next owner's."""
        self._set_aside = self.last_event + 1
        self._keep_numbers()

    def _let_go(self, number: int) -> None:
        self._belongings.keep(f"{ALERTS}/{number}", b"")
        for outlet in self._due:
            self.served(number, outlet)

    def _keep_numbers(self, told: Callable[[Saved], None] | None = None) -> None:
        document = _NUMBERS.dump_json(Numbers(self._set_aside, self.last_alert))
        self._belongings.keep(NUMBERS, document, told)

    def _keep_due(self) -> None:
        due = {name: sorted(numbers) for name, numbers in self._due.items() if numbers}
        self._belongings.keep(DUE, _DUE.dump_json(due) if due else b"")


def _read(adapter: TypeAdapter[T], content: bytes) -> T | None:
    if not content:
        return None
    try:
        return adapter.validate_json(content)
    except ValidationError as error:
        _log.error("what was kept of alerts cannot be read", extra={"detail": str(error)})
        return None
