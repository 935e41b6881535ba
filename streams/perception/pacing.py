"""`Pacing`: how many frames are looked at, and which of them share a clip."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pacing:
    """How one stream's frames are picked and paired; changes with the quality of the stream."""

    interval_s: float
    """Stream time between two frames that are looked at, on the mean."""
    pair_gap_s: float
    """How long (stream time) a frame may wait for its partner."""
    comes_in_twos: bool
    """Whether frames are picked two at a time, and then none: so they still make a clip."""
