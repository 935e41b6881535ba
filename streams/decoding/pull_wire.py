"""What the server and the decoder process of a pulled source say to each other.

The process opens nothing but the one relay that an order may name: bytes are asked of the server,
which has opened what they come from. It is told the server's time whenever it is answered.
"""

import json
import math
import socket
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from onlooker.streams.decoding.wire import receive

MAX_READ_BYTES = 1 << 20
"""The most bytes that a process may ask for at a time."""

Wish = Literal[
    "opened", "read", "seek", "open", "close", "waits", "ready", "picture", "ended", "failed"
]
_WISHES = frozenset(get_args(Wish))

Why = Literal["", "unreadable", "no_video", "one_picture", "too_large", "undecodable", "gone"]
"""Why a source cannot be played on; ``gone`` is its process, or what it says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PullOrder:
    """How a source is to be opened, and which pictures of it are wanted."""

    url: str = ""
    """What FFmpeg is told to open; empty: the file that the server reads, whose number is 0."""
    file_name: str = ""
    """The last part of that file's name."""
    can_seek: bool = False
    """Whether that file can be read from anywhere."""
    format: str | None = None
    """FFmpeg's name of the format; None where FFmpeg is to find out."""
    options: dict[str, str] = field(default_factory=dict)
    """FFmpeg's options."""
    timeouts_s: tuple[float, float] | None = None
    """To open, and to read, where FFmpeg reads from a connection of its own."""
    opens_others: bool = False
    """Whether the source names other files, as a playlist does; the server opens them."""
    relay_port: int | None = None
    """Where on loopback FFmpeg connects to a relay; None where it connects to nothing."""
    has_files: bool = False
    is_recorded: bool = False
    """This and the one above: see `SourceSpec.has_files` and `SourceWay.is_recorded`."""
    nominal_fps: float | None = None
    interval_s: float = 1.0
    """Pictures are thinned to about one in so many seconds."""
    width: int
    height: int
    max_pixels: int
    now_s: float
    open_budget_s: float = 0.0
    packet_budget_s: float = 0.0
    megapixel_budget_s: float = 0.0
    """This and the two above: processor time after which the kernel ends the process."""

    def packed(self) -> bytes:
        """As the body of a message."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def unpacked(cls, body: bytes) -> "PullOrder":
        """From the body of a message."""
        values = json.loads(body)
        if values["timeouts_s"] is not None:
            values["timeouts_s"] = tuple(values["timeouts_s"])
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class PullSaid:
    """What the process says; all but ``waits``, ``ended`` and ``failed`` is answered.

    ``opened``: the video was found. ``read``, ``seek``, ``open`` and ``close`` are about files.
    ``waits``: it waits for the relay. ``ready``: it has a packet to decode, or has worked for long.
    ``picture``: the body is one. ``ended``, ``failed``: there will be no more.
    """

    what: Wish
    spent_s: float = 0.0
    """Processor time since the last message."""
    file: int = 0
    number: int = 0
    """How many bytes to read, or where to seek."""
    whence: int = 0
    url: str = ""
    first_byte: int = 0
    last_byte: int | None = None
    """This and the two above: what to open."""
    time_s: float = 0.0
    """Of a picture, in the source's own time."""
    is_recorded: bool = False
    is_bursty: bool = False
    """This and the one above: of what was opened."""
    why: Why = ""
    detail: str = ""
    """Why it failed, in FFmpeg's words where there are any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PullTold:
    """The server's answer; the body is what was read."""

    now_s: float
    has_failed: bool = False
    """The server knows why; the process need not."""
    number: int = 0
    """A new file's number, or the place that was sought."""
    can_seek: bool = False
    """Whether a new file can be read from anywhere."""


def receive_told(link: socket.socket) -> tuple[PullTold, bytes]:
    """Wait for the server's answer. Raises `EOFError` when the server is gone."""
    values, body = receive(link)
    return PullTold(**values), bytes(body)


def said_of(values: dict[str, Any]) -> PullSaid:
    """What a process said. Raises `ValueError` where it makes no sense: foreign bytes may have
    taken over the process."""
    try:
        said = PullSaid(**values)
        numbers = (said.file, said.number, said.whence, said.first_byte, said.last_byte or 0)
        is_sound = (
            said.what in _WISHES
            and all(isinstance(one, int) and abs(one) < 1 << 62 for one in numbers)
            and said.whence in (0, 1, 2)
            and math.isfinite(said.time_s)
            and 0 <= said.spent_s < math.inf
            and isinstance(said.url, str)
        )
    except (TypeError, ValueError) as error:
        raise ValueError("a decoder's message makes no sense") from error
    if not is_sound:
        raise ValueError("a decoder's message makes no sense")
    return said
