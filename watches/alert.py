"""What a watch says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onlooker.watches.options import WatchKind


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. Its number has no gaps within a stream, and its id is never used again."""

    alert_id: str
    number: int
    """1, 2, 3 ... per stream, in the order in which alerts were raised."""
    watch_id: str
    kind: WatchKind
    start_s: float
    end_s: float
    """Stream time of the clip that is the evidence."""
    decided_wall_s: float
    """When the trigger decided to speak, as seconds since the Unix epoch."""
    staleness_s: float
    """From the arrival of the evidence's last frame until the alert was raised."""
    text: str
    confidence: float | None = None
    data: Mapping[str, Any] | None = None
    """The reply as JSON, where the watch has a schema."""
    problem: str | None = None
    """Why there is no text or data: the reply failed, was broken off or does not fit."""
    frame_jpeg: bytes | None = None
    """The newest frame of the evidence, as the model saw it."""
