"""HTTP(S) for FFmpeg, fetched here rather than by FFmpeg, so that every connection is checked.

`HttpFetcher` opens URLs (redirects followed one by one, each host checked when it is connected to);
`HttpFile` is what FFmpeg reads from: sequential, or seekable where the server takes ranges.
"""

from collections.abc import Iterator, Sequence
from urllib.parse import urljoin, urlsplit

import httpcore

from onlooker.core.address import AddressPolicy, Target
from onlooker.core.clock import Clock
from onlooker.core.errors import Forbidden
from onlooker.core.network import GuardedBackend, Lookups, TooSlow, WaitBudget
from onlooker.streams.source_config import SourcesSection
from onlooker.streams.sources import reasons
from onlooker.streams.sources.http_logins import HttpLogins
from onlooker.streams.sources.spec import SourceBroken, SourceLost, SourceSlow

_REDIRECTS = (301, 302, 303, 307, 308)

_HEAD_BYTES = 16

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
        self._logins = HttpLogins()

    def open(self, url: str, *, first_byte: int = 0, last_byte: int | None = None) -> "HttpFile":
        """Open `url`, from `first_byte` on.

        Raises:
            Forbidden, InvalidRequest: from the policy, for this URL or one it redirects to.
            SourceBroken: the server says that there is no such thing.
            SourceLost: it cannot be reached, or fails.
        """
        return HttpFile(self, url, first_byte=first_byte, last_byte=last_byte)

    def get(
        self,
        url: str,
        *,
        first_byte: int = 0,
        last_byte: int | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> "Body":
        """Send one GET and follow redirects, all of it within the time to open a source.

        `headers` are sent besides; where they ask for news only, the body may be that of a 304.
        """
        is_whole = self._budget.begin(self._settings.open_timeout_s)
        asked = list(headers)
        if first_byte or last_byte is not None:
            asked.append(("Range", f"bytes={first_byte}-{'' if last_byte is None else last_byte}"))
        try:
            return self._got(url, asked)
        finally:
            if is_whole:
                self._budget.end()

    def _got(self, url: str, headers: Headers) -> "Body":
        for _ in range(self._settings.max_redirects + 1):
            target = self._policy.parse(url)
            response = self._logged_in(target, headers)
            location = _header(response, b"location")
            if response.status in _REDIRECTS and location:
                response.close()
                url = _joined(target.url, location)
                continue
            if response.status in (200, 206, 304):
                return Body(response, target.url)
            response.close()
            why = reasons.of_status(response.status, has_login=self._logins.has(target))
            if response.status in (408, 425, 429) or response.status >= 500:
                raise SourceLost(why)
            raise SourceBroken(why)
        raise SourceBroken(
            f"more than {self._settings.max_redirects} redirects: give the address that they lead "
            "to (setting streams.sources.max_redirects)"
        )

    def close(self) -> None:
        """Close all connections; reads under way fail."""
        self._pool.close()

    def _logged_in(self, target: Target, headers: Headers) -> httpcore.Response:
        """The reply to a GET, sent again with the login where the server asks for it."""
        self._logins.note(target)
        response = self._send(target, headers, self._logins.header(target))
        if response.status == 401 and self._logins.has(target):
            challenges = _headers(response, b"www-authenticate")
            login = self._logins.header(target, challenges)
            if login is not None:
                response.close()
                response = self._send(target, headers, login)
        return response

    def _send(self, target: Target, headers: Headers, login: str | None) -> httpcore.Response:
        default = {"http": 80, "https": 443}.get(target.scheme)
        host = target.netloc.rpartition(":")[0] if target.port == default else target.netloc
        sent = [("Host", host), ("User-Agent", "onlooker"), ("Accept", "*/*"), *headers]
        if login is not None:
            sent.append(("Authorization", login))
        request = httpcore.Request(
            "GET", target.url, headers=sent, extensions={"timeout": self._timeout}
        )
        try:
            return self._pool.handle_request(request)
        except Forbidden:
            raise
        except TooSlow as error:
            raise SourceSlow(f"{target.host} is too slow: {error}") from error
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            raise SourceLost(reasons.of_unreachable(target, error)) from error


class Body:
    """A response's body, read as it comes."""

    def __init__(self, response: httpcore.Response, url: str) -> None:
        self._response = response
        self._chunks: Iterator[bytes] = response.iter_stream()
        self._rest = b""
        self.url = url
        """The address at which the body was found, after redirects."""
        self.status = response.status
        media_type = (_header(response, b"content-type") or "").partition(";")[0]
        self.media_type = media_type.strip().lower()
        self.tags = {
            name: value
            for name in ("ETag", "Last-Modified")
            if (value := _header(response, name.lower().encode())) is not None
        }
        """What tells this version of the body from others."""
        length = _header(response, b"content-length")
        self.num_bytes = int(length) if length and length.isdigit() else None

    def read(self, num_bytes: int) -> bytes:
        """Up to `num_bytes` bytes; empty at the end.

        Raises:
            SourceLost: the connection broke, or is too slow.
        """
        self._await(1)
        piece, self._rest = self._rest[:num_bytes], self._rest[num_bytes:]
        return piece

    @property
    def has_more_at_hand(self) -> bool:
        """Whether a read would wait for nobody."""
        return bool(self._rest)

    def beginning(self, num_bytes: int) -> bytes:
        """The next `num_bytes` bytes, fewer at the end; they stay to be read. Raises: as `read`."""
        self._await(num_bytes)
        return self._rest[:num_bytes]

    def _await(self, num_bytes: int) -> None:
        """Have so many bytes at hand, or all that are left."""
        while len(self._rest) < num_bytes:
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
                return
            self._rest += chunk

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
        self.head = b""
        """The first bytes that were read, from which one may tell what it is."""
        self.name = urlsplit(self.url).path.rsplit("/", 1)[-1]

    def beginning(self) -> bytes:
        """The first bytes, which stay to be read; before anything is read.

        Raises:
            SourceLost: the connection broke, or is too slow.
        """
        assert self._body is not None, "nothing has been read, so it is open"
        return self._body.beginning(_HEAD_BYTES)

    def read(self, num_bytes: int = 65536) -> bytes:
        if self._size is not None and self._position >= self._size:
            return b""
        if self.error is not None:
            return b""  # FFmpeg asks again, and PyAV can keep but one exception
        try:
            if self._body is None:
                self._body = self._reopen()
            piece = self._body.read(num_bytes)
        except Exception as error:
            self.error = error
            raise
        if len(self.head) < _HEAD_BYTES:
            self.head += piece[:_HEAD_BYTES]
        self._position += len(piece)
        return piece

    @property
    def is_at_hand(self) -> bool:
        return self._body is not None and self._body.has_more_at_hand

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
    found = _headers(response, name)
    return found[0] if found else None


def _headers(response: httpcore.Response, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in response.headers if key.lower() == name]
