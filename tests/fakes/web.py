"""A web server on loopback that says what a test tells it to, and remembers what it was asked."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Reply:
    """One reply."""

    body: bytes = b""
    media_type: str = "application/octet-stream"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    missing_bytes: int = 0
    """How many bytes more than it has the reply promises."""


Replies = Callable[[str, Mapping[str, str]], Reply]
"""From a path and the headers of a request (names in lower case) to the reply."""


@dataclass
class Web:
    """A running server."""

    url: str
    asked: list[tuple[str, dict[str, str]]]
    """The path and headers of every request, in order."""


@contextmanager
def web(replies: Replies) -> Iterator[Web]:
    """Serve until the block ends."""
    asked: list[tuple[str, dict[str, str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = {key.lower(): value for key, value in self.headers.items()}
            asked.append((self.path, headers))
            reply = replies(self.path, headers)
            body, status = reply.body, reply.status
            if status == 200 and "range" in headers:
                first, _, last = headers["range"].removeprefix("bytes=").partition("-")
                body, status = body[int(first) : int(last) + 1 if last else None], 206
            self.send_response(status)
            if reply.media_type:
                self.send_header("Content-Type", reply.media_type)
            self.send_header("Content-Length", str(len(body) + reply.missing_bytes))
            for key, value in reply.headers.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield Web(f"http://127.0.0.1:{server.server_port}", asked)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
