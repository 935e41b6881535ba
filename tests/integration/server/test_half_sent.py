"""Half of something and then nothing; too much of something and no end: the server lets go."""

import asyncio
import base64
import struct
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from tests.fakes.served import Served, errors_of, serving
from tests.fakes.waiting import limited, until


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as running:
        yield running


async def raw(served: Served) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = served.base.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


async def closed(reader: asyncio.StreamReader) -> bytes:
    """Everything until the server hangs up."""
    async with limited("the server to hang up"):
        told = bytearray()
        with suppress(ConnectionError):
            while piece := await reader.read(1 << 16):
                told += piece
        return bytes(told)


@pytest.mark.parametrize(
    "half", [b"", b"GET /v1/models HTTP/1.1\r\nHost: 127", b"GET / HTTP/1.1\r\nX: y\r\n"]
)
async def test_half_a_request_is_hung_up_on(half: bytes) -> None:
    async with serving(server__message_timeout_s=0.2) as served:
        reader, writer = await raw(served)
        writer.write(half)
        await closed(reader)
        writer.close()


async def test_a_body_that_never_comes_is_408() -> None:
    async with serving(server__body_timeout_s=0.2) as served:
        reader, writer = await raw(served)
        writer.write(
            b"POST /v1/streams HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\n\r\n{"
        )
        assert b"408" in (await closed(reader)).split(b"\r\n")[0]
        writer.close()


async def test_an_endless_request_head_is_hung_up_on(served: Served) -> None:
    reader, writer = await raw(served)
    writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    await send_until_refused(writer, b"X-Long: " + b"y" * 1000 + b"\r\n")
    await closed(reader)
    writer.close()


async def upgraded(served: Served) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await raw(served)
    writer.write(
        b"GET /v1/realtime HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: " + base64.b64encode(b"0" * 16) + b"\r\n\r\n"
    )
    assert b"101" in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


def masked(opcode: int, payload: bytes, *, fin: bool = True, length: int | None = None) -> bytes:
    """A client's WebSocket frame; `length` may claim more than is there."""
    size = len(payload) if length is None else length
    return bytes([fin << 7 | opcode, 0x80 | 127]) + struct.pack(">Q", size) + b"\0\0\0\0" + payload


@pytest.mark.parametrize(
    "half",
    [
        masked(2, b"OL", length=1000),  # half a frame
        masked(2, b"OL", fin=False),  # a message in pieces, the last of which never comes
        b"\x82",
    ],
    ids=["half a frame", "half a message", "one byte"],
)
async def test_half_a_message_is_closed_though_the_peer_is_alive(half: bytes) -> None:
    async with serving(server__message_timeout_s=0.3) as served, served.ws() as other:
        reader, writer = await upgraded(served)
        writer.write(half)
        assert struct.pack(">H", 1008) in await closed(reader)
        writer.close()
        await until(lambda: len(served.gateway.connections) == 1)
        assert await errors_of(other) == []


async def test_a_message_in_thousands_of_pieces_is_refused(served: Served) -> None:
    reader, writer = await upgraded(served)
    writer.write(masked(2, b"O", fin=False))
    for _ in range(5000):
        writer.write(masked(0, b"x", fin=False))
    assert struct.pack(">H", 1009) in await closed(reader)
    writer.close()


async def test_a_peer_that_does_not_answer_the_heartbeat_is_gone() -> None:
    async with serving(server__ping_interval_s=0.1, server__ping_timeout_s=0.1) as served:
        reader, writer = await upgraded(served)
        await closed(reader)
        writer.close()
        await until(lambda: not served.gateway.connections)
        await until(lambda: not served.gateway.hub.streams())


async def test_a_body_without_an_end_is_hung_up_on(served: Served) -> None:
    reader, writer = await raw(served)
    writer.write(
        b"POST /v1/streams HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    await send_until_refused(writer, b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
    await closed(reader)
    writer.close()


async def send_until_refused(writer: asyncio.StreamWriter, data: bytes) -> None:
    async with limited("the server to refuse more"):
        with suppress(ConnectionError):
            while not writer.transport.is_closing():
                writer.write(data)
                await writer.drain()
