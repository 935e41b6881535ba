"""Keys of SRT: those that libsrt 1.5.1 really sends, renewed ones, and rubbish."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.streams.sources.spec import SourceBroken
from onlooker.streams.sources.srt_keys import EVEN, ODD, SrtKeys, WrongPassphrase
from onlooker.streams.sources.srt_packets import (
    CONCLUSION,
    EXTENSION,
    HSREQ,
    INDUCTION,
    KMREQ,
    KMRSP,
    SrtControl,
    SrtData,
    SrtHandshake,
    agreement,
    control_packet,
    split_packet,
)
from onlooker.streams.sources.srt_receiver import SrtReceiver

PASSPHRASE = "pass phrase+1"

CONCLUDED = bytes.fromhex(
    "800000000000000000008769000000000000000500040003340c735a000005dc00002000ffffffff1945f929"
    "4f650af70100007f0000000000000000000000000001000300010501000000bf007800000003001212202901"
    "0000000002000200000004082ff8885bf1f78c2d73776b3bd52323b4caba9b6ee0a53baf75c7a9d3cf830d0d"
    "3e4a8a8dea8fd9ade54b44a4aa80f51f0ee5c9aee094dd26"
)
"""What libsrt calls with, that has this passphrase and a key of 32 bytes."""

SENT = [
    bytes.fromhex(
        "340c735ac80000010016ee561c0ff8b6582a5adf9c230b2d35689cee61e8379d2e7a71914800d48ecba0273c"
        "d735e8052b46b54b9a76f7bff3068d11dc0ab307492d3c66"
    ),
    bytes.fromhex(
        "340c735bc80000020016ee631c0ff8b63654710e8debb3e387265c22f16753b48f4c7fe9e7648359eee6d7e9"
        "961f568d0788890515d04e980ec81f7dd08175daf975d7ca"
    ),
]
"""The beginnings of the packets that it sends then."""

SAID = b"a picture of a door, seen at night. " * 200
PAYLOAD_BYTES = 1456


def message_of_libsrt() -> bytes:
    packet = split_packet(CONCLUDED)
    assert isinstance(packet, SrtControl)
    return dict(SrtHandshake.of(packet.content).extensions)[KMREQ]


def test_what_libsrt_encrypts_is_decrypted() -> None:
    keys = SrtKeys(PASSPHRASE)
    keys.take(message_of_libsrt())
    assert keys.num_key_bytes == 32
    for index, datagram in enumerate(SENT):
        packet = split_packet(datagram)
        assert isinstance(packet, SrtData)
        said = keys.decrypted(packet.payload, key=packet.key, sequence=packet.sequence)
        assert said == SAID[PAYLOAD_BYTES * index :][: len(packet.payload)]


def test_another_passphrase_opens_nothing() -> None:
    keys = SrtKeys("pass phrase+2")
    with pytest.raises(WrongPassphrase):
        keys.take(message_of_libsrt())
    assert keys.decrypted(b"abc", key=EVEN, sequence=1) is None


@pytest.mark.parametrize("num_key_bytes", [16, 24, 32])
def test_a_key_of_ours_is_the_same_to_who_knows_the_passphrase(num_key_bytes: int) -> None:
    ours, theirs = SrtKeys(PASSPHRASE, num_key_bytes=num_key_bytes), SrtKeys(PASSPHRASE)
    theirs.take(ours.offer())
    encrypted = theirs.decrypted(b"hello", key=EVEN, sequence=2**31 - 1)
    assert encrypted is not None
    assert encrypted != b"hello"
    assert ours.decrypted(encrypted, key=EVEN, sequence=2**31 - 1) == b"hello"


@given(st.binary(max_size=80), st.integers(0, 200))
def test_a_message_that_is_cut_or_spoilt_is_refused(rubbish: bytes, at: int) -> None:
    message = message_of_libsrt()
    keys = SrtKeys(PASSPHRASE)
    for spoilt in (rubbish, message[:at], message[:at] + rubbish):
        if spoilt != message:
            with pytest.raises((WrongPassphrase, ValueError)):
                keys.take(spoilt)


def encrypting(keys: SrtKeys, text: bytes, *, key: int, sequence: int) -> bytes:
    said = keys.decrypted(text, key=key, sequence=sequence)  # in counter mode the same
    assert said is not None
    return struct.pack(">IIII", sequence, 3 << 30 | key << 27, 0, 1) + said


def called_by(keys: SrtKeys) -> SrtReceiver:
    """A receiver that a sender with these keys has called; their first packet is number 5."""
    receiver = SrtReceiver(is_caller=False, keys=SrtKeys(PASSPHRASE), now_s=0.0)
    induced = SrtHandshake(version=4, flags=2, sequence=5, kind=INDUCTION, socket_id=9)
    (reply,) = receiver.handle(control_packet(0, to=0, time_s=0, content=induced.content), 0.0)
    packet = split_packet(reply)
    assert isinstance(packet, SrtControl)
    asked = SrtHandshake(
        flags=3,
        sequence=5,
        kind=CONCLUSION,
        socket_id=9,
        cookie=SrtHandshake.of(packet.content).cookie,
        extensions=((HSREQ, agreement(0.1)), (KMREQ, keys.offer())),
    )
    receiver.handle(control_packet(0, to=0, time_s=0, content=asked.content), 0.0)
    assert receiver.is_connected
    return receiver


def test_a_sender_may_go_on_with_another_key() -> None:
    keys = SrtKeys(PASSPHRASE)
    receiver = called_by(keys)
    receiver.handle(encrypting(keys, b"one ", key=EVEN, sequence=5), 0.0)
    message = bytearray(SrtKeys(PASSPHRASE).offer())
    message[3] = ODD  # the same form, for the other key
    keys.take(bytes(message))
    renewal = control_packet(EXTENSION, to=1, time_s=0, subtype=KMREQ, content=bytes(message))
    (reply,) = receiver.handle(renewal, 0.0)
    taken = split_packet(reply)
    assert isinstance(taken, SrtControl)
    assert (taken.kind, taken.subtype, taken.content) == (EXTENSION, KMRSP, bytes(message))
    receiver.handle(encrypting(keys, b"two", key=ODD, sequence=6), 0.0)
    assert receiver.take() == b"one two"
    assert receiver.num_lost == 0


def test_what_is_not_encrypted_or_with_an_unknown_key_counts_as_lost() -> None:
    keys = SrtKeys(PASSPHRASE)
    receiver = called_by(keys)
    receiver.handle(struct.pack(">IIII", 5, 3 << 30, 0, 1) + b"slipped in", 0.0)
    receiver.handle(struct.pack(">IIII", 6, 3 << 30 | ODD << 27, 0, 1) + b"what?", 0.0)
    receiver.handle(encrypting(keys, b"yes", key=EVEN, sequence=7), 0.0)
    assert receiver.take() == b"yes"
    assert receiver.num_lost == 2


def test_a_renewal_under_another_passphrase_is_not_taken() -> None:
    receiver = called_by(SrtKeys(PASSPHRASE))
    renewal = control_packet(
        EXTENSION, to=1, time_s=0, subtype=KMREQ, content=SrtKeys("another one").offer()
    )
    assert receiver.handle(renewal, 0.0) == []


def test_a_listener_that_takes_no_key_is_not_heard() -> None:
    receiver = SrtReceiver(is_caller=True, keys=SrtKeys(PASSPHRASE), now_s=0.0)
    receiver.tick(0.0)
    for reply, said in (
        (SrtHandshake(flags=0x4A17, sequence=1, kind=INDUCTION, socket_id=9), ""),
        (SrtHandshake(flags=1, sequence=1, kind=CONCLUSION, socket_id=9), "does not encrypt"),
        (
            SrtHandshake(
                flags=3,
                sequence=1,
                kind=CONCLUSION,
                socket_id=9,
                extensions=((KMRSP, b"\0\0\0\4"),),
            ),
            "has another passphrase",
        ),
    ):
        datagram = control_packet(0, to=1, time_s=0, content=reply.content)
        if not said:
            receiver.handle(datagram, 0.0)
            continue
        with pytest.raises(SourceBroken, match=said):
            receiver.handle(datagram, 0.0)
        assert not receiver.is_connected
