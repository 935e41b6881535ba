"""What happens to a stream's watches, as its viewers are told."""

from dataclasses import dataclass

from onlooker.watches.alert import Alert


@dataclass(frozen=True, slots=True)
class AlertRaised:
    """A watch speaks."""

    alert: Alert


@dataclass(frozen=True, slots=True)
class WatchChanged:
    """A watch was created, updated, deleted, or has ended by itself (``ended``)."""

    watch_id: str
    change: str


WatchEvent = AlertRaised | WatchChanged
