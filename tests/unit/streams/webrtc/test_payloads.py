"""Payloads to frames: those that aiortc's encoders write, and broken ones."""

from fractions import Fraction

import numpy as np
import pytest
from aiortc.codecs.h264 import H264Encoder
from aiortc.codecs.vpx import Vp8Encoder
from av.video.frame import VideoFrame
from hypothesis import given
from hypothesis import strategies as st

from onlooker.core.media import Codec
from onlooker.streams.perception.chunks import ChunkDecoder
from onlooker.streams.webrtc.payloads import START_CODE, Depacketiser, make_depacketiser

from onlooker.core.media import EncodedFrame  # isort: skip


def noise(number: int) -> VideoFrame:
    """A picture that takes many packets."""
    pixels = np.random.default_rng(number).integers(0, 255, (240, 320, 3), np.uint8)
    frame = VideoFrame.from_ndarray(pixels, format="rgb24")
    frame.pts, frame.time_base = number * 3000, Fraction(1, 90_000)
    return frame


def joined(taker: Depacketiser, payloads: list[bytes]) -> bytes | None:
    for payload in payloads:
        taker.add(payload)
    return taker.take()


@pytest.mark.parametrize(
    ("codec", "encoder"), [(Codec.VP8, Vp8Encoder()), (Codec.H264, H264Encoder())]
)
def test_frames_of_many_packets_can_be_decoded(
    codec: Codec, encoder: Vp8Encoder | H264Encoder
) -> None:
    taker = make_depacketiser(codec)
    decoder = ChunkDecoder(codec, width=32, height=24, max_pixels=1 << 20)
    for number in range(3):
        payloads, _ = encoder.encode(noise(number))
        assert len(payloads) > 1
        frame = joined(taker, payloads)
        assert frame is not None
        message = EncodedFrame(number, float(number), codec, frame, 0.0)
        assert len(decoder.decode(message, lambda capture_s: True)) == 1


@pytest.mark.parametrize(
    ("codec", "payloads"),
    [
        (Codec.H264, []),
        (Codec.H264, [b""]),
        (Codec.H264, [b"\x7c\x05rest"]),  # a fragment that never began
        (Codec.H264, [b"\x7c\x85begin"]),  # one that never ended
        (Codec.H264, [b"\x7c\x85begin", b"\x65whole"]),
        (Codec.H264, [b"\x7c\x85begin", b"\x7c\x85again", b"\x7c\x45end"]),
        (Codec.H264, [b"\x78\x00\x09short"]),  # an aggregate that is cut off
        (Codec.H264, [b"\x78\x00\x00"]),
        (Codec.H264, [b"\x79\x00"]),  # a kind that is not negotiated
        (Codec.VP8, [b""]),
        (Codec.VP8, [b"\x90"]),
        (Codec.VP8, [b"\x00middle"]),  # the beginning is missing
        (Codec.VP9, [b""]),
        (Codec.VP9, [b"\xaa"]),
        (Codec.VP9, [b"\x00middle"]),
    ],
)
def test_a_frame_that_is_not_whole_is_none(codec: Codec, payloads: list[bytes]) -> None:
    taker = make_depacketiser(codec)
    assert joined(taker, payloads) is None
    good = {Codec.H264: b"\x65data", Codec.VP8: b"\x10data", Codec.VP9: b"\x08data"}[codec]
    assert joined(taker, [good]) is not None, "what follows must not suffer"


def test_an_aggregate_is_taken_apart() -> None:
    taker = make_depacketiser(Codec.H264)
    frame = joined(taker, [b"\x78\x00\x02\x67a\x00\x03\x68bc", b"\x65d"])
    assert frame == START_CODE + b"\x67a" + START_CODE + b"\x68bc" + START_CODE + b"\x65d"


def test_a_fragmented_unit_gets_its_header_back() -> None:
    taker = make_depacketiser(Codec.H264)
    assert (
        joined(taker, [b"\x7c\x85ab", b"\x7c\x05cd", b"\x7c\x45ef"]) == START_CODE + b"\x65abcdef"
    )


@pytest.mark.parametrize(
    "descriptor",
    [
        b"\x10",
        b"\x90\x80\x11",  # a picture id of one byte
        b"\x90\x80\x91\x22",  # of two
        b"\x90\xf0\x91\x22\x33\x44",  # and layers
    ],
)
def test_vp8_descriptors_are_thrown_away(descriptor: bytes) -> None:
    assert joined(make_depacketiser(Codec.VP8), [descriptor + b"data"]) == b"data"


@pytest.mark.parametrize(
    "descriptor",
    [
        b"\x08",
        b"\x88\x11",
        b"\x88\x91\x22",
        b"\xa8\x11\x00\x07",  # layers, not flexible: one more byte
        b"\xf8\x11\x00\x03\x02",  # flexible, with two references
        b"\x0a\x18\x01\x40\x00\xf0\x01\x04\x07",  # a structure: a size, a reference
    ],
)
def test_vp9_descriptors_are_thrown_away(descriptor: bytes) -> None:
    assert joined(make_depacketiser(Codec.VP9), [descriptor + b"data"]) == b"data"


def test_of_vp9_in_spatial_layers_the_lowest_is_taken() -> None:
    low, high = b"\x28\x00\x07low", b"\x28\x02\x07high"
    assert joined(make_depacketiser(Codec.VP9), [low, high]) == b"low"


@given(st.lists(st.binary(max_size=24), max_size=6), st.sampled_from(["H264", "VP8", "VP9"]))
def test_any_payloads_are_a_frame_or_none(payloads: list[bytes], name: str) -> None:
    frame = joined(make_depacketiser(Codec[name]), payloads)
    assert frame is None or len(frame) <= sum(map(len, payloads)) + 4 * 24
