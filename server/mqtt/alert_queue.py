"""`AlertQueue`: alerts that wait for a broker, oldest first."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from onlooker.core.ids import StreamId
from onlooker.watches.outlets import OutgoingAlert


@dataclass(slots=True, eq=False)
class QueuedAlert:
    """An alert, and whom to tell that it is done with."""

    outgoing: OutgoingAlert
    served: Callable[[], None]
    is_unsure: bool
    """Whether the broker may have it already."""


class AlertQueue:
    """Bounded; on the event loop."""

    def __init__(self, max_alerts: int) -> None:
        self._max_alerts = max_alerts
        self._waiting: deque[QueuedAlert] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def first(self) -> QueuedAlert:
        """The one whose turn it is."""
        return self._waiting[0]

    def add(self, outgoing: OutgoingAlert, served: Callable[[], None]) -> QueuedAlert | None:
        """Queue an alert; returns the one that has to go for it, if any."""
        lost = self._waiting.popleft() if len(self._waiting) >= self._max_alerts else None
        self._waiting.append(QueuedAlert(outgoing, served, outgoing.is_again))
        return lost

    def take(self, queued: QueuedAlert) -> bool:
        """Remove one; returns whether it still waited."""
        if queued not in self._waiting:
            return False
        self._waiting.remove(queued)
        return True

    def settle(self, stream_id: StreamId, newest_id: str | None) -> list[QueuedAlert]:
        """The broker holds this as the newest alert of a stream: remove and return the alerts that
        it has therefore taken. Of the others of the stream it is known now that it has not."""
        of_stream = [one for one in self._waiting if one.outgoing.stream_id == stream_id]
        ids = [one.outgoing.alert.alert_id for one in of_stream]
        num_known = ids.index(newest_id) + 1 if newest_id in ids else 0
        for one in of_stream:
            one.is_unsure = False
        known = of_stream[:num_known]
        for one in known:
            self._waiting.remove(one)
        return known

    def forget(self, stream_id: StreamId, start_s: float, end_s: float) -> int:
        """Let go of alerts of a span of stream time; returns how many."""
        return self._keep(lambda one: not one.outgoing.touches(stream_id, start_s, end_s))

    def let_go(self, stream_id: StreamId) -> int:
        """Let go of a stream's alerts; returns how many."""
        return self._keep(lambda one: one.outgoing.stream_id != stream_id)

    def _keep(self, stays: Callable[[QueuedAlert], bool]) -> int:
        kept = [one for one in self._waiting if stays(one)]
        num_gone = len(self._waiting) - len(kept)
        self._waiting = deque(kept)
        return num_gone
