"""The canonical request of Signature Version 4 as S3 has it: bytes that both ends derive alike.

Clients encode paths and queries differently on the wire, and S3 does not mind: it decodes what came
and encodes it again in the one way of the specification. S3 encodes once and normalises nothing:
`//`, `.` and `..` are names like any other.

Everything here works on bytes, because text loses some: every undecodable byte would look like every
other, and a signature would no longer tell them apart. Sources: Amazon S3 API reference, "Signature
Calculations for the Authorization Header"; botocore's signer, which the property tests compare with.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote_from_bytes, unquote_to_bytes

from replicast.gateway.s3.head import Head, wire_bytes

ALGORITHM = "AWS4-HMAC-SHA256"
SIGNATURE_PARAMETER = "X-Amz-Signature"

_BLANKS = re.compile(rb"[ \t]+")


def canonical_path(path: str) -> bytes:
    """Decoded and encoded again: all but unreserved characters and the slash."""
    return quote_from_bytes(unquote_to_bytes(wire_bytes(path or "/")), safe="/").encode()


def canonical_query(pairs: Iterable[tuple[bytes, bytes]], *, presigned: bool) -> bytes:
    """All pairs, decoded ones, sorted by encoded name and then value. A signature in it cannot sign
    itself."""
    left_out = SIGNATURE_PARAMETER.encode() if presigned else None
    encoded = sorted(
        (quote_from_bytes(name, safe=""), quote_from_bytes(value, safe=""))
        for name, value in pairs
        if name != left_out
    )
    return "&".join(f"{name}={value}" for name, value in encoded).encode()


def canonical_value(value: str) -> bytes:
    """Without blanks around it, and one where there were more."""
    return _BLANKS.sub(b" ", wire_bytes(value).strip(b" \t"))


def canonical_request(
    head: Head, signed_headers: Sequence[str], payload: str, *, presigned: bool
) -> bytes:
    """`signed_headers`: in lower case and sorted; one that is missing counts as empty, for there
    are proxies that drop empty ones."""
    lines = [
        wire_bytes(head.method),
        canonical_path(head.path),
        canonical_query(head.query_pairs, presigned=presigned),
    ]
    for name in signed_headers:
        lines.append(name.encode() + b":" + canonical_value(head.header(name) or ""))
    lines += [b"", ";".join(signed_headers).encode(), payload.encode()]
    return b"\n".join(lines)


def string_to_sign(timestamp: str, scope: str, request: bytes) -> str:
    """What the signing key signs for `request`, a canonical one."""
    return "\n".join([ALGORITHM, timestamp, scope, hashlib.sha256(request).hexdigest()])
