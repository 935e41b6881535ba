"""What a decoder process is asked, and what it writes back: JSON lines in, records out."""

import json
import struct
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

HEADER = struct.Struct("<cdI")
"""RecordKind, time in seconds, and number of bytes that follow."""

MAX_RECORD_BYTES = 64 << 20
"""No record of an honest process comes near this."""


class RecordKind:
    """Kinds of records."""

    BEGIN = b"K"
    """A part begins, with the key frame of this time."""
    PICTURE = b"P"
    """A picture, as JPEG, and its time in the recording."""
    BEAT = b"B"
    """Nothing yet, but the process is at work."""
    FACTS = b"T"
    """What was asked about a recording, as JSON."""
    END = b"E"
    """The end of a part, as JSON."""
    FAILED = b"F"
    """The recording cannot be read, and why, as text."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a recording says of itself."""

    tags: dict[str, str]
    """Tags of the container and of its video, by name in small letters."""
    duration_s: float | None
    """None where the container does not say."""
    is_timed: bool
    """Whether its pictures have times; those of a bare stream are counted."""
    fingerprint: str
    """The same for two files of the same content, whatever they are called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingPart:
    """A part of a recording: its groups of pictures that begin in a span of time."""

    path: str
    start_s: float = 0.0
    """Time in the recording at which the span begins."""
    end_s: float | None = None
    """Time at which it ends, where the next begins; None: at the end of the recording."""
    is_first: bool = False
    """Whether the group that is under way at `start_s` belongs to it too."""
    interval_s: float
    """The first picture of each so many seconds is given out."""
    width: int
    height: int
    """Pixels that a picture is to cover; larger ones are made smaller."""


@dataclass(frozen=True, slots=True)
class PartEnd:
    """How the decoding of a part ended."""

    from_s: float | None
    """Time of the key frame with which it began; None where no group begins in the span."""
    until_s: float | None
    """Time of the key frame before which it ended; None at the end of the recording."""
    end_s: float
    """Where its last picture ends."""
    num_bad: int
    """Packets that could not be decoded."""


def ask_facts(path: str) -> bytes:
    """The line that asks for a recording's facts."""
    return _line({"facts": path})


def ask_part(part: RecordingPart) -> bytes:
    """The line that asks for a part's pictures."""
    return _line({"part": asdict(part)})


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def write(target: BinaryIO, kind: bytes, *, at_s: float = 0.0, body: bytes = b"") -> None:
    """Write one record and send it off."""
    target.write(HEADER.pack(kind, at_s, len(body)))
    target.write(body)
    target.flush()


def write_json(target: BinaryIO, kind: bytes, value: Facts | PartEnd) -> None:
    """Write one record that holds JSON."""
    write(target, kind, body=json.dumps(asdict(value)).encode())
