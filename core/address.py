"""Where the server may connect by itself, and which files it may open.

A name is resolved once and the connection goes to an address that was checked, so a name that
changes its mind in between gains nothing. Redirects, playlists and segments pass the same check,
because it sits where connections are made.
"""

import ipaddress
import socket
import stat
from collections.abc import Container
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from onlooker.core.errors import Forbidden, InvalidRequest

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

DEFAULT_PORTS = {
    "http": 80,
    "https": 443,
    "rtsp": 554,
    "rtsps": 322,
    "rtmp": 1935,
    "rtmps": 443,
    "srt": 9710,  # SRT has no port of its own; its sources name one
}
"""The schemes of addresses that are connected to, and where they are served."""

MAX_NAME_CHARS = 253
"""The longest name of a host that DNS can carry."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart; it may be connected to only through `AddressPolicy.addresses`."""

    scheme: str
    host: str
    port: int
    path: str
    """Path and query of the URL."""
    username: str | None
    password: str | None

    @property
    def netloc(self) -> str:
        """Host and port as they stand in a URL, without user and password."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL without user and password."""
        return f"{self.scheme}://{self.netloc}{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRules:
    """What an `AddressPolicy` allows, and the words in which it refuses."""

    what: str
    """What the addresses are of, for error messages: ``source``, ``webhook``."""
    used: str
    """What is done with them, for error messages: ``pulled from``, ``posted to``."""
    param: str
    """Name of the field of a request that holds the address, for error messages."""
    section: str
    """Name of the section of the settings that says so, for error messages."""
    schemes: tuple[str, ...]
    """URL schemes that may be used."""
    allow_hosts: tuple[str, ...]
    """Host names, wildcards or networks that may be connected to."""
    allow_private: bool
    """Whether private addresses that `allow_hosts` matches may be connected to."""
    file_dirs: tuple[Path, ...] = ()
    """Directories below which files may be opened."""


class AddressPolicy:
    """Says yes or no to URLs, addresses and paths, by the operator's settings."""

    def __init__(self, rules: AddressRules) -> None:
        self._rules = rules
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        self._names: list[str] = []
        for entry in rules.allow_hosts:
            try:
                self._networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                self._names.append(entry.lower().rstrip("."))

    def parse(self, url: str) -> Target:
        """Take a network URL apart.

        Raises:
            InvalidRequest: the URL is malformed.
            Forbidden: the scheme of the URL may not be used.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise InvalidRequest(
                f"the {self._rules.what}'s URL is malformed: {error}", param=self._rules.param
            ) from error
        scheme = parts.scheme.lower()
        self.check_scheme(scheme, known=DEFAULT_PORTS)
        if not host or any(c.isspace() or ord(c) < 32 for c in url):
            raise InvalidRequest(
                f"the {self._rules.what}'s URL has no host or holds blanks", param=self._rules.param
            )
        try:
            name = _ascii_name(host)
            path = quote(
                (parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
                safe="/?#[]@!$&'()*+,;=:%-._~",
            )
        except ValueError as error:
            raise InvalidRequest(
                f"the {self._rules.what}'s URL names no host that can exist: a name has labels of "
                "1 to 63 letters, digits or '-', with one '.' in between, and at most 253 "
                "characters in all",
                param=self._rules.param,
            ) from error
        return Target(
            scheme=scheme,
            host=name,
            port=port or DEFAULT_PORTS[scheme],
            path=path,
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
        )

    def check_scheme(self, scheme: str, *, known: Container[str] | None = None) -> None:
        """Raise `Forbidden` where URLs of this scheme may not be used, or are none of `known`."""
        schemes = self._rules.schemes
        if scheme not in schemes or (known is not None and scheme not in known):
            raise Forbidden(
                f"a {self._rules.what}'s URL begins with {' or '.join(schemes)}, not '{scheme}'",
                param=self._rules.param,
            )

    def addresses(self, host: str, port: int) -> list[str]:
        """Resolve `host` and return the addresses that may be connected to. Blocks.

        Raises:
            Forbidden: none of its addresses may be connected to.
            OSError: the name does not resolve.
        """
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        resolved = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        allowed = [text for text in resolved if self.allows(host, _ip(text))]
        if not allowed:
            raise Forbidden(
                f"'{host}' may not be {self._rules.used}: its address is not public or not on this "
                f"server's list (settings {self._rules.section}.allow_hosts and allow_private)",
                param=self._rules.param,
            )
        return allowed

    def allows(self, host: str, address: IpAddress) -> bool:
        """Whether `address`, found under the name `host`, may be connected to."""
        faces = _faces(address)
        if all(any(face in network for network in self._networks) for face in faces[-1:]):
            return True
        if not any(fnmatchcase(host.lower(), name) for name in self._names):
            return False
        return self._rules.allow_private or all(_is_public(face) for face in faces)

    def file(self, url: str) -> Path:
        """The file behind a ``file:`` URL or absolute path, links followed.

        Raises:
            Forbidden: the file is not below an allowed directory, or that cannot be told.
            InvalidRequest: the file does not exist, or is no plain file.
        """
        allowed = [directory.resolve() for directory in self._rules.file_dirs]
        try:
            text = unquote(urlsplit(url).path) if url.startswith("file:") else url
            path = Path(text).resolve()
            is_allowed = any(path.is_relative_to(directory) for directory in allowed)
        except (OSError, ValueError, RuntimeError):
            is_allowed = False
        if not is_allowed:
            raise Forbidden(
                "files may be opened only below the directories in the setting "
                f"{self._rules.section}.file_dirs",
                param=self._rules.param,
            )
        try:
            mode = path.stat().st_mode
        except OSError as error:
            raise InvalidRequest(
                f"there is no file '{path.name}'", param=self._rules.param
            ) from error
        if not stat.S_ISREG(mode):
            raise InvalidRequest(f"'{path.name}' is not a plain file", param=self._rules.param)
        return path


def _ascii_name(host: str) -> str:
    """`host` as it is looked up and written into requests: in ASCII, with no full stop at its end.

    Raises:
        ValueError: it cannot be the name of a host.
    """
    name = host.removesuffix(".").encode("idna").decode("ascii")  # checks the length of labels
    if not 0 < len(name) <= MAX_NAME_CHARS or not name.isprintable():
        raise ValueError("the name is empty, too long, or holds control characters")
    return name


def _ip(text: str) -> IpAddress:
    return ipaddress.ip_address(text.partition("%")[0])


def _faces(address: IpAddress) -> list[IpAddress]:
    """An address, and the IPv4 address in it where it is another form of one, which comes last."""
    faces: list[IpAddress] = [address]
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address.teredo is not None:
            inner = address.teredo[1]
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            faces.append(inner)
    return faces


def _is_public(address: IpAddress) -> bool:
    return address.is_global and not address.is_multicast and not address.is_reserved
