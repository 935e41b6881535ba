"""JPEGs that stop early: what FFmpeg would show is decoded, what lacks more is refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from onlooker.core.media import Codec, DropReason, Pixels
from onlooker.streams.perception.jpeg_end import END, with_end
from onlooker.streams.perception.stills import Undecodable, decode_still
from tests.fakes.pictures import encode

WAYS: list[dict[str, Any]] = [
    {},
    {"progressive": True},
    {"optimize": True},
    {"subsampling": 0},
    {"restart_marker_rows": 1},
]


def drawn(size: tuple[int, int] = (320, 240), *, mode: str = "RGB") -> Image.Image:
    """Noise, and a blue bottom right corner."""
    noise = np.random.default_rng(7).integers(90, 160, (size[1], size[0], 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    picture.paste((0, 0, 255), (size[0] * 3 // 4, size[1] * 3 // 4, *size))
    return picture.convert(mode)


def decode(payload: bytes) -> Pixels:
    return decode_still(payload, Codec.JPEG, width=64, height=48, max_pixels=10**7)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", [(320, 240), (64, 48), (15, 9)])
@pytest.mark.parametrize("way", WAYS)
def test_a_picture_without_its_end_marker_is_as_good_as_the_whole(
    way: dict[str, Any], size: tuple[int, int], mode: str
) -> None:
    whole = encode(drawn(size, mode=mode), **way)
    assert np.array_equal(decode(whole.removesuffix(END)), decode(whole))
    assert np.array_equal(decode(whole[:-1]), decode(whole))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("num_missing", [4, 8, 20])
def test_a_few_bytes_that_are_missing_spoil_only_the_last_corner(
    way: dict[str, Any], num_missing: int
) -> None:
    whole = encode(drawn(), quality=90, **way)
    seen, cut = decode(whole).astype(int), decode(whole[:-num_missing]).astype(int)
    assert np.array_equal(seen[:40], cut[:40])
    assert np.abs(seen - cut).mean() < 2


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_picture_of_which_a_part_is_missing_is_refused(way: dict[str, Any], share: float) -> None:
    whole = encode(drawn(), **way)
    if way.get("progressive"):  # at a half of it, all but the finest bits is there
        share /= 3
    with pytest.raises(Undecodable) as caught:
        decode(whole[: int(len(whole) * share)])
    assert caught.value.reason is DropReason.UNDECODABLE


def test_the_end_of_a_small_picture_inside_is_not_taken_for_the_end() -> None:
    exif = Image.Exif()
    exif[0x9286] = b"ASCII\0\0\0" + encode(drawn((16, 16)))
    whole = encode(drawn(), exif=exif)
    assert whole.count(END) >= 2
    assert np.array_equal(decode(whole[:-2]), decode(whole))


def test_what_follows_the_end_does_not_matter() -> None:
    whole = encode(drawn())
    for padding in (b"\0" * 7, b"\r\n", b"\xff" * 4):
        assert with_end(whole + padding) == whole + padding
        assert np.array_equal(decode(whole + padding), decode(whole))


@given(st.binary(max_size=60), st.integers(0, 3000))
def test_any_bytes_keep_what_they_are_or_get_an_end(tail: bytes, length: int) -> None:
    data = encode(drawn((48, 32)))[:length] + tail
    assert with_end(data).startswith(data.rstrip(b"\xff"))
    assert len(with_end(data)) <= len(data) + max(32, len(data) // 32)
