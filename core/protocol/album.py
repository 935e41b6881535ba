"""Pictures of a stream's album, as HTTP tells of them."""

from typing import Literal

from onlooker.core.protocol.base import Outbound


class PictureObject(Outbound):
    """A picture of a clip, without its bytes."""

    object: Literal["stream.picture"] = "stream.picture"
    clip: int
    """The clip that it shows."""
    start_s: float
    """Stream time of the frame that it shows, the clip's first."""
    end_s: float
    """Stream time of the clip's last frame."""
    taken_at: float | None
    """Seconds since the Unix epoch; null where the stream does not know."""
    width: int
    height: int
    bytes: int
    media_type: str
    url: str
    """Where the picture is, on this server."""


class PictureList(Outbound):
    """Pictures in order of time."""

    object: Literal["list"] = "list"
    stream: str
    data: list[PictureObject]
    has_more: bool = False
    next_s: float | None = None
    """Where to go on when there is more: the next `from`, or, newest first, the next `to`."""


def picture_url(stream: str, at_s: float) -> str:
    """The path at which the picture is that stands for a stream time."""
    return f"/v1/streams/{stream}/picture?at={at_s!r}"


def reference_url(stream: str) -> str:
    """The path of a stream's reference picture."""
    return f"/v1/streams/{stream}/reference"
