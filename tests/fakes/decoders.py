"""Decoding on the calling thread: for tests, where time stands still meanwhile."""

import atexit
from collections.abc import Callable
from functools import cache
from typing import Any

from msgspec import structs

from onlooker.core.media import Codec, EncodedFrame, Pixels
from onlooker.core.metrics import Metrics
from onlooker.streams.config import DecodingSection
from onlooker.streams.decoding.assessors import StillToAssess
from onlooker.streams.decoding.process_decoders import WorkerPool
from onlooker.streams.decoding.pull_wire import PullOrder
from onlooker.streams.decoding.pulled_video import PulledVideo
from onlooker.streams.decoding.seat import Seat
from onlooker.streams.perception.chunks import Picture
from onlooker.streams.perception.decoders import Decoders, LentPicture, LocalVideo, Shape
from onlooker.streams.perception.gate import Comparison, resemblance, thumbnail
from onlooker.streams.perception.picker import Picker
from onlooker.streams.perception.stills import Undecodable, decode_still


class LocalDecoders:
    """Decodes on the caller's own thread."""

    def still(self, payload: bytes, codec: Codec, shape: Shape) -> Pixels:
        return decode_still(
            payload, codec, width=shape.width, height=shape.height, max_pixels=shape.max_pixels
        )

    def open_video(self, codec: Codec, shape: Shape) -> "ToldVideo":
        return ToldVideo(LocalVideo(codec, shape), is_compared=not codec.is_container)


class ToldVideo:
    """A source's decoder that tells at once."""

    def __init__(self, video: LocalVideo, *, is_compared: bool) -> None:
        self._video, self._is_compared = video, is_compared

    def decode(
        self,
        message: EncodedFrame,
        picker: Picker,
        *,
        follows_gap: bool,
        tell: Callable[[list[Picture] | Undecodable], None],
        comparison: Comparison | None = None,
    ) -> None:
        try:
            pictures = self._video.decode(message, picker, follows_gap=follows_gap)
        except Undecodable as error:
            tell(error)
        else:
            if comparison is not None and self._is_compared and pictures:
                pictures[0] = _compared(pictures[0], comparison)
            tell(pictures)

    def finish(self, picker: Picker, tell: Callable[[list[Picture] | Undecodable], None]) -> None:
        tell(self._video.finish(picker))

    def close(self) -> None:
        self._video.close()


def _compared(picture: Picture, comparison: Comparison) -> Picture:
    assert picture.thumbnail is not None
    looks = resemblance(picture.thumbnail, comparison.before)
    pixels = picture.pixels if comparison.least.reached_by(looks) else None
    return structs.replace(picture, pixels=pixels, looks=looks)


class LocalWorkshop:
    """A workshop without processes."""

    def start(self) -> None: ...

    def check(self) -> None: ...

    def close(self) -> None: ...

    def decoders(self, spend: Callable[[float], None]) -> Decoders:
        return LocalDecoders()

    def assess(
        self,
        asked: StillToAssess,
        spend: Callable[[float], None],
        tell: Callable[[LentPicture | Undecodable], None],
    ) -> None:
        try:
            pixels = self.decoders(spend).still(asked.payload, asked.codec, asked.shape)
        except Undecodable as error:
            tell(error)
        else:
            looks = resemblance(thumbnail(pixels), asked.before)
            tell(LentPicture(pixels if asked.least.reached_by(looks) else None, looks))

    def pulled(self, order: PullOrder, seat: Seat, **options: Any) -> PulledVideo:
        """Pulled sources are decoded in real processes, which all tests share the nursery of."""
        return _shared_pool().pulled(order, seat, **options)


@cache
def _shared_pool() -> WorkerPool:
    pool = WorkerPool(DecodingSection(), Metrics())
    atexit.register(pool.close)
    return pool
