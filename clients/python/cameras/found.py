"""What is known of a camera in the network."""

from dataclasses import dataclass

MAX_TEXT_CHARS = 120


@dataclass(frozen=True, slots=True)
class CameraStream:
    """One stream of a camera's."""

    name: str
    """What the camera calls it, such as ``main``."""
    url: str
    """Its address, with the login where it goes to the camera itself."""
    coding: str
    """``H264``, ``H265``, ``JPEG``; empty where the camera does not say."""
    width: int | None
    height: int | None
    note: str = ""
    """What is odd about it, if anything."""


@dataclass(frozen=True, slots=True)
class FoundCamera:
    """A camera, and what it said of its streams."""

    name: str
    host: str
    """The address from which it answers."""
    service_url: str
    """Where it speaks ONVIF."""
    streams: tuple[CameraStream, ...] = ()
    problem: str = ""
    """Why there are no streams, and what to do; empty where there are."""
    notes: tuple[str, ...] = ()
    """What is odd about the camera, if anything."""


class CameraTrouble(Exception):
    """A camera does not say what it is asked; the message says why, and what to do."""


def plain_text(text: str | None) -> str:
    """What a stranger calls something, fit for a terminal: one line without control characters."""
    words = "".join(c if c.isprintable() else " " for c in text or "").split()
    return " ".join(words)[:MAX_TEXT_CHARS]
