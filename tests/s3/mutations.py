"""Requests that SDKs send, and what becomes of them when something in them is changed."""

from __future__ import annotations

import base64
import hashlib
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlsplit

from replicast.gateway.s3.operation import SUBRESOURCES

PIECES = [
    "", "%00", "%", "%zz", "%ff", "%2F", "..", "//", "\x7f", "é", "\u20ac", " ", "\t", "-1", "0", "1",
    "99999999999999999999", "-0", "+1", "1e9", "NaN", '"', '""', "*", ",", ";", "=", "&", "<a>", "]]>",
    "&#0;", "null", "true", "x" * 2000, "None", "\\", "'", "{}", "aws:kms", "AES256", "bytes=0-",
    "bytes=-1", "bytes=5-2", "bytes=0-0,2-3", "2026-13-45T99:99:99Z", "Thu, 01 Jan 1970 00:00:00 GMT",
    "Sat, 31 Feb 2099 10:00:00 GMT", "AAAAAA==", "=?UTF-8?B?4pyT?=", "=?x?q?=", "crc32", "SHA256",
]  # fmt: skip
HEADERS = [
    "range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range",
    "content-md5", "content-type", "content-encoding", "content-language", "content-disposition",
    "cache-control", "expires", "expect", "x-amz-date", "date", "x-amz-meta-a", "x-amz-meta-\u00e9",
    "x-amz-acl", "x-amz-copy-source", "x-amz-copy-source-range", "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-modified-since", "x-amz-metadata-directive", "x-amz-tagging-directive",
    "x-amz-checksum-crc32", "x-amz-checksum-sha256", "x-amz-checksum-crc64nvme", "x-amz-checksum-type",
    "x-amz-sdk-checksum-algorithm", "x-amz-checksum-algorithm", "x-amz-checksum-mode", "x-amz-trailer",
    "x-amz-decoded-content-length", "x-amz-object-attributes", "x-amz-max-parts", "x-amz-mfa",
    "x-amz-part-number-marker", "x-amz-storage-class", "x-amz-security-token", "x-amz-tagging",
    "x-amz-server-side-encryption", "x-amz-server-side-encryption-customer-key", "x-amz-bypass-x",
    "x-amz-expected-bucket-owner", "x-amz-mp-object-size", "x-amz-if-match-size", "origin", "accept",
    "x-amz-if-match-last-modified-time", "x-amz-write-offset-bytes", "x-amz-request-payer",
]  # fmt: skip
PARAMETERS = [
    *SUBRESOURCES, "prefix", "delimiter", "marker", "max-keys", "list-type", "continuation-token",
    "start-after", "encoding-type", "fetch-owner", "key-marker", "version-id-marker", "max-uploads",
    "upload-id-marker", "part-number-marker", "max-parts", "partNumber", "uploadId", "versionId",
    "response-content-type", "response-content-disposition", "response-expires", "x-id",
    "AWSAccessKeyId", "Signature", "Expires", "X-Amz-Signature", "X-Amz-Algorithm",
]  # fmt: skip
HASH = "x-amz-content-sha256"
METHODS = ["GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "BREW"]


@dataclass(frozen=True)
class Sent:
    """A request, not signed; the length of its body goes without saying."""

    method: str
    path: str
    query: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def target(self) -> str:
        return self.path + (f"?{self.query}" if self.query else "")


def recorded(client: Any, calls: Callable[[Any], object]) -> list[Sent]:
    """What `calls` makes the client send; it is sent."""
    found: list[Sent] = []

    def note(request: Any, **_: object) -> None:
        url = urlsplit(request.url)
        body = request.body.read() if hasattr(request.body, "read") else request.body or b""
        if hasattr(request.body, "seek"):
            request.body.seek(0)
        headers = {
            name.lower(): value if isinstance(value, str) else value.decode("latin-1")
            for name, value in request.headers.items()
        }
        # What is said of the body is true of what it was; signatures are made when it is known.
        for name in ("authorization", "host", "content-length", "x-amz-date", "expect", HASH):
            headers.pop(name, None)
        raw = body.encode() if isinstance(body, str) else bytes(body)
        found.append(Sent(request.method, url.path, url.query, headers, raw))

    client.meta.events.register("before-send.s3", note)
    try:
        calls(client)
    finally:
        client.meta.events.unregister("before-send.s3", note)
    return found


def mutated(rng: random.Random, sent: Sent) -> Sent:
    """One or a few things about it changed."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        sent = rng.choice((_header, _header, _query, _query, _path, _body, _body, _method))(
            rng, sent
        )
    return sent


def mutated_text(rng: random.Random, text: str) -> str:
    """A piece more, less, or other."""
    at = rng.randrange(len(text) + 1)
    kind = rng.randrange(5)
    if kind == 0:
        return rng.choice(PIECES)
    if kind == 1:
        return text[:at] + rng.choice(PIECES) + text[at:]
    if kind == 2:
        return text[:at] + text[at + rng.randrange(1, 5) :]
    if kind == 3:
        return text[:at] + chr(rng.randrange(32, 256)) + text[at + 1 :]
    return text + text[at:]


def mutated_bytes(rng: random.Random, data: bytes) -> bytes:
    """A few bytes more, less, or other."""
    at = rng.randrange(len(data) + 1)
    kind = rng.randrange(5)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + rng.choice(PIECES).encode() + data[at:]
    if kind == 2:
        return data[:at] + data[at + rng.randrange(1, 20) :]
    if kind == 3:
        return data[:at] + rng.randbytes(1) + data[at + 1 :]
    end = rng.randrange(at, min(len(data), at + 200) + 1)
    return data[:end] + data[at:end] * rng.randrange(4) + data[end:]


def _header(rng: random.Random, sent: Sent) -> Sent:
    headers = dict(sent.headers)
    if headers and rng.random() < 0.5:
        name = rng.choice(sorted(headers))
        if rng.random() < 0.2:
            del headers[name]
        else:
            headers[name] = mutated_text(rng, headers[name])
    else:
        headers[rng.choice(HEADERS)] = rng.choice(PIECES)
    return replace(sent, headers=headers)


def _query(rng: random.Random, sent: Sent) -> Sent:
    pairs = [pair for pair in sent.query.split("&") if pair]
    if pairs and rng.random() < 0.5:
        at = rng.randrange(len(pairs))
        pairs[at] = mutated_text(rng, pairs[at]) if rng.random() < 0.8 else pairs[0]
    else:
        value = quote(rng.choice(PIECES), safe="") if rng.random() < 0.8 else rng.choice(PIECES)
        pairs.append(f"{rng.choice(PARAMETERS)}={value}")
    return replace(sent, query="&".join(pairs))


def _path(rng: random.Random, sent: Sent) -> Sent:
    """Of the key alone, as a rule, and in the one right way of writing it."""
    bucket, slash, key = sent.path[1:].partition("/")
    if rng.random() < 0.2:
        return replace(sent, path="/" + mutated_text(rng, sent.path[1:]))
    changed = mutated_text(rng, unquote_to_bytes(key).decode("utf-8", "replace"))
    return replace(sent, path=f"/{bucket}{slash or '/'}{quote(changed)}")


def _body(rng: random.Random, sent: Sent) -> Sent:
    """With its right MD5, as a rule: what is found by that is not looked at any further."""
    body = mutated_bytes(rng, sent.body)
    if rng.random() < 0.2:
        return replace(sent, body=body)
    headers = {n: v for n, v in sent.headers.items() if not n.startswith("x-amz-checksum-")}
    headers.pop("x-amz-sdk-checksum-algorithm", None)
    if HASH not in headers:
        headers["content-md5"] = base64.b64encode(hashlib.md5(body).digest()).decode()
    return replace(sent, body=body, headers=headers)


def chunked(path: str, data: bytes, *chunk_sizes: int) -> Sent:
    """A put in chunks that are not signed, with a checksum behind them."""
    framed, at = b"", 0
    for size in (*chunk_sizes, len(data) - sum(chunk_sizes)):
        framed += b"%x\r\n%s\r\n" % (size, data[at : at + size])
        at += size
    crc32 = base64.b64encode(zlib.crc32(data).to_bytes(4, "big"))
    framed += b"0\r\nx-amz-checksum-crc32:%s\r\n\r\n" % crc32
    headers = {
        HASH: "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "x-amz-decoded-content-length": str(len(data)),
        "x-amz-trailer": "x-amz-checksum-crc32",
        "content-encoding": "aws-chunked",
    }
    return Sent("PUT", path, "", headers, framed)


def _method(rng: random.Random, sent: Sent) -> Sent:
    return replace(sent, method=rng.choice(METHODS))
