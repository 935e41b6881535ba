"""What is said of sources that cannot be played: real servers, real bytes, and what to do about it.

Each failure is told as what it is; none is told as another.
"""

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.fakes.dripping import dripping
from tests.fakes.pictures import encode, make_pixels, mux
from tests.fakes.pulling import pulled
from tests.fakes.web import Reply, web


def film(form: str = "mp4", **options: str) -> bytes:
    target = io.BytesIO()
    mux(target, form, "libx264", 40, options)
    return target.getvalue()


def sound() -> bytes:
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream: Any = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 8000), dtype=np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 8000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return target.getvalue()


JPEG = encode(make_pixels("red", width=64, height=64))
LATE_INDEX = film()
EARLY_INDEX = film(movflags="frag_keyframe+empty_moov")

FAILURES: dict[str, tuple[Reply, str]] = {
    "not there": (Reply(status=404), "has nothing at this address (status 404): check the path"),
    "gone": (Reply(status=410), "has nothing at this address (status 410)"),
    "forbidden": (Reply(status=403), "forbids it (status 403)"),
    "a login": (Reply(status=401), "wants a login (status 401): put user name and password"),
    "its fault": (Reply(status=503), "failed (status 503): look at its own log"),
    "sound": (Reply(sound()), "there is no video in it, only sound"),
    "a page": (Reply(b"<html>camera</html>" * 99, "text/html; charset=utf-8"), "text (text/html)"),
    "noise": (Reply(bytes(range(256)) * 99), "it is something else, is cut off at its start"),
    "nothing": (Reply(), "it is empty: not one byte came"),
    "no index": (Reply(LATE_INDEX[:3000]), "an MP4 without its index, which was cut off"),
    "a picture": (Reply(JPEG, "image/jpeg"), 'a single picture (JPEG), not video: say how often'),
    "a picture, untold": (Reply(JPEG), "a single picture (JPEG), not video"),
    "cut by the network": (
        Reply(EARLY_INDEX[:2000], missing_bytes=len(EARLY_INDEX) - 2000), "the connection broke",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", FAILURES)
async def test_a_source_over_http_that_fails_says_what_it_is(what: str) -> None:
    reply, said = FAILURES[what]
    with web(lambda path, headers: reply) as server:
        found = await pulled(f"{server.url}/camera")
    assert found.state == "failed"
    assert said in found.reason


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"this is no video\n" * 999, "no video that this server can read"),
        (LATE_INDEX[:3000], "an MP4 without its index"),
        (sound(), "there is no video in it"),
        (JPEG, "it is a single picture (JPEG), not video: push it"),
    ],
)
async def test_a_file_that_is_none_says_what_it_is(
    content: bytes, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(content)
    found = await pulled(str(path), file_dirs=[str(tmp_path)])
    assert found.state == "failed"
    assert said in found.reason
    assert str(tmp_path) not in found.reason


@pytest.mark.parametrize("scheme", ["http", "rtsp", "rtmp"])
async def test_where_nothing_listens_it_is_said(scheme: str) -> None:
    found = await pulled(f"{scheme}://127.0.0.1:9/door")
    assert found.state == "failed"
    assert "nothing listens at port 9 (connection refused)" in found.reason


async def test_a_name_that_nobody_knows_is_said() -> None:
    found = await pulled("http://no-such-camera.invalid/", allow_hosts=["*"])
    assert found.state == "failed"
    assert "cannot reach no-such-camera.invalid: this name is not known" in found.reason


@pytest.mark.parametrize("scheme", ["https", "rtsps", "rtmps"])
async def test_a_port_that_speaks_no_tls_is_said(scheme: str) -> None:
    with web(lambda path, headers: Reply()) as server:
        found = await pulled(server.url.replace("http", scheme))
    assert found.state == "failed"
    assert "the TLS handshake failed" in found.reason
    assert "use the scheme without the s" in found.reason


async def test_a_source_that_drips_is_told_as_slow() -> None:
    with dripping(b"HTTP/1.1 200 OK\r\nX-A: ", b"x") as port:
        found = await pulled(f"http://127.0.0.1:{port}/", open_timeout_s=0.5)
    assert found.state == "failed"
    assert "too slow" in found.reason or "did not open within" in found.reason
