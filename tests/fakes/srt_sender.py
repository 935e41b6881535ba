"""An SRT sender on loopback: calls or is called, sends what it has, and again what was lost."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from onlooker.streams.sources.srt_keys import EVEN, SrtKeys, WrongPassphrase
from onlooker.streams.sources.srt_packets import (
    ACK,
    ACKACK,
    CONCLUSION,
    HANDSHAKE,
    HSREQ,
    INDUCTION,
    KMREQ,
    KMRSP,
    MAGIC,
    NAK,
    SEQUENCES,
    SHUTDOWN,
    STREAM_ID,
    SrtControl,
    SrtHandshake,
    agreement,
    control_packet,
    split_packet,
)

PAYLOAD_BYTES = 7 * 188
FIRST = SEQUENCES - 3
"""The first sequence number: they wrap at once."""

_OURS, _COOKIE = 77, 4711


class SrtSender:
    """Sends `data`, says goodbye, and remembers who it was asked to be.

    `lost`: indices of packets that are lost on their first way. `refusal`: the code with which it
    refuses who calls. `passphrase`: it encrypts, as libsrt does.
    """

    def __init__(
        self, data: bytes, *, lost: set[int], refusal: int | None = None, passphrase: str = ""
    ) -> None:
        self._keys = SrtKeys(passphrase) if passphrase else None
        self._pieces = [data[at : at + PAYLOAD_BYTES] for at in range(0, len(data), PAYLOAD_BYTES)]
        self._lost, self._refusal = set(lost), refusal
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.05)
        self.port: int = self._socket.getsockname()[1]
        self._peer: tuple[str, int] | None = None
        self._peer_id = 0
        self._stopped = threading.Event()
        self.stream_name = ""
        self.num_repeated = 0

    def serve(self, *, call: int | None) -> None:
        """Run until stopped. `call`: the port that is called; None waits to be called."""
        handshake = SrtHandshake(
            version=4, flags=2, sequence=FIRST, kind=INDUCTION, socket_id=_OURS
        )
        next_index, acknowledged = 0, FIRST
        while not self._stopped.is_set():
            if call is not None and self._peer_id == 0:
                self._peer = ("127.0.0.1", call)
                self._send(HANDSHAKE, content=handshake.content)
            packet = self._received()
            if isinstance(packet, SrtControl) and packet.kind == HANDSHAKE:
                said = SrtHandshake.of(packet.content)
                handshake = self._answer(said, handshake, is_caller=call is not None)
            elif isinstance(packet, SrtControl) and packet.kind == NAK:
                self._repeat(packet.content)
            elif isinstance(packet, SrtControl) and packet.kind == ACK:
                acknowledged = struct.unpack_from(">I", packet.content)[0]
                self._send(ACKACK, info=packet.info)
            if self._peer_id and next_index < len(self._pieces):
                self._send_data(next_index, is_lost=next_index in self._lost)
                next_index += 1
            elif self._peer_id and acknowledged == (FIRST + len(self._pieces)) % SEQUENCES:
                self._send(SHUTDOWN, content=bytes(4))

    def stop(self) -> None:
        self._stopped.set()

    def close(self) -> None:
        self._socket.close()

    def _received(self) -> object:
        with suppress(OSError):
            self._socket.settimeout(0.001 if self._peer_id else 0.05)
            data, sender = self._socket.recvfrom(2000)
            self._peer = sender
            return split_packet(data)
        return None

    def _answer(self, said: SrtHandshake, last: SrtHandshake, *, is_caller: bool) -> SrtHandshake:
        if is_caller:
            if said.kind == INDUCTION and said.flags == MAGIC:
                extensions = [(HSREQ, agreement(0.12))]
                if self._keys is not None:
                    extensions.append((KMREQ, self._keys.offer()))
                return SrtHandshake(
                    flags=1, sequence=FIRST, kind=CONCLUSION, socket_id=_OURS,
                    cookie=said.cookie, extensions=tuple(extensions),
                )  # fmt: skip
            if said.kind == CONCLUSION:
                self._peer_id = said.socket_id
            return last
        if said.kind == INDUCTION:
            reply = SrtHandshake(
                flags=MAGIC, sequence=FIRST, kind=INDUCTION, socket_id=_OURS, cookie=_COOKIE
            )
        else:
            assert said.cookie == _COOKIE
            words = dict(said.extensions).get(STREAM_ID, b"")
            self.stream_name = b"".join(
                words[at : at + 4][::-1] for at in range(0, len(words), 4)
            ).decode().rstrip("\0")  # fmt: skip
            reply = SrtHandshake(
                flags=1, sequence=FIRST, kind=self._refused(said) or CONCLUSION, socket_id=_OURS,
                extensions=((2, agreement(0.12)), *self._taken_keys(said)),
            )  # fmt: skip
        self._send(HANDSHAKE, content=reply.content, to=said.socket_id)
        if reply.kind == CONCLUSION:
            self._peer_id = said.socket_id
        return last

    def _refused(self, said: SrtHandshake) -> int | None:
        message = dict(said.extensions).get(KMREQ)
        if self._keys is None or message is None:
            return self._refusal if self._keys is None and message is None else 1011
        try:
            self._keys.take(message)
        except WrongPassphrase:
            return 1010
        return self._refusal

    def _taken_keys(self, said: SrtHandshake) -> list[tuple[int, bytes]]:
        return [(KMRSP, content) for kind, content in said.extensions if kind == KMREQ]

    def _repeat(self, content: bytes) -> None:
        numbers = list(struct.unpack(f">{len(content) // 4}I", content))
        while numbers:
            first = numbers.pop(0)
            last = numbers.pop(0) if first >= SEQUENCES else first
            for sequence in range(first % SEQUENCES, last + 1):
                self._send_data((sequence - FIRST) % SEQUENCES, is_lost=False)
                self.num_repeated += 1

    def _send_data(self, index: int, *, is_lost: bool) -> None:
        if not is_lost and self._peer is not None and index < len(self._pieces):
            sequence, piece, key = (FIRST + index) % SEQUENCES, self._pieces[index], 0
            if self._keys is not None:  # in counter mode the same is done to encrypt
                encrypted = self._keys.decrypted(piece, key=EVEN, sequence=sequence)
                assert encrypted is not None
                piece, key = encrypted, EVEN
            head = struct.pack(">IIII", sequence, 3 << 30 | key << 27, 0, self._peer_id)
            self._socket.sendto(head + piece, self._peer)

    def _send(
        self, kind: int, *, info: int = 0, content: bytes = b"", to: int | None = None
    ) -> None:
        to = self._peer_id if to is None else to
        packet = control_packet(kind, to=to, time_s=0, info=info, content=content)
        if self._peer is not None:
            with suppress(OSError):  # nobody listens yet
                self._socket.sendto(packet, self._peer)


@contextmanager
def srt_sender(
    data: bytes, *, call: int | None = None, lost: frozenset[int] = frozenset(),
    refusal: int | None = None, passphrase: str = "",
) -> Iterator[SrtSender]:  # fmt: skip
    """A sender that runs; it calls the port `call`, or waits at its own."""
    sender = SrtSender(data, lost=set(lost), refusal=refusal, passphrase=passphrase)
    thread = threading.Thread(target=sender.serve, kwargs={"call": call}, daemon=True)
    thread.start()
    try:
        yield sender
    finally:
        sender.stop()
        thread.join(5)
        sender.close()
