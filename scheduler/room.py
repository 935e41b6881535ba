"""`Room`: what a server could still take, so that servers can be compared."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Room:
    """What is free on one server at one moment."""

    ratio: float = 0.0
    """Share that is free of what the server can do at full quality: 1 is all of it, and below 0
    quality has given way already."""
    streams: int = 0
    """Further streams that the server would let in."""
