"""What a watch says, and the alert that it becomes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict

from onlooker.watches.options import WatchKind


@dataclass(frozen=True, slots=True)
class Words:
    """What there is to say."""

    text: str
    data: Mapping[str, Any] | None = None
    """The reply as JSON, where the watch has a schema."""
    problem: str | None = None
    """Why text or data are not the model's: the reply failed, was broken off or does not fit."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What a watch says about one clip."""

    words: Words
    confidence: float | None
    decided_wall_s: float
    """When the trigger decided to speak, in seconds since the Unix epoch."""


@dataclass(frozen=True, slots=True)
class Alert:
    """A statement that was raised. Its number has no gaps within a stream, and its id is never used
    again."""

    alert_id: str
    number: int
    """Counts the alerts of a stream from 1, in the order in which they were raised."""
    watch_id: str
    kind: WatchKind
    start_s: float
    end_s: float
    """Stream time of the clip that is the evidence."""
    until_s: float
    """Stream time until which the clip was known to stand for what was there."""
    decided_wall_s: float
    """When the trigger decided to speak, in seconds since the Unix epoch."""
    staleness_s: float
    """Seconds from the arrival of the evidence's last frame until the alert was raised."""
    text: str
    confidence: float | None = None
    data: Mapping[str, Any] | None = None
    """See `Words.data`."""
    problem: str | None = None
    """See `Words.problem`."""
    frame_jpeg: bytes | None = None
    """The newest frame of the evidence, as the model saw it."""
    traceparent: str | None = None
    """Its place in a trace, where it is traced: what is done with it hangs below."""

    __pydantic_config__ = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
