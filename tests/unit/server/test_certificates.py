from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from onlooker.core.clock import ManualClock
from onlooker.core.errors import ConfigError
from onlooker.core.metrics import Metrics
from onlooker.server.certificates import Certificates, load_certificate
from onlooker.server.config import TlsSection
from onlooker.server.self_signed import LEFT, LIFE, TRUST_FILE, self_signed_file

CLOCK = ManualClock()
NOW_S = CLOCK.wall_s()


def make_files(folder: Path, *, wall_s: float = NOW_S) -> tuple[Path, Path]:
    """A certificate that was made at `wall_s`, and its key, in files of their own."""
    both = self_signed_file(folder, host="127.0.0.1", wall_s=wall_s)
    cert, key = folder / TRUST_FILE, folder / "key.pem"
    text = both.read_text()
    key.write_text(text[: text.index("-----BEGIN CERTIFICATE")])
    return cert, key


def refusal(cert: Path, key: Path, *, wall_s: float = NOW_S) -> str:
    with pytest.raises(ConfigError) as refused:
        load_certificate(cert, key, wall_s=wall_s)
    return refused.value.message


def test_a_good_pair_is_taken(tmp_path: Path) -> None:
    loaded = load_certificate(*make_files(tmp_path), wall_s=NOW_S)
    assert loaded.ends_at == int(NOW_S + LIFE.total_seconds())
    assert len(loaded.fingerprint.split(":")) == 32


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    cert, key = make_files(tmp_path)
    nowhere = tmp_path / "nowhere.pem"
    assert refusal(nowhere, key) == f"server.tls.cert: there is no file '{nowhere}'"
    assert refusal(cert, nowhere) == f"server.tls.key: there is no file '{nowhere}'"


def test_what_is_no_file_cannot_be_read(tmp_path: Path) -> None:
    _, key = make_files(tmp_path)
    assert "cannot be read" in refusal(tmp_path, key)


def test_files_with_something_else_are_told(tmp_path: Path) -> None:
    cert, key = make_files(tmp_path)
    assert "holds no certificate in PEM form" in refusal(key, key)
    assert "holds no private key in PEM form" in refusal(cert, cert)


def test_a_key_of_another_certificate_is_told(tmp_path: Path) -> None:
    cert, _ = make_files(tmp_path / "one")
    _, key = make_files(tmp_path / "two")
    assert "does not belong to the certificate" in refusal(cert, key)


def test_a_key_with_a_passphrase_is_told(tmp_path: Path) -> None:
    cert, key = make_files(tmp_path)
    private = serialization.load_pem_private_key(key.read_bytes(), password=None)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    assert "has a passphrase" in refusal(cert, key)


def test_a_certificate_that_has_ended_or_not_begun_is_told(tmp_path: Path) -> None:
    cert, key = make_files(tmp_path)
    assert "ended at" in refusal(cert, key, wall_s=NOW_S + LIFE.total_seconds() + 1)
    assert "is this machine's clock right?" in refusal(cert, key, wall_s=NOW_S - 86400)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"cert": "a.pem"}, "needs both"),
        ({"key": "a.pem"}, "needs both"),
        ({"cert": "a.pem", "key": "a.pem", "self_signed": True}, "not both"),
    ],
)
def test_half_of_the_settings_is_refused(values: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        TlsSection.model_validate(values)


class TestWatching:
    """Files that change while the server runs."""

    @pytest.fixture
    def watched(self, tmp_path: Path) -> Certificates:
        cert, key = make_files(tmp_path, wall_s=NOW_S - 3600)
        self.metrics = Metrics()
        watched = Certificates(cert, key, reload_s=1, clock=CLOCK, metrics=self.metrics)
        watched.open()
        return watched

    def replace(self, folder: Path, *, wall_s: float) -> None:
        """Put another pair in place of the one that is watched."""
        for path in make_files(folder / "new", wall_s=wall_s):
            path.replace(folder / path.name)

    def test_a_new_pair_is_taken(self, watched: Certificates, tmp_path: Path) -> None:
        before = watched.current
        self.replace(tmp_path, wall_s=NOW_S)
        watched.look()
        assert watched.current.fingerprint != before.fingerprint
        assert watched.current.context is not before.context
        ends_at = self.metrics.registry.get_sample_value("onlooker_tls_expires_timestamp_seconds")
        assert ends_at == watched.current.ends_at

    def test_files_that_stay_are_not_read_again(self, watched: Certificates) -> None:
        before = watched.current
        watched.look()
        assert watched.current is before

    def test_a_bad_pair_changes_nothing_and_is_told_once(
        self, watched: Certificates, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        before = watched.current
        (tmp_path / "key.pem").write_text("half of a k")
        watched.look()
        watched.look()
        assert watched.current is before
        assert [record.message for record in caplog.records] == [
            "the new certificate cannot be used"
        ]

    def test_after_a_bad_pair_a_good_one_is_taken(
        self, watched: Certificates, tmp_path: Path
    ) -> None:
        before = watched.current
        (tmp_path / "key.pem").unlink()
        watched.look()
        self.replace(tmp_path, wall_s=NOW_S)
        watched.look()
        assert watched.current.fingerprint != before.fingerprint


class TestSelfSigned:
    """The certificate of our own making."""

    def test_it_is_kept_for_the_next_start_and_for_its_user_alone(self, tmp_path: Path) -> None:
        path = self_signed_file(tmp_path / "tls", host="127.0.0.1", wall_s=NOW_S)
        before = path.read_bytes()
        assert self_signed_file(tmp_path / "tls", host="127.0.0.1", wall_s=NOW_S) == path
        assert path.read_bytes() == before
        assert path.stat().st_mode & 0o077 == 0
        assert b"PRIVATE" not in (tmp_path / "tls" / TRUST_FILE).read_bytes()

    def test_it_names_what_the_server_is_reached_by(self, tmp_path: Path) -> None:
        path = self_signed_file(tmp_path, host="10.1.2.3", wall_s=NOW_S)
        found = x509.load_pem_x509_certificate(path.read_bytes())
        named = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        addresses = [str(one) for one in named.get_values_for_type(x509.IPAddress)]
        assert {"127.0.0.1", "::1", "10.1.2.3"} <= set(addresses)
        assert "localhost" in named.get_values_for_type(x509.DNSName)

    def test_one_that_ends_soon_or_names_another_address_is_made_anew(self, tmp_path: Path) -> None:
        made = self_signed_file(tmp_path, host="10.1.2.3", wall_s=NOW_S).read_bytes()
        again = self_signed_file(tmp_path, host="10.1.2.4", wall_s=NOW_S).read_bytes()
        assert again != made
        late_s = NOW_S + (LIFE - LEFT + timedelta(days=1)).total_seconds()
        path = self_signed_file(tmp_path, host="10.1.2.4", wall_s=late_s)
        ends = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
        assert ends > datetime.fromtimestamp(late_s, UTC) + LEFT

    def test_a_broken_one_is_made_anew(self, tmp_path: Path) -> None:
        path = self_signed_file(tmp_path, host="127.0.0.1", wall_s=NOW_S)
        path.write_text("half of a")
        self_signed_file(tmp_path, host="127.0.0.1", wall_s=NOW_S)
        load_certificate(path, path, wall_s=NOW_S)

    def test_a_folder_that_cannot_be_written_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigError, match=r"server\.tls\.self_signed_dir"):
            self_signed_file(tmp_path / "file", host="127.0.0.1", wall_s=NOW_S)
