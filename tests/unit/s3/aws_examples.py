"""The examples of the Amazon S3 API reference, with the signatures that it gives for them.

"Signature Calculations for the Authorization Header" (single chunk, multiple chunks, trailing
headers) and "Authenticating Requests: Using Query Parameters": one identity, one moment.
"""

from __future__ import annotations

import hashlib

from replicast.gateway.s3.dates import parse_amz_date
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.signing_keys import SigningKeys
from replicast.gateway.s3.sigv4 import Verified, verify

KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
TIMESTAMP = "20130524T000000Z"
NOW_NS = parse_amz_date(TIMESTAMP) or 0
SECOND_NS = 1_000_000_000
BUCKET_HOST = "examplebucket.s3.amazonaws.com"
EMPTY = hashlib.sha256(b"").hexdigest()
CHUNKED_PAYLOAD = b"a" * 66560
CHUNK_SIGNATURES = (
    "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
    "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
    "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
)
TRAILER_CHUNK_SIGNATURES = (
    "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
    "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
    "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
)
TRAILER = ("x-amz-checksum-crc32c", "sOO8/Q==")
TRAILER_SIGNATURE = "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435"


def secret_of(key_id: str) -> str | None:
    return SECRET if key_id == KEY_ID else None


def verified(head: Head, now_ns: int = NOW_NS, regions: tuple[str, ...] = ()) -> Verified:
    return verify(head, now_ns, secret_of, SigningKeys(), regions)


def authorization(signed: str, signature: str) -> str:
    scope = f"{KEY_ID}/20130524/us-east-1/s3/aws4_request"
    return f"AWS4-HMAC-SHA256 Credential={scope},SignedHeaders={signed},Signature={signature}"


def _head(
    method: str, path: str, signature: str, signed: str, query: str = "", **headers: str
) -> Head:
    given = {"host": BUCKET_HOST, "x-amz-date": TIMESTAMP, "x-amz-content-sha256": EMPTY}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    given["authorization"] = authorization(signed, signature)
    return Head(method, path, query, given)


GET_OBJECT = _head(
    "GET",
    "/test.txt",
    "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    "host;range;x-amz-content-sha256;x-amz-date",
    range="bytes=0-9",
)
PUT_OBJECT = _head(
    "PUT",
    "/test$file.text",
    "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
    date="Fri, 24 May 2013 00:00:00 GMT",
    x_amz_storage_class="REDUCED_REDUNDANCY",
    x_amz_content_sha256=hashlib.sha256(b"Welcome to Amazon S3.").hexdigest(),
)
GET_LIFECYCLE = _head(
    "GET",
    "/",
    "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    "host;x-amz-content-sha256;x-amz-date",
    query="lifecycle",
)
LIST_OBJECTS = _head(
    "GET",
    "/",
    "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    "host;x-amz-content-sha256;x-amz-date",
    query="max-keys=2&prefix=J",
)
PUT_CHUNKED = _head(
    "PUT",
    "/examplebucket/chunkObject.txt",
    "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;"
    "x-amz-decoded-content-length;x-amz-storage-class",
    host="s3.amazonaws.com",
    x_amz_storage_class="REDUCED_REDUNDANCY",
    x_amz_content_sha256="STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    content_encoding="aws-chunked",
    x_amz_decoded_content_length="66560",
    content_length="66824",
)
PUT_TRAILER = _head(
    "PUT",
    "/examplebucket/chunkObject.txt",
    "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
    "content-encoding;host;x-amz-content-sha256;x-amz-date;"
    "x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer",
    host="s3.amazonaws.com",
    x_amz_storage_class="REDUCED_REDUNDANCY",
    x_amz_content_sha256="STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    content_encoding="aws-chunked",
    x_amz_decoded_content_length="66560",
    x_amz_trailer="x-amz-checksum-crc32c",
)
PRESIGNED_QUERY = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256"
    f"&X-Amz-Credential={KEY_ID}%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
    f"&X-Amz-Date={TIMESTAMP}&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
    "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
)
PRESIGNED = Head("GET", "/test.txt", PRESIGNED_QUERY, {"host": BUCKET_HOST})


def chunked_body(signatures: tuple[str, ...], end: bytes = b"\r\n") -> bytes:
    """The payload of the examples: 64 KiB, 1 KiB and the last, empty chunk."""
    pieces = (CHUNKED_PAYLOAD[:65536], CHUNKED_PAYLOAD[65536:], b"")
    framed = [
        f"{len(piece):x};chunk-signature={signature}\r\n".encode() + piece
        for piece, signature in zip(pieces, signatures, strict=True)
    ]
    return b"\r\n".join(framed) + end


def trailer_end(newline: bytes = b"\r\n") -> bytes:
    """The trailers of the example."""
    return (
        ":".join(TRAILER).encode()
        + newline
        + f"x-amz-trailer-signature:{TRAILER_SIGNATURE}\r\n\r\n".encode()
    )
