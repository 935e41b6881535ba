"""Real files, a real HTTP server and a real RTSP conversation, all on this machine."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from onlooker.core.clock import SystemClock
from onlooker.streams.events import SourceChanged
from onlooker.streams.sources.spec import SourceSpec
from onlooker.streams.stream import StreamOptions
from tests.fakes.pictures import encode, encode_chunks, make_pixels, mux
from tests.fakes.rtsp_camera import RtspCamera
from tests.fakes.streams import ask, running_hub

COLOURS = "I have seen these colours: red, green, blue, red."


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn frames, 4 s at 10 fps, in all kinds of files."""
    folder = tmp_path_factory.mktemp("videos")
    mux(str(folder / "a.mp4"), "mp4", "libx264", 40, {})
    mux(str(folder / "a.webm"), "webm", "libvpx", 40, {})
    mux(str(folder / "a.ts"), "mpegts", "libx264", 40, {})
    mux(str(folder / "a.m3u8"), "hls", "libx264", 40, {"hls_time": "1", "hls_list_size": "0"})
    mux(
        str(folder / "f.m3u8"), "hls", "libx264", 40,
        {"hls_time": "1", "hls_list_size": "0", "hls_segment_type": "fmp4",
         "hls_flags": "single_file", "hls_segment_filename": str(folder / "f.mp4")},
    )  # fmt: skip
    playlist = (folder / "a.m3u8").read_text()
    (folder / "inside.m3u8").write_text(playlist.replace("a0.ts", "http://10.0.0.1:9/a0.ts"))
    (folder / "file.m3u8").write_text(playlist.replace("a0.ts", f"file://{folder}/a0.ts"))
    (folder / "text.mp4").write_text("this is no video\n" * 1000)
    (folder / "half.mp4").write_bytes((folder / "a.mp4").read_bytes()[:3000])
    return folder


class Handler(BaseHTTPRequestHandler):
    """Serves a folder, with ranges; ``/to/URL`` redirects, ``/status/N`` fails."""

    folder: Path

    def do_GET(self) -> None:
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
        elif self.path.startswith("/status/"):
            self.send_error(int(self.path.removeprefix("/status/")))
        elif self.path == "/camera.mjpg":
            self._send_motion_jpeg()
        else:
            self._send_file(self.folder / self.path.lstrip("/"))

    def _send_file(self, path: Path) -> None:
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        asked = self.headers.get("Range")
        first, _, last = (asked or "bytes=0-").removeprefix("bytes=").partition("-")
        part = data[int(first) : int(last) + 1 if last else None]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def _send_motion_jpeg(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for index in range(40):
            picture = encode(make_pixels("red" if index < 20 else "blue", width=64, height=64))
            self.wfile.write(
                b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: "
                + str(len(picture)).encode() + b"\r\n\r\n" + picture + b"\r\n"
            )  # fmt: skip

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def web(videos: Path) -> Iterator[str]:
    handler = type("FolderHandler", (Handler,), {"folder": videos})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(5)


async def pulled(url: str, videos: Path, **sources: Any) -> tuple[str, str]:
    """Pull on the virtual clock until it ends, fails or is lost; what was seen, and why."""
    allowed = {
        "allow_hosts": ["127.0.0.0/8"], "file_dirs": [str(videos)], "first_attempts": 1,
        "reconnect_min_s": 300.0, "reconnect_max_s": 300.0,
    }  # fmt: skip
    async with running_hub(
        clock=SystemClock(), sources={**allowed, **sources}, perception={"refresh_s": 1.0}
    ) as hub:
        stream = await hub.open_stream(options=StreamOptions(clock="virtual"))
        events = stream.subscribe(max_events=1000)
        await hub.pull(stream, SourceSpec(url))
        async for _, event in events:
            if isinstance(event, SourceChanged) and event.state in ("ended", "failed", "lost"):
                return await ask(stream, "Which colours?"), event.detail
    raise AssertionError("the source never ended")


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.ts"])
async def test_files_are_pulled_from_disk_and_over_http(name: str, videos: Path, web: str) -> None:
    for url in (f"{videos}/{name}", f"file://{videos}/{name}", f"{web}/{name}"):
        seen, why = await pulled(url, videos)
        assert seen == COLOURS, url
        assert why.endswith("it ended")


@pytest.mark.parametrize("name", ["a.m3u8", "f.m3u8"])
async def test_hls_is_pulled_with_its_segments(name: str, videos: Path, web: str) -> None:
    seen, why = await pulled(f"{web}/{name}", videos)
    assert seen == COLOURS
    assert why.endswith("it ended")


async def test_a_redirect_is_followed_where_it_may_go(videos: Path, web: str) -> None:
    seen, _ = await pulled(f"{web}/to//a.mp4", videos)
    assert seen == COLOURS


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/to/http://10.0.0.1:9/a.mp4", "'10.0.0.1' may not be pulled from"),
        ("/to/http://localhost:9/a.mp4", "cannot reach localhost"),
        ("/to/file:///etc/passwd", "not 'file'"),
        ("/inside.m3u8", "'10.0.0.1' may not be pulled from"),
        ("/file.m3u8", "not 'file'"),
        ("/none.mp4", "status 404"),
        ("/status/503", "status 503"),
        ("/text.mp4", "no video that this server can read"),
    ],
)
async def test_what_cannot_be_pulled_ends_with_the_reason(
    path: str, why: str, videos: Path, web: str
) -> None:
    seen, detail = await pulled(web + path, videos)
    assert why in detail
    if "10.0.0.1" in why or "file" in why:
        assert seen == "I have seen these colours: none."


async def test_redirects_in_a_circle_end(videos: Path, web: str) -> None:
    _, detail = await pulled(f"{web}/to/{web}/to/{web}/to/{web}/to/{web}/to/{web}/a.mp4", videos)
    assert "more than 3 redirects" in detail


@pytest.mark.parametrize("name", ["text.mp4", "half.mp4", "a.m3u8"])
async def test_files_that_are_no_video_say_so_without_naming_paths(name: str, videos: Path) -> None:
    _, detail = await pulled(f"{videos}/{name}", videos)
    assert "the file cannot be read" in detail or "no video" in detail
    assert str(videos) not in detail


async def test_a_motion_jpeg_camera_is_pulled(videos: Path, web: str) -> None:
    seen, _ = await pulled(f"{web}/camera.mjpg", videos)
    assert seen.startswith("I have seen these colours: red")


@pytest.fixture(scope="module")
def chunks() -> list[bytes]:
    return encode_chunks("libx264", 40)


async def test_an_rtsp_camera_is_pulled(videos: Path, chunks: list[bytes]) -> None:
    camera = RtspCamera(chunks)
    try:
        seen, detail = await pulled(camera.url, videos)
    finally:
        camera.close()
    assert seen == COLOURS
    assert detail.endswith("it stopped sending")  # a camera has no end: it was lost


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"redirect_to": "rtsp://10.0.0.1:554/inside"}, "redirects elsewhere"),
        ({"status": "404 Not Found"}, ""),
        ({"greeting": b"SSH-2.0-OpenSSH_9.6\r\n\r\n"}, "does not speak RTSP"),
    ],
)
async def test_an_rtsp_source_that_is_none_ends_with_the_reason(
    options: dict[str, Any], why: str, videos: Path, chunks: list[bytes]
) -> None:
    camera = RtspCamera(chunks, **options)
    try:
        seen, detail = await pulled(camera.url, videos)
    finally:
        camera.close()
    assert why in detail
    assert seen == "I have seen these colours: none."


async def test_an_rtsp_redirect_reaches_nobody(videos: Path, chunks: list[bytes]) -> None:
    inside = RtspCamera(chunks)
    outside = RtspCamera(chunks, redirect_to=inside.url)
    try:
        await pulled(outside.url, videos)
    finally:
        inside.close()
        outside.close()
    assert outside.num_connections == 1
    assert inside.num_connections == 0
