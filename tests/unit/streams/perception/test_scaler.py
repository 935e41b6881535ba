import gc

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from onlooker.core.media import Pixels
from onlooker.streams.perception.scaler import Scaler


def smooth(width: int, height: int, turn: float = 0.0) -> Pixels:
    """A picture whose colours change slowly from side to side and from top to bottom."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = (columns / width, rows / height, (columns + rows) / (width + height))
    levels = [120 + 90 * np.sin(3 * wave + turn) for wave in waves]
    return np.stack(levels, axis=2).astype(np.uint8)


def stored(pixels: Pixels, stored_as: str) -> VideoFrame:
    return av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format=stored_as)


@pytest.mark.parametrize("stored_as", ["yuv420p", "yuvj420p", "yuv422p", "nv12", "yuv444p", "gbrp"])
@pytest.mark.parametrize("size", [(448, 336), (446, 335), (31, 17)])
def test_a_frame_has_the_same_colours_whatever_its_format_and_size(
    stored_as: str, size: tuple[int, int]
) -> None:
    pixels = Scaler().rgb(stored(smooth(320, 240), stored_as), *size)
    assert pixels.shape == (size[1], size[0], 3)
    assert np.abs(pixels.astype(int) - smooth(*size)).mean() < 4.0


@pytest.mark.parametrize("size", [(448, 336), (446, 335)])
def test_pixels_stay_as_they_are_when_the_next_frame_is_scaled(size: tuple[int, int]) -> None:
    scaler = Scaler()
    first = scaler.rgb(stored(smooth(320, 240), "yuv420p"), *size)
    copied = first.copy()
    for turn in (1.0, 2.0, 3.0):
        scaler.rgb(stored(smooth(320, 240, turn), "yuv420p"), *size)
        gc.collect()
    assert np.array_equal(first, copied)
