"""The receiving end of one SRT connection: what comes in, what is answered, in order, with no I/O.

Payloads come out in order. A lost packet is asked for again until `LATENCY_S` has passed; then the
stream goes on without it, as live video must.
"""

import secrets
import struct
from collections import deque

from onlooker.streams.sources.spec import SourceBroken, SourceLost
from onlooker.streams.sources.srt_keys import SrtKeys, WrongPassphrase
from onlooker.streams.sources.srt_packets import (
    ACK,
    CONCLUSION,
    DROPREQ,
    EXTENSION,
    HANDSHAKE,
    HSREQ,
    HSRSP,
    INDUCTION,
    KEEPALIVE,
    KMREQ,
    KMRSP,
    MAGIC,
    NAK,
    REJECTED,
    SEQUENCES,
    SHUTDOWN,
    STREAM_ID,
    WITH_CONFIG,
    WITH_HS,
    WITH_KM,
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

_DISAGREEING, _UNSECURE = 1010, 1011
_DISAGREES = (
    "the SRT sender has another passphrase: give the same to both (passphrase=... in the address)"
)
_ENCRYPTS = (
    "the SRT sender encrypts: put its passphrase into the address, as in "
    "srt://host:9000?passphrase=..."
)
_DOES_NOT_ENCRYPT = (
    "the SRT sender does not encrypt, but the address has a passphrase: give the sender the same, "
    "or leave it out of the address"
)


class SrtReceiver:
    """One connection, as caller or as listener."""

    def __init__(
        self, *, is_caller: bool, stream_name: str = "", keys: SrtKeys | None = None, now_s: float
    ) -> None:
        """`keys`: under the passphrase that both have; None where there is none."""
        self._is_caller, self._stream_name, self._keys = is_caller, stream_name, keys
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
        self.refusal: SourceBroken | None = None
        """Why the peer cannot be heard, once it has been told so."""
        self.num_lost = 0
        """Packets that the stream went on without, or that could not be decrypted."""
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
            SourceBroken, SourceLost: the peer refuses, or does not agree on a passphrase.
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
            case SrtControl(kind=k, subtype=sub, content=content) if (k, sub) == (EXTENSION, KMREQ):
                return self._renew_keys(content, now_s)
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
            raise _refusal(handshake.kind, has_keys=self._keys is not None)
        if self.is_connected:
            return []
        if handshake.kind == INDUCTION:
            if handshake.version < 5 or handshake.flags != MAGIC:
                raise SourceBroken("it speaks a version of SRT before 1.3, which is not supported")
            extensions = [(HSREQ, agreement(LATENCY_S))]
            if self._stream_name:
                extensions.append((STREAM_ID, stream_id_content(self._stream_name)))
            if self._keys is not None:
                extensions.append((KMREQ, self._keys.offer()))
            self._asked = SrtHandshake(
                encryption=self._encryption,
                flags=WITH_HS
                | (WITH_CONFIG if self._stream_name else 0)
                | (WITH_KM if self._keys is not None else 0),
                sequence=self._first,
                kind=CONCLUSION,
                socket_id=self._socket_id,
                cookie=handshake.cookie,
                extensions=tuple(extensions),
            )
            self._tried_at_s = -1.0
            return self._call(now_s)
        if handshake.kind == CONCLUSION:
            self._check_keys_are_taken(handshake)
            self._begin(handshake)
        return []

    def _check_keys_are_taken(self, handshake: SrtHandshake) -> None:
        """Raise `SourceBroken` where a listener that accepts us does not take our key."""
        assert self._asked is not None, "it has answered"
        answer = dict(handshake.extensions).get(KMRSP, b"")
        if answer != dict(self._asked.extensions).get(KMREQ, b""):
            # Instead of the key message it may send a word that says why not.
            raise SourceBroken(_DISAGREES if answer else _DOES_NOT_ENCRYPT)

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
            reply = self._accepted(handshake)
        else:
            return []
        to = handshake.socket_id
        time_s = now_s - self._begun_s
        return [control_packet(HANDSHAKE, to=to, time_s=time_s, content=reply.content)]

    def _accepted(self, handshake: SrtHandshake) -> SrtHandshake:
        """The answer to a caller who has shown the cookie: we are connected, or why not."""
        message = dict(handshake.extensions).get(KMREQ)
        extensions = [(HSRSP, agreement(LATENCY_S))]
        code, why = 0, ""
        if message is None and self._keys is not None:
            code, why = _UNSECURE, _DOES_NOT_ENCRYPT
        elif message is not None and self._keys is None:
            code, why = _UNSECURE, _ENCRYPTS
        elif message is not None and self._keys is not None:
            extensions.append((KMRSP, message))
            try:
                self._keys.take(message)
            except WrongPassphrase:
                code, why = _DISAGREEING, _DISAGREES
            except ValueError as error:
                code, why = _DISAGREEING, f"the SRT sender encrypts in a way unknown here: {error}"
        if code:
            self.refusal = SourceBroken(why)
        elif not self.is_connected:
            self._begin(handshake)
        return SrtHandshake(
            encryption=0 if code else self._encryption,
            flags=0 if code else WITH_HS | (WITH_KM if message is not None else 0),
            sequence=handshake.sequence,
            kind=code or CONCLUSION,
            socket_id=self._socket_id,
            extensions=() if code else tuple(extensions),
        )

    @property
    def _encryption(self) -> int:
        """What handshakes say of the length of our keys."""
        return self._keys.num_key_bytes // 8 if self._keys is not None else 0

    def _renew_keys(self, message: bytes, now_s: float) -> list[bytes]:
        """The sender will go on with another key; returns our word that we have it."""
        if self._keys is None or not self.is_connected:
            return []
        try:
            self._keys.take(message)
        except (WrongPassphrase, ValueError):
            return []  # packets that are encrypted with it count as lost
        return [self._packet(EXTENSION, now_s, subtype=KMRSP, content=message)]

    def _begin(self, handshake: SrtHandshake) -> None:
        self._peer_id = handshake.socket_id
        self._next = handshake.sequence
        self._highest = (self._next - 1) % SEQUENCES
        self._acked = self._next
        self.is_connected = True

    # ---- the stream

    def _take_data(self, packet: SrtData, now_s: float) -> list[bytes]:
        if packet.key and self._keys is None:
            raise SourceBroken(_ENCRYPTS)
        lead = ahead(packet.sequence, self._next)
        if lead < 0 or packet.sequence in self._pending:
            return []
        if lead > 2 * MAX_PENDING:
            return []  # no sender is so far ahead of what was acknowledged
        self._pending[packet.sequence] = self._decrypted(packet)
        has_gap = ahead(packet.sequence, self._highest) > 1
        if ahead(packet.sequence, self._highest) > 0:
            self._highest = packet.sequence
        self._release(now_s)
        if len(self._pending) > MAX_PENDING:
            self._skip_gap(now_s)
        return [self._losses(now_s)] if has_gap and self._pending else []

    def _decrypted(self, packet: SrtData) -> bytes:
        """What the packet says; nothing where it cannot be decrypted, or was not encrypted and
        should be."""
        if self._keys is None:
            return packet.payload
        payload = self._keys.decrypted(packet.payload, key=packet.key, sequence=packet.sequence)
        self.num_lost += payload is None
        return payload or b""

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

    def _packet(
        self, kind: int, now_s: float, *, subtype: int = 0, info: int = 0, content: bytes = b""
    ) -> bytes:
        return control_packet(
            kind,
            to=self._peer_id,
            time_s=max(0.0, now_s - self._begun_s),
            subtype=subtype,
            info=info,
            content=content,
        )


def _refusal(kind: int, *, has_keys: bool) -> SourceBroken | SourceLost:
    """Why a listener refuses."""
    if kind == _DISAGREEING:
        return SourceBroken(_DISAGREES)
    if kind == _UNSECURE:
        return SourceBroken(_DOES_NOT_ENCRYPT if has_keys else _ENCRYPTS)
    if kind in (2401, 2403):
        return SourceBroken(f"the SRT server forbids it (code {kind}): check the streamid")
    if kind == 2404:
        return SourceBroken("the SRT server has no such stream (code 2404): check the streamid")
    return SourceLost(f"the SRT server refuses the connection (code {kind})")
