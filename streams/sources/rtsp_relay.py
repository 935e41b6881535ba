"""A relay on loopback between FFmpeg's RTSP client and a camera whose address was checked.

FFmpeg would resolve the name again and follow an RTSP redirect to anywhere. Through the relay it
knows no address but the relay's: the relay connects to the checked address, and ends the connection
at a redirect or at anything that is not RTSP.
"""

import contextlib
import re
import socket
import ssl
import threading

from onlooker.core.address import Target
from onlooker.core.clock import Clock
from onlooker.core.network import Lookups, TooSlow, WaitBudget
from onlooker.streams.config import SourcesSection
from onlooker.streams.sources.spec import SourceLost, SourceSlow

MAX_HEADER_BYTES = 64 << 10
"""The longest head of one RTSP message, in bytes; cameras need a few hundred."""

_STATUS = re.compile(rb"RTSP/\d\.\d (\d{3})")
_LENGTH = re.compile(rb"(?im)^content-length:\s*(\d{1,7})\s*$")


class ReplyFilter:
    """Follows the camera's half of a connection: RTSP messages and interleaved packets."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._to_skip = 0
        self.refusal: str | None = None
        """Why the connection must end; None while it may go on."""

    def passes(self, data: bytes) -> bool:
        """Whether `data`, the next bytes, may be passed on."""
        self._buffer += data
        while self._buffer and self.refusal is None:
            if self._to_skip:
                skipped = min(self._to_skip, len(self._buffer))
                del self._buffer[:skipped]
                self._to_skip -= skipped
            elif self._buffer[0] == ord("$"):
                if len(self._buffer) < 4:
                    break
                self._to_skip = 4 + int.from_bytes(self._buffer[2:4], "big")
            elif not self._take_message():
                break
        return self.refusal is None

    def _take_message(self) -> bool:
        """Judge the message that begins here; False while its header is incomplete."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEADER_BYTES:
                self.refusal = "the source does not speak RTSP"
            return False
        header = bytes(self._buffer[: end + 2])
        status = _STATUS.match(header)
        if status is not None and status[1].startswith(b"3"):
            self.refusal = "the source redirects elsewhere, which is not followed"
        elif status is None and b"RTSP/" not in header.partition(b"\r\n")[0]:
            self.refusal = "the source does not speak RTSP"
        elif status is None and header[:8].upper() == b"REDIRECT":
            self.refusal = "the source redirects elsewhere, which is not followed"
        length = _LENGTH.search(header)
        del self._buffer[: end + 4]
        self._to_skip = int(length[1]) if length is not None else 0
        return True


class RtspRelay:
    """Carries one connection: listens on loopback, connects to `target`, copies both ways."""

    def __init__(
        self,
        lookups: Lookups,
        target: Target,
        *,
        clock: Clock,
        budget: WaitBudget,
        settings: SourcesSection,
    ) -> None:
        self.refusal: str | None = None
        """Why the relay ended the connection, if it did."""
        self.slowness: str | None = None
        """How the camera was too slow, if it was."""
        self._clock, self._budget = clock, budget
        self._camera = _connect(lookups, target, budget)
        self._camera.settimeout(settings.read_timeout_s)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        self._listener.settimeout(settings.open_timeout_s)
        self._client: socket.socket | None = None
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._run, name="rtsp relay", daemon=True).start()

    def close(self) -> None:
        """End both connections. Idempotent."""
        for connection in (self._listener, self._camera, self._client):
            if connection is not None:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                connection.close()

    def _run(self) -> None:
        try:
            self._client, _ = self._listener.accept()
            self._listener.close()
            upward = threading.Thread(
                target=self._copy_up, args=(self._client,), name="rtsp relay up", daemon=True
            )
            upward.start()
            self._copy_down(self._client)
        except OSError:
            pass  # one side is gone; FFmpeg sees the end and says so
        finally:
            self.close()

    def _copy_up(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                self._camera.sendall(data)
        self.close()

    def _copy_down(self, client: socket.socket) -> None:
        replies = ReplyFilter()
        while True:
            begun_s = self._clock.now_s()
            data = self._camera.recv(65536)
            if not data:
                return
            try:
                self._budget.receive(len(data), self._clock.now_s() - begun_s)
            except TooSlow as error:
                self.slowness = str(error)
                return
            if not replies.passes(data):
                self.refusal = replies.refusal
                return
            client.sendall(data)


def _connect(lookups: Lookups, target: Target, budget: WaitBudget) -> socket.socket:
    """Connect to a checked address of `target`.

    Raises:
        Forbidden: none of its addresses may be connected to.
        SourceLost: it cannot be reached.
    """
    try:
        addresses = lookups.addresses(target.host, target.port)
        last_error: OSError | None = None
        for address in addresses:
            try:
                with budget.limiting(None) as left_s:
                    connection = socket.create_connection((address, target.port), left_s)
                break
            except OSError as error:
                last_error = error
        else:
            raise last_error or OSError("no address")
        return _secured(connection, target, budget) if target.scheme == "rtsps" else connection
    except TooSlow as error:
        raise SourceSlow(f"{target.host} is too slow: {error}") from error
    except TimeoutError as error:
        raise SourceSlow(f"{target.host} is too slow: its name was not found in time") from error
    except OSError as error:
        raise SourceLost(f"cannot reach {target.host}: {error}") from error


def _secured(connection: socket.socket, target: Target, budget: WaitBudget) -> socket.socket:
    try:
        context = ssl.create_default_context()
        with budget.limiting(None) as left_s:
            connection.settimeout(left_s)  # holds for the handshake as a whole
            return context.wrap_socket(connection, server_hostname=target.host)
    except BaseException:
        connection.close()
        raise
