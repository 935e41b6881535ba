"""FFmpeg as a camera: what it serves is pulled, and what it sends by WHIP is taken."""

import asyncio
import contextlib
import functools
import http.server
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from onlooker.clients.python.child import free_port
from tests.clients.test_clients import SET_UP
from tests.fakes.served import Served, serving
from tests.fakes.waiting import until

pytestmark = [pytest.mark.clients, pytest.mark.timeout(120)]

CAMERA = ("-re", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=10", "-t", "60", "-an")
H264 = (
    "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "10",
    "-profile:v", "baseline", "-pix_fmt", "yuv420p", "-b:v", "400k",
)  # fmt: skip
MJPEG = ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p")
SEEN_S = 45.0


@contextlib.asynccontextmanager
async def camera(*output: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """FFmpeg, sending a moving test picture to `output`."""
    found = list((SET_UP / "python").glob("lib/*/site-packages/imageio_ffmpeg/binaries/ffmpeg-*"))
    if not found:
        pytest.skip("the clients are not set up; run make test-clients")
    process = await asyncio.create_subprocess_exec(
        str(found[0]), "-hide_banner", "-loglevel", "error", *CAMERA, *output,
        stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


@contextlib.contextmanager
def folder_at_an_address(folder: Path) -> Iterator[str]:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *words: None  # type: ignore[attr-defined]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(
        streams__sources__allow_private=True,
        streams__sources__listen_on=("127.0.0.1",),
        streams__sources__first_attempts=20,
        decodes_in_processes=True,
    ) as running:
        yield running


async def seen(served: Served, process: asyncio.subprocess.Process) -> dict[str, Any]:
    """The stream, once a few pictures of it have come."""
    async with served.http() as client:
        for _ in range(round(SEEN_S / 0.2)):
            stream: dict[str, Any] = (await client.get("/v1/streams/cam")).json()
            if stream["totals"]["kept"] >= 4:
                return stream
            assert stream["source"]["state"] != "failed", stream["source"]
            await asyncio.sleep(0.2)
    assert process.stderr is not None
    process.kill()
    raise AssertionError(f"{stream['source']}; ffmpeg: {(await process.stderr.read()).decode()}")


async def pulled(served: Served, url: str, process: asyncio.subprocess.Process) -> dict[str, Any]:
    async with served.http() as client:
        reply = await client.post("/v1/streams", json={"id": "cam", "source": {"url": url}})
        assert reply.status_code == 201, reply.text
    return await seen(served, process)


async def test_hls_is_pulled(served: Served, tmp_path: Path) -> None:
    playlist = tmp_path / "cam.m3u8"
    hls = ("-f", "hls", "-hls_time", "1", "-hls_list_size", "4", str(playlist))
    async with camera(*H264, *hls) as process:
        await until(playlist.exists)
        with folder_at_an_address(tmp_path) as base:
            stream = await pulled(served, f"{base}/cam.m3u8", process)
    assert stream["source"]["kind"] == "pull"


async def test_motion_jpeg_by_http_is_pulled(served: Served) -> None:
    url = f"http://127.0.0.1:{free_port(0)}/cam"
    kind = ("-content_type", "multipart/x-mixed-replace;boundary=ffmpeg", "-f", "mpjpeg")
    async with camera(*MJPEG, *kind, "-listen", "1", url) as process:
        await pulled(served, url, process)


async def test_rtmp_is_pulled(served: Served) -> None:
    url = f"rtmp://127.0.0.1:{free_port(0)}/live/cam"
    async with camera(*H264, "-f", "flv", "-listen", "1", url) as process:
        await pulled(served, url, process)


async def test_srt_is_pulled(served: Served) -> None:
    url = f"srt://127.0.0.1:{free_port(0)}"
    async with camera(*H264, "-f", "mpegts", f"{url}?mode=listener") as process:
        await pulled(served, url, process)


async def test_srt_that_calls_is_waited_for(served: Served) -> None:
    url = f"srt://127.0.0.1:{free_port(0)}"
    async with served.http() as client:
        source = {"url": f"{url}?mode=listener"}
        reply = await client.post("/v1/streams", json={"id": "cam", "source": source})
        assert reply.status_code == 201, reply.text
    async with camera(*H264, "-f", "mpegts", f"{url}?mode=caller") as process:
        await seen(served, process)


async def test_mpeg_ts_by_udp_is_waited_for(served: Served) -> None:
    url = f"udp://127.0.0.1:{free_port(0)}"
    async with camera(*H264, "-f", "mpegts", f"{url}?pkt_size=1316") as process:
        await pulled(served, url, process)


async def test_what_is_sent_by_whip_is_taken(served: Served) -> None:
    pytest.importorskip("aiortc")
    async with camera(*H264, "-f", "whip", f"{served.api}/whip/cam") as process:
        async with served.http() as client:
            for _ in range(100):
                if (await client.get("/v1/streams/cam")).status_code == 200:
                    break
                await asyncio.sleep(0.1)
        stream = await seen(served, process)
    assert stream["source"]["kind"] == "push"
