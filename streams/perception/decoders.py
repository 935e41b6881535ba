"""What perception asks of whoever decodes, and the plain way: here, in this process."""

from dataclasses import dataclass
from typing import Protocol

from onlooker.core.media import Codec, EncodedFrame, Pixels
from onlooker.streams.perception.chunks import ChunkDecoder, Picture
from onlooker.streams.perception.picker import Picker
from onlooker.streams.perception.pieces import PieceDecoder
from onlooker.streams.perception.stills import decode_still


@dataclass(frozen=True, slots=True)
class Shape:
    """What pictures are brought to, and how large they may be before."""

    width: int
    height: int
    max_pixels: int


class VideoDecoder(Protocol):
    """Decodes one source's coded video, message by message, for one caller at a time. May block."""

    def decode(self, message: EncodedFrame, picker: Picker, *, follows_gap: bool) -> list[Picture]:
        """The pictures that this message completes, as far as `picker` wants them.

        Raises:
            Undecodable: the message is lost; decoding begins anew where it can.
        """
        ...

    def finish(self, picker: Picker) -> list[Picture]:
        """The source has ended: what was held back. Raises nothing."""
        ...

    def close(self) -> None:
        """Let go of everything. Idempotent."""
        ...


class Decoders(Protocol):
    """Decodes what one sender sends. Its calls may block, so they are made on a thread."""

    def still(self, payload: bytes, codec: Codec, shape: Shape) -> Pixels:
        """One picture.

        Raises:
            Undecodable: it yields none, for the reason that is given.
        """
        ...

    def open_video(self, codec: Codec, shape: Shape) -> VideoDecoder:
        """A decoder for a source that begins."""
        ...


class LocalDecoders:
    """Decodes on the caller's own thread; nothing can stop what takes long."""

    def still(self, payload: bytes, codec: Codec, shape: Shape) -> Pixels:
        return decode_still(
            payload, codec, width=shape.width, height=shape.height, max_pixels=shape.max_pixels
        )

    def open_video(self, codec: Codec, shape: Shape) -> "LocalVideo":
        return LocalVideo(codec, shape)


class LocalVideo:
    """A source's decoder in this process, by the kind of its codec."""

    def __init__(self, codec: Codec, shape: Shape) -> None:
        kind = PieceDecoder if codec.is_container else ChunkDecoder
        self.decoder = kind(
            codec, width=shape.width, height=shape.height, max_pixels=shape.max_pixels
        )

    def decode(self, message: EncodedFrame, picker: Picker, *, follows_gap: bool) -> list[Picture]:
        if isinstance(self.decoder, PieceDecoder):
            return self.decoder.decode(message, picker.wanted, follows_gap=follows_gap)
        return self.decoder.decode(message, picker.wanted)

    def finish(self, picker: Picker) -> list[Picture]:
        return self.decoder.finish(picker.wanted)

    def close(self) -> None:
        self.decoder.close()
