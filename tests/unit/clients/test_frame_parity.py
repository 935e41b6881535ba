"""The page's header code and Python's agree on every header, good or bad."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.core.errors import OnlookerError
from onlooker.core.media import Codec
from onlooker.core.protocol.frame_header import (
    HEADER_BYTES,
    MAX_CAPTURE_US,
    MAX_SEQUENCE,
    FrameHeader,
    pack_frame,
    unpack_frame,
)

SCRIPT = Path(__file__).with_name("frame_parity.mjs")

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


def run_in_node(**cases: Any) -> dict[str, Any]:
    """What the page's code makes of the cases; one process for all of them."""
    whole = {"pack": [], "unpack": [], "times": [], **cases}
    done = subprocess.run(
        ["node", str(SCRIPT)], input=json.dumps(whole), capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


headers = st.builds(
    FrameHeader,
    codec=st.sampled_from(Codec),
    sequence=st.integers(0, MAX_SEQUENCE),
    capture_us=st.integers(0, MAX_CAPTURE_US),
    slot=st.integers(0, 255),
    key_frame=st.booleans(),
    last_frame=st.booleans(),
)


def flags_of(header: FrameHeader) -> int:
    return header.key_frame + 2 * header.last_frame


@settings(max_examples=5)
@given(st.lists(headers, min_size=50, max_size=200))
def test_both_pack_and_unpack_the_same_bytes(cases: list[FrameHeader]) -> None:
    packed = [header.pack().hex() for header in cases]
    fields = [
        {
            "codec": int(header.codec),
            "sequence": header.sequence,
            "captureUs": str(header.capture_us),
            "slot": header.slot,
            "flags": flags_of(header),
        }
        for header in cases
    ]
    result = run_in_node(pack=fields, unpack=packed)
    assert result["packed"] == packed
    assert result["unpacked"] == fields


def mutated(header: FrameHeader, at: int, value: int) -> bytes:
    message = bytearray(header.pack())
    message[at] = value
    return bytes(message)


spoiled = st.one_of(
    st.binary(max_size=HEADER_BYTES + 4),
    st.builds(mutated, headers, st.integers(0, HEADER_BYTES - 1), st.integers(0, 255)),
)


@settings(max_examples=5)
@given(st.lists(spoiled, min_size=50, max_size=200))
def test_both_refuse_the_same_bytes(cases: list[bytes]) -> None:
    def accepted(message: bytes) -> bool:
        try:
            # A header alone has no payload, which only the whole message's reader minds.
            unpack_frame(message[:HEADER_BYTES] + b"x" if len(message) >= HEADER_BYTES else message)
        except OnlookerError:
            return False
        return True

    result = run_in_node(unpack=[message.hex() for message in cases])
    assert [entry is not None for entry in result["unpacked"]] == [accepted(m) for m in cases]


def test_the_page_refuses_fields_that_do_not_fit() -> None:
    good = {"codec": 1, "sequence": 0, "captureUs": "0", "slot": 0, "flags": 0}
    bad = [
        {**good, "codec": 0},
        {**good, "codec": 9},
        {**good, "sequence": -1},
        {**good, "sequence": MAX_SEQUENCE + 1},
        {**good, "sequence": 1.5},
        {**good, "captureUs": "-1"},
        {**good, "captureUs": str(MAX_CAPTURE_US + 1)},
        {**good, "slot": 256},
        {**good, "flags": 4},
    ]
    packed = run_in_node(pack=[good, *bad])["packed"]
    assert packed[0] is not None
    assert packed[1:] == [None] * len(bad)


def test_seconds_become_whole_microseconds_alike() -> None:
    times = [0, 0.1, 0.2 + 0.1, 12.345678, 1 / 3, 35_999.999_999, 1e6]
    micros = run_in_node(times=[*times, -0.5])["micros"]
    assert micros == [str(round(seconds * 1_000_000)) for seconds in times] + [None]


def test_a_message_is_header_and_payload() -> None:
    header = FrameHeader(codec=Codec.JPEG, sequence=7, capture_us=5)
    assert run_in_node()["message"] == pack_frame(header, b"\1\2\3").hex()
