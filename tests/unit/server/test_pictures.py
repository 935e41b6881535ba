import asyncio
import base64

import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.errors import InvalidRequest, TooLarge, UnsupportedMedia
from onlooker.core.media import Codec
from onlooker.server.pictures import TURN_CHARS, PictureReader, decode_base64, parse_data_url
from tests.fakes.pictures import encode, make_pixels
from tests.fakes.served import data_url, jpeg
from tests.fakes.streams import make_shared


@pytest.fixture
def reader() -> PictureReader:
    return PictureReader(
        make_shared(ManualClock()).decoding,
        frame_size=lambda: (32, 16),
        max_bytes=100_000,
        max_pixels=10_000,
    )


@pytest.mark.parametrize(
    ("head", "codec"),
    [
        ("data:image/jpeg;base64,", Codec.JPEG),
        ("data:image/jpg;base64,", Codec.JPEG),
        ("DATA:IMAGE/PNG;BASE64,", Codec.PNG),
        ("data:image/webp;charset=utf-8;base64,", Codec.WEBP),
    ],
)
def test_a_data_url_is_read(head: str, codec: Codec) -> None:
    assert parse_data_url(head + "AAEC", max_bytes=3, param="p") == (codec, "AAEC")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "data:",
        "data:,hello",
        "data:image/png,AA",
        "http://x/y.png",
        "data:text/plain;base64,AA",
    ],
)
def test_another_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest, match="data:image/jpeg"):
        parse_data_url(url, max_bytes=10, param="p")


def test_other_types_and_sizes_are_refused() -> None:
    with pytest.raises(UnsupportedMedia, match="image/svg"):
        parse_data_url("data:image/svg+xml;base64,AA==", max_bytes=10, param="p")
    with pytest.raises(TooLarge, match="10 bytes"):
        parse_data_url("data:image/png;base64," + "A" * 40, max_bytes=10, param="p")


@pytest.mark.parametrize("num_bytes", [0, 1, 2, 98_303, 98_304, 98_305, 300_000])
async def test_base64_of_any_size_is_decoded(num_bytes: int) -> None:
    data = bytes(range(256)) * (num_bytes // 256 + 1)
    text = base64.b64encode(data[:num_bytes]).decode()
    assert await decode_base64(text, param="frame") == data[:num_bytes]


@pytest.mark.parametrize(
    "text",
    [
        "a b",
        "AAA",
        "\u00e9AAA",
        "A" * TURN_CHARS + "-AAA",
        "A" * (TURN_CHARS - 1) + "=AAAA",
        "A=AA",
    ],
    ids=["blank", "cut", "not ASCII", "in the second piece", "an end before the end", "padding"],
)
async def test_what_is_not_base64_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="not base64"):
        await decode_base64(text, param="frame")


async def test_others_get_their_turns_while_a_large_picture_is_decoded() -> None:
    text = "A" * (10 * TURN_CHARS)
    decoding = asyncio.create_task(decode_base64(text, param="frame"))
    num_turns = 0
    while not decoding.done():
        num_turns += 1
        await asyncio.sleep(0)
    assert num_turns >= 10


async def test_a_picture_becomes_a_clip_of_the_model_s_size(reader: PictureReader) -> None:
    red, blue = await reader.read([data_url(jpeg("red")), data_url(jpeg("blue"))], tenant="t")
    assert red.frames[0].pixels.shape == (16, 32, 3)
    assert red.frames[0] is red.frames[1]
    assert red.frames[0].pixels[0, 0, 0] > 200
    assert blue.frames[0].pixels[0, 0, 2] > 200


async def test_a_picture_is_never_taken_for_a_clip_of_a_stream(reader: PictureReader) -> None:
    red, again, blue = await reader.read(
        [data_url(jpeg("red")), data_url(jpeg("red")), data_url(jpeg("blue"))], tenant="t"
    )
    assert red.clip_index == again.clip_index != blue.clip_index
    assert max(red.clip_index, blue.clip_index) < 0


async def test_a_broken_or_huge_picture_is_refused(reader: PictureReader) -> None:
    with pytest.raises(UnsupportedMedia, match="cannot be decoded as JPEG"):
        await reader.read([data_url(jpeg()[:100])], tenant="t")
    huge = encode(make_pixels(width=200, height=200), "PNG")
    with pytest.raises(TooLarge, match="10000 pixels"):
        await reader.read([data_url(huge, "image/png")], tenant="t")
