from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.core.errors import ClientError, InvalidRequest
from onlooker.core.media import Codec
from onlooker.core.protocol.frame_header import (
    HEADER_BYTES,
    MAX_CAPTURE_US,
    FrameHeader,
    pack_frame,
    unpack_frame,
)

FIELDS = ("header", "magic", "version", "codec", "flags", "reserved", "capture_us", "payload")

headers = st.builds(
    FrameHeader,
    codec=st.sampled_from(Codec),
    sequence=st.integers(0, 2**32 - 1),
    capture_us=st.integers(0, MAX_CAPTURE_US),
    slot=st.integers(0, 255),
    key_frame=st.booleans(),
    last_frame=st.booleans(),
)


@given(headers, st.binary(min_size=1, max_size=50))
def test_what_is_packed_is_unpacked(header: FrameHeader, payload: bytes) -> None:
    assert unpack_frame(pack_frame(header, payload)) == (header, payload)


def test_the_layout_is_as_documented() -> None:
    header = FrameHeader(
        codec=Codec.WEBP, sequence=0x01020304, capture_us=0x05060708, slot=9, last_frame=True
    )
    assert header.pack().hex() == "4f4c010302090000010203040000000005060708"
    assert len(header.pack()) == HEADER_BYTES == 20


@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda tail: b"OL\x01" + tail))
def test_any_bytes_are_a_frame_or_a_client_s_error(message: bytes) -> None:
    try:
        again = pack_frame(*unpack_frame(message))
        param = None
    except ClientError as error:
        again, param = message, error.param
    assert again == message
    assert param is None or param in FIELDS


@pytest.mark.parametrize(
    "fields", [{"sequence": -1}, {"sequence": 2**32}, {"slot": 256}, {"capture_us": 2**53}]
)
def test_a_field_that_does_not_fit_is_refused(fields: dict[str, int]) -> None:
    values: dict[str, Any] = {"sequence": 0, "capture_us": 0, **fields}
    with pytest.raises(ValueError, match=r"out of range|outside"):
        FrameHeader(codec=Codec.JPEG, **values).pack()


def test_time_is_in_microseconds() -> None:
    assert FrameHeader(codec=Codec.JPEG, sequence=0, capture_us=1_500_000).capture_s == 1.5


def test_a_foreign_message_is_told_what_was_expected() -> None:
    with pytest.raises(InvalidRequest, match="starts with 89 50"):
        unpack_frame(b"\x89PNG" + bytes(30))
