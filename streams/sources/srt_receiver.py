"""The receiving end of one SRT connection: what comes in, what is answered, in order, with no I/O.

Payloads come out in order. A lost packet is asked for again until `LATENCY_S` has passed; then the
stream goes on without it, as live video must.
"""

import secrets
import struct
from collections import deque

from onlooker.streams.sources.spec import SourceBroken, SourceLost
from onlooker.streams.sources.srt_packets import (
    ACK,
    CONCLUSION,
    DROPREQ,
    HANDSHAKE,
    HSREQ,
    HSRSP,
    INDUCTION,
    KEEPALIVE,
    KMREQ,
    MAGIC,
    NAK,
    REJECTED,
    SEQUENCES,
    SHUTDOWN,
    STREAM_ID,
    SrtControl,
    SrtData,
    SrtHandshake,
    agreement,
    ahead,
    control_packet,
    loss_list,
    split_packet,
    stream_id_content,
)

LATENCY_S = 0.25
"""How long a lost packet may take to be sent again."""

TICK_S = 0.01
"""Between two acknowledgements, as SRT has it."""

_RETRY_S = 0.25
_KEEPALIVE_S = 1.0
_NAK_S = 0.03
_RTT_US = 20_000
"""Round-trip time that acknowledgements claim, which the sender measures by itself anyhow."""

MAX_PENDING = 8192
"""Packets that wait for one before them."""

_UNSECURE = 1011
_NO_ENCRYPTION = (
    "the SRT sender encrypts, which is not supported: send without a passphrase, over a network or "
    "tunnel that is safe"
)


class SrtReceiver:
    """One connection, as caller or as listener."""

    def __init__(self, *, is_caller: bool, stream_name: str = "", now_s: float) -> None:
        self._is_caller, self._stream_name = is_caller, stream_name
        self._begun_s = now_s
        self._socket_id = secrets.randbelow(1 << 30) + 1
        self._cookie = secrets.randbits(32)
        self._peer_id = 0
        self._first = secrets.randbelow(SEQUENCES)
        self._asked: SrtHandshake | None = None
        """The caller's last handshake, sent again until it is answered."""
        self.is_connected = False
        self.has_ended = False
        """Whether the sender said goodbye."""
        self.num_lost = 0
        """Packets that the stream went on without."""
        self._next = self._highest = 0
        self._pending: dict[int, bytes] = {}
        self._ready: deque[bytes] = deque()
        self._gap_since_s: float | None = None
        self._num_acks, self._acked = 0, -1
        self._sent_at_s = self._told_losses_at_s = self._tried_at_s = -1.0

    def take(self) -> bytes:
        """The payloads that are in order, joined."""
        payload = b"".join(self._ready)
        self._ready.clear()
        return payload

    def handle(self, data: bytes, now_s: float) -> list[bytes]:
        """Take in a datagram; returns what to send.

        Raises:
            SourceBroken, SourceLost: the peer refuses, or encrypts.
        """
        match split_packet(data):
            case SrtData() as packet if self.is_connected:
                return self._take_data(packet, now_s)
            case SrtControl(kind=k, content=content) if k == HANDSHAKE:
                try:
                    handshake = SrtHandshake.of(content)
                except ValueError:
                    return []
                return self._agree(handshake, now_s)
            case SrtControl(kind=k) if k == SHUTDOWN and self.is_connected:
                self.has_ended = True
            case SrtControl(kind=k, content=content) if k == DROPREQ and len(content) >= 8:
                self._give_up_until(struct.unpack_from(">I", content, 4)[0] % SEQUENCES)
        return []

    def tick(self, now_s: float) -> list[bytes]:
        """What to send by now; to be called every `TICK_S`."""
        if not self.is_connected:
            return self._call(now_s) if self._is_caller else []
        if self._gap_since_s is not None and now_s - self._gap_since_s >= LATENCY_S:
            self._skip_gap(now_s)
        sent: list[bytes] = []
        if self._pending and now_s - self._told_losses_at_s >= _NAK_S:
            sent.append(self._losses(now_s))
        if self._next != self._acked:
            sent.append(self._acknowledgement(now_s))
        elif now_s - self._sent_at_s >= _KEEPALIVE_S:
            sent.append(self._packet(KEEPALIVE, now_s))
        if sent:
            self._sent_at_s = now_s
        return sent

    def goodbye(self, now_s: float) -> bytes:
        """What ends the connection."""
        return self._packet(SHUTDOWN, now_s, content=bytes(4))

    # ---- agreeing

    def _call(self, now_s: float) -> list[bytes]:
        if 0 <= now_s - self._tried_at_s < _RETRY_S and self._tried_at_s >= 0:
            return []
        self._tried_at_s = now_s
        if self._asked is None:
            self._asked = SrtHandshake(
                version=4, flags=2, sequence=self._first, kind=INDUCTION, socket_id=self._socket_id
            )
        return [self._packet(HANDSHAKE, now_s, content=self._asked.content)]

    def _agree(self, handshake: SrtHandshake, now_s: float) -> list[bytes]:
        if self._is_caller:
            return self._answered(handshake, now_s)
        return self._called(handshake, now_s)

    def _answered(self, handshake: SrtHandshake, now_s: float) -> list[bytes]:
        if REJECTED <= handshake.kind < CONCLUSION - 1:
            raise _refusal(handshake.kind)
        if self.is_connected:
            return []
        if handshake.kind == INDUCTION:
            if handshake.version < 5 or handshake.flags != MAGIC:
                raise SourceBroken("it speaks a version of SRT before 1.3, which is not supported")
            extensions = [(HSREQ, agreement(LATENCY_S))]
            if self._stream_name:
                extensions.append((STREAM_ID, stream_id_content(self._stream_name)))
            self._asked = SrtHandshake(
                flags=1 | (4 if self._stream_name else 0),
                sequence=self._first,
                kind=CONCLUSION,
                socket_id=self._socket_id,
                cookie=handshake.cookie,
                extensions=tuple(extensions),
            )
            self._tried_at_s = -1.0
            return self._call(now_s)
        if handshake.kind == CONCLUSION:
            self._begin(handshake)
        return []

    def _called(self, handshake: SrtHandshake, now_s: float) -> list[bytes]:
        if handshake.kind == INDUCTION:
            reply = SrtHandshake(
                flags=MAGIC,
                sequence=handshake.sequence,
                kind=INDUCTION,
                socket_id=self._socket_id,
                cookie=self._cookie,
            )
        elif handshake.kind == CONCLUSION and handshake.cookie == self._cookie:
            kinds = [kind for kind, _ in handshake.extensions]
            if handshake.encryption or KMREQ in kinds:
                raise SourceBroken(_NO_ENCRYPTION)
            if not self.is_connected:
                self._begin(handshake)
            reply = SrtHandshake(
                flags=1,
                sequence=handshake.sequence,
                kind=CONCLUSION,
                socket_id=self._socket_id,
                extensions=((HSRSP, agreement(LATENCY_S)),),
            )
        else:
            return []
        to = handshake.socket_id
        time_s = now_s - self._begun_s
        return [control_packet(HANDSHAKE, to=to, time_s=time_s, content=reply.content)]

    def _begin(self, handshake: SrtHandshake) -> None:
        self._peer_id = handshake.socket_id
        self._next = handshake.sequence
        self._highest = (self._next - 1) % SEQUENCES
        self._acked = self._next
        self.is_connected = True

    # ---- the stream

    def _take_data(self, packet: SrtData, now_s: float) -> list[bytes]:
        if packet.is_encrypted:
            raise SourceBroken(_NO_ENCRYPTION)
        lead = ahead(packet.sequence, self._next)
        if lead < 0 or packet.sequence in self._pending:
            return []
        if lead > 2 * MAX_PENDING:
            return []  # no sender is so far ahead of what was acknowledged
        self._pending[packet.sequence] = packet.payload
        has_gap = ahead(packet.sequence, self._highest) > 1
        if ahead(packet.sequence, self._highest) > 0:
            self._highest = packet.sequence
        self._release(now_s)
        if len(self._pending) > MAX_PENDING:
            self._skip_gap(now_s)
        return [self._losses(now_s)] if has_gap and self._pending else []

    def _release(self, now_s: float) -> None:
        """Move on to the first packet that is missing."""
        has_moved = False
        while (payload := self._pending.pop(self._next, None)) is not None:
            self._ready.append(payload)
            self._next = (self._next + 1) % SEQUENCES
            has_moved = True
        if not self._pending:
            self._gap_since_s = None
        elif has_moved or self._gap_since_s is None:
            self._gap_since_s = now_s

    def _skip_gap(self, now_s: float) -> None:
        """Go on with the next packet that is there."""
        if self._pending:
            nearest = min(self._pending, key=lambda sequence: ahead(sequence, self._next))
            self.num_lost += ahead(nearest, self._next)
            self._next = nearest
            self._release(now_s)

    def _give_up_until(self, last: int) -> None:
        """The sender has packets up to `last` no more."""
        while self._pending and 0 <= ahead(last, self._next) <= MAX_PENDING:
            if (payload := self._pending.pop(self._next, None)) is not None:
                self._ready.append(payload)
            else:
                self.num_lost += 1
            self._next = (self._next + 1) % SEQUENCES

    def _losses(self, now_s: float) -> bytes:
        self._told_losses_at_s = now_s
        ranges: list[tuple[int, int]] = []
        first = self._next
        for there in sorted(self._pending, key=lambda sequence: ahead(sequence, self._next)):
            if there != first:
                ranges.append((first, (there - 1) % SEQUENCES))
            first = (there + 1) % SEQUENCES
        return self._packet(NAK, now_s, content=loss_list(ranges[:100]))

    def _acknowledgement(self, now_s: float) -> bytes:
        self._acked = self._next
        self._num_acks += 1
        content = struct.pack(
            ">IIIIIII", self._next, _RTT_US, _RTT_US // 2, MAX_PENDING, 1000, 10_000, 1_000_000
        )
        return self._packet(ACK, now_s, info=self._num_acks, content=content)

    def _packet(self, kind: int, now_s: float, *, info: int = 0, content: bytes = b"") -> bytes:
        time_s = max(0.0, now_s - self._begun_s)
        return control_packet(kind, to=self._peer_id, time_s=time_s, info=info, content=content)


def _refusal(kind: int) -> SourceBroken | SourceLost:
    """Why a listener refuses."""
    if kind in (1010, _UNSECURE):
        return SourceBroken(_NO_ENCRYPTION)
    if kind in (2401, 2403):
        return SourceBroken(f"the SRT server forbids it (code {kind}): check the streamid")
    if kind == 2404:
        return SourceBroken("the SRT server has no such stream (code 2404): check the streamid")
    return SourceLost(f"the SRT server refuses the connection (code {kind})")
