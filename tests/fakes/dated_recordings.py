"""Recordings that are written for a test: each second has a colour of its own."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np


def shade(second: int) -> tuple[int, int, int]:
    """The colour of a second; seconds that follow each other differ much."""
    return (second * 97 % 256, second * 61 % 256, second * 151 % 256)


def write_recording(
    path: Path,
    seconds: float,
    *,
    fps: int = 10,
    times_s: Iterable[float] | None = None,
    first_second: int = 0,
    creation_time: str | None = None,
    codec: str = "libx264",
    gop: int = 20,
    b_frames: int = 2,
) -> Path:
    """Write a recording; its format follows the ending of its name.

    Args:
        times_s: the times of its pictures, for one whose rate varies; None: `fps` a second.
        first_second: the second of `shade` with which it begins.
        b_frames: pictures between two others that need both; with any, groups are open.
    """
    times = [i / fps for i in range(round(seconds * fps))] if times_s is None else list(times_s)
    base = Fraction(1, 1000)
    with av.open(str(path), "w") as container:
        if creation_time is not None:
            container.metadata["creation_time"] = creation_time
        stream: Any = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.gop_size, stream.codec_context.time_base = gop, base
        if codec == "libx264":
            stream.options = {
                "preset": "ultrafast",
                "bf": str(b_frames),
                "x264-params": f"open-gop={int(b_frames > 0)}:keyint={gop}:scenecut=0",
            }
        for at_s in times:
            pixels = np.empty((48, 64, 3), np.uint8)
            pixels[:] = shade(first_second + int(at_s))
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = round(at_s * 1000), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
