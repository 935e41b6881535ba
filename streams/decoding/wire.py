"""What the server and its decoder processes say to each other, over one socket for each process.

A message is the length of its head and of its body (two little-endian u32), the head as
MessagePack, and the body. Nothing is unpickled: a decoder that foreign bytes took over could answer
anything.
"""

import math
import socket
import struct
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

_LENGTHS = struct.Struct("<II")
LENGTHS_BYTES = _LENGTHS.size

_PARTS_AT_ONCE = 64
"""So many parts of a body are sent in one call; the system takes no more than some hundred."""

MAX_HEAD_BYTES = 1 << 20
MAX_BODY_BYTES = 1 << 28
"""More than the pictures of any one message."""


class DecodeRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing to decode; the body is the thumbnails that a still is compared with and the
    still's bytes, or `num_header_bytes` of the stream's header and then the message. With ``pull``
    the process goes over to a pulled source for good; the body is its order, and what is said from
    then on is in `pull_wire`."""

    do: Literal["still", "video", "finish", "pull"]
    codec: int
    width: int
    height: int
    max_pixels: int
    budget_s: float
    """Processor time after which the kernel ends the process."""
    megapixel_budget_s: float = 0.0
    """More of it for each million pixels that a still's header says it has."""
    capture_s: float = 0.0
    follows_gap: bool = False
    interval_s: float = 1.0
    due_s: float | None = None
    newest_s: float | None = None
    is_hurried: bool = False
    """This and the three above: see `Picker` and `Sampler`."""
    max_gap_s: float = 1e9
    """See `Shape`."""
    num_header_bytes: int = 0
    base_s: float = 0.0
    origin_s: float = 0.0
    """This and the two above: see `Beginning`; given to a process that goes on for another."""
    is_reduced: bool = False
    """Whether the reply is to have the thumbnails of a video's pictures."""
    is_compared: bool = False
    """Whether the reply is to tell how the message's picture looks beside those before it."""
    kept_index: int = -1
    previous_index: int = -1
    """Which of the body's thumbnails each of `Before` is; -1 where there is none."""
    least_difference: float = -1.0
    least_change: float = 0.0
    """This and the one above: see `LeastNews`; the pixels of other pictures are not told."""


class DecodeReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a request; the body is `num_header_bytes` of the stream's header, where it is
    told for the first time, then the pictures, one after the other, and then their thumbnails,
    where they are asked for."""

    spent_s: float = 0.0
    """Processor time."""
    times_s: tuple[float, ...] = ()
    """Capture times of the pictures."""
    reason: str | None = None
    """Why there is none, as a `DropReason`."""
    detail: str = ""
    due_s: float | None = None
    num_passed_over: int = 0
    jumps: tuple[tuple[str, float, float], ...] = ()
    """Kind, `at_s` and `by_s` of each `TimeJump`."""
    num_header_bytes: int = 0
    base_s: float = 0.0
    origin_s: float = 0.0
    is_compared: bool = False
    """Whether the first picture was compared with those before it."""
    difference: float = 1.0
    change: float = 0.0
    """This and the one above: see `Resemblance`."""
    has_pixels: bool = True
    """Whether the pixels of the first picture are told, and not only its thumbnail."""
    ended_by: int | None = None
    """As of `WorkerEnd`, which comes in a reply's stead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerEnd:
    """Said by the nursery, in a decoder's stead."""

    ended_by: int
    """The signal by which the process was ended; 0: it left by itself."""


class EndTold(Exception):
    """The nursery says that the process has ended."""

    def __init__(self, ended_by: int) -> None:
        super().__init__(f"ended by signal {ended_by}")
        self.ended_by = ended_by


_reply_of = msgspec.msgpack.Decoder(DecodeReply).decode
_request_of = msgspec.msgpack.Decoder(DecodeRequest).decode


def text_of(head: Any) -> bytes:
    """A head, which is one of the classes that are said here, as it is written."""
    return msgspec.msgpack.encode(head)


def lengths(text: bytes, num_body_bytes: int) -> bytes:
    """What goes before a head and a body."""
    return _LENGTHS.pack(len(text), num_body_bytes)


def send(link: socket.socket, head: Any, *body: bytes | memoryview) -> None:
    """Send one message, whose head is one of the dataclasses that are said here. Raises `OSError`
    when nobody listens, `TimeoutError` in time."""
    text = text_of(head)
    first = lengths(text, sum(map(len, body))) + text
    # In one call: whoever waits is not woken for a head that nothing follows yet.
    num_sent = link.sendmsg((first, *body[:_PARTS_AT_ONCE]))
    for part in (first, *body):
        if num_sent < len(part):
            link.sendall(memoryview(part)[num_sent:])
        num_sent = max(0, num_sent - len(part))


def receive_request(link: socket.socket) -> tuple[DecodeRequest, bytes]:
    """Wait for a request. Raises `EOFError` when the server is gone."""
    head, body = _receive(link)
    return _request_of(head), bytes(body)


def receive_reply(link: socket.socket) -> tuple[DecodeReply, bytearray]:
    """Wait for a reply; the body may be kept and changed. Raises: as `receive_from_worker`."""
    head, body = _receive(link)
    return reply_of(head), body


def reply_of(head: bytes | bytearray) -> DecodeReply:
    """A decoder's reply.

    Raises:
        EndTold: the process has ended.
        EOFError: it makes no sense.
    """
    try:
        reply = _reply_of(head)
    except ValueError as error:
        raise EOFError(f"a decoder's reply makes no sense: {error}") from error
    if reply.ended_by is not None:
        raise EndTold(reply.ended_by)
    if not 0 <= reply.spent_s < math.inf:  # no counter takes that
        raise EOFError(f"a decoder says that it took {reply.spent_s} s")
    return reply


def receive_from_worker(link: socket.socket) -> tuple[dict[str, Any], bytearray]:
    """Wait for a decoder's message, of whatever kind.

    Raises:
        EndTold: the process has ended.
        EOFError: the process is gone, or says what makes no sense.
        TimeoutError: the socket's time is over.
    """
    values, body = receive(link)
    if (ended_by := values.get("ended_by")) is not None:
        raise EndTold(ended_by if isinstance(ended_by, int) else 0)
    return values, body


def receive(link: socket.socket) -> tuple[dict[str, Any], bytearray]:
    """Wait for a message: the values of its head, and its body. Raises: as `receive_from_worker`,
    but for `EndTold`."""
    head, body = _receive(link)
    try:
        values = msgspec.msgpack.decode(head)
    except ValueError as error:
        raise EOFError("a message that is no MessagePack") from error
    if not isinstance(values, dict):
        raise EOFError("a message whose head is no object")
    return values, body


def _receive(link: socket.socket) -> tuple[bytearray, bytearray]:
    """Wait for a message: its head and its body. Raises: as `receive`."""
    num_head_bytes, num_body_bytes = lengths_of(_exactly(link, LENGTHS_BYTES))
    head = _exactly(link, num_head_bytes)
    return head, _exactly(link, num_body_bytes)


def lengths_of(data: bytes | bytearray) -> tuple[int, int]:
    """The lengths of a head and of a body. Raises `EOFError` where they make no sense."""
    num_head_bytes, num_body_bytes = _LENGTHS.unpack_from(data)
    if num_head_bytes > MAX_HEAD_BYTES or num_body_bytes > MAX_BODY_BYTES:
        raise EOFError(f"a message of {num_head_bytes} and {num_body_bytes} bytes")
    return num_head_bytes, num_body_bytes


def _exactly(link: socket.socket, num_bytes: int) -> bytearray:
    data = bytearray(num_bytes)
    view, got = memoryview(data), 0
    while got < num_bytes:
        try:
            num = link.recv_into(view[got:])
        except ConnectionError as error:
            raise EOFError("the other side is gone") from error
        if not num:
            raise EOFError("the other side is gone")
        got += num
    return data
