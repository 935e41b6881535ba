"""Sound messages of every codec, for the fuzzer to break."""

import io
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from PIL import Image

from onlooker.core.media import Codec

FPS = 10
NUM_FRAMES = 20
SIZE = (160, 120)
PIECE_BYTES = 2_000
"""Of a container's byte stream in one message."""

_ENCODERS = {
    Codec.H264: "libx264", Codec.VP8: "libvpx", Codec.VP9: "libvpx-vp9", Codec.WEBM: "libvpx",
    Codec.FMP4: "libx264",
}  # fmt: skip
_CONTAINERS = {
    Codec.WEBM: ("webm", {"cluster_time_limit": "1000", "live": "1"}),
    Codec.FMP4: ("mp4", {"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
}


def messages_of(codec: Codec) -> list[bytes]:
    """Payloads of about two seconds of video, in order."""
    if codec.is_still:
        return [_still(picture, codec) for picture in _pictures()]
    if codec.is_container:
        data = _contained(codec)
        return [data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES)]
    return _coded(codec)


def _pictures() -> Iterator[Image.Image]:
    """A white square that moves before a background that changes with every picture."""
    for index in range(NUM_FRAMES):
        picture = Image.new("RGB", SIZE, (10 * index, 200 - 10 * index, 90))
        picture.paste((255, 255, 255), (10 + index, 20, 40 + index, 50))
        yield picture


def _still(picture: Image.Image, codec: Codec) -> bytes:
    out = io.BytesIO()
    picture.save(out, codec.name)
    return out.getvalue()


def _frames() -> Iterator[av.VideoFrame]:
    for index, picture in enumerate(_pictures()):
        frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24").reformat(
            format="yuv420p"
        )
        frame.pts, frame.time_base = index, Fraction(1, FPS)
        yield frame


def _tune(context: Any, encoder: str) -> None:
    context.width, context.height = SIZE
    context.pix_fmt, context.gop_size = "yuv420p", FPS
    if encoder == "libx264":
        context.max_b_frames = 0
        context.options = {"tune": "zerolatency", "preset": "ultrafast"}
    else:
        # Below zero, or libvpx looks at the clock, and other bytes come out on a busy machine.
        context.options = {"deadline": "realtime", "cpu-used": "-8", "lag-in-frames": "0"}


def _coded(codec: Codec) -> list[bytes]:
    context: Any = av.CodecContext.create(_ENCODERS[codec], "w")
    _tune(context, _ENCODERS[codec])
    context.time_base, context.framerate = Fraction(1, FPS), Fraction(FPS)
    packets = [packet for frame in _frames() for packet in context.encode(frame)]
    return [bytes(packet) for packet in packets + context.encode(None)]


class _Written:
    """A file that can only be written on, as a live muxer's output."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> int:
        self.data += data
        return len(data)


def _contained(codec: Codec) -> bytes:
    form, options = _CONTAINERS[codec]
    target: Any = _Written()
    with av.open(target, "w", format=form, options=options) as container:
        stream: Any = container.add_stream(_ENCODERS[codec], rate=FPS)
        _tune(stream.codec_context, _ENCODERS[codec])
        for frame in _frames():
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return bytes(target.data)
