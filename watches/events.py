"""What the viewers of a stream are told of its watches."""

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
