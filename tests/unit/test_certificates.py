"""Self-signed certificates: a client that trusts one talks to its hosts, and to no others."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509

from replicast.certificates import DAYS_MAX, HOSTS_MAX, Certificate, expiry, make_self_signed
from replicast.cli.main import main
from replicast.errors import InvalidRequest

from .tls_handshake import shake

NOW = datetime.now(UTC)
HOSTS = ["s3.example.com", "*.s3.example.com", "localhost", "127.0.0.1", "fd00::7"]


@pytest.fixture(scope="module")
def made() -> Certificate:
    return make_self_signed(HOSTS, 30, NOW)


def served(certificate: Certificate, folder: Path) -> ssl.SSLContext:
    """A server's context."""
    (folder / "crt").write_text(certificate.certificate)
    (folder / "key").write_text(certificate.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "crt", folder / "key")
    return context


@pytest.mark.parametrize("host", ["s3.example.com", "a.s3.example.com", "127.0.0.1", "fd00::7"])
def test_make_self_signed__is_trusted_for_its_hosts(
    made: Certificate, tmp_path: Path, host: str
) -> None:
    client = ssl.create_default_context(cadata=made.certificate)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    assert shake(served(made, tmp_path), client, host).version() == "TLSv1.3"


@pytest.mark.parametrize("host", ["other.example.com", "a.b.s3.example.com", "127.0.0.2"])
def test_make_self_signed__and_for_no_other(made: Certificate, tmp_path: Path, host: str) -> None:
    client = ssl.create_default_context(cadata=made.certificate)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(served(made, tmp_path), client, host)


def test_make_self_signed__is_no_authority_and_ends_when_it_should(made: Certificate) -> None:
    found = x509.load_pem_x509_certificate(made.certificate.encode())
    assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert expiry(made.certificate.encode()) == made.expires_at
    assert made.expires_at == NOW.replace(microsecond=0) + timedelta(days=30)
    assert found.not_valid_before_utc < NOW


def test_make_self_signed__no_two_are_alike(made: Certificate) -> None:
    other = make_self_signed(HOSTS, 30, NOW)
    assert other.key != made.key and other.fingerprint != made.fingerprint


@pytest.mark.parametrize(
    "host",
    ["", "a b", "-a.example", "a..b", "*", "x.*.y", "ex_ample", "ä.example", "a" * 64, "::g"],
)
def test_make_self_signed__refuses_what_is_no_host(host: str) -> None:
    with pytest.raises(InvalidRequest):
        make_self_signed([host], 30, NOW)


@pytest.mark.parametrize(
    ("hosts", "days"), [([], 1), (["a"] * (HOSTS_MAX + 1), 1), (["a"], 0), (["a"], DAYS_MAX + 1)]
)
def test_make_self_signed__refuses_too_many(hosts: list[str], days: int) -> None:
    with pytest.raises(InvalidRequest):
        make_self_signed(hosts, days, NOW)


def test_expiry__of_what_is_none() -> None:
    with pytest.raises(ValueError):
        expiry(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")


def test_command__writes_both_files_once(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    command = ["cert", "self-signed", "localhost", "127.0.0.1", "--out", str(folder), "--days", "9"]
    said = CliRunner().invoke(main, command)
    assert said.exit_code == 0, said.output
    assert f"export AWS_CA_BUNDLE={folder}/s3.crt" in said.output
    assert "--no-verify-ssl" in said.output
    assert (folder / "s3.key").stat().st_mode & 0o777 == 0o600
    first = (folder / "s3.crt").read_bytes()
    assert (expiry(first) - datetime.now(UTC)).days == 8
    again = CliRunner().invoke(main, command)
    assert again.exit_code == 2 and "--replace" in again.output
    assert (folder / "s3.crt").read_bytes() == first
    assert CliRunner().invoke(main, [*command, "--replace"]).exit_code == 0
    assert (folder / "s3.crt").read_bytes() != first
