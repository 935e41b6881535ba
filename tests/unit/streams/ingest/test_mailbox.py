import asyncio
import math

import pytest

from onlooker.core.media import Codec, DropReason
from onlooker.streams.ingest.mailbox import Barrier, Entry, Mailbox
from tests.fakes.pictures import make_frame, make_message

KEY, DELTA = b"\x10" + bytes(9), b"\x11" + bytes(9)  # VP8: the first bit tells
FULL, NO_KEY = DropReason.MAILBOX_FULL, DropReason.NO_KEYFRAME


def make_mailbox(*, stills: int = 3, chunks: int = 4, num_bytes: int = 1000) -> Mailbox:
    return Mailbox(max_stills=stills, max_chunks=chunks, max_bytes=num_bytes)


def still(number: int, num_bytes: int = 10) -> Entry:
    return Entry(make_message(float(number), sequence=number, payload=bytes(num_bytes)))


def chunk(number: int, payload: bytes = DELTA, codec: Codec = Codec.VP8) -> Entry:
    return Entry(make_message(float(number), sequence=number, payload=payload, codec=codec))


def sequences(mailbox: Mailbox) -> list[int]:
    return [item.message.sequence for item in mailbox.clear() if isinstance(item, Entry)]


def test_newer_pictures_take_the_place_of_the_oldest() -> None:
    mailbox = make_mailbox()
    dropped = [drop for number in range(6) for drop in mailbox.offer(still(number))]
    assert [(entry.message.sequence, reason) for entry, reason in dropped] == [
        (0, FULL),
        (1, FULL),
        (2, FULL),
    ]
    assert sequences(mailbox) == [3, 4, 5]


def test_bytes_are_bounded_as_well_as_messages() -> None:
    mailbox = make_mailbox(stills=100, num_bytes=1000)
    for number in range(50):
        mailbox.offer(still(number, 300))
        assert mailbox.num_bytes <= 1000
    assert sequences(mailbox) == [47, 48, 49]


def test_a_picture_larger_than_the_whole_mailbox_still_gets_in_alone() -> None:
    mailbox = make_mailbox(num_bytes=100)
    mailbox.offer(still(0))
    assert [entry.message.sequence for entry, _ in mailbox.offer(still(1, 500))] == [0]
    assert sequences(mailbox) == [1]


def test_coded_video_drops_up_to_its_next_key_frame() -> None:
    mailbox = make_mailbox(chunks=4)
    outcome = {}
    for number in range(12):
        payload = KEY if number in (0, 8) else DELTA
        for entry, reason in mailbox.offer(chunk(number, payload)):
            outcome[entry.message.sequence] = reason
    # 4 did not fit, 5-7 build on it; the key frame 8 takes the place of all that still waits.
    assert outcome == {4: FULL, 5: NO_KEY, 6: NO_KEY, 7: NO_KEY, 0: FULL, 1: FULL, 2: FULL, 3: FULL}
    assert sequences(mailbox) == [8, 9, 10, 11]


def test_pieces_of_a_recording_are_dropped_whole_and_the_gap_is_marked() -> None:
    mailbox = make_mailbox(chunks=2)
    for number in range(2):
        mailbox.offer(chunk(number, codec=Codec.WEBM))
    refused = chunk(2, codec=Codec.WEBM)
    assert mailbox.offer(refused) == [(refused, FULL)]
    mailbox.take()
    after, next_one = chunk(3, codec=Codec.WEBM), chunk(4, codec=Codec.WEBM)
    assert mailbox.offer(after) == []
    mailbox.take()
    mailbox.offer(next_one)
    assert (after.follows_gap, next_one.follows_gap) == (True, False)


def barrier(at_s: float) -> Barrier:
    return Barrier(at_s, asyncio.get_running_loop().create_future())


async def test_a_question_stands_before_the_first_frame_captured_after_it() -> None:
    mailbox = make_mailbox(stills=10)
    for number in range(4):
        mailbox.put(still(number))
    question = barrier(1.5)
    mailbox.put_barrier(question)
    mailbox.put_barrier(barrier(math.inf))
    items = mailbox.clear()
    assert items[2] is question
    assert isinstance(items[-1], Barrier)


async def test_questions_take_no_room_and_are_not_dropped() -> None:
    mailbox = make_mailbox(stills=1)
    question = barrier(0.0)
    mailbox.put_barrier(question)
    mailbox.offer(still(1))
    mailbox.offer(still(2))
    assert mailbox.take() is question
    assert sequences(mailbox) == [2]


async def test_a_nudge_ends_waiting_once_though_nothing_has_come() -> None:
    mailbox = make_mailbox()
    waiting = asyncio.ensure_future(mailbox.wait_nudged())
    await asyncio.sleep(0)
    assert not waiting.done()
    mailbox.nudge()
    await waiting
    assert not mailbox.has_items
    again = asyncio.ensure_future(mailbox.wait_nudged())
    await asyncio.sleep(0)
    assert not again.done()
    mailbox.put(still(0))
    await again


async def test_waiting_for_room_ends_when_a_message_is_taken() -> None:
    mailbox = make_mailbox(stills=1)
    mailbox.put(still(0))
    waiting = asyncio.ensure_future(mailbox.wait_room(still(1)))
    await asyncio.sleep(0)
    assert not waiting.done()
    mailbox.take()
    await waiting


@pytest.mark.parametrize("codec", [Codec.JPEG, Codec.VP8, Codec.WEBM])
def test_no_codec_gets_past_the_bounds(codec: Codec) -> None:
    mailbox = make_mailbox(stills=3, chunks=4, num_bytes=200)
    for number in range(500):
        payload = (KEY if number % 7 == 0 else DELTA) * (1 + number % 5)
        mailbox.offer(chunk(number, payload, codec))
        assert len(mailbox) <= 4
        assert mailbox.num_bytes <= 200


def test_pixels_wait_as_pictures_do_and_count_with_their_bytes() -> None:
    mailbox = make_mailbox(stills=2, num_bytes=100_000)
    frames = [Entry(make_frame(float(number), sequence=number)) for number in range(4)]
    assert [drop for entry in frames[:2] for drop in mailbox.offer(entry)] == []
    assert mailbox.num_bytes == 2 * 32 * 32 * 3
    assert mailbox.is_still_next()
    assert mailbox.offer(frames[2]) == [(frames[0], FULL)]
    small = make_mailbox(stills=100, num_bytes=32 * 32 * 3)
    small.offer(frames[0])
    assert small.offer(frames[1]) == [(frames[0], FULL)]
    assert sequences(small) == [1]


def test_a_message_that_was_dropped_before_it_came_is_a_gap_as_well() -> None:
    mailbox = make_mailbox()
    mailbox.offer(chunk(0, KEY))
    mailbox.note_gap(chunk(1).message)
    assert mailbox.lacks_key(chunk(2).message)
    assert [reason for _, reason in mailbox.offer(chunk(2))] == [NO_KEY]
    assert not mailbox.lacks_key(chunk(3, KEY).message)
    assert mailbox.offer(chunk(3, KEY)) == []
    assert sequences(mailbox) == [0, 3]


def test_pictures_that_were_dropped_before_they_came_leave_no_gap() -> None:
    mailbox = make_mailbox()
    mailbox.offer(chunk(0, KEY))
    mailbox.note_gap(still(1).message)
    assert mailbox.offer(chunk(2)) == []
