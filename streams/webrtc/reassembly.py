"""`Reassembly`: packets of one sender, in whatever order they come, to whole frames in order.

What is missing is waited for a little and asked for again. What does not come makes everything up
to the next key frame useless, since each frame builds on those before it; it is left out here, so
that no picture is decoded from a wrong one.
"""

from dataclasses import dataclass

from onlooker.core.media import Codec
from onlooker.streams.perception.keyframes import is_key_frame
from onlooker.streams.webrtc.packets import VideoPacket
from onlooker.streams.webrtc.payloads import make_depacketiser

MAX_WAITING = 512
"""Packets that wait for one that is missing."""

MAX_ASKED = 64
"""Missing packets that are asked for at once; where more are missing a key frame is cheaper."""

ASK_AGAIN_S = 0.06
"""Seconds between two requests for the same packet."""

MAX_JUMP = 4096
"""A packet whose number is farther away than this begins a new count."""


@dataclass(frozen=True, slots=True)
class WholeFrame:
    """One coded frame."""

    timestamp: int
    """In ticks of the media clock, 32 bits."""
    payload: bytes


class Reassembly:
    """One sender's packets to frames.

    Args:
        patience_s: how long a missing packet is waited for.
        max_frame_bytes: a larger frame is left out.
    """

    def __init__(self, codec: Codec, *, patience_s: float, max_frame_bytes: int) -> None:
        self._codec, self._patience_s, self._max_bytes = codec, patience_s, max_frame_bytes
        self._depacketiser = make_depacketiser(codec)
        self._waiting: dict[int, VideoPacket] = {}
        """Packets behind a gap, by their extended numbers."""
        self._next: int | None = None
        """The number of the packet that is due; None before the first."""
        self._highest = 0
        self._gap_since_s = 0.0
        self._asked_at_s: dict[int, float] = {}
        self._timestamp: int | None = None
        """Of the frame that is being put together; None between two frames."""
        self._num_bytes = 0
        self._is_cut = False
        """Whether a packet is missing from the frame that is being put together."""
        self._frames: list[WholeFrame] = []
        self.needs_key = True
        """Whether nothing is of use before the next key frame."""
        self.num_lost_frames = 0
        """Frames that were not whole, too large, or built on such a one."""

    def add(self, packet: VideoPacket, now_s: float) -> list[WholeFrame]:
        """Take a packet that came at `now_s`; return the frames that are whole now, in order."""
        number = self._extended(packet.sequence)
        if self._next is None or abs(number - self._next) > MAX_JUMP:
            self._begin_at(number)
        assert self._next is not None
        if number >= self._next and number not in self._waiting:
            if not self._waiting:
                self._gap_since_s = now_s
            self._waiting[number] = packet
            self._highest = max(self._highest, number)
            self._drain(now_s)
        frames, self._frames = self._frames, []
        return frames

    def to_ask(self, now_s: float) -> list[int]:
        """The numbers (16 bits, in order) of packets to be asked for now."""
        if not self._waiting or self._next is None:
            self._asked_at_s.clear()
            return []
        missing = []
        for number in range(self._next, min(self._highest, self._next + MAX_WAITING)):
            if number in self._waiting:
                continue
            if now_s - self._asked_at_s.get(number, -1e9) >= ASK_AGAIN_S:
                missing.append(number)
            if len(missing) == MAX_ASKED:
                break
        self._asked_at_s = {n: at_s for n, at_s in self._asked_at_s.items() if n >= self._next}
        self._asked_at_s.update((number, now_s) for number in missing)
        return [number & 0xFFFF for number in missing]

    def _extended(self, sequence: int) -> int:
        if self._next is None:
            return sequence
        distance = (sequence - self._next) & 0xFFFF
        return self._next + (distance if distance < 0x8000 else distance - 0x10000)

    def _begin_at(self, number: int) -> None:
        if self._next is not None:
            self._lose_frame()
        self._waiting.clear()
        self._next = self._highest = number

    def _drain(self, now_s: float) -> None:
        """Take packets as long as none is missing; skip those that were waited for too long."""
        assert self._next is not None
        while self._waiting:
            packet = self._waiting.pop(self._next, None)
            if packet is not None:
                self._next += 1
                self._gap_since_s = now_s
                self._take(packet)
                continue
            is_late = now_s - self._gap_since_s > self._patience_s
            if not is_late and len(self._waiting) <= MAX_WAITING:
                return
            self._next = min(self._waiting)
            self._lose_frame()

    def _take(self, packet: VideoPacket) -> None:
        if self._timestamp is not None and packet.timestamp != self._timestamp:
            self._end_frame()
        if not packet.payload:
            return  # padding, which some senders probe the line with
        self._timestamp = packet.timestamp
        self._num_bytes += len(packet.payload)
        if self._num_bytes <= self._max_bytes:
            self._depacketiser.add(packet.payload)
        if packet.is_last:
            self._end_frame()

    def _end_frame(self) -> None:
        assert self._timestamp is not None
        payload = self._depacketiser.take()
        is_whole = payload is not None and not self._is_cut and self._num_bytes <= self._max_bytes
        if not is_whole or payload is None:
            self.needs_key = True
            self.num_lost_frames += 1
        elif self.needs_key and not is_key_frame(self._codec, payload):
            self.num_lost_frames += 1
        else:
            self.needs_key = False
            self._frames.append(WholeFrame(self._timestamp, payload))
        self._timestamp, self._num_bytes, self._is_cut = None, 0, False

    def _lose_frame(self) -> None:
        """A packet is gone for good, and with it the frame that it was in: the one under way, or
        the next, whose beginning it may have been."""
        self.needs_key = self._is_cut = True
