"""The chain of signatures over the chunks of an aws-chunked body, and over its trailers.

Each signature covers its chunk and the signature before it; the first follows the request's own. So
chunks can be neither altered nor dropped, repeated or exchanged.
Sources: Amazon S3 API reference, "Transferring Payload in Multiple Chunks (Chunked Upload)" and
"Including Trailing Headers".
"""

from __future__ import annotations

import hashlib
import hmac

from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.signing_keys import hmac_sha256
from replicast.gateway.s3.sigv4 import Seed

_EMPTY = hashlib.sha256(b"").hexdigest()


class ChunkSignatures:
    """One chain, as far as it was checked. begin(), update() as often as it takes, end()."""

    def __init__(self, seed: Seed) -> None:
        self._seed = seed
        self._previous = seed.signature
        self._claimed = ""
        self._sha256 = hashlib.sha256()

    def begin(self, claimed: str) -> None:
        """A chunk comes whose header has this signature, in hex."""
        self._claimed = claimed
        self._sha256 = hashlib.sha256()

    def update(self, block: memoryview) -> None:
        """More of the chunk; hashed now, not kept."""
        self._sha256.update(block)

    def end(self) -> None:
        """The chunk is whole: SignatureDoesNotMatch unless it is what was signed."""
        signed = ("AWS4-HMAC-SHA256-PAYLOAD", _EMPTY, self._sha256.hexdigest())
        self._compare(signed, self._claimed)
        self._previous = self._claimed

    def check_trailers(self, trailers: dict[str, str], claimed: str) -> None:
        """The same for all trailers together, which come after the last chunk."""
        text = "".join(f"{name}:{value}\n" for name, value in sorted(trailers.items()))
        self._compare(
            ("AWS4-HMAC-SHA256-TRAILER", hashlib.sha256(text.encode()).hexdigest()), claimed
        )

    def _compare(self, signed: tuple[str, ...], claimed: str) -> None:
        algorithm, *hashes = signed
        seed = self._seed
        to_sign = "\n".join([algorithm, seed.timestamp, seed.scope, self._previous, *hashes])
        expected = hmac_sha256(seed.signing_key, to_sign.encode()).hex()
        if not hmac.compare_digest(expected, claimed):
            raise S3Error("SignatureDoesNotMatch", StringToSign=to_sign, SignatureProvided=claimed)
