"""`Recording`: one file, and what is known of it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Recording:
    """One file, and what is known of it before it is decoded."""

    path: Path
    name: str
    """Its place below the folder that is imported, for people to read."""
    start_wall_s: float
    """When it began, in seconds since the Unix epoch."""
    start_source: str
    """What says so, in words."""
    duration_s: float | None
    """None where that is known only when it has been decoded."""
    is_timed: bool
    fingerprint: str

    @property
    def end_wall_s(self) -> float:
        """When it ended, as far as that is known."""
        return self.start_wall_s + (self.duration_s or 0.0)
