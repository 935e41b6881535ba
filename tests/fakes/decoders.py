"""Decoding on the calling thread: for tests, where time stands still meanwhile."""

from collections.abc import Callable

from onlooker.core.media import Codec, Pixels
from onlooker.streams.perception.decoders import Decoders, LocalVideo, Shape
from onlooker.streams.perception.stills import decode_still


class LocalDecoders:
    """Decodes on the caller's own thread."""

    def still(self, payload: bytes, codec: Codec, shape: Shape) -> Pixels:
        return decode_still(
            payload, codec, width=shape.width, height=shape.height, max_pixels=shape.max_pixels
        )

    def open_video(self, codec: Codec, shape: Shape) -> LocalVideo:
        return LocalVideo(codec, shape)


class LocalWorkshop:
    """A workshop without processes."""

    def start(self) -> None: ...

    def check(self) -> None: ...

    def close(self) -> None: ...

    def decoders(self, spend: Callable[[float], None]) -> Decoders:
        return LocalDecoders()
