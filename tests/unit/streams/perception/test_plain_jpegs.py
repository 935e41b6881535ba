import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onlooker.core.media import Codec, Pixels
from onlooker.streams.perception.plain_jpegs import decode_plain
from onlooker.streams.perception.scaler import Scaler
from onlooker.streams.perception.stills import decode_still, squash
from tests.fakes.pictures import encode


def drawn(size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Colours that run into each other, and a red square with sharp edges."""
    across, down = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    picture = Image.fromarray(np.stack((across, down, 255 - across), -1).astype(np.uint8))
    picture.paste((255, 0, 0), (size[0] // 4, size[1] // 4, size[0] // 2, size[1] // 2))
    return picture


def plain(payload: bytes, width: int = 64, height: int = 48) -> Pixels | None:
    with Image.open(io.BytesIO(payload), formats=("JPEG",)) as image:
        assert isinstance(image, Image.Image)
        frame = decode_plain(payload, image)  # type: ignore[arg-type]
        return None if frame is None else Scaler().rgb(frame, width, height)


@pytest.mark.parametrize("to", [(224, 160), (320, 240), (448, 336), (200, 300)])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [60, 95])
def test_a_picture_is_what_libjpeg_and_one_resize_make_of_it(
    quality: int, subsampling: int, to: tuple[int, int]
) -> None:
    payload = encode(drawn(), quality=quality, subsampling=subsampling)
    with Image.open(io.BytesIO(payload)) as image:
        expected = np.asarray(squash(image, *to)).astype(int)
    seen = plain(payload, *to)
    assert seen is not None
    assert seen.shape == (to[1], to[0], 3)
    difference = np.abs(seen.astype(int) - expected)
    assert difference.mean() < 1.5
    assert np.percentile(difference, 99) <= 12  # the edges of the square, where colours are halved
    assert np.array_equal(
        decode_still(payload, Codec.JPEG, width=to[0], height=to[1], max_pixels=10**6), seen
    )


def test_a_picture_that_lies_on_its_side_is_decoded_the_same_way_and_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lying, upright = encode(drawn(), exif=exif), encode(drawn())
    seen = decode_still(lying, Codec.JPEG, width=240, height=320, max_pixels=10**6)
    stored = plain(upright, 320, 240)
    assert stored is not None
    assert np.array_equal(seen, np.rot90(stored, -1))


@pytest.mark.parametrize(
    ("mode", "way"),
    [("RGB", {"progressive": True}), ("L", {}), ("CMYK", {}), ("RGB", {"keep_rgb": True})],
)
def test_what_is_not_common_is_left_to_libjpeg(mode: str, way: dict[str, Any]) -> None:
    assert plain(encode(drawn().convert(mode), **way)) is None


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
def test_a_picture_that_ends_early_is_left_to_libjpeg_also_where_it_has_an_end(
    share: float,
) -> None:
    payload = encode(drawn(), quality=95)
    assert plain(payload) is not None
    assert plain(payload[: int(len(payload) * share)] + b"\xff\xd9") is None


def test_a_picture_with_another_one_inside_is_left_to_libjpeg() -> None:
    inside = encode(drawn((32, 24)))
    exif = b"\xff\xe1" + (len(inside) + 2).to_bytes(2, "big") + inside
    payload = encode(drawn())
    assert plain(payload[:2] + exif + payload[2:]) is None
