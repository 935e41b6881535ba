"""SRT: agreed on with what libsrt 1.5.1 really sends, in order over a lossy way, end to end."""

import struct
from collections.abc import Mapping
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.core.errors import Forbidden, InvalidRequest
from onlooker.streams.sources.spec import SourceBroken, SourceLost, SourceSpec
from onlooker.streams.sources.srt_packets import (
    CONCLUSION,
    HSRSP,
    INDUCTION,
    SEQUENCES,
    SrtControl,
    SrtHandshake,
    agreement,
    control_packet,
    loss_list,
    split_packet,
)
from onlooker.streams.sources.srt_receiver import LATENCY_S, TICK_S, SrtReceiver
from tests.fakes.pulling import COLOURS, NOTHING, pulled
from tests.fakes.srt_sender import srt_sender
from tests.fakes.streams import running_hub
from tests.unit.streams.sources.test_senders import free_port, transport_stream

INDUCED = bytes.fromhex(
    "80000000000000000000008f0000000000000004000000022d42c91d000005dc0000200000000001295b97aa"
    "000000000100007f000000000000000000000000"
)
"""What libsrt calls with."""

CONCLUDED = (
    "80000000000000000003d9050000000000000005000000012d42c91d000005dc00002000ffffffff295b97aa"
    "{cookie:08x}0100007f0000000000000000000000000001000300010501000000bf00780000"
)
"""What libsrt answers with the cookie that it got."""

CALLED = bytes.fromhex(
    "800000000000000000004e731c70609d0000000500004a17212c2647000005dc00002000000000011c70609d"
    "a38055c900000000000000000000000000000000"
)
"""What libsrt says to who calls."""

AGREED = bytes.fromhex(
    "8000000000000000000001d11c70609d0000000500000001212c2647000005dc00002000ffffffff25878b3d"
    "a38055c90100007f0000000000000000000000000002000300010501000000bf00fa00fa"
)
"""What libsrt says to who has shown its cookie."""

FIRST = 0x2D42C91D
"""The first sequence number of who calls above."""


def handshake_in(datagrams: list[bytes]) -> SrtHandshake:
    (datagram,) = datagrams
    packet = split_packet(datagram)
    assert isinstance(packet, SrtControl)
    assert packet.kind == 0
    return SrtHandshake.of(packet.content)


def listening() -> SrtReceiver:
    """A receiver that libsrt has called."""
    receiver = SrtReceiver(is_caller=False, now_s=0.0)
    cookie = handshake_in(receiver.handle(INDUCED, 0.0)).cookie
    receiver.handle(bytes.fromhex(CONCLUDED.format(cookie=cookie)), 0.0)
    return receiver


def test_who_calls_is_answered_as_libsrt_wants_it() -> None:
    receiver = SrtReceiver(is_caller=False, now_s=0.0)
    induced = handshake_in(receiver.handle(INDUCED, 0.0))
    assert (induced.version, induced.flags, induced.kind) == (5, 0x4A17, INDUCTION)
    assert not receiver.is_connected
    reply = receiver.handle(bytes.fromhex(CONCLUDED.format(cookie=induced.cookie)), 0.0)
    agreed = handshake_in(reply)
    assert (agreed.kind, agreed.sequence) == (CONCLUSION, FIRST)
    assert agreed.extensions == ((HSRSP, agreement(LATENCY_S)),)
    assert receiver.is_connected


def test_who_shows_another_cookie_is_not_answered() -> None:
    receiver = SrtReceiver(is_caller=False, now_s=0.0)
    cookie = handshake_in(receiver.handle(INDUCED, 0.0)).cookie
    assert receiver.handle(bytes.fromhex(CONCLUDED.format(cookie=cookie ^ 1)), 0.0) == []
    assert not receiver.is_connected


def test_libsrt_is_called_as_it_wants_it() -> None:
    receiver = SrtReceiver(is_caller=True, stream_name="hello", now_s=0.0)
    asked = handshake_in(receiver.tick(0.0))
    assert (asked.version, asked.flags, asked.kind) == (4, 2, INDUCTION)
    concluded = handshake_in(receiver.handle(CALLED, 0.1))
    assert (concluded.cookie, concluded.kind) == (0xA38055C9, CONCLUSION)
    assert concluded.extensions[1] == (5, b"lleh\0\0\0o")
    receiver.handle(AGREED, 0.2)
    assert receiver.is_connected


def test_a_call_is_repeated_until_it_is_answered() -> None:
    receiver = SrtReceiver(is_caller=True, now_s=0.0)
    times = [0.0, 0.01, 0.2, 0.3, 0.4, 0.6]
    assert [len(receiver.tick(time_s)) for time_s in times] == [1, 0, 0, 1, 0, 1]


@pytest.mark.parametrize(
    ("kind", "error", "said"),
    [
        (1010, SourceBroken, "has another passphrase"),
        (1011, SourceBroken, "encrypts: put its passphrase into the address"),
        (2404, SourceBroken, "no such stream"),
        (2403, SourceBroken, "forbids it"),
        (1003, SourceLost, "refuses the connection (code 1003)"),
    ],
)
def test_a_refusal_is_told(kind: int, error: type[Exception], said: str) -> None:
    receiver = SrtReceiver(is_caller=True, now_s=0.0)
    refusal = SrtHandshake(sequence=1, kind=kind, socket_id=1)
    with pytest.raises(error) as caught:
        receiver.handle(control_packet(0, to=1, time_s=0, content=refusal.content), 0.0)
    assert said in str(caught.value)


def data(index: int, *, first: int = FIRST) -> bytes:
    payload = struct.pack(">I", index)
    return struct.pack(">IIII", (first + index) % SEQUENCES, 3 << 30, 0, 1) + payload


def indices(payload: bytes) -> list[int]:
    return list(struct.unpack(f">{len(payload) // 4}I", payload))


@given(st.permutations(range(20)), st.lists(st.integers(0, 19)))
def test_packets_come_out_once_and_in_order(order: list[int], repeated: list[int]) -> None:
    receiver = listening()
    for index in [*order, *repeated]:
        receiver.handle(data(index), 0.0)
    assert indices(receiver.take()) == list(range(20))
    assert receiver.num_lost == 0


@given(st.sets(st.integers(1, 18)))
def test_what_is_lost_for_good_is_left_out_after_a_while(lost: set[int]) -> None:
    receiver = listening()
    there = [index for index in range(20) if index not in lost]
    for index in there:
        receiver.handle(data(index), 0.0)
    time_s = 0.0
    while time_s < LATENCY_S * (len(lost) + 2):
        receiver.tick(time_s)
        time_s += TICK_S
    assert indices(receiver.take()) == there
    assert receiver.num_lost == len(lost)


def test_what_is_lost_is_asked_for_again() -> None:
    receiver = listening()
    receiver.handle(data(0), 0.0)
    (asked,) = receiver.handle(data(4), 0.0)
    packet = split_packet(asked)
    assert isinstance(packet, SrtControl)
    assert (packet.kind, packet.content) == (3, loss_list([(FIRST + 1, FIRST + 3)]))
    kinds = [packet.kind for packet in map(split_packet, receiver.tick(0.05)) if packet]  # type: ignore[union-attr]
    assert kinds == [3, 2]  # what is missing, and up to where all is there


@given(st.lists(st.binary(max_size=200)))
def test_whatever_comes_is_taken_or_refused_and_never_a_crash(datagrams: list[bytes]) -> None:
    for receiver in (listening(), SrtReceiver(is_caller=True, now_s=0.0)):
        for datagram in datagrams:
            for prefix in (b"", b"\x80\x00", b"\x80\x07", b"\x80\x03"):
                with suppress(SourceBroken, SourceLost):
                    receiver.handle(prefix + datagram, 0.0)
        receiver.tick(1.0)


LOST = frozenset(range(2, 60, 5))


async def test_srt_is_waited_for() -> None:
    port = free_port()
    with srt_sender(transport_stream(), call=port, lost=LOST) as sender:
        found = await pulled(f"srt://127.0.0.1:{port}?mode=listener", listen_on=["127.0.0.1"])
    assert found.seen == COLOURS
    assert (found.state, found.reason) == ("lost", "the SRT sender ended the stream")
    assert sender.num_repeated > 0


async def test_srt_is_called() -> None:
    with srt_sender(transport_stream(), lost=LOST) as sender:
        found = await pulled(f"srt://127.0.0.1:{sender.port}?streamid=read:door/1")
    assert found.seen == COLOURS
    assert (found.state, found.reason) == ("lost", "the SRT sender ended the stream")
    assert sender.stream_name == "read:door/1"


PASSPHRASE = "knock knock+1"
IN_ADDRESS = "passphrase=knock%20knock+1"


async def test_srt_with_a_passphrase_is_waited_for() -> None:
    port = free_port()
    url = f"srt://127.0.0.1:{port}?mode=listener&{IN_ADDRESS}"
    with srt_sender(transport_stream(), call=port, lost=LOST, passphrase=PASSPHRASE):
        found = await pulled(url, listen_on=["127.0.0.1"])
    assert found.seen == COLOURS
    assert (found.state, found.reason) == ("lost", "the SRT sender ended the stream")


async def test_srt_with_a_passphrase_is_called() -> None:
    with srt_sender(transport_stream(), lost=LOST, passphrase=PASSPHRASE) as sender:
        found = await pulled(f"srt://127.0.0.1:{sender.port}?{IN_ADDRESS}&streamid=x&pbkeylen=32")
    assert found.seen == COLOURS
    assert (found.state, found.reason) == ("lost", "the SRT sender ended the stream")


DISAGREEING = [
    ("", PASSPHRASE, "put its passphrase into the address"),
    (IN_ADDRESS, "", "does not encrypt, but the address has a passphrase"),
    (IN_ADDRESS, "another one", "has another passphrase"),
]


@pytest.mark.parametrize("is_called", [True, False])
@pytest.mark.parametrize(("ours", "theirs", "said"), DISAGREEING)
async def test_who_does_not_agree_on_a_passphrase_is_told(
    ours: str, theirs: str, said: str, is_called: bool
) -> None:
    port = free_port()
    with srt_sender(
        transport_stream(), call=None if is_called else port, passphrase=theirs
    ) as sender:
        url = f"srt://127.0.0.1:{sender.port if is_called else port}?{ours}"
        url += "" if is_called else "&mode=listener"
        found = await pulled(url, listen_on=["127.0.0.1"])
    assert (found.seen, found.state) == (NOTHING, "failed")
    assert said in found.reason
    assert "knock" not in found.reason


async def test_an_srt_server_that_refuses_is_told() -> None:
    with srt_sender(b"", refusal=2404) as sender:
        found = await pulled(f"srt://127.0.0.1:{sender.port}?streamid=none")
    assert (found.seen, found.state) == (NOTHING, "failed")
    assert "has no such stream (code 2404): check the streamid" in found.reason


async def test_where_no_srt_listens_it_is_said() -> None:
    found = await pulled(f"srt://127.0.0.1:{free_port()}")
    assert found.state == "failed"
    assert "connection refused" in found.reason


@pytest.mark.parametrize(
    ("url", "settings", "error"),
    [
        ("srt://127.0.0.1:9000", {}, Forbidden),
        ("srt://10.0.0.1:9000?mode=caller", {}, Forbidden),
        ("srt://127.0.0.1:9000?mode=listener", {}, Forbidden),
        ("srt://:9000?mode=listener", {"listen_on": ["127.0.0.1"]}, Forbidden),
        ("srt://8.8.8.8", {}, InvalidRequest),
        ("srt://8.8.8.8:9000?passphrase=too-short", {}, InvalidRequest),
        (f"srt://8.8.8.8:9000?passphrase={80 * 'x'}", {}, InvalidRequest),
        ("srt://8.8.8.8:9000?passphrase=0123456789&pbkeylen=8", {}, InvalidRequest),
        ("srt://8.8.8.8:9000?mode=rendezvous", {}, InvalidRequest),
    ],
)
async def test_srt_stays_inside_the_policy_and_what_is_supported(
    url: str, settings: Mapping[str, object], error: type[Exception]
) -> None:
    async with running_hub(sources=settings) as hub:
        stream = await hub.open_stream()
        with pytest.raises(error):
            await hub.pull(stream, SourceSpec(url))
