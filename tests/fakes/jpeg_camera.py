"""An HTTP camera that shows one picture: as motion JPEG, and as a picture to be fetched."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PAUSE_S = 0.05
"""Between two pictures of motion JPEG."""


@contextmanager
def jpeg_camera(picture: bytes) -> Iterator[str]:
    """The address of the motion JPEG; with ``still`` behind it, that of the picture."""
    is_over = threading.Event()

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(ConnectionError):
                if self.path == "/still":
                    self._send("image/jpeg", picture)
                else:
                    self._play()

        def _play(self) -> None:
            self._send("multipart/x-mixed-replace; boundary=b", b"")
            head = b"--b\r\nContent-Type: image/jpeg\r\n\r\n"
            while not is_over.wait(PAUSE_S):
                self.wfile.write(head + picture + b"\r\n")

        def _send(self, media_type: str, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", media_type)
            if body:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        is_over.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
