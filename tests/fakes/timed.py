"""Video files of every kind whose pictures have times of their own choosing."""

import io
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np

from tests.fakes.pictures import COLOURS

TICKS = 1000
"""Times are in so many ticks a second."""


def timed_video(
    form: str,
    times_s: Sequence[float],
    *,
    codec: str = "libx264",
    num_b_frames: int = 0,
    fps: int = 10,
    options: dict[str, str] | None = None,
) -> bytes:
    """Pictures at `times_s`; the background changes its colour every ten of them."""
    target = io.BytesIO()
    with av.open(target, "w", format=form, options=options or {}) as container:
        stream: Any = container.add_stream(codec, rate=fps)
        stream.width, stream.height = 96, 64
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = 10
        stream.codec_context.time_base = Fraction(1, TICKS)
        stream.codec_context.max_b_frames = num_b_frames
        if codec == "libx264":
            # A raw stream has no other times than those that the rate in it gives.
            stream.options = {"preset": "ultrafast", "x264-params": "force-cfr=1"}
            if form == "h264":
                stream.codec_context.time_base = Fraction(1, fps)
        for index, time_s in enumerate(times_s):
            pixels = np.full((64, 96, 3), COLOURS[index // 10 % 3], np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            base = stream.codec_context.time_base
            frame.pts, frame.time_base = round(time_s / base), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target.getvalue()
