"""What the server is told to pull, and how pulling fails."""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

Transport = Literal["tcp", "udp"]


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """A source that the server opens by itself."""

    url: str
    """``rtsp(s)://``, ``rtmp(s)://``, ``http(s)://`` (a file, motion JPEG, an HLS playlist or a
    picture), ``srt://``, ``udp://``, ``file://`` or an absolute path."""
    fps: float | None = None
    """Frames a second taken from it; None: what the clips need."""
    nominal_fps: float | None = None
    """The rate at which a recording without times of its own is played (raw ``.h264``, ``.h265``,
    ``.mjpeg``); None: the one that its coded video names, or 25."""
    loop: bool = False
    """Whether to begin again when it ends; for files. Stream time goes on."""
    transport: Transport | None = None
    """How an RTSP camera sends its packets; None: over the connection, TCP."""
    every_s: float | None = None
    """How often the picture at an ``http(s)://`` address is fetched; None: it is video."""

    @property
    def most_fps(self) -> float | None:
        """The most frames a second that it is said to give; None where nothing is said."""
        fetched_fps = None if self.every_s is None else 1 / self.every_s
        return min((fps for fps in (self.fps, fetched_fps) if fps is not None), default=None)

    @property
    def has_files(self) -> bool:
        """Whether recordings are found at such addresses; at others all is live."""
        return self.scheme in ("file", "http", "https")

    @property
    def is_waited_for(self) -> bool:
        """Whether the server listens and somebody sends to it, rather than that it connects."""
        return self.scheme == "udp" or (self.scheme == "srt" and "mode=listener" in self.url)

    @property
    def scheme(self) -> str:
        """The kind of address, in lower case; ``file`` also for a path."""
        return "file" if self.url.startswith("/") else self.url.partition(":")[0].lower()


class SourceLost(Exception):
    """The source is gone for now; opening it again may help."""


class SourceSlow(SourceLost):
    """The source took longer to open than it may, or sends hardly anything. One that was so before
    its first picture is not opened again: it would hold a place that others wait for."""


class SourceBroken(Exception):
    """The source cannot be played: not found, no video, refused. Where it never could, it is not
    opened again."""


def srt_options(url: str) -> dict[str, str]:
    """What stands behind the ``?`` of an SRT address, such as ``streamid`` and ``passphrase``.
    A ``+`` is one, and no blank. None of it where the address is malformed."""
    try:
        return dict(parse_qsl(urlsplit(url).query.replace("+", "%2B")))
    except ValueError:
        return {}


def redacted(url: str) -> str:
    """`url` without user, password and query, for events and logs."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(a malformed address)"
    if not parts.scheme:
        return parts.path.rsplit("/", 1)[-1]
    if parts.scheme == "file":
        return "file:" + parts.path.rsplit("/", 1)[-1]
    return f"{parts.scheme}://{host}{port}{parts.path}"
