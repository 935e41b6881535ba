"""`TenantTotals`: what a tenant did, in totals; `TenantStanding`: what it has at the moment."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(slots=True)
class TenantTotals:
    """Totals of one tenant since the server was started."""

    frames_taken: int = 0
    """Frame messages that were looked at, or lay between those that were."""
    frames_left_out: int = 0
    """Frame messages that were dropped, for whatever reason."""
    questions: int = 0
    """Questions that were let in."""
    input_tokens: int = 0
    """Tokens of the prompts of answers."""
    cached_tokens: int = 0
    """Those of them that need not be computed."""
    output_tokens: int = 0
    alerts: int = 0
    """Alerts that were raised."""


@dataclass(frozen=True, slots=True)
class TenantStanding:
    """What a tenant has at one moment, on one server or on several."""

    streams: int = 0
    watches: int = 0
    fps: float = 0.0
    """Frame messages a second that came in of late, whatever became of them."""
    memory_bytes: int = 0
    """Bytes that are remembered of its open streams, one copy counted."""

    def __add__(self, other: "TenantStanding") -> "TenantStanding":
        return TenantStanding(
            self.streams + other.streams,
            self.watches + other.watches,
            self.fps + other.fps,
            self.memory_bytes + other.memory_bytes,
        )


NOTHING = TenantStanding()


def sum_of(standings: Iterable[TenantStanding]) -> TenantStanding:
    """What there is in all."""
    return sum(standings, NOTHING)
