"""What perception asks of whoever decodes, and how a source is decoded in the process at hand."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from onlooker.core.media import Codec, EncodedFrame, Pixels
from onlooker.streams.perception.chunks import ChunkDecoder, Needed, Picture, all_needed
from onlooker.streams.perception.gate import Comparison, Resemblance
from onlooker.streams.perception.picker import Picker
from onlooker.streams.perception.pieces import Beginning, PieceDecoder
from onlooker.streams.perception.stills import Undecodable


@dataclass(frozen=True, slots=True)
class Shape:
    """What pictures are brought to, and what they may be before."""

    width: int
    height: int
    max_pixels: int
    """A picture that has more is refused."""
    max_gap_s: float = math.inf
    """The longest time without a picture that a container may have; see `StreamTime`."""


class LentPicture(msgspec.Struct, frozen=True):
    """A picture that was decoded and compared in one go. Its arrays are parts of one piece of
    memory, which nobody else has, and nearly all of which are the pixels: who keeps the thumbnail
    alone copies it."""

    pixels: Pixels | None
    """None where it is like those before it: see `LeastNews`."""
    resemblance: Resemblance


class VideoDecoder(Protocol):
    """Decodes one source's coded video, message by message, each after the one before was told.
    Called on the event loop, and never waits."""

    def decode(
        self,
        message: EncodedFrame,
        picker: Picker,
        *,
        follows_gap: bool,
        tell: Callable[[list[Picture] | Undecodable], None],
        comparison: Comparison | None = None,
    ) -> None:
        """Have the pictures told that this message completes, as far as `picker` wants them, or why
        the message is lost; then decoding begins anew where it can. `tell` is called once, perhaps
        before this returns, and raises nothing. `comparison`: what the message's own picture may be
        compared with by whoever decodes it."""
        ...

    def finish(self, picker: Picker, tell: Callable[[list[Picture] | Undecodable], None]) -> None:
        """The source has ended: have told what was held back."""
        ...

    def close(self) -> None:
        """Let go of everything, and tell whoever waits. Idempotent."""
        ...


class Decoders(Protocol):
    """Decodes what one sender sends. `still` may block, so it is called on a thread."""

    def still(self, payload: bytes, codec: Codec, shape: Shape) -> Pixels:
        """One picture.

        Raises:
            Undecodable: it yields none, for the reason that is given.
        """
        ...

    def open_video(self, codec: Codec, shape: Shape) -> VideoDecoder:
        """A decoder for a source that begins."""
        ...


class LocalVideo:
    """A source's decoder in this process, by the kind of its codec; nothing can stop what takes
    long.

    Args:
        beginning: of the stream, where another decoder had it before and was lost.
    """

    def __init__(self, codec: Codec, shape: Shape, *, beginning: Beginning | None = None) -> None:
        size = {"width": shape.width, "height": shape.height, "max_pixels": shape.max_pixels}
        self._decoder: ChunkDecoder | PieceDecoder
        if codec.is_container:
            self._decoder = PieceDecoder(
                codec, **size, max_gap_s=shape.max_gap_s, beginning=beginning
            )
        else:
            sets = b"" if beginning is None else beginning.header
            self._decoder = ChunkDecoder(codec, **size, sets=sets)

    @property
    def beginning(self) -> Beginning | None:
        """What another decoder would need to go on; None where that is not known, or nothing."""
        if isinstance(self._decoder, PieceDecoder):
            return self._decoder.beginning
        sets = self._decoder.sets
        return Beginning(sets, 0.0, 0.0) if sets else None

    def decode(
        self,
        message: EncodedFrame,
        picker: Picker,
        *,
        follows_gap: bool,
        is_needed: Needed = all_needed,
    ) -> list[Picture]:
        """The pictures that this message completes, as far as `picker` wants them; those of a
        container with their pixels, whatever `is_needed` says. Raises `Undecodable`: the message is
        lost; decoding begins anew where it can."""
        if isinstance(self._decoder, ChunkDecoder):
            return self._decoder.decode(message, picker.wanted, is_needed)
        try:
            return self._decoder.decode(message, picker.wanted, follows_gap=follows_gap)
        finally:
            picker.jumps += self._decoder.take_jumps()

    def finish(self, picker: Picker) -> list[Picture]:
        """The source has ended: what was held back. Raises nothing."""
        return self._decoder.finish(picker.wanted)

    def close(self) -> None:
        """Let go of everything. Idempotent."""
        self._decoder.close()
