"""Real senders of every kind on this machine, seen through to what the model saw of them."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydantic import ValidationError

from onlooker.core.errors import Forbidden, InvalidRequest
from onlooker.core.metrics import Metrics
from onlooker.streams.source_config import SourcesSection
from onlooker.streams.sources.spec import SourceSpec
from tests.fakes.pictures import Written, encode_chunks, mux
from tests.fakes.pulling import COLOURS, NOTHING, pulled
from tests.fakes.rtmp_server import flv, rtmp_server
from tests.fakes.rtsp_camera import RtpVideo, h264_video, motion_jpeg_video, rtsp_camera
from tests.fakes.streams import running_hub

LOOPBACK_GROUP = "239.255.77.77"


@pytest.fixture(scope="module")
def h264() -> RtpVideo:
    return h264_video(encode_chunks("libx264", 40))


@pytest.fixture(scope="module")
def motion_jpeg() -> RtpVideo:
    return motion_jpeg_video(40)


@pytest.mark.parametrize("transport", [None, "tcp", "udp"])
@pytest.mark.parametrize("kind", ["h264", "motion_jpeg"])
async def test_rtsp_cameras_are_pulled_over_tcp_and_by_udp(
    kind: str, transport: Any, request: pytest.FixtureRequest
) -> None:
    with rtsp_camera(video=request.getfixturevalue(kind)) as camera:
        found = await pulled(SourceSpec(camera.url, transport=transport), read_timeout_s=1.0)
    assert found.seen == COLOURS
    said = "nothing came by UDP for 1 s" if transport == "udp" else "it stopped sending"
    assert said in found.reason
    assert found.state == "lost"


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_rtsp_cameras_with_a_login_get_a_digest_of_it(transport: Any, h264: RtpVideo) -> None:
    with rtsp_camera(video=h264, login=("me", "p@ss word")) as camera:
        url = camera.url.replace("rtsp://", "rtsp://me:p%40ss%20word@")
        found = await pulled(SourceSpec(url, transport=transport), read_timeout_s=1.0)
        assert found.seen == COLOURS
        wrong = await pulled(url.replace("ss", "zz"))
        none = await pulled(camera.url)
    assert (wrong.state, none.state) == ("failed", "failed")
    assert "refuses this user name or password (status 401)" in wrong.reason
    assert "wants a login (status 401)" in none.reason


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_a_camera_that_does_not_do_a_transport_says_to_choose_the_other(
    transport: Any, h264: RtpVideo
) -> None:
    with rtsp_camera(video=h264, refused=transport) as camera:
        found = await pulled(SourceSpec(camera.url, transport=transport))
    assert found.state == "failed"
    assert "choose the other `transport`" in found.reason


async def test_rtmp_is_pulled() -> None:
    with rtmp_server(flv(40)) as url:
        # The server may need a moment before it listens.
        found = await pulled(url, first_attempts=100, reconnect_min_s=0.1, reconnect_max_s=0.1)
    assert found.seen == COLOURS
    assert (found.state, found.reason) == ("lost", "the RTMP server ended the stream")


async def test_what_speaks_no_rtmp_fails_with_what_to_check() -> None:
    with rtsp_camera([b""], greeting=b"SSH-2.0-OpenSSH_9.6\r\n" + bytes(4000)) as camera:
        found = await pulled(camera.url.replace("rtsp", "rtmp"))
    assert found.state == "failed"
    assert "check the application and the name" in found.reason


def transport_stream() -> bytes:
    """The drawn frames as MPEG-TS."""
    written = Written()
    mux(written, "mpegts", "libx264", 40, {})
    return bytes(written.data)


def plain(_: int, data: bytes) -> bytes:
    return data


def in_rtp(number: int, data: bytes) -> bytes:
    return struct.pack(">BBHII", 0x80, 33, number & 0xFFFF, 0, 7) + data


@contextmanager
def sending(
    host: str, port: int, wrap: Callable[[int, bytes], bytes], data: bytes
) -> Iterator[None]:
    """Send `data` by UDP once somebody listens, as a live encoder would, and then fall silent."""
    stopped = threading.Event()

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, b"\x7f\x00\x00\x01")
            sender.connect((host, port))
            pieces = [data[at : at + 7 * 188] for at in range(0, len(data), 7 * 188)]
            number = 0
            while number < len(pieces) and not stopped.wait(0.002):
                try:
                    sender.send(wrap(number, pieces[number]))
                    sender.send(b"")  # refused where nobody listened to the datagram before
                    number += 1
                except ConnectionRefusedError:
                    number = 0

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join(5)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@pytest.mark.parametrize("wrap", [plain, in_rtp])
async def test_mpeg_ts_by_udp_is_waited_for(wrap: Callable[[int, bytes], bytes]) -> None:
    port = free_port()
    with sending("127.0.0.1", port, wrap, transport_stream()):
        found = await pulled(f"udp://127.0.0.1:{port}", listen_on=["127.0.0.1"], read_timeout_s=1.0)
    assert found.seen == COLOURS
    assert found.state == "lost"
    assert f"nothing came to 127.0.0.1 port {port} for 1 s" in found.reason


async def test_what_comes_by_udp_and_is_no_mpeg_ts_says_so() -> None:
    port = free_port()
    with sending("127.0.0.1", port, plain, b"hello" * 100_000):
        found = await pulled(f"udp://127.0.0.1:{port}", listen_on=["127.0.0.1"])
    assert found.state == "failed"
    assert "is not MPEG-TS" in found.reason


async def test_a_sender_that_may_not_be_pulled_from_is_not_heard() -> None:
    port, metrics = free_port(), Metrics()
    with sending("127.0.0.1", port, plain, transport_stream()):
        found = await pulled(
            f"udp://127.0.0.1:{port}", metrics=metrics,
            listen_on=["127.0.0.1"], allow_hosts=["192.0.2.0/24"],
            open_timeout_s=3.0,
        )  # fmt: skip
    assert (found.seen, found.state) == (NOTHING, "failed")
    assert "but from senders that are not allowed" in found.reason
    refused = metrics.registry.get_sample_value(
        "onlooker_source_packets_dropped_total", {"why": "refused"}
    )
    assert refused is not None
    assert refused > 0
    assert metrics.registry.get_sample_value("onlooker_sources_failed_total") == 1


async def test_where_nobody_sends_it_is_said_where_that_was_waited_for() -> None:
    port = free_port()
    found = await pulled(f"udp://127.0.0.1:{port}", listen_on=["127.0.0.0/8"], open_timeout_s=3.0)
    assert found.state == "failed"
    assert f"nothing came to 127.0.0.1 port {port} for 2.4 s: check that the sender" in found.reason


async def test_a_multicast_group_is_joined() -> None:
    group, port = "239.255.77.77", free_port()
    with sending(group, port, plain, transport_stream() * 100):
        found = await pulled(
            f"udp://@{group}:{port}?localaddr=127.0.0.1", listen_on=["239.255.0.0/16"], num_clips=3
        )
    assert found.state == "playing"
    assert found.seen != NOTHING


@pytest.mark.parametrize("scheme", ["http", "https", "rtsp", "rtsps", "rtmp", "rtmps"])
@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "10.0.0.1", "169.254.169.254", "[::ffff:127.0.0.1]"]
)
async def test_no_scheme_reaches_an_address_that_is_not_allowed(scheme: str, host: str) -> None:
    async with running_hub() as hub:
        stream = await hub.open_stream()
        with pytest.raises(Forbidden, match="may not be pulled from"):
            await hub.pull(stream, SourceSpec(f"{scheme}://{host}:9/door"))
        assert stream.status().last_source is None


@pytest.mark.parametrize("scheme", ["http", "rtsp", "rtmp"])
async def test_a_name_that_leads_inside_after_it_was_checked_reaches_nobody(
    scheme: str, monkeypatch: pytest.MonkeyPatch, h264: RtpVideo
) -> None:
    addresses = iter(["8.8.8.8"])

    def look_up(host: str, port: int, **_: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(addresses, "127.0.0.1"), port))]

    with rtsp_camera(video=h264) as camera:
        monkeypatch.setattr("socket.getaddrinfo", look_up)
        found = await pulled(f"{scheme}://cam.example.org:{camera.port}/door", allow_hosts=["*"])
        monkeypatch.undo()
    assert found.state == "failed"
    assert "may not be pulled from" in found.reason
    assert camera.num_connections == 0


@pytest.mark.parametrize(
    ("url", "settings"),
    [
        ("udp://127.0.0.1:5000", {}),
        ("udp://0.0.0.0:5000", {"listen_on": ["127.0.0.0/8"]}),
        ("udp://@:5000", {"listen_on": ["127.0.0.0/8"]}),
        ("udp://@239.1.2.3:5000", {"listen_on": ["0.0.0.0"]}),
        ("udp://127.0.0.1:53", {"listen_on": ["127.0.0.1"]}),
        ("udp://127.0.0.1:5000", {"listen_on": ["127.0.0.1"], "listen_max_port": 4999}),
        ("udp://127.0.0.1:5000", {"listen_on": ["127.0.0.1"], "schemes": ["http"]}),
    ],
)
async def test_nothing_listens_where_the_operator_does_not_say_so(
    url: str, settings: dict[str, Any]
) -> None:
    async with running_hub(sources=settings) as hub:
        stream = await hub.open_stream()
        with pytest.raises(Forbidden):
            await hub.pull(stream, SourceSpec(url))


@pytest.mark.parametrize("url", ["udp://door:5000", "udp://127.0.0.1", "udp://127.0.0.1:x"])
async def test_where_to_listen_is_an_address_with_a_port(url: str) -> None:
    async with running_hub(sources={"listen_on": ["0.0.0.0/0"]}) as hub:
        stream = await hub.open_stream()
        with pytest.raises(InvalidRequest):
            await hub.pull(stream, SourceSpec(url))


def test_a_scheme_that_cannot_be_pulled_is_no_setting() -> None:
    with pytest.raises(ValidationError, match="schemes"):
        SourcesSection.model_validate({"schemes": ["gopher"]})
