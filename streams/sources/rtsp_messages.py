"""RTSP on the wire: messages, and packets that travel between them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_HEADER_BYTES = 64 << 10
"""The longest head of one RTSP message, in bytes; cameras need a few hundred."""

MAX_BODY_BYTES = 1 << 20
"""The longest body of one RTSP message, in bytes; descriptions are a few thousand at most."""

_STATUS = re.compile(rb"RTSP/\d\.\d (\d{3})")
_LENGTH = re.compile(rb"(?im)^content-length:\s*(\d{1,7})\s*$")

NO_RTSP = (
    "the source does not speak RTSP: check the port, which is 554 for most cameras, and the scheme"
)
REDIRECTS = "the source redirects elsewhere, which is not followed: give the address it leads to"


@dataclass(frozen=True, slots=True)
class RtspPacket:
    """An RTP or RTCP packet that travels between the messages."""

    channel: int
    payload: bytes

    @property
    def data(self) -> bytes:
        """The packet as it travels."""
        return bytes((36, self.channel)) + len(self.payload).to_bytes(2, "big") + self.payload


@dataclass(frozen=True, slots=True)
class RtspMessage:
    """A request or a reply, whole."""

    data: bytes

    @property
    def status(self) -> int | None:
        """The status of a reply; None for a request."""
        found = _STATUS.match(self.data)
        return int(found[1]) if found is not None else None


class RtspSplitter:
    """Takes one direction of a connection apart, however it is cut up."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def split(self, data: bytes) -> Iterator[RtspMessage | RtspPacket]:
        """Whatever `data`, the next bytes, completes.

        Raises:
            ValueError: a message is longer than any may be.
        """
        self._buffer += data
        while (item := self._take()) is not None:
            yield item

    def _take(self) -> RtspMessage | RtspPacket | None:
        buffer = self._buffer
        if buffer[:1] == b"$":
            end = 4 + int.from_bytes(buffer[2:4], "big")
            if len(buffer) < max(4, end):
                return None
            packet = RtspPacket(buffer[1], bytes(buffer[4:end]))
            del buffer[:end]
            return packet
        head_end = buffer.find(b"\r\n\r\n")
        if head_end < 0:
            if len(buffer) > MAX_HEADER_BYTES:
                raise ValueError("the head of an RTSP message is too long")
            return None
        length = _LENGTH.search(bytes(buffer[: head_end + 2]))
        num_bytes = int(length[1]) if length is not None else 0
        if num_bytes > MAX_BODY_BYTES:
            raise ValueError("the body of an RTSP message is too long")
        end = head_end + 4 + num_bytes
        if len(buffer) < end:
            return None
        message = RtspMessage(bytes(buffer[:end]))
        del buffer[:end]
        return message


class ReplyFilter:
    """Follows the camera's half of a connection: RTSP messages and interleaved packets."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._to_skip = 0
        self.refusal: str | None = None
        """Why the connection must end; None while it may go on."""
        self.status = 200
        """The status of the last reply."""

    def passes(self, data: bytes) -> bool:
        """Whether `data`, the next bytes, may be passed on."""
        self._buffer += data
        while self._buffer and self.refusal is None:
            if self._to_skip:
                skipped = min(self._to_skip, len(self._buffer))
                del self._buffer[:skipped]
                self._to_skip -= skipped
            elif self._buffer[0] == ord("$"):
                if len(self._buffer) < 4:
                    break
                self._to_skip = 4 + int.from_bytes(self._buffer[2:4], "big")
            elif not self._take_message():
                break
        return self.refusal is None

    def _take_message(self) -> bool:
        """Judge the message that begins here; False while its header is incomplete."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEADER_BYTES:
                self.refusal = NO_RTSP
            return False
        header = bytes(self._buffer[: end + 2])
        status = _STATUS.match(header)
        if status is not None:
            self.status = int(status[1])
        if status is not None and status[1].startswith(b"3"):
            self.refusal = REDIRECTS
        elif status is None and b"RTSP/" not in header.partition(b"\r\n")[0]:
            self.refusal = NO_RTSP
        elif status is None and header[:8].upper() == b"REDIRECT":
            self.refusal = REDIRECTS
        length = _LENGTH.search(header)
        del self._buffer[: end + 4]
        self._to_skip = int(length[1]) if length is not None else 0
        return True
