"""What is used of aiortc and aioice and is not public: one test each, which says what has moved."""

import asyncio
import inspect
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import aioice.ice
import pytest
from aioice import Connection, stun
from aiortc import RTCDtlsTransport

from onlooker.streams.source_config import WebRtcSection
from onlooker.streams.webrtc.candidates import PeerAddress, PeerPolicy
from onlooker.streams.webrtc.seams import MAX_QUEUED, DtlsLink, IcePath, RTCCertificate
from tests.fakes.waiting import limited, until


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (RTCDtlsTransport._handle_rtp_data, ["self", "data", "arrival_time_ms"]),
        (RTCDtlsTransport._handle_rtcp_data, ["self", "data"]),
        (RTCDtlsTransport._send_rtp, ["self", "data"]),
        (RTCDtlsTransport._set_role, ["self", "role"]),
        (RTCDtlsTransport.__init__, ["self", "transport", "certificates"]),
        (Connection.get_component_candidates, ["self", "component", "addresses", "timeout"]),
        (Connection.check_incoming, ["self", "message", "addr", "protocol"]),
        (Connection.data_received, ["self", "data", "component"]),
        (aioice.ice.StunProtocol.__init__, ["self", "receiver"]),
        (aioice.ice.StunProtocol.datagram_received, ["self", "data", "addr"]),
        (aioice.ice.server_reflexive_candidate, ["protocol", "stun_server"]),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_what_is_overridden_or_called_is_still_there(function: Any, names: list[str]) -> None:
    assert parameters(function) == names


def test_a_link_asks_no_more_of_its_carrier_than_it_is_given() -> None:
    source = inspect.getsource(RTCDtlsTransport)
    asked = set(re.findall(r"self\._?transport\.(\w+)", source))
    assert asked == {"role", "_recv", "_send"}


def test_a_path_has_the_lists_that_are_written_to() -> None:
    connection = Connection(ice_controlling=False)
    assert connection._protocols == []
    assert connection._queue.qsize() == 0


@asynccontextmanager
async def path(**settings: Any) -> AsyncIterator[tuple[IcePath, list[str], tuple[str, int]]]:
    """A path that listens on loopback, what it refused, and where."""
    section = WebRtcSection.model_validate(settings)
    refused: list[str] = []
    made = IcePath(
        section,
        listen=("127.0.0.1",),
        policy=PeerPolicy(section.refused_peers),
        admit=lambda data: data[0] >= 128,
        refuse=refused.append,
    )
    await made.gather_candidates()
    [own] = made.local_candidates
    try:
        yield made, refused, (own.host, own.port)
    finally:
        await made.close()


@pytest.mark.parametrize("data", [b"", b"\x80" * 40, b"\x16" * 40, b"\xff"])
async def test_media_of_a_stranger_is_not_even_queued(data: bytes) -> None:
    async with path() as (made, refused, address):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(data, address)
            await until(lambda: refused)
        assert refused == ["stranger"]
        assert made._queue.qsize() == 0


async def test_what_waits_to_be_decrypted_is_bounded() -> None:
    async with path() as (made, refused, _):
        for _ in range(MAX_QUEUED + 3):
            made.data_received(b"\x80", 1)
        made.data_received(b"\x10", 1)
        assert made._queue.qsize() == MAX_QUEUED
        assert refused == ["too_much"] * 4


async def test_addresses_are_tried_up_to_a_number_and_where_they_may_be() -> None:
    async with path(max_candidates=2) as (made, refused, _):
        hosts = ["169.254.169.254", "192.0.2.1", "192.0.2.2", "192.0.2.3"]
        tried = [await made.try_address(PeerAddress("1", 1, host, 9, "prflx")) for host in hosts]
        assert tried == [False, True, True, False]
        assert [one.host for one in made.remote_candidates] == ["192.0.2.1", "192.0.2.2"]
        assert refused == ["candidate"] * 2


async def test_two_ends_shake_hands_and_tell_when_it_is_over() -> None:
    async with path() as (one, _, _), path() as (other, _, _):
        taken: list[bytes] = []
        ends: list[str] = []

        async def take(data: bytes) -> None:
            taken.append(data)

        def link(where: IcePath, name: str, certificate: RTCCertificate) -> DtlsLink:
            return DtlsLink(
                where,
                certificate,
                on_rtp=take,
                on_rtcp=taken.append,
                on_end=lambda: ends.append(name),
                is_client=name == "one",
            )

        for here, there in ((one, other), (other, one)):
            here._admit = lambda data: True
            here.remote_username, here.remote_password = there.local_username, there.local_password
            host, port = there.local_candidates[0].host, there.local_candidates[0].port
            await here.try_address(PeerAddress("1", 1, host, port, "host"))
        one.ice_controlling = True
        own, their = RTCCertificate.generateCertificate(), RTCCertificate.generateCertificate()
        a, b = link(one, "one", own), link(other, "other", their)

        async def open_end(where: IcePath, end: DtlsLink, certificate: RTCCertificate) -> bool:
            await where.connect()
            return await end.open([(f.algorithm, f.value) for f in certificate.getFingerprints()])

        async with limited("the handshake"):
            assert all(await asyncio.gather(open_end(one, a, their), open_end(other, b, own)))
        await a.send(b"\x80\x60" + bytes(12))
        await a.send(b"\x81\xc9\x00\x07" + bytes(28))
        await until(lambda: len(taken) == 2)
        await a.stop()
        await until(lambda: "other" in ends)
        await b.stop()


class StunServer(asyncio.DatagramProtocol):
    """Says that whoever asks comes from 203.0.113.9."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        asked = stun.parse_message(data)
        told = stun.Message(
            message_method=asked.message_method,
            message_class=stun.Class.RESPONSE,
            transaction_id=asked.transaction_id,
        )
        told.attributes["XOR-MAPPED-ADDRESS"] = ("203.0.113.9", addr[1])
        self._transport.sendto(bytes(told), addr)


async def test_a_stun_server_says_how_we_look_from_outside() -> None:
    loop = asyncio.get_running_loop()
    server, _ = await loop.create_datagram_endpoint(StunServer, local_addr=("127.0.0.1", 0))
    port = server.get_extra_info("sockname")[1]
    section = WebRtcSection(stun_server=f"127.0.0.1:{port}")
    made = IcePath(
        section,
        listen=("127.0.0.1",),
        policy=PeerPolicy(()),
        admit=lambda data: True,
        refuse=lambda what: None,
    )
    async with limited("the STUN server's reply"):
        await made.gather_candidates()
    own, mapped = made.local_candidates
    assert (mapped.type, mapped.host, mapped.port) == ("srflx", "203.0.113.9", own.port)
    await made.close()
    server.close()
