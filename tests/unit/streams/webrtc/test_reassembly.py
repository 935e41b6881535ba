import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.core.media import Codec
from onlooker.streams.webrtc.packets import VideoPacket
from onlooker.streams.webrtc.reassembly import ASK_AGAIN_S, MAX_WAITING, Reassembly

PATIENCE_S = 0.25
KEY, DELTA = b"\x10\x00", b"\x10\x01"
"""How frames of VP8 begin: the descriptor, and the first byte of a key frame or another one."""


def make_reassembly(**options: int) -> Reassembly:
    settings = {"max_frame_bytes": 100_000, **options}
    return Reassembly(Codec.VP8, patience_s=PATIENCE_S, **settings)


def frame(number: int, *, first: int, parts: int = 3, begins: bytes = DELTA) -> list[VideoPacket]:
    """The packets of frame `number`, whose payload is its number again and again."""
    body = bytes((number & 0xFF,))
    return [
        VideoPacket(
            payload_type=96,
            sequence=(first + part) & 0xFFFF,
            timestamp=number * 3000 & 0xFFFFFFFF,
            ssrc=1,
            is_last=part == parts - 1,
            payload=(begins if part == 0 else b"\x00") + body,
        )
        for part in range(parts)
    ]


def film(num_frames: int, *, first: int = 65_530, parts: int = 3) -> list[list[VideoPacket]]:
    """Frames, of which the first is a key frame; the sequence numbers come round on the way."""
    return [
        frame(n, first=first + n * parts, parts=parts, begins=DELTA if n else KEY)
        for n in range(num_frames)
    ]


def numbers(taken: Reassembly, packets: list[VideoPacket], *, now_s: float = 0.0) -> list[int]:
    """The numbers of the frames that come out."""
    return [whole.payload[-1] for packet in packets for whole in taken.add(packet, now_s)]


def test_a_frame_comes_out_with_its_last_packet() -> None:
    taken = make_reassembly()
    *others, last = film(1)[0]
    assert numbers(taken, others) == []
    assert numbers(taken, [last]) == [0]


def test_packets_out_of_order_and_twice_make_the_same_frames() -> None:
    packets = [packet for each in film(20) for packet in each]
    order = random.Random(7)
    for begin in range(1, len(packets) - 4, 4):
        window = packets[begin : begin + 4]
        order.shuffle(window)
        packets[begin : begin + 4] = [*window[:2], window[0], *window[2:]][:5]
    assert numbers(make_reassembly(), packets) == list(range(20))


def test_nothing_comes_out_before_a_key_frame() -> None:
    taken = make_reassembly()
    assert numbers(taken, frame(0, first=0)) == []
    assert taken.needs_key
    assert numbers(taken, frame(1, first=3, begins=KEY)) == [1]
    assert not taken.needs_key


def test_a_lost_packet_is_asked_for_again_and_again() -> None:
    taken = make_reassembly()
    key, delta = film(2)
    numbers(taken, key)
    numbers(taken, [delta[0], delta[2]], now_s=1.0)
    assert taken.to_ask(1.0) == [delta[1].sequence]
    assert taken.to_ask(1.0 + ASK_AGAIN_S / 2) == []
    assert taken.to_ask(1.0 + ASK_AGAIN_S) == [delta[1].sequence]
    assert numbers(taken, [delta[1]], now_s=1.1) == [1]
    assert taken.to_ask(2.0) == []


def test_what_does_not_come_in_time_makes_all_to_the_next_key_frame_useless() -> None:
    taken = make_reassembly()
    key, lost, after, later = film(4)
    numbers(taken, key)
    assert numbers(taken, [lost[0], *after], now_s=1.0) == []
    assert numbers(taken, later, now_s=1.0 + 2 * PATIENCE_S) == []
    assert taken.needs_key
    assert taken.num_lost_frames > 0
    again = frame(9, first=later[-1].sequence + 1, begins=KEY)
    assert numbers(taken, again, now_s=2.0) == [9]


def test_what_waits_is_bounded() -> None:
    taken = make_reassembly()
    numbers(taken, film(1, first=0)[0])
    for sequence in range(4, 4 + 2 * MAX_WAITING):
        taken.add(VideoPacket(96, sequence, sequence, 1, False, b"\x00x"), 0.0)
    assert len(taken._waiting) <= MAX_WAITING


def test_a_jump_of_the_numbers_begins_a_new_count() -> None:
    taken = make_reassembly()
    numbers(taken, film(1, first=0)[0])
    assert numbers(taken, frame(1, first=30_000)) == []
    assert numbers(taken, frame(2, first=30_003, begins=KEY)) == [2]


def test_a_frame_that_is_too_large_is_left_out() -> None:
    taken = make_reassembly(max_frame_bytes=8)
    assert numbers(taken, frame(0, first=0, parts=40, begins=KEY)) == []
    assert taken.num_lost_frames == 1


def test_padding_is_passed_over() -> None:
    taken = make_reassembly()
    [key] = film(1, first=0)
    numbers(taken, key)
    padding = VideoPacket(96, 3, 0, 1, False, b"")
    assert numbers(taken, [padding, *frame(1, first=4)]) == [1]


@pytest.mark.parametrize("parts", [1, 3])
@given(lost=st.sets(st.integers(0, 59), max_size=12))
def test_whatever_is_lost_no_frame_comes_that_builds_on_a_lost_one(
    parts: int, lost: set[int]
) -> None:
    taken = make_reassembly()
    packets = [
        frame(n, first=n * parts, parts=parts, begins=KEY if n % 5 == 0 else DELTA)
        for n in range(60 // parts)
    ]
    whole: set[int] = set()
    now_s = 0.0
    for packet in [p for each in packets for p in each]:
        now_s += PATIENCE_S / 2
        if packet.sequence not in lost:
            whole |= {one.payload[-1] for one in taken.add(packet, now_s)}
    for number in whole:
        assert number % 5 == 0 or number - 1 in whole
        assert not lost & {number * parts + part for part in range(parts)}
