"""Whatever comes in: a clear error for who sent it, and no difference for anybody else."""

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from onlooker.core.ids import new_id
from onlooker.core.media import Codec
from onlooker.core.protocol.frame_header import HEADER_BYTES
from tests.fakes.served import (
    Served,
    data_url,
    errors_of,
    frame_message,
    jpeg,
    next_event,
    send,
    serving,
    user_item,
)

BLUE = (50, 80, 220)


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def served() -> AsyncIterator[Served]:
    """One server for all of these: it has to outlive every one of them."""
    async with serving() as running:
        yield running
        assert running.metric("onlooker_connections_total", outcome="internal_error") == 0


@pytest.fixture
def film() -> str:
    """The name of a stream that no other test has."""
    return new_id("film")


def png_bomb(side: int = 30_000) -> bytes:
    """A small valid file of a huge picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = zlib.compressobj(9)
    line = b"\0" * (side // 8 + 1)
    packed = b"".join(rows.compress(line * 100) for _ in range(side // 100)) + rows.flush()
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )


async def colour_seen(ws: ClientConnection) -> str:
    """What the model sees on this connection's stream."""
    await send(ws, "conversation.item.create", item=user_item("Which colour?"))
    await send(ws, "response.create")
    done = await next_event(ws, "response.done")
    assert done["response"]["status"] == "completed", done
    text: str = done["response"]["output"][0]["content"][0]["text"]
    return text


class Neighbour:
    """Another viewer's connection, which must notice nothing."""

    def __init__(self, ws: ClientConnection) -> None:
        self.ws = ws
        self._time_s = 0.0

    async def check(self) -> None:
        self._time_s += 10.0
        await self.ws.send(frame_message(jpeg(BLUE), at_s=self._time_s))
        assert await colour_seen(self.ws) == "The newest clip is mostly blue."


@pytest_asyncio.fixture(loop_scope="module")
async def neighbour(served: Served) -> AsyncIterator[Neighbour]:
    async with served.ws() as ws:
        yield Neighbour(ws)


BROKEN = {
    "empty jpeg head": b"\xff\xd8\xff",
    "half a jpeg": jpeg()[:300],
    "noise": bytes(range(256)) * 20,
    "a png named jpeg": png_bomb(100),
    "text": b"GET / HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("payload", BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_picture_is_dropped_with_its_reason(
    served: Served, neighbour: Neighbour, payload: bytes
) -> None:
    async with served.ws() as ws:
        await ws.send(frame_message(payload, sequence=7))
        ack = await next_event(ws, "input_video.ack")
        assert ack["dropped"] == [{"sequence": 7, "reason": "undecodable"}]
        await ws.send(frame_message(jpeg(BLUE), sequence=8, at_s=1))
        assert "blue" in await colour_seen(ws)
        await neighbour.check()


@pytest.mark.parametrize("codec", [Codec.H264, Codec.VP8, Codec.VP9, Codec.WEBM, Codec.FMP4])
async def test_broken_coded_video_is_dropped(
    served: Served, neighbour: Neighbour, codec: Codec
) -> None:
    async with served.ws() as ws:
        for index in range(5):
            await ws.send(frame_message(b"\0\1\2\3" * 500, sequence=index, codec=codec))
        dropped: list[Any] = []
        while len(dropped) < 5:
            dropped += (await next_event(ws, "input_video.ack"))["dropped"]
        assert {frame["reason"] for frame in dropped} <= {"undecodable", "no_keyframe"}
        await neighbour.check()


async def test_a_decompression_bomb_is_never_unpacked(
    served: Served, neighbour: Neighbour, film: str
) -> None:
    bomb = png_bomb()
    assert len(bomb) < 1 << 20
    async with served.ws() as ws, served.http() as http:
        await ws.send(frame_message(bomb, sequence=1, codec=Codec.PNG))
        ack = await next_event(ws, "input_video.ack")
        assert ack["dropped"] == [{"sequence": 1, "reason": "too_large"}]
        await http.post("/v1/streams", json={"id": film})
        reply = await http.post(
            f"/v1/streams/{film}/frames", content=bomb, headers={"content-type": "image/png"}
        )
        assert (reply.status_code, reply.json()["error"]["code"]) == (413, "too_large")
        picture = data_url(bomb, "image/png")
        await send(ws, "conversation.item.create", item=user_item("What?", picture))
        assert (await next_event(ws, "error"))["error"]["code"] == "too_large"
        await neighbour.check()


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (b"", "header"),
        (b"OL\x01\x01", "header"),
        (b"XX" + frame_message(b"x")[2:], "magic"),
        (b"OL\x09" + frame_message(b"x")[3:], "version"),
        (b"OL\x01\x63" + frame_message(b"x")[4:], "codec"),
        (b"OL\x01\x01\xf0" + frame_message(b"x")[5:], "flags"),
        (b"OL\x01\x01\x00\x00\x01" + frame_message(b"x")[7:], "reserved"),
        (frame_message(b"x")[:HEADER_BYTES], "payload"),
        (frame_message(b"x", slot=9), "slot"),
        (frame_message(b"x")[:12] + b"\xff" * 8 + b"x", "capture_us"),
    ],
)
async def test_a_binary_message_that_is_no_frame_is_told(
    served: Served, message: bytes, param: str
) -> None:
    async with served.ws() as ws:
        await ws.send(message)
        error = (await next_event(ws, "error"))["error"]
        assert error["param"] == param
        assert error["type"] in ("invalid_request_error", "not_found_error")
        assert await errors_of(ws) == []


@pytest.mark.parametrize(
    ("event", "code", "param"),
    [
        ("{", "invalid_json", None),
        ("[]", "invalid_json", None),
        ("null", "invalid_json", None),
        ('{"type": 3}', "invalid_request", "type"),
        ('{"type": "frame.append"}', "unknown_event", "type"),
        ('{"type": "ping", "volume": 11}', "invalid_request", "volume"),
        ('{"type": "ping", "event_id": "\\ud800"}', "invalid_json", None),
        ('{"type": "response.create", "response": {"at_s": NaN}}', "invalid_json", None),
        ('{"type": "response.create", "response": {"at_s": -1}}', "invalid_request",
         "response.at_s"),
        ('{"type": "response.create"}', "invalid_request", "response.input"),
        ('{"type": "session.update", "session": {"model": "gpt-9"}}', "not_found", "model"),
        ('{"type": "session.update", "session": {"output_modalities": ["audio"]}}',
         "invalid_request", "session.output_modalities"),
        ('{"type": "conversation.item.delete", "item_id": "x"}', "not_found", "item_id"),
        ('{"type": "input_video.frame.append", "frame": "?", "codec": "jpeg", "timestamp_ms": 0}',
         "invalid_request", "frame"),
        ('{"type": "input_video.frame.append", "frame": "", "codec": "gif", "timestamp_ms": 0}',
         "invalid_request", "codec"),
        ('{"type": "input_video.frame.append", "frame": "", "codec": "jpeg", "timestamp_ms": -1}',
         "invalid_request", "timestamp_ms"),
        ('{"type": "input_video.attach", "slot": 1, "stream": "../etc"}', "invalid_request",
         "stream"),
        ("[" * 1000, "invalid_json", None),
        ("[" * 100_000, "too_complex", None),
    ],
)  # fmt: skip
async def test_a_faulty_event_is_told_and_the_connection_stays(
    served: Served, event: str, code: str, param: str | None
) -> None:
    async with served.ws() as ws:
        await ws.send(event)
        error = (await next_event(ws, "error"))["error"]
        assert (error["code"], error["param"]) == (code, param)
        assert await errors_of(ws) == []


@pytest.mark.parametrize(
    ("picture", "code"),
    [
        ("https://example.org/cat.jpg", "invalid_request"),
        ("data:image/gif;base64,R0lGODlh", "unsupported_media"),
        ("data:image/png;base64,!!!!", "invalid_request"),
        (data_url(jpeg()[:200]), "unsupported_media"),
        ("data:image/jpeg;base64," + "A" * 6_000_000, "too_large"),
    ],
    ids=["address", "gif", "no base64", "half a jpeg", "too large"],
)
async def test_a_picture_that_is_none_is_told_when_it_comes(
    served: Served, picture: str, code: str
) -> None:
    async with served.ws() as ws:
        await send(
            ws, "conversation.item.create", item=user_item("What?", picture), event_id="mine"
        )
        error = (await next_event(ws, "error"))["error"]
        assert (error["code"], error["event_id"]) == (code, "mine")
        assert len(error["message"]) < 400


async def test_a_message_over_the_limit_ends_the_connection_with_1009(
    served: Served, neighbour: Neighbour
) -> None:
    limit = served.gateway.settings.server.max_message_bytes
    async with served.ws() as ws:
        with suppress(ConnectionClosed):
            await ws.send(b"x" * (limit + 1))
        with pytest.raises(ConnectionClosed):
            await next_event(ws, "nothing")
        assert ws.close_code == 1009
    await neighbour.check()


async def test_text_that_is_no_utf_8_ends_the_connection_with_1007(served: Served) -> None:
    async with served.ws() as ws:
        await ws.send(b"\xff\xfe", text=True)
        with pytest.raises(ConnectionClosed):
            await next_event(ws, "nothing")
        assert ws.close_code == 1007


async def test_ten_thousand_tiny_frames_hold_up_nobody(
    served: Served, neighbour: Neighbour
) -> None:
    async with served.ws() as ws:

        async def flood() -> None:
            for index in range(10_000):
                await ws.send(frame_message(b"x", sequence=index, at_s=index / 10_000))
                await asyncio.sleep(0)  # the server runs on this very loop

        flooding = asyncio.create_task(flood())
        for _ in range(5):
            await neighbour.check()
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
        stream = served.gateway.hub.streams()[-1].status()
        assert stream.waiting <= served.gateway.settings.streams.mailbox_frames
        ack = await next_event(ws, "input_video.ack")
        ws.transport.abort()
        reasons = {frame["reason"] for frame in ack["dropped"]}
        assert reasons <= {"undecodable", "rate_limit", "mailbox_full", "late"}


async def test_a_peer_that_sends_only_faults_is_closed_with_1008() -> None:
    async with serving(server__errors_per_s=1.0) as served, served.ws() as ws:
        for _ in range(100):
            await ws.send("nonsense")
        with pytest.raises(ConnectionClosed):
            await next_event(ws, "nothing")
        assert ws.close_code == 1008
        assert ws.close_reason == "too_many_errors"


# ---- over HTTP ----


@pytest.mark.parametrize(
    ("content_type", "body", "status", "code"),
    [
        ("image/jpeg", b"", 400, "invalid_request"),
        ("image/jpeg", b"nonsense", 415, "unsupported_media"),
        ("image/gif", b"GIF89a", 415, "unsupported_media"),
        ("application/json", b"{}", 415, "unsupported_media"),
        ("image/jpeg", b"x" * (5 << 20), 413, "too_large"),
    ],
)
async def test_a_bad_frame_over_http_is_told(
    served: Served, content_type: str, body: bytes, status: int, code: str, film: str
) -> None:
    async with served.http() as http:
        await http.post("/v1/streams", json={"id": film})
        reply = await http.post(
            f"/v1/streams/{film}/frames", content=body, headers={"content-type": content_type}
        )
        assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize("time", ["-1", "NaN", "inf", "yesterday", "1e300"])
async def test_a_capture_time_that_is_none_is_told(served: Served, time: str, film: str) -> None:
    async with served.http() as http:
        await http.post("/v1/streams", json={"id": film})
        headers = {"content-type": "image/jpeg", "x-capture-time-s": time}
        reply = await http.post(f"/v1/streams/{film}/frames", content=jpeg(), headers=headers)
        assert reply.status_code == 400
        assert "capture" in reply.text.lower()


async def test_a_body_without_a_length_is_counted_while_it_is_read(
    served: Served, film: str
) -> None:
    sent = 0

    async def long() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 24 << 20:
            sent += 1 << 16
            yield b"x" * (1 << 16)

    async with served.http() as http:
        await http.post("/v1/streams", json={"id": film})
        headers = {"content-type": "image/jpeg"}
        reply = await http.post(f"/v1/streams/{film}/frames", content=long(), headers=headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "too_large")
