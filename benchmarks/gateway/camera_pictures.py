"""What cameras send: pictures with the detail and the noise of a camera's, as JPEG and as H.264."""

import io
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from onlooker.core.media import Codec

NUM_PICTURES = 24
"""Different pictures of one camera, shown over and over; with each round, coded video begins anew
with a key frame."""

QUALITY = 80
NOISE = 3.0
"""Standard deviation of the sensor's noise, of 255."""
H264_FPS = 30
RATE_FACTOR = 20
"""x264's constant rate factor, with which these pictures take about as many bytes as a webcam's."""


def messages_of(
    codec: Codec, width: int, height: int, *, seed: int, moves: bool = True
) -> list[bytes]:
    """`NUM_PICTURES` messages of one camera, in order. `moves`: whether anything but the noise
    does."""
    pictures = _pictures(width, height, seed, moves=moves)
    if codec is Codec.JPEG:
        return [_jpeg(picture) for picture in pictures]
    return _h264(pictures, width, height)


def _pictures(width: int, height: int, seed: int, *, moves: bool) -> list[NDArray[np.uint8]]:
    """A textured scene before which a bright square moves, with noise that is new in each."""
    rng = np.random.default_rng(seed)
    scene = np.zeros((height, width, 3), np.float32)
    for grain in (4, 16, 64):
        rough = rng.normal(110, 40, (height // grain + 2, width // grain + 2, 3)).clip(0, 255)
        blown = Image.fromarray(rough.astype(np.uint8)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        scene += np.asarray(blown.filter(ImageFilter.GaussianBlur(1)), np.float32) / 3
    side = height // 4
    pictures = []
    for index in range(NUM_PICTURES):
        seen = scene.copy()
        left = (index * width // NUM_PICTURES) % (width - side) if moves else side
        seen[side : 2 * side, left : left + side] = (230, 230, 60)
        seen += rng.normal(0, NOISE, seen.shape)
        pictures.append(seen.clip(0, 255).astype(np.uint8))
    return pictures


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def _h264(pictures: list[NDArray[np.uint8]], width: int, height: int) -> list[bytes]:
    context: Any = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.gop_size, context.max_b_frames = NUM_PICTURES, 0
    context.options = {"tune": "zerolatency", "preset": "veryfast", "crf": str(RATE_FACTOR)}
    context.time_base, context.framerate = Fraction(1, H264_FPS), Fraction(H264_FPS)
    packets = []
    for index, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = index, Fraction(1, H264_FPS)
        packets += context.encode(frame)
    return [bytes(packet) for packet in packets + context.encode(None)]
