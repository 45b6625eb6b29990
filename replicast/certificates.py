"""X.509 certificates for HTTPS: a self-signed one made, and the end of one read.

Pure computing: files are the caller's. The certificate is one of a server and of no authority: clients
trust it as it is, and nobody can sign others with its key.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from replicast.errors import InvalidRequest
from replicast.host_names import is_host_name

DAYS_MAX = 3650
HOSTS_MAX = 100
COMMON_NAME_CHARACTERS_MAX = 64
# Clients' clocks may be behind ours: a certificate of this very second would be of the future there.
EARLIER = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Certificate:
    """In PEM, with its key; `expires_at`: the end of its validity."""

    certificate: str
    key: str = field(repr=False)
    fingerprint: str
    expires_at: datetime


def make_self_signed(hosts: Sequence[str], days: int, now: datetime) -> Certificate:
    """For these names (`*.` may lead) and IP addresses, `days` from `now` on, with a fresh key (P-256).

    Raises InvalidRequest for a name that cannot be in a certificate.
    """
    if not 1 <= len(hosts) <= HOSTS_MAX:
        raise InvalidRequest(f"give 1 to {HOSTS_MAX} names and addresses")
    if not 1 <= days <= DAYS_MAX:
        raise InvalidRequest(f"days: 1 to {DAYS_MAX}")
    names = [_general_name(host) for host in dict.fromkeys(hosts)]
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    common = hosts[0] if len(hosts[0]) <= COMMON_NAME_CHARACTERS_MAX else "replicast"
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
    expires_at = now.replace(microsecond=0) + timedelta(days=days)
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(expires_at)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_signs_only(), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Certificate(
        made.public_bytes(Encoding.PEM).decode(),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        made.fingerprint(hashes.SHA256()).hex(":").upper(),
        expires_at,
    )


def expiry(pem: bytes) -> datetime:
    """The end of the first certificate in `pem`, the server's own; raises ValueError."""
    return x509.load_pem_x509_certificate(pem).not_valid_after_utc


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not is_host_name(host.removeprefix("*.")):
        raise InvalidRequest(f"{host!r} is neither a host's name nor an IP address")
    return x509.DNSName(host)


def _signs_only() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
