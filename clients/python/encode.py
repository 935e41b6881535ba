"""What the bytes of a frame say it is."""

from onlooker.core.errors import UnsupportedMedia
from onlooker.core.media import Codec


def guess_codec(payload: bytes) -> Codec:
    """The codec of a still picture, from its first bytes.

    Raises:
        UnsupportedMedia: it is no JPEG, PNG or WebP; video chunks must name their codec.
    """
    if payload[:3] == b"\xff\xd8\xff":
        return Codec.JPEG
    if payload[:8] == b"\x89PNG\r\n\x1a\n":
        return Codec.PNG
    if payload[:4] == b"RIFF" and payload[8:12] == b"WEBP":
        return Codec.WEBP
    raise UnsupportedMedia(
        "these bytes are no JPEG, PNG or WebP picture; for video chunks pass codec=Codec.…"
    )
