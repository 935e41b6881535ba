"""The units of which a message of H.264 in Annex B form is made."""

from collections.abc import Iterator

START = b"\x00\x00\x01"
"""What each unit begins after."""

SLICE, IDR_SLICE, SEQUENCE_SET, PICTURE_SET = 1, 5, 7, 8
"""Kinds of units: pictures that build on others, pictures that stand alone, parameter sets."""


def units(message: bytes) -> Iterator[tuple[int, int]]:
    """Each unit's kind and the place where it begins, its header included. Lazy: whoever stops
    early looks at no more of the message."""
    begin = message.find(START) + len(START)
    while len(START) <= begin < len(message):
        yield message[begin] & 0x1F, begin
        begin = message.find(START, begin) + len(START)
