"""HTTP(S) for FFmpeg, fetched here rather than by FFmpeg, so that every connection is checked.

`HttpFetcher` opens URLs (redirects followed one by one, each host checked when it is connected to);
`HttpFile` is what FFmpeg reads from: sequential, or seekable where the server takes ranges.
"""

import base64
from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

import httpcore

from onlooker.core.address import AddressPolicy, Target
from onlooker.core.clock import Clock
from onlooker.core.errors import Forbidden
from onlooker.core.network import GuardedBackend, Lookups, TooSlow, WaitBudget
from onlooker.streams.config import SourcesSection
from onlooker.streams.sources.spec import SourceBroken, SourceLost, SourceSlow

_REDIRECTS = (301, 302, 303, 307, 308)

Headers = list[tuple[str, str]]


class HttpFetcher:
    """One source's HTTP client; keeps connections between segments. Used by one thread."""

    def __init__(
        self,
        policy: AddressPolicy,
        lookups: Lookups,
        settings: SourcesSection,
        clock: Clock,
        budget: WaitBudget,
    ) -> None:
        self._policy = policy
        self._settings = settings
        self._budget = budget
        self._pool = httpcore.ConnectionPool(
            max_connections=4, network_backend=GuardedBackend(lookups, budget, clock)
        )
        self._timeout = {
            "connect": settings.open_timeout_s,
            "read": settings.read_timeout_s,
            "write": settings.open_timeout_s,
            "pool": settings.open_timeout_s,
        }
        self._authorization: dict[str, str] = {}
        """The ``Authorization`` header by host and port: a password goes nowhere else."""

    def open(self, url: str, *, first_byte: int = 0, last_byte: int | None = None) -> "HttpFile":
        """Open `url`, from `first_byte` on.

        Raises:
            Forbidden, InvalidRequest: from the policy, for this URL or one it redirects to.
            SourceBroken: the server says that there is no such thing.
            SourceLost: it cannot be reached, or fails.
        """
        return HttpFile(self, url, first_byte=first_byte, last_byte=last_byte)

    def get(self, url: str, *, first_byte: int, last_byte: int | None) -> "Body":
        """Send one GET and follow redirects, all of it within the time to open a source."""
        is_whole = self._budget.begin(self._settings.open_timeout_s)
        try:
            return self._got(url, first_byte, last_byte)
        finally:
            if is_whole:
                self._budget.end()

    def _got(self, url: str, first_byte: int, last_byte: int | None) -> "Body":
        for _ in range(self._settings.max_redirects + 1):
            target = self._policy.parse(url)
            response = self._send(target, first_byte, last_byte)
            location = _header(response, b"location")
            if response.status in _REDIRECTS and location:
                response.close()
                url = _joined(target.url, location)
                continue
            if response.status in (200, 206):
                return Body(response, target.url)
            response.close()
            if response.status in (408, 425, 429) or response.status >= 500:
                raise SourceLost(f"the server answered with status {response.status}")
            raise SourceBroken(f"the server answered with status {response.status}")
        raise SourceBroken(f"more than {self._settings.max_redirects} redirects")

    def close(self) -> None:
        """Close all connections; reads under way fail."""
        self._pool.close()

    def _send(self, target: Target, first_byte: int, last_byte: int | None) -> httpcore.Response:
        headers: Headers = [("User-Agent", "onlooker"), ("Accept", "*/*")]
        default = {"http": 80, "https": 443}.get(target.scheme)
        host = target.netloc.rpartition(":")[0] if target.port == default else target.netloc
        headers.insert(0, ("Host", host))
        if target.username is not None:
            pair = f"{target.username}:{target.password or ''}".encode()
            self._authorization[target.netloc] = "Basic " + base64.b64encode(pair).decode()
        if target.netloc in self._authorization:
            headers.append(("Authorization", self._authorization[target.netloc]))
        if first_byte or last_byte is not None:
            headers.append(
                ("Range", f"bytes={first_byte}-{'' if last_byte is None else last_byte}")
            )
        request = httpcore.Request(
            "GET", target.url, headers=headers, extensions={"timeout": self._timeout}
        )
        try:
            return self._pool.handle_request(request)
        except Forbidden:
            raise
        except TooSlow as error:
            raise SourceSlow(f"{target.host} is too slow: {error}") from error
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            why = str(error) or type(error).__name__
            raise SourceLost(f"cannot reach {target.host}: {why}") from error


class Body:
    """A response's body, read as it comes."""

    def __init__(self, response: httpcore.Response, url: str) -> None:
        self._response = response
        self._chunks: Iterator[bytes] = response.iter_stream()
        self._rest = b""
        self.url = url
        """The address at which the body was found, after redirects."""
        self.status = response.status
        self.media_type = (_header(response, b"content-type") or "").partition(";")[0].strip()
        length = _header(response, b"content-length")
        self.num_bytes = int(length) if length and length.isdigit() else None

    def read(self, num_bytes: int) -> bytes:
        """Up to `num_bytes` bytes; empty at the end."""
        while not self._rest:
            try:
                chunk = next(self._chunks, None)
            except TooSlow as error:
                raise SourceSlow(f"the server is too slow: {error}") from error
            except (
                httpcore.NetworkError,
                httpcore.TimeoutException,
                httpcore.ProtocolError,
            ) as error:
                raise SourceLost(f"the connection broke: {error or 'timeout'}") from error
            if chunk is None:
                return b""
            self._rest = chunk
        piece, self._rest = self._rest[:num_bytes], self._rest[num_bytes:]
        return piece

    def close(self) -> None:
        self._response.close()


class HttpFile:
    """A file object over HTTP. `error` keeps what went wrong, since FFmpeg only says that it
    did."""

    def __init__(
        self, fetcher: HttpFetcher, url: str, *, first_byte: int, last_byte: int | None
    ) -> None:
        self._fetcher, self._url, self._last_byte = fetcher, url, last_byte
        self._body: Body | None = fetcher.get(url, first_byte=first_byte, last_byte=last_byte)
        assert self._body is not None
        if first_byte and self._body.status != 206:
            self._body.close()
            raise SourceBroken("the server does not send parts of files")
        self._position = first_byte
        self.url, self.media_type = self._body.url, self._body.media_type
        self._size: int | None = None
        if self._body.num_bytes is not None and last_byte is None:
            self._size = first_byte + self._body.num_bytes
        self.error: Exception | None = None
        self.name = urlsplit(self.url).path.rsplit("/", 1)[-1]

    def read(self, num_bytes: int = 65536) -> bytes:
        if self._size is not None and self._position >= self._size:
            return b""
        try:
            if self._body is None:
                self._body = self._reopen()
            piece = self._body.read(num_bytes)
        except Exception as error:
            self.error = error
            raise
        self._position += len(piece)
        return piece

    def seekable(self) -> bool:
        return self._size is not None

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place in the file; the next read asks the server for it."""
        if self._size is None:
            raise OSError("this source cannot be sought in")
        place = {0: 0, 1: self._position, 2: self._size}[whence] + offset
        if place != self._position:
            self._drop()
            self._position = max(0, place)
        return self._position

    def close(self) -> None:
        self._drop()

    def _reopen(self) -> Body:
        body = self._fetcher.get(self._url, first_byte=self._position, last_byte=self._last_byte)
        if self._position and body.status != 206:
            body.close()
            raise SourceBroken("the server does not send parts of files")
        return body

    def _drop(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None


def _joined(base: str, location: str) -> str:
    try:
        return urljoin(base, location)
    except ValueError as error:
        raise SourceBroken("the server redirects to a malformed address") from error


def _header(response: httpcore.Response, name: bytes) -> str | None:
    for key, value in response.headers:
        if key.lower() == name:
            return value.decode("latin-1")
    return None
