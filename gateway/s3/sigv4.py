"""Signature Version 4: who sent a request, and what protects its body.

verify() answers for all that is signed: method, path, query, the signed headers (host and every
x-amz-* among them, or it refuses) and what x-amz-content-sha256 says of the body. The body itself is
checked as it comes, by plain_body.py or aws_chunked.py, with what Verified hands on.

Nothing here does I/O or knows the time: that and the secrets come in.
Source: Amazon S3 API reference, "Authenticating Requests (Signature Version 4)".
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from replicast.gateway.s3.canonical import canonical_request, string_to_sign
from replicast.gateway.s3.claim import Claim, check_signed_headers, claim_of
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.payload import Payload, payload_of
from replicast.gateway.s3.signing_keys import SigningKeys, hmac_sha256

TOKEN_PARAMETER = b"X-Amz-Security-Token"
SecretOf = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Seed:
    """Where a chain of chunk signatures starts: `signature` is the request's own, in hex."""

    signature: str
    scope: str
    timestamp: str
    signing_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Verified:
    """A request whose signature is right. `sha256`: of the body, in hex, when `payload` is WHOLE
    (the body is still to be held against it), else ""."""

    key_id: str
    payload: Payload
    sha256: str
    seed: Seed


def verify(
    head: Head,
    now_ns: int,
    secret_of: SecretOf,
    signing_keys: SigningKeys,
    regions: Sequence[str] = (),
) -> Verified:
    """Who signed `head`, or the S3Error that S3 has for what is wrong with it.

    `now_ns`: since 1970. `secret_of`: the secret of a key id, None for those that are unknown or
    disabled. `regions`: those that are accepted; none accepts all.
    """
    claim = claim_of(head, now_ns, regions)
    payload = payload_of(claim.payload)
    check_signed_headers(head, claim.signed_headers)
    if "x-amz-security-token" in head.headers or TOKEN_PARAMETER in head.query_names:
        raise S3Error("InvalidToken")  # no session was ever opened here
    secret = secret_of(claim.key_id)
    if secret is None:
        raise S3Error("InvalidAccessKeyId", AWSAccessKeyId=claim.key_id)
    key = signing_keys.key(secret, claim.day, claim.region)
    _compare(head, claim, key)
    return Verified(
        key_id=claim.key_id,
        payload=payload,
        sha256=claim.payload.lower() if payload is Payload.WHOLE else "",
        seed=Seed(claim.signature, claim.scope, claim.timestamp, key),
    )


def _compare(head: Head, claim: Claim, key: bytes) -> None:
    """In constant time. The error shows what was signed here: it is all from the request."""
    request = canonical_request(
        head, claim.signed_headers, claim.payload, presigned=claim.presigned
    )
    to_sign = string_to_sign(claim.timestamp, claim.scope, request)
    expected = hmac_sha256(key, to_sign.encode()).hex()
    if not hmac.compare_digest(expected, claim.signature):
        raise S3Error(
            "SignatureDoesNotMatch",
            AWSAccessKeyId=claim.key_id,
            StringToSign=to_sign,
            SignatureProvided=claim.signature,
            CanonicalRequest=request.decode("utf-8", "replace"),
        )
