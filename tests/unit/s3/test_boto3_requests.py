"""What boto3 really sends, operation by operation, as far as signature and body are concerned."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config

from replicast.gateway.s3.body import body_of
from replicast.gateway.s3.dates import parse_amz_date
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.payload import Payload
from replicast.gateway.s3.signing_keys import SigningKeys
from replicast.gateway.s3.sigv4 import Verified, verify

REGION = "eu-north-1"
KEY_ID, SECRET = "AKIDEXAMPLE", "secret+/="
NAME = "a b/ä+%25/~-._!*'()&$@=;:,?#\\é"
DATA = random.Random(9).randbytes(300_000)


def head_of(request: AWSPreparedRequest) -> Head:
    url = urlsplit(request.url)
    given = {name.lower(): as_text(value) for name, value in request.headers.items()}
    return Head(request.method, url.path, url.query, {"host": url.netloc, **given})


def as_text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def sent(call: Callable[[Any], object], endpoint: str, **config: object) -> AWSPreparedRequest:
    """The one request that `call` makes; it is answered with 200 and nothing else."""
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
        config=Config(s3={"addressing_style": "path"}, **config),
    )
    requests: list[AWSPreparedRequest] = []

    class Nothing(io.BytesIO):
        def stream(self, **_: object) -> list[bytes]:
            return []

    def answer(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        requests.append(request)
        return AWSResponse(request.url, 200, {}, Nothing())

    client.meta.events.register("before-send.s3", answer)
    call(client)
    (request,) = requests
    return request


def checked(request: AWSPreparedRequest) -> tuple[Verified, bytes, dict[str, str]]:
    head = head_of(request)
    now_ns = parse_amz_date(head.headers["x-amz-date"])
    assert now_ns is not None
    found = verify(head, now_ns, {KEY_ID: SECRET}.get, SigningKeys(), (REGION,))
    wire = request.body.read() if hasattr(request.body, "read") else request.body or b""
    body = body_of(head, found)
    return found, b"".join(body.feed(wire)), body.finish()


WITH_BODY: dict[str, Callable[[Any], object]] = {
    "put bytes": lambda s3: s3.put_object(
        Bucket="b", Key=NAME, Body=DATA, Metadata={"a": " b  c "}
    ),
    "put a stream": lambda s3: s3.put_object(Bucket="b", Key=NAME, Body=io.BytesIO(DATA)),
    "put encoded": lambda s3: s3.put_object(
        Bucket="b", Key=NAME, Body=io.BytesIO(DATA), ContentEncoding="gzip"
    ),
    "put sha256": lambda s3: s3.put_object(
        Bucket="b", Key=NAME, Body=DATA, ChecksumAlgorithm="SHA256"
    ),
    "part": lambda s3: s3.upload_part(
        Bucket="b", Key=NAME, Body=io.BytesIO(DATA), PartNumber=3, UploadId="u+/="
    ),
}
OTHERS: dict[str, Callable[[Any], object]] = {
    "list": lambda s3: s3.list_objects_v2(Bucket="b", Prefix=NAME, Delimiter="/", MaxKeys=7),
    "list v1": lambda s3: s3.list_objects(Bucket="b", Marker="a b+c", EncodingType="url"),
    "get": lambda s3: s3.get_object(Bucket="b", Key=NAME, Range="bytes=1-", VersionId="a/b"),
    "head": lambda s3: s3.head_object(Bucket="b", Key=NAME, IfMatch='"x"'),
    "copy": lambda s3: s3.copy_object(
        Bucket="b", Key=NAME, CopySource={"Bucket": "b", "Key": NAME}
    ),
    "delete": lambda s3: s3.delete_object(Bucket="b", Key=NAME),
    "delete many": lambda s3: s3.delete_objects(Bucket="b", Delete={"Objects": [{"Key": NAME}]}),
    "buckets": lambda s3: s3.list_buckets(),
    "create": lambda s3: s3.create_bucket(Bucket="b"),
    "tags": lambda s3: s3.put_object_tagging(
        Bucket="b", Key=NAME, Tagging={"TagSet": [{"Key": "k", "Value": "v"}]}
    ),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("endpoint", ["http://h:1", "https://h"])
def test_boto3__its_requests(name: str, endpoint: str) -> None:
    assert checked(sent(OTHERS[name], endpoint))[0].key_id == KEY_ID


@pytest.mark.parametrize("name", WITH_BODY)
@pytest.mark.parametrize("endpoint", ["http://h:1", "https://h"])
@pytest.mark.parametrize("checksums", ["when_supported", "when_required"])
def test_boto3__its_bodies(name: str, endpoint: str, checksums: str) -> None:
    request = sent(WITH_BODY[name], endpoint, request_checksum_calculation=checksums)
    found, payload, trailers = checked(request)
    assert payload == DATA
    assert set(trailers) == (
        {request.headers["x-amz-trailer"].decode()}
        if found.payload is Payload.UNSIGNED_CHUNKS_TRAILER
        else set()
    )
