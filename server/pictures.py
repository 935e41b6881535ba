"""Pictures that come with a question: from a data URL to a clip, off the event loop."""

import asyncio
import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from onlooker.core.errors import InvalidRequest, TooLarge, UnsupportedMedia
from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Codec, DropReason, Frame, Pixels
from onlooker.engine.interface import Question
from onlooker.streams.decoding.desk import Decoding, Desk
from onlooker.streams.perception.decoders import Decoders, Shape
from onlooker.streams.perception.stills import Undecodable

_DATA_URL = re.compile(r"data:(image/[a-z+.-]+)(?:;[a-z0-9=-]+)*;base64,", re.IGNORECASE)

MEDIA_TYPES = {
    "image/jpeg": Codec.JPEG,
    "image/jpg": Codec.JPEG,
    "image/png": Codec.PNG,
    "image/webp": Codec.WEBP,
}

_PICTURES_STREAM = StreamId("pictures")

TURN_CHARS = 128 << 10
"""Base64 that is decoded before others get their turn; less than a millisecond of work. A multiple
of four letters, which stand for three bytes."""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A question as a door read it: complete but for its pictures."""

    question: Question
    images: tuple[str, ...] = ()
    """The question's pictures as data URLs, which are decoded when the question is put."""


def parse_data_url(url: str, *, max_bytes: int, param: str) -> tuple[Codec, str]:
    """Return codec and base64 text of a ``data:image/…;base64,…`` URL.

    Raises:
        InvalidRequest: not such a URL (addresses are not fetched).
        UnsupportedMedia: a type other than JPEG, PNG and WebP.
        TooLarge: over `max_bytes`.
    """
    head = _DATA_URL.match(url[:200])
    if head is None:
        raise InvalidRequest(
            "a picture is given as 'data:image/jpeg;base64,…' (or png, webp); addresses are not "
            "fetched",
            param=param,
        )
    codec = MEDIA_TYPES.get(head[1].lower())
    if codec is None:
        raise UnsupportedMedia(f"{head[1]} is not taken; send JPEG, PNG or WebP", param=param)
    if (len(url) - head.end()) * 3 // 4 > max_bytes + 2:
        raise TooLarge(f"a picture may have {max_bytes} bytes", param=param)
    return codec, url[head.end() :]


async def decode_base64(text: str, *, param: str) -> bytes:
    """Return the bytes of `text`; others get their turns while a large one is decoded. A thread
    would not help: Python lets nothing else run beside the decoding of one text.

    Raises:
        InvalidRequest: it is not base64.
    """
    pieces: list[bytes] = []
    try:
        for start in range(0, len(text), TURN_CHARS):
            if start:
                if text[start - 1] == "=":
                    raise ValueError("there is more after its end")
                await asyncio.sleep(0)
            pieces.append(base64.b64decode(text[start : start + TURN_CHARS], validate=True))
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"'{param}' is not base64: {error}", param=param) from None
    return b"".join(pieces)


class PictureReader:
    """Has pictures decoded where streams have theirs, with a desk for each tenant."""

    def __init__(
        self,
        decoding: Decoding,
        *,
        frame_size: Callable[[], tuple[int, int]],
        max_bytes: int,
        max_pixels: int,
    ) -> None:
        """`frame_size` gives the model's width and height, when the first picture comes."""
        self._decoding = decoding
        self._frame_size = frame_size
        self._max_bytes, self._max_pixels = max_bytes, max_pixels
        self._desks: dict[str, Desk] = {}
        """By tenant; there are as many as the server has keys for."""

    async def read(
        self, urls: Sequence[str], *, tenant: str, param: str = "image_url"
    ) -> tuple[Clip, ...]:
        """Decode data URLs, one clip each.

        Raises:
            InvalidRequest, UnsupportedMedia, TooLarge: one of them is no picture we take.
            Overloaded: too many pictures of the tenant wait.
        """
        if tenant not in self._desks:
            self._desks[tenant] = self._decoding.desk(tenant)
        desk = self._desks[tenant]
        return tuple([await self._read(desk, index, url, param) for index, url in enumerate(urls)])

    async def _read(self, desk: Desk, index: int, url: str, param: str) -> Clip:
        codec, text = parse_data_url(url, max_bytes=self._max_bytes, param=param)
        payload = await decode_base64(text, param=param)
        job = await desk.begin_if_room(lambda: self._decode(desk.decoders, payload, codec, param))
        pixels = await asyncio.shield(job)
        frame = Frame(sequence=index, capture_s=0.0, received_at_s=0.0, pixels=pixels)
        return Clip(_PICTURES_STREAM, _picture_index(pixels), (frame, frame))

    def _decode(self, decoders: Decoders, payload: bytes, codec: Codec, param: str) -> Pixels:
        width, height = self._frame_size()
        try:
            return decoders.still(payload, codec, Shape(width, height, self._max_pixels))
        except Undecodable as error:
            if error.reason is DropReason.TOO_LARGE:
                raise TooLarge(
                    f"a picture may have {self._max_pixels} pixels: {error}", param=param
                ) from None
            if error.reason is DropReason.TOO_COSTLY:
                raise TooLarge(f"the picture is not decoded: {error}", param=param) from None
            raise UnsupportedMedia(
                f"the picture cannot be decoded as {codec.name}", param=param
            ) from None


def _picture_index(pixels: Pixels) -> int:
    """A clip index of its own for each picture: below zero, where no stream has one.

    Engines know clips by their index; a picture must never be taken for a clip of the stream.
    """
    digest = hashlib.blake2b(pixels.tobytes(), digest_size=7).digest()
    return -1 - int.from_bytes(digest, "big")
