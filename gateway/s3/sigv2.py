"""Presigned URLs of Signature Version 2, which boto3 makes in us-east-1 unless it is told otherwise.

    ?AWSAccessKeyId=id&Signature=base64&Expires=seconds-since-1970

It signs the method, the path, some query parameters, x-amz-* headers, Content-MD5, Content-Type and the
time until which it is good. Other query parameters are not signed: of those that would make it
another operation none may be there. In the Authorization header Version 2 stays refused (claim.py).
Sources: Amazon S3 user guide, "Signing and authenticating REST requests" (Signature Version 2);
botocore's HmacV1QueryAuth, which the tests compare with.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64encode
from dataclasses import replace
from urllib.parse import unquote_to_bytes

from replicast.gateway.s3.arguments import invalid_argument
from replicast.gateway.s3.canonical import SIGNATURE_PARAMETER
from replicast.gateway.s3.dates import iso_seconds
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.head import Head, wire_bytes
from replicast.gateway.s3.operation import SUBRESOURCES
from replicast.gateway.s3.payload import HEADER as PAYLOAD_HEADER
from replicast.gateway.s3.payload import Payload, payload_of
from replicast.gateway.s3.sigv4 import SecretOf, Seed, Verified
from replicast.units import SECOND

KEY_ID, SIGNATURE, EXPIRES = "AWSAccessKeyId", "Signature", "Expires"
_PARAMETERS = (KEY_ID, SIGNATURE, EXPIRES)
_CLAIMING = (KEY_ID.encode(), SIGNATURE.encode())
_OF_VERSION_4 = ("X-Amz-Algorithm", "X-Amz-Credential", SIGNATURE_PARAMETER)
# Query parameters that are signed.
SIGNED = frozenset(
    {
        "accelerate", "acl", "analytics", "cors", "defaultObjectAcl", "delete", "inventory",
        "lifecycle", "location", "logging", "metrics", "notification", "object-lock", "partNumber",
        "policy", "replication", "requestPayment", "response-cache-control",
        "response-content-disposition", "response-content-encoding", "response-content-language",
        "response-content-type", "response-expires", "restore", "select", "select-type",
        "storageClass", "tagging", "torrent", "uploadId", "uploads", "versionId", "versioning",
        "versions", "website",
    }
)  # fmt: skip
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NUMBER = re.compile(r"[0-9]{1,12}")
_NO_SEED = Seed("", "", "", b"")  # there are no signed chunks in this version


def is_presigned(head: Head) -> bool:
    """Whether a request claims to be such a URL's."""
    return not head.query_names.isdisjoint(_CLAIMING)


def with_query_headers(head: Head) -> Head:
    """A presigned request with the headers that stand in its query, as botocore puts them there.
    What the client sends as a header counts more; the signature says which one was meant. Raises
    InvalidArgument for a value that no header could have: with a line break in it, two headers would
    be signed like one."""
    if not is_presigned(head):
        return head
    given: dict[str, str] = {}
    for raw, value in head.query_pairs:
        name = raw.decode("latin-1")
        if name.startswith("x-amz-") or name in ("content-md5", "content-type"):
            given.setdefault(name, value.decode("latin-1"))
            if _CONTROL.search(given[name]):
                raise invalid_argument(name, given[name], "A header has no control characters.")
    return replace(head, headers={**given, **head.headers}) if given else head


def verify(head: Head, bucket: str, now_ns: int, secret_of: SecretOf) -> Verified:
    """Who signed a presigned `head`, or the S3Error that S3 has for what is wrong with it.

    `bucket`: the one that the Host header names, "" for none; the other arguments are those of
    sigv4.verify().
    """
    given = _parameters(head)
    _check_expiry(given[EXPIRES], now_ns)
    payload = _payload(head)
    if "x-amz-security-token" in head.headers:
        raise S3Error("InvalidToken")  # no session was ever opened here
    secret = secret_of(given[KEY_ID])
    if secret is None:
        raise S3Error("InvalidAccessKeyId", AWSAccessKeyId=given[KEY_ID])
    signed = [string_to_sign(head, path, given[EXPIRES]) for path in _paths(head, bucket)]
    expected = [b64encode(hmac.digest(secret.encode(), text, hashlib.sha1)) for text in signed]
    if not any(hmac.compare_digest(each, given[SIGNATURE].encode()) for each in expected):
        raise S3Error(
            "SignatureDoesNotMatch",
            AWSAccessKeyId=given[KEY_ID],
            StringToSign=signed[0].decode("utf-8", "replace"),
            SignatureProvided=given[SIGNATURE],
        )
    sha256 = (head.header(PAYLOAD_HEADER) or "").strip().lower()
    return Verified(given[KEY_ID], payload, sha256 if payload is Payload.WHOLE else "", _NO_SEED)


def _paths(head: Head, bucket: str) -> list[str]:
    """What may be signed as the path: what was sent, below the bucket that the host named. That of
    a bucket alone ends with a slash for botocore, whether or not one is sent."""
    path = f"/{bucket}{head.path}" if bucket else head.path
    return [path, f"{path}/"] if path.count("/") == 1 and path != "/" else [path]


def string_to_sign(head: Head, path: str, expires: str) -> bytes:
    """What the secret signs; path as it was sent."""
    lines = [
        head.method,
        (head.header("content-md5") or "").strip(),
        (head.header("content-type") or "").strip(),
        expires,
        *(
            f"{name}:{value.strip()}"
            for name, value in sorted(head.headers.items())
            if name.startswith("x-amz-")
        ),
    ]
    return wire_bytes("\n".join([*lines, path])) + _signed_query(head.query)


def _signed_query(query: str) -> bytes:
    """Values decoded, but a plus is a plus here; names without a value have no equals sign."""
    found = []
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        if name in SIGNED:
            decoded = unquote_to_bytes(wire_bytes(value))
            found.append((name, name.encode() + (b"=" + decoded if decoded else b"")))
    found.sort(key=lambda each: each[0])
    return b"?" + b"&".join(text for _, text in found) if found else b""


def _parameters(head: Head) -> dict[str, str]:
    """The three, each once and in ASCII."""
    others = {name.decode("latin-1") for name in head.query_names}
    if (head.header("authorization") or "").strip() or others.intersection(_OF_VERSION_4):
        raise S3Error(
            "InvalidArgument",
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature "
            "query string parameter or the Authorization header should be specified",
            ArgumentName="Authorization",
        )
    found: dict[str, str] = {}
    for pair in head.query.split("&"):
        raw, _, value = pair.partition("=")
        name = unquote_to_bytes(wire_bytes(raw)).decode("latin-1")
        if name not in _PARAMETERS:
            continue
        text = unquote_to_bytes(wire_bytes(value)).decode("latin-1")
        if name in found or not text.isascii():
            raise S3Error("AccessDenied", f"{name} is given more than once, or is not ASCII.")
        found[name] = text
    if not all(found.get(name) for name in _PARAMETERS):
        raise S3Error(
            "AccessDenied",
            "Query-string authentication requires the Signature, Expires and AWSAccessKeyId "
            "parameters",
        )
    if unsigned := sorted(others.intersection(SUBRESOURCES) - SIGNED):
        raise S3Error("AccessDenied", f"Version 2 does not sign {', '.join(unsigned)}.")
    return found


def _check_expiry(expires: str, now_ns: int) -> None:
    if not _NUMBER.fullmatch(expires):
        raise S3Error(
            "AccessDenied", f"Invalid date (should be seconds since epoch): {expires[:64]}"
        )
    until_ns = int(expires) * SECOND
    if now_ns > until_ns:
        raise S3Error(
            "AccessDenied", "Request has expired", Expires=expires, ServerTime=iso_seconds(now_ns)
        )


def _payload(head: Head) -> Payload:
    """Who presigns rarely knows the body."""
    said = head.header(PAYLOAD_HEADER)
    payload = Payload.UNSIGNED if said is None else payload_of(said.strip())
    if payload in (Payload.SIGNED_CHUNKS, Payload.SIGNED_CHUNKS_TRAILER):
        raise S3Error("InvalidRequest", "Chunks are signed by Signature Version 4 only.")
    return payload
