"""The certificate that is served: others come into use when the files change, broken ones do not."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from replicast.certificates import Certificate, make_self_signed
from replicast.config import ConfigError, load
from replicast.errors import InvalidRequest
from replicast.gateway.config import GatewayConfig
from replicast.gateway.s3.tls import ServedCertificate, read_certificate
from replicast.metrics import Counters

from ..tls_handshake import shake

NOW = datetime.now(UTC)
LOADS = "s3_certificate_loads"


def new(days: int = 30) -> Certificate:
    return make_self_signed(["127.0.0.1", "localhost"], days, NOW)


class Files:
    """The two files, and the certificate served from them."""

    def __init__(self, folder: Path) -> None:
        self.certificate, self.key = folder / "crt", folder / "key"
        self.counters = Counters()
        self.first = new()
        self.write(self.first)
        self.served = ServedCertificate(self.certificate, self.key, self.counters)

    def write(self, made: Certificate) -> None:
        self.put(self.certificate, made.certificate)
        self.put(self.key, made.key)

    @staticmethod
    def put(path: Path, text: str) -> None:
        """As tools do it that write another file and rename it."""
        draft = path.with_suffix(".new")
        draft.write_text(text)
        draft.chmod(0o600)
        draft.replace(path)

    def loads(self) -> tuple[float, float]:
        return self.counters.get(LOADS, "loaded"), self.counters.get(LOADS, "refused")

    def serves(self, made: Certificate, host: str = "127.0.0.1") -> bool:
        """Whether a client that trusts only that one gets through."""
        try:
            shake(self.served.context, ssl.create_default_context(cadata=made.certificate), host)
        except ssl.SSLCertVerificationError:
            return False
        return True


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])  # without a server name and with one
def test_reload__serves_the_new_pair(files: Files, host: str) -> None:
    second = new(60)
    assert files.serves(files.first, host)
    files.write(second)
    assert files.serves(files.first, host)  # not yet read
    files.served.reload()
    assert files.serves(second, host) and not files.serves(files.first, host)
    ends = files.counters.get("s3_certificate_expires_seconds")
    assert ends == second.expires_at.timestamp() and files.loads() == (2, 0)


def test_look__reads_when_the_files_have_settled(files: Files) -> None:
    second = new()
    files.served.look()
    files.put(files.certificate, second.certificate)
    files.served.look()
    files.put(files.key, second.key)
    files.served.look()  # they differ from the look before: whoever writes may not be done
    assert files.loads() == (1, 0)
    files.served.look()
    files.served.look()
    assert files.loads() == (2, 0) and files.serves(second)


def test_look__refuses_a_broken_pair_once_and_takes_a_good_one_after_it(files: Files) -> None:
    second = new()
    files.put(files.certificate, second.certificate)
    for _ in range(5):
        files.served.look()
    assert files.loads() == (1, 1) and files.serves(files.first)
    files.put(files.key, second.key)
    for _ in range(2):
        files.served.look()
    assert files.loads() == (2, 1) and files.serves(second)


def break_key_missing(files: Files) -> None:
    files.key.unlink()


def break_certificate_missing(files: Files) -> None:
    files.certificate.unlink()


def break_no_pem(files: Files) -> None:
    files.put(files.certificate, "no certificate")


def break_empty_key(files: Files) -> None:
    files.put(files.key, "")


def break_other_key(files: Files) -> None:
    files.put(files.key, new().key)


def break_cut_short(files: Files) -> None:
    files.put(files.certificate, new().certificate[:300])


def break_readable(files: Files) -> None:
    files.key.chmod(0o644)


def break_passphrase(files: Files) -> None:
    key = load_pem_private_key(files.first.key.encode(), None)
    sealed = key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    files.put(files.key, sealed.decode())


BREAKS = [
    break_key_missing,
    break_certificate_missing,
    break_no_pem,
    break_empty_key,
    break_other_key,
    break_cut_short,
    break_readable,
    break_passphrase,
]


@pytest.mark.parametrize("damage", BREAKS)
def test_reload__of_what_is_broken_changes_nothing(files: Files, damage: object) -> None:
    assert callable(damage)
    damage(files)
    files.served.reload()
    assert files.serves(files.first) and files.loads() == (1, 1)
    with pytest.raises(InvalidRequest, match=r"^HTTPS: .+(crt|key)"):
        ServedCertificate(files.certificate, files.key, files.counters)


def test_look__while_a_file_is_missing(files: Files) -> None:
    os.unlink(files.certificate)
    for _ in range(3):
        files.served.look()
    assert files.loads() == (1, 1)
    files.put(files.certificate, files.first.certificate)
    for _ in range(3):
        files.served.look()
    assert files.loads() == (2, 1) and files.serves(files.first)


def test_context__no_tls_before_1_2_and_authenticated_ciphers_only(files: Files) -> None:
    client = ssl.create_default_context(cadata=files.first.certificate)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    cipher = shake(files.served.context, client, "localhost").cipher()
    assert cipher is not None and cipher[0].startswith("ECDHE-ECDSA-") and "SHA1" not in cipher[0]
    assert files.served.context.minimum_version == ssl.TLSVersion.TLSv1_2
    names = [each["name"] for each in files.served.context.get_ciphers()]
    assert all("GCM" in name or "CHACHA20" in name for name in names), names


def test_expired__is_served_all_the_same_and_said(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    end_ns = int(files.first.expires_at.timestamp() * 1e9)
    ServedCertificate(files.certificate, files.key, files.counters, wall_ns=lambda: end_ns)
    assert "has expired" in caplog.text


def test_read_certificate__settings(files: Files, tmp_path: Path) -> None:
    def read(**settings: object) -> ServedCertificate | None:
        config = load(
            GatewayConfig, flags={"directory": ".", "metrics_port": 1, **settings}, environ={}
        )
        return read_certificate(config, tmp_path, files.counters)

    names = {"s3_tls_certificate": files.certificate.name, "s3_tls_key": str(files.key)}
    assert read(**names) is None
    assert read(s3_tls_port=1, **names) is not None
    for missing in names:
        with pytest.raises(ConfigError):
            read(s3_tls_port=1, **(names | {missing: ""}))
