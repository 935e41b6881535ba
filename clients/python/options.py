"""The options of a client: its limits, and when it dials again."""

import random
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from onlooker.core.backoff import Backoff
from onlooker.core.errors import InvalidRequest

DEFAULT_URL = "http://127.0.0.1:8000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnect:
    """When a lost connection is dialled again.

    Waits double from `first_s` to `max_s`, each spread by a fifth so that clients do not return in
    step; a server that names a time (``retry_after_s``) is obeyed. Refusals that waiting cannot
    cure (a wrong key, a bad request) end the stream at once. The count starts over with every
    connection that is established.
    """

    attempts: int | None = None
    """Failed attempts in a row before the stream is given up; None never gives up, 0 disables."""
    first_s: float = 0.5
    max_s: float = 15.0

    def wait_s(self, attempt: int, at_least_s: float, rng: random.Random) -> float:
        """Seconds before attempt number `attempt` (0, 1, 2 …)."""
        bare_s = Backoff(self.first_s, self.max_s).wait_s(attempt + 1)
        return max(at_least_s, bare_s * rng.uniform(0.8, 1.2))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """Limits of one client. Everything that could grow has one."""

    reconnect: Reconnect = Reconnect()
    connect_timeout_s: float = 10.0
    """Time for one attempt to connect, for what is read over HTTP, and for a reply about a
    watch."""
    change_timeout_s: float = 90.0
    """Time for a reply to an HTTP call that makes, changes or deletes something. To make a stream
    the server may wait for an engine that is being started again (a minute, by its setting
    ``engine.restarts.wait_s``), and a call that is given up goes on there all the same."""
    answer_timeout_s: float = 120.0
    """Time for a whole answer; then it is cancelled and `TimeoutError` raised."""
    max_pending_frames: int = 2
    """Live frames that may wait to be sent; beyond, the oldest gives way. On the virtual clock
    eight times as many may be unsent or unacknowledged; beyond, sending waits."""
    max_events: int = 256
    """Events by which a reader of `RemoteStream.events` may be behind; beyond, the oldest are lost
    and counted."""
    max_questions: int = 32
    """Answers that may be under way on one stream; further questions are refused."""
    heartbeat_s: float = 20.0
    """A connection that stays silent for two of these counts as lost."""
    ca_file: Path | None = None
    """PEM file with the authority that an ``https`` server's certificate must come from, such as
    the ``ca.pem`` of a self-signed one; None: those that this machine trusts."""

    def tls(self, base_url: str) -> ssl.SSLContext | None:
        """How a server is to show who it is; None for one without TLS.

        Raises:
            InvalidRequest: `ca_file` cannot be read, or is none.
        """
        if not base_url.startswith("https:"):
            return None
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise InvalidRequest(
                f"'{self.ca_file}' is no file with certificates: {error}", param="ca_file"
            ) from error


def http_base(url: str) -> str:
    """The server's address without a trailing slash; ``host:port`` alone means http.

    Raises:
        InvalidRequest: `url` is not the address of a server.
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidRequest(
            f"'{url}' is not the address of a server; expected something like {DEFAULT_URL}",
            param="base_url",
        )
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))


def websocket_base(base_url: str) -> str:
    """The WebSocket address of a server, from one that `http_base` returned."""
    return "ws" + base_url.removeprefix("http")


def is_loopback(url: str) -> bool:
    """Whether the address is this machine, so that no proxy belongs in between."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")
