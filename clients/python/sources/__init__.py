"""Where pictures come from: a file, a camera, a network stream, the drawn world."""

import re
import stat
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from onlooker.clients.python.sources.drawn import DrawnSource
from onlooker.clients.python.sources.interface import Source, SourcePicture
from onlooker.clients.python.sources.media import FileSource, LiveSource
from onlooker.core.clock import Clock, SystemClock
from onlooker.core.errors import InvalidRequest, NotFound

__all__ = ["SOURCE_HELP", "DrawnSource", "FileSource", "LiveSource", "Source", "SourcePicture"]

SOURCE_HELP = (
    "A video file; rtsp://, rtmp:// or http(s)://…; a camera: /dev/video0 (Linux), "
    "avfoundation://0 (macOS), dshow://NAME (Windows); or demo://?seed=7, the drawn world."
)

_LIVE_SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "udp", "rtp", "srt")
_DEVICES = {"v4l2": "", "avfoundation": "", "dshow": "video="}
_SIZE = re.compile(r"(\d{1,4})x(\d{1,4})")


def open_source(text: str, *, loop: bool = False, clock: Clock | None = None) -> Source:
    """The source that `text` names; opened when it is entered.

    Raises:
        InvalidRequest: `text` is an address of an unknown kind, or a folder.
        NotFound: there is no such file or device.
    """
    clock = clock or SystemClock()
    parts = urlsplit(text) if "://" in text else None
    if parts is None:
        return _from_path(text, loop, clock)
    if parts.scheme == "demo":
        return _drawn(text)
    if parts.scheme == "file":
        return _from_path(parts.path, loop, clock)
    if parts.scheme in _LIVE_SCHEMES:
        name = f"{parts.scheme}://{parts.hostname or ''}{parts.path}"  # without user and password
        options = {"rtsp_transport": "tcp"} if parts.scheme.startswith("rtsp") else {}
        return LiveSource(text, name=name, clock=clock, options=options)
    if parts.scheme in ("http", "https"):
        if parts.path.endswith((".m3u8", ".mjpg", ".mjpeg")):
            return LiveSource(text, name=f"{parts.hostname}{parts.path}", clock=clock)
        return FileSource(text, loop=loop)
    if parts.scheme in _DEVICES:
        device = _DEVICES[parts.scheme] + text.split("://", 1)[1]
        return LiveSource(device, name=text, clock=clock, format_name=parts.scheme)
    raise InvalidRequest(f"'{parts.scheme}://' is no source known here. {SOURCE_HELP}")


def _from_path(text: str, loop: bool, clock: Clock) -> Source:
    path = Path(text).expanduser()
    try:
        mode = path.stat().st_mode
    except OSError:
        raise NotFound(f"there is no file or device '{text}'. {SOURCE_HELP}") from None
    if stat.S_ISCHR(mode):
        return LiveSource(str(path), name=str(path), clock=clock, format_name="v4l2")
    if stat.S_ISDIR(mode):
        raise InvalidRequest(f"'{text}' is a folder; name a video file in it")
    return FileSource(path, loop=loop)


def _drawn(text: str) -> DrawnSource:
    parts = urlsplit(text)
    given = dict(parse_qsl(parts.query))
    unknown = set(given) - {"seed", "size", "start"}
    size = _SIZE.fullmatch(given.get("size", "640x480"))
    try:
        seed, start_s = int(given.get("seed", "7")), float(given.get("start", "0"))
    except ValueError:
        seed, start_s = -1, 0.0
    if unknown or size is None or not 0 <= seed < 2**32 or not 0 <= start_s < 1e6:
        raise InvalidRequest(
            f"'{text}' does not name a drawn world; expected demo://?seed=7&size=640x480&start=0"
        )
    width, height = (max(16, int(side)) for side in size.groups())
    return DrawnSource(seed=seed, width=width, height=height, start_s=start_s)
