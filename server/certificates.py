"""`Certificates`: what the server shows who it is with, read again when its files change.

Connections that are open keep the certificate that they began with; only new ones get the new.
"""

import asyncio
import logging
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from onlooker.core.clock import Clock
from onlooker.core.errors import ConfigError
from onlooker.core.metrics import Metrics
from onlooker.server.config import TlsSection
from onlooker.server.self_signed import TRUST_FILE, self_signed_file

_log = logging.getLogger("onlooker.server.certificates")


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its key, checked and ready for use."""

    context: ssl.SSLContext
    ends_at: float
    """When it ends, in seconds since the Unix epoch."""
    fingerprint: str
    """The SHA-256 of the certificate, as browsers show it."""


def load_certificate(cert: Path, key: Path, *, wall_s: float) -> Certificate:
    """Read a certificate and its key. `wall_s`: now, in seconds since the Unix epoch.

    Raises:
        ConfigError: a file is missing or may not be read, holds something else, the two do not
            belong together, or the certificate has ended or has not begun.
    """
    try:
        chain = x509.load_pem_x509_certificates(_read(cert, "server.tls.cert"))
    except ValueError:
        raise ConfigError(f"server.tls.cert: '{cert}' holds no certificate in PEM form") from None
    leaf = chain[0]
    try:
        private = serialization.load_pem_private_key(_read(key, "server.tls.key"), password=None)
    except TypeError:
        raise ConfigError(
            f"server.tls.key: the key in '{key}' has a passphrase; give one without, in a file "
            "that only the server's user may read"
        ) from None
    except ValueError:
        raise ConfigError(f"server.tls.key: '{key}' holds no private key in PEM form") from None
    if leaf.public_key() != private.public_key():
        raise ConfigError(
            f"server.tls: the key in '{key}' does not belong to the certificate in '{cert}'; "
            "its own certificate must come first in that file"
        )
    now = datetime.fromtimestamp(wall_s, UTC)
    if leaf.not_valid_after_utc <= now:
        raise ConfigError(
            f"server.tls.cert: the certificate in '{cert}' ended at {leaf.not_valid_after_utc}; "
            "renew it"
        )
    if leaf.not_valid_before_utc > now:
        raise ConfigError(
            f"server.tls.cert: the certificate in '{cert}' begins at {leaf.not_valid_before_utc}; "
            "is this machine's clock right?"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"server.tls: '{cert}' cannot be used: {error}") from error
    return Certificate(
        context,
        ends_at=leaf.not_valid_after_utc.timestamp(),
        fingerprint=leaf.fingerprint(hashes.SHA256()).hex(":").upper(),
    )


class Certificates:
    """The certificate that the next connection gets. `open` it before use, and `watch` it."""

    def __init__(
        self, cert: Path, key: Path, *, reload_s: float, clock: Clock, metrics: Metrics
    ) -> None:
        self._cert, self._key = cert, key
        self._reload_s = reload_s
        self._clock, self._metrics = clock, metrics
        self._seen: object = None
        """What the files looked like when they were last read, well or badly."""
        self._current: Certificate | None = None

    @property
    def trust(self) -> Path:
        """The file that clients trust, where the certificate is of our own making."""
        return self._cert.with_name(TRUST_FILE)

    @property
    def current(self) -> Certificate:
        """The newest good one."""
        assert self._current is not None
        return self._current

    def open(self) -> None:
        """Read the files. Raises as `load_certificate` does."""
        self._seen = self._signature()
        self._current = load_certificate(self._cert, self._key, wall_s=self._clock.wall_s())
        self._metrics.tls_expires.set(self._current.ends_at)

    async def watch(self) -> None:
        """Read the files again whenever they change, until cancelled. What cannot be used is told
        in the log, and the certificate stays."""
        while True:
            await self._clock.sleep(self._reload_s)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Read the files again if they have changed."""
        if self._signature() == self._seen:
            return
        try:
            self.open()
        except ConfigError as error:
            _log.error("the new certificate cannot be used", extra={"why": error.message})
        else:
            ends = datetime.fromtimestamp(self.current.ends_at, UTC).isoformat()
            _log.info("new connections get a new certificate", extra={"ends": ends})

    def _signature(self) -> object:
        found: list[object] = []
        for path in (self._cert, self._key):
            try:
                stat = path.stat()
            except OSError as error:
                found.append(error.errno)
            else:
                found.append((stat.st_ino, stat.st_size, stat.st_mtime_ns))
        return found


def open_certificates(
    section: TlsSection, *, host: str, clock: Clock, metrics: Metrics
) -> Certificates | None:
    """The certificates that the settings name; None where they ask for no TLS. `host`: the address
    that the server listens on, which a certificate of our own making names.

    Raises:
        ConfigError: see `load_certificate` and `self_signed_file`.
    """
    if not section.is_on:
        return None
    if section.self_signed:
        cert = key = self_signed_file(section.self_signed_dir, host=host, wall_s=clock.wall_s())
    else:
        assert section.cert is not None
        assert section.key is not None
        cert, key = section.cert, section.key
    certificates = Certificates(cert, key, reload_s=section.reload_s, clock=clock, metrics=metrics)
    certificates.open()
    return certificates


def _read(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{setting}: there is no file '{path}'") from None
    except OSError as error:
        raise ConfigError(f"{setting}: '{path}' cannot be read: {error.strerror}") from error
