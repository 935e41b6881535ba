"""What the server is told to pull."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """A source that the server opens by itself."""

    url: str
    """``rtsp://``, ``http(s)://`` (a file or an HLS playlist), ``file://`` or a path."""
    fps: float | None = None
    """Frames a second taken from it; None: what the clips need."""
    loop: bool = False
    """Whether to begin again when it ends; for files. Stream time goes on."""
