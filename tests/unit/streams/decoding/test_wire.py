"""What the server and its decoder processes say to each other."""

import math
import socket
import threading

import msgspec
import pytest

from onlooker.streams.decoding.wire import (
    DecodeReply,
    DecodeRequest,
    EndTold,
    WorkerEnd,
    receive_reply,
    receive_request,
    reply_of,
    send,
    text_of,
)

REQUEST = DecodeRequest(
    do="video", codec=4, width=64, height=48, max_pixels=10**6, budget_s=1.0, max_gap_s=math.inf
)


@pytest.mark.parametrize(
    "sizes", [(), (0,), (10,), (100_000,), (5, 3_000_000, 70, 400_000), (9,) * 2_000]
)
def test_a_message_of_any_size_comes_as_it_was_sent(sizes: tuple[int, ...]) -> None:
    ours, theirs = socket.socketpair()
    body = [bytes((number % 256,)) * size for number, size in enumerate(sizes)]
    with ours, theirs:
        sending = threading.Thread(target=send, args=(theirs, REQUEST, *body))
        sending.start()
        request, got = receive_request(ours)
        sending.join()
    assert request == REQUEST
    assert got == b"".join(body)


@pytest.mark.parametrize("spent_s", [-1.0, math.nan, math.inf])
def test_a_reply_of_time_that_nothing_takes_makes_no_sense(spent_s: float) -> None:
    with pytest.raises(EOFError):
        reply_of(text_of(DecodeReply(spent_s=spent_s)))


def test_a_reply_says_how_a_process_ended() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        send(theirs, WorkerEnd(ended_by=11))
        with pytest.raises(EndTold) as told:
            receive_reply(ours)
    assert told.value.ended_by == 11


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode([1]),
        msgspec.msgpack.encode({"times_s": "soon"}),
        msgspec.msgpack.encode({"spent_s": None}),
        msgspec.msgpack.encode({"num_header_bytes": 1.5}),
        msgspec.msgpack.encode({"has_pixels": 3}),
        msgspec.msgpack.encode({"jumps": [["gap", 1.0]]}),
        text_of(DecodeReply())[:-1],
        text_of(DecodeReply()) + b"\x00",
    ],
)
def test_a_reply_that_makes_no_sense_is_as_good_as_none(head: bytes) -> None:
    with pytest.raises(EOFError):
        reply_of(head)
