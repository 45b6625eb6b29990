"""The certificate that HTTPS clients see: read from two files, and again when they change.

Every handshake asks for the context of the day (the callback is called with and without a server name),
so a new pair serves the next connection, and connections under way go on with theirs. A pair
that cannot be used is counted, logged and left alone; the one before it is served on.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from pathlib import Path

from replicast import clocks
from replicast.certificates import expiry
from replicast.config import ConfigError
from replicast.errors import InvalidRequest, ReplicastError
from replicast.gateway.config import GatewayConfig
from replicast.keys import check_private
from replicast.metrics import Counters

log = logging.getLogger("replicast.gateway.s3")

# TLS 1.3 has its own. Of 1.2: forward secrecy and authenticated encryption only.
CIPHERS_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20"
PROTOCOLS = ["http/1.1"]
LOAD_ERRORS = (OSError, ValueError, ReplicastError)  # ssl.SSLError is an OSError

Stamp = tuple[tuple[int, int, int], ...] | None  # of both files; None: one is not there


def read_certificate(
    config: GatewayConfig, base: Path, counters: Counters
) -> ServedCertificate | None:
    """What the settings, which lie in `base`, name; None: nothing is served over HTTPS."""
    if not config.s3_tls_port:
        return None
    if not config.s3_tls_certificate or not config.s3_tls_key:
        raise ConfigError("s3_tls_port needs s3_tls_certificate and s3_tls_key")
    return ServedCertificate(base / config.s3_tls_certificate, base / config.s3_tls_key, counters)


class ServedCertificate:
    """A certificate with its chain, and its key, in PEM files. Raises InvalidRequest at first, when
    there is nothing to go on with."""

    def __init__(
        self,
        certificate: Path,
        key: Path,
        counters: Counters,
        wall_ns: Callable[[], int] = clocks.wall_ns,
    ) -> None:
        self._certificate, self._key = certificate, key
        self._counters, self._wall_ns = counters, wall_ns
        self._tried = self._seen = self._stamp()
        try:
            self._current = self._load()
        except LOAD_ERRORS as error:
            raise InvalidRequest(f"HTTPS: {self._told(error)}") from None
        self.context = self._current  # what a listening socket needs: others come by its callback
        self.context.sni_callback = self._choose

    def look(self) -> None:
        """Read the files again if they are others than the ones tried last, and were the same at the
        look before: whoever writes two files does it one after the other."""
        seen, self._seen = self._seen, self._stamp()
        if self._seen != self._tried and self._seen == seen:
            self.reload()

    def reload(self) -> None:
        """Read the files now."""
        self._tried = self._stamp()
        try:
            self._current = self._load()
        except LOAD_ERRORS as error:
            self._counters.count("s3_certificate_loads", "refused")
            log.error("the certificate stays what it was: %s", self._told(error))

    def _load(self) -> ssl.SSLContext:
        with self._key.open("rb") as file:
            check_private(self._key, file.fileno())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_ciphers(CIPHERS_1_2)
        context.set_alpn_protocols(PROTOCOLS)
        # A key with a passphrase would be asked for at the terminal, if there is one.
        context.load_cert_chain(self._certificate, self._key, password=lambda: "")
        ends_at = expiry(self._certificate.read_bytes())
        self._counters.count("s3_certificate_loads", "loaded")
        self._counters.gauge("s3_certificate_expires_seconds", value=ends_at.timestamp())
        log.info("serving the certificate of %s until %s", self._certificate, ends_at.isoformat())
        if ends_at.timestamp() <= self._wall_ns() / 1e9:
            log.warning("the certificate of %s has expired", self._certificate)
        return context

    def _choose(
        self, connection: ssl.SSLObject, server_name: str | None, context: ssl.SSLContext
    ) -> None:
        connection.context = self._current

    def _stamp(self) -> Stamp:
        try:
            found = [path.stat() for path in (self._certificate, self._key)]
        except OSError:
            return None
        return tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in found)

    def _told(self, error: Exception) -> str:
        if isinstance(error, ssl.SSLError):
            why = error.reason or "no certificate or no key in PEM"
            return f"{self._certificate} and {self._key}: {why}"
        if isinstance(error, OSError):
            return f"{error.filename or self._certificate}: {error.strerror}"
        return str(error) if isinstance(error, ReplicastError) else f"{self._certificate}: {error}"
