"""H.264 whose parameter sets come once, or by themselves."""

import pytest

from onlooker.core.media import Codec, DropReason, EncodedFrame
from onlooker.streams.perception.chunks import ChunkDecoder
from onlooker.streams.perception.parameter_sets import MAX_SETS, ParameterSets
from onlooker.streams.perception.stills import Undecodable
from tests.fakes.pictures import SETS, encode_chunks, sets_of, without_sets


class Watched:
    """Decodes messages at 10 fps; notes the times of pictures, and what was dropped."""

    def __init__(self, messages: list[bytes]) -> None:
        decoder = ChunkDecoder(Codec.H264, width=64, height=64, max_pixels=10**6)
        self.times: list[float] = []
        self.dropped: dict[int, DropReason] = {}
        for index, payload in enumerate(messages):
            message = EncodedFrame(index, index / 10, Codec.H264, payload, 0.0)
            try:
                pictures = decoder.decode(message, lambda capture_s: True)
            except Undecodable as error:
                self.dropped[index] = error.reason
            else:
                self.times += [round(picture.capture_s, 1) for picture in pictures]


@pytest.fixture(scope="module")
def chunks() -> list[bytes]:
    """Thirty pictures, a key frame every ten; the sets are in front of each key frame."""
    made = encode_chunks("libx264", 30)
    assert all(sets_of(made[index]) for index in (0, 10, 20))
    return made


def test_sets_that_come_as_a_message_of_their_own_are_kept(chunks: list[bytes]) -> None:
    watched = Watched([sets_of(chunks[0]), *map(without_sets, chunks)])
    assert watched.times == [round(0.1 + i / 10, 1) for i in range(30)]
    assert not watched.dropped


def test_sets_and_their_halves_may_come_one_by_one(chunks: list[bytes]) -> None:
    halves = SETS.findall(chunks[0])
    watched = Watched([*halves, *map(without_sets, chunks)])
    assert len(watched.times) == 30


def test_sets_that_came_once_are_there_after_a_broken_picture(chunks: list[bytes]) -> None:
    messages = [chunks[0], *map(without_sets, chunks[1:])]
    messages[15] = b"\x00\x00\x00\x01\x41" + b"\xff" * 200
    watched = Watched(messages)
    assert watched.times[-10:] == [round(2 + i / 10, 1) for i in range(10)]
    assert all(index in range(15, 20) for index in watched.dropped)


def test_without_any_sets_nothing_is_decoded(chunks: list[bytes]) -> None:
    watched = Watched([without_sets(chunk) for chunk in chunks])
    assert not watched.times
    assert len(watched.dropped) == 30


def test_sets_of_another_size_that_come_by_themselves_hold_from_then_on(
    chunks: list[bytes],
) -> None:
    wider = encode_chunks("libx264", 10, size=(320, 240))
    messages = [*chunks[:10], sets_of(wider[0]), *map(without_sets, wider)]
    watched = Watched(messages)
    assert len(watched.times) == 20
    assert not watched.dropped


def test_rubbish_without_a_unit_is_no_message_of_sets(chunks: list[bytes]) -> None:
    watched = Watched([*chunks[:3], b"rubbish", *chunks[10:12]])
    assert watched.dropped[3] is DropReason.UNDECODABLE
    assert watched.times[-1] == 0.5


def test_no_more_sets_are_kept_than_a_source_can_need() -> None:
    sets = ParameterSets()
    for number in range(300):
        unit = bytes([0x68, 0, 0x80 | number & 0x7F, number >> 7 | 0x10, 0xFF])
        assert sets.note(b"\x00\x00\x01" + unit)
        sets.note(b"\x00\x00\x01" + bytes([0x68]) + bytes([255 - number % 128]) * 2000)
    assert len(sets.before(b"")) < MAX_SETS * 20
