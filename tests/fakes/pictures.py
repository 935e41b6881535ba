"""Pictures and coded video made on the spot; all deterministic."""

import io
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from PIL import Image

from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Codec, EncodedFrame, Frame, Pixels

Colour = tuple[int, int, int] | str


def make_pixels(colour: Colour = "red", *, width: int = 224, height: int = 224) -> Pixels:
    return np.asarray(Image.new("RGB", (width, height), colour), dtype=np.uint8)


def encode(picture: Image.Image | Pixels, kind: str = "JPEG", **options: Any) -> bytes:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def make_message(
    capture_s: float = 0.0,
    *,
    colour: Colour = "red",
    sequence: int = 0,
    codec: Codec = Codec.JPEG,
    payload: bytes | None = None,
    received_at_s: float = 0.0,
    size: tuple[int, int] = (64, 48),
) -> EncodedFrame:
    """A frame message; a plain picture of `colour` unless a payload is given."""
    if payload is None:
        payload = encode(Image.new("RGB", size, colour), codec.name)
    return EncodedFrame(sequence, capture_s, codec, payload, received_at_s)


def make_frame(capture_s: float = 0.0, *, colour: Colour = "red", sequence: int = 0) -> Frame:
    return Frame(sequence, capture_s, 0.0, make_pixels(colour, width=32, height=32))


def make_clip(
    start_s: float = 0.0, end_s: float | None = None, *, index: int = 0, colour: Colour = "red"
) -> Clip:
    first = make_frame(start_s, colour=colour)
    second = first if end_s is None else make_frame(end_s, colour=colour)
    return Clip(StreamId("s"), index, (first, second))


COLOURS = ((200, 30, 30), (30, 200, 30), (30, 30, 200))


def drawn_frames(num: int, *, fps: int = 10, size: tuple[int, int] = (160, 120)) -> Iterator[Any]:
    """Video frames: a white square that moves; the background changes colour every second."""
    for index in range(num):
        picture = Image.new("RGB", size, COLOURS[index // fps % 3])
        picture.paste((255, 255, 255), (10 + index, 20, 40 + index, 50))
        frame = av.VideoFrame.from_ndarray(np.asarray(picture, dtype=np.uint8), format="rgb24")
        frame.pts, frame.time_base = index, Fraction(1, fps)
        yield frame


def _tune(context: Any, codec: str, size: tuple[int, int], fps: int) -> None:
    context.width, context.height = size
    context.pix_fmt, context.gop_size = "yuv420p", 10
    if codec == "libx264":
        context.max_b_frames = 0
        context.options = {"tune": "zerolatency", "preset": "ultrafast"}
    else:
        # With a "cpu-used" of zero or more libvpx looks at the clock: a busy machine would get
        # other bytes.
        context.options = {"deadline": "realtime", "cpu-used": "-8", "lag-in-frames": "0"}


def encode_chunks(
    codec: str, num: int = 20, *, fps: int = 10, size: tuple[int, int] = (160, 120)
) -> list[bytes]:
    """One coded message per frame; a key frame every ten."""
    context = av.CodecContext.create(codec, "w")
    assert isinstance(context, av.VideoCodecContext)
    _tune(context, codec, size, fps)
    context.time_base, context.framerate = Fraction(1, fps), Fraction(fps)
    packets = []
    for frame in drawn_frames(num, fps=fps, size=size):
        frame.pict_type = 0
        packets += context.encode(frame.reformat(format="yuv420p"))
    return [bytes(packet) for packet in packets + context.encode(None)]


SETS = re.compile(rb"\x00?\x00\x00\x01[\x67\x68].*?(?=\x00?\x00\x00\x01)", re.DOTALL)


def without_sets(chunk: bytes) -> bytes:
    """A message of H.264 without its parameter sets."""
    return SETS.sub(b"", chunk)


def sets_of(chunk: bytes) -> bytes:
    """The parameter sets of a message of H.264."""
    return b"".join(SETS.findall(chunk))


class Written:
    """A file that can only be written on, as a live muxer's output."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> int:
        self.data += data
        return len(data)


WEBM = {"cluster_time_limit": "1000", "live": "1"}
FMP4 = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}


def mux(
    target: Any, form: str, codec: str, num: int, options: dict[str, str], **drawn: Any
) -> None:
    """Write drawn video to `target`, a path or something with ``write``."""
    fps, size = drawn.get("fps", 10), drawn.get("size", (160, 120))
    with av.open(target, "w", format=form, options=options) as container:
        stream: Any = container.add_stream(codec, rate=fps)
        _tune(stream.codec_context, codec, size, fps)
        for frame in drawn_frames(num, fps=fps, size=size):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def record(codec: Codec, num: int = 40, **drawn: Any) -> bytes:
    """Drawn video as a browser's recorder would send it, as one byte string."""
    target = Written()
    if codec is Codec.WEBM:
        mux(target, "webm", "libvpx", num, WEBM, **drawn)
    else:
        mux(target, "mp4", "libx264", num, FMP4, **drawn)
    return bytes(target.data)


def in_pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]
