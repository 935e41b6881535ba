"""A certificate of our own making, for trying out TLS: browsers and clients do not trust it unless
they are told to."""

import ipaddress
import os
import socket
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from onlooker.core.errors import ConfigError

SERVER_FILE = "server.pem"
"""The certificate with its key; for the server alone."""

TRUST_FILE = "ca.pem"
"""The certificate alone; for the clients that are to trust it."""

LIFE = timedelta(days=397)
"""Browsers take no certificate that lives longer than 398 days."""

LEFT = timedelta(days=30)
"""With less left, a new one is made at the start."""

_NOT_SENT_TO = ("192.0.2.1", 9)
"""An address for documentation: a datagram socket that is connected to it sends nothing, and tells
from which address this machine reaches others."""


def self_signed_file(folder: Path | None, *, host: str, wall_s: float) -> Path:
    """The file with a certificate of our own and its key; made where there is none that names this
    machine and has time left. Beside it lies `TRUST_FILE`. `folder`: None takes the user's cache.

    Raises:
        ConfigError: the folder cannot be written.
    """
    folder = folder or _cache_folder()
    path = folder / SERVER_FILE
    now = datetime.fromtimestamp(wall_s, UTC)
    names = _names(host)
    if _is_good(path, names, now) and (folder / TRUST_FILE).is_file():
        return path
    certificate, key = _make(names, now)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(path, key + certificate)
        _write(folder / TRUST_FILE, certificate)
    except OSError as error:
        raise ConfigError(
            f"the self-signed certificate cannot be kept in '{folder}': {error.strerror}; name a "
            "folder with server.tls.self_signed_dir"
        ) from error
    return path


def _cache_folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(cache) if cache else Path.home() / ".cache") / "onlooker" / "tls"
    except RuntimeError:
        raise ConfigError(
            "this user has no home folder to keep a self-signed certificate in; name a folder with "
            "server.tls.self_signed_dir"
        ) from None


def _names(host: str) -> list[x509.GeneralName]:
    """What this machine is called, by itself and by others."""
    names = {"localhost", socket.gethostname()}
    addresses = {"127.0.0.1", "::1"}
    host = host.strip("[]")
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.connect(_NOT_SENT_TO)
        addresses.add(own.getsockname()[0])
    try:
        addresses.add(str(ipaddress.ip_address(host)))
    except ValueError:
        names.add(host)
    addresses -= {"0.0.0.0", "::"}  # noqa: S104 - no name of anyone
    return [
        *(x509.DNSName(name) for name in sorted(names) if name.isascii()),
        *(x509.IPAddress(ipaddress.ip_address(one)) for one in sorted(addresses)),
    ]


def _is_good(path: Path, names: list[x509.GeneralName], now: datetime) -> bool:
    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
        named = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    has_time = found.not_valid_before_utc <= now <= found.not_valid_after_utc - LEFT
    return has_time and set(names) <= set(named)


def _make(names: list[x509.GeneralName], now: datetime) -> tuple[bytes, bytes]:
    """A certificate and its key, in PEM form."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Onlooker, self-signed")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # the clocks of others may be behind
        .not_valid_after(now + LIFE)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        # Its own authority, so that whoever trusts the file trusts the server.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
            critical=False,
        )
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                crl_sign=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    certificate = builder.sign(key, hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write(path: Path, content: bytes) -> None:
    """Put a file in place whole, for this user alone."""
    new = path.with_suffix(f".{os.getpid()}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    new.replace(path)
