"""Service levels: what a stream or a question is promised."""

from dataclasses import dataclass
from enum import StrEnum


class Tier(StrEnum):
    """How much somebody minds waiting; chosen per stream and per question."""

    INTERACTIVE = "interactive"
    STANDARD = "standard"
    BACKGROUND = "background"

    @classmethod
    def named(cls, name: str | None) -> "Tier | None":
        """The tier that a client names, if any."""
        return None if name is None else cls(name)


@dataclass(frozen=True, slots=True)
class Slo:
    """Targets of one tier, in seconds."""

    ttft_s: float
    """Seconds from the arrival of a question to its first token."""
    tpot_s: float
    """Seconds a token, per answer: (end to end - TTFT) / (output tokens - 1)."""
    lag_s: float
    """Seconds from the arrival of a frame to the end of its prefill."""

    def __post_init__(self) -> None:
        for name in ("ttft_s", "tpot_s", "lag_s"):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise ValueError(f"{name} must be more than 0 seconds; got {value}")
