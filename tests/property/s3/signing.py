"""Requests that botocore signed, as the gateway would see them; and chunks, signed in ten lines."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from replicast.gateway.s3.dates import parse_amz_date
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.signing_keys import SigningKeys
from replicast.gateway.s3.sigv4 import Seed, Verified, verify

KEY_ID = "AKIDEXAMPLE"
SECRET = "a secret / of + some % kind"
REGION = "us-east-1"
SCOPE = f"20130524/{REGION}/s3/aws4_request"
TIMESTAMP = "20130524T000000Z"
SEED = Seed("5" * 64, SCOPE, TIMESTAMP, b"k" * 32)


def verified(head: Head, now_ns: int) -> Verified:
    return verify(head, now_ns, {KEY_ID: SECRET}.get, SigningKeys(), (REGION,))


def in_header(method: str, url: str, headers: dict[str, str], body: bytes) -> tuple[Head, int]:
    """Signed with an Authorization header; and when, which botocore takes from the clock."""
    request = AWSRequest(method, url, headers=headers, data=body)
    S3SigV4Auth(Credentials(KEY_ID, SECRET), "s3", REGION).add_auth(request)
    return _seen(request)


def in_query(method: str, url: str, headers: dict[str, str], expires: int) -> tuple[Head, int]:
    """Presigned."""
    request = AWSRequest(method, url, headers=headers)
    S3SigV4QueryAuth(Credentials(KEY_ID, SECRET), "s3", REGION, expires).add_auth(request)
    return _seen(request)


def _seen(request: AWSRequest) -> tuple[Head, int]:
    url = urlsplit(request.url)
    headers = {name.lower(): value for name, value in request.headers.items()}
    head = Head(request.method, url.path, url.query, {"host": url.netloc, **headers})
    now_ns = parse_amz_date(request.context["timestamp"])
    assert now_ns is not None
    return head, now_ns


def signed_chunks(pieces: Sequence[bytes], trailers: Sequence[tuple[str, str]] = ()) -> bytes:
    """The framing of `pieces`, signed on from SEED; with trailers when there are any."""
    previous, wire = SEED.signature, b""

    def signature(algorithm: str, *hashed: bytes) -> str:
        digests = [hashlib.sha256(data).hexdigest() for data in hashed]
        text = "\n".join([algorithm, TIMESTAMP, SCOPE, previous, *digests])
        return hmac.new(SEED.signing_key, text.encode(), "sha256").hexdigest()

    for piece in (*pieces, b""):
        previous = signature("AWS4-HMAC-SHA256-PAYLOAD", b"", piece)
        wire += f"{len(piece):x};chunk-signature={previous}\r\n".encode() + piece
        wire += b"\r\n" if piece else b""
    if trailers:
        signed = "".join(f"{name}:{value}\n" for name, value in sorted(trailers))
        last = signature("AWS4-HMAC-SHA256-TRAILER", signed.encode())
        lines = [f"{name}:{value}" for name, value in trailers]
        wire += "\r\n".join([*lines, f"x-amz-trailer-signature:{last}", ""]).encode()
    return wire + b"\r\n"
