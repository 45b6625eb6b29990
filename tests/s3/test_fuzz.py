"""Mutations of what boto3 sends, against a gateway: an answer of S3's, whatever comes.

REPLICAST_FUZZ_COUNT sets how many of each kind (400).
"""

from __future__ import annotations

import os
import random
import socket
from typing import Any

import pytest

from .mutations import HASH, Sent, chunked, mutated, mutated_bytes, recorded
from .wire import UNSIGNED, Gateway, Reply

COUNT = int(os.environ.get("REPLICAST_FUZZ_COUNT", "400"))
MIB = 1 << 20
LEFT_ALONE = (301, 304)  # neither done nor an error in XML
STORES = ("PUT", "POST")


def calls(s3: Any, bucket: str) -> None:
    """One or more of every operation."""
    at = {"Bucket": bucket, "Key": "k"}
    data = random.Random(11).randbytes(100_000)
    s3.list_buckets()
    s3.head_bucket(Bucket=bucket)
    s3.get_bucket_location(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    s3.get_bucket_versioning(Bucket=bucket)
    s3.put_object(**at, Body=data[:1000], Metadata={"a": "1"}, ContentType="text/x")
    s3.put_object(**at, Body=data, ChecksumAlgorithm="SHA256")
    s3.get_object(**at, Range="bytes=10-20")["Body"].read()
    s3.get_object(**at, IfNoneMatch='"x"', ResponseContentType="a/b")["Body"].read()
    s3.head_object(**at, ChecksumMode="ENABLED")
    s3.get_object_attributes(**at, ObjectAttributes=["ETag", "ObjectSize"])
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=at, MetadataDirective="REPLACE")
    s3.list_objects(Bucket=bucket, Prefix="k", Delimiter="/", EncodingType="url")
    s3.list_objects_v2(Bucket=bucket, StartAfter="a", MaxKeys=1)
    s3.list_object_versions(Bucket=bucket, Prefix="k")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="mp")["UploadId"]
    part = {"Bucket": bucket, "Key": "mp", "UploadId": upload}
    tag = s3.upload_part(**part, PartNumber=1, Body=data[:5000])["ETag"]
    s3.upload_part_copy(**part, PartNumber=2, CopySource=at, CopySourceRange="bytes=0-9")
    s3.list_parts(**part)
    s3.list_multipart_uploads(Bucket=bucket)
    done = {"Parts": [{"ETag": tag, "PartNumber": 1}]}
    s3.complete_multipart_upload(**part, MultipartUpload=done)
    other = s3.create_multipart_upload(Bucket=bucket, Key="mp2")["UploadId"]
    s3.abort_multipart_upload(Bucket=bucket, Key="mp2", UploadId=other)
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "none", "VersionId": "null"}]})
    s3.delete_object(Bucket=bucket, Key="mp")


@pytest.fixture(scope="module")
def requests(s3: Any) -> list[Sent]:
    """What a client sends for all this, in a bucket that stays."""
    s3.create_bucket(Bucket="fuzzed")
    found = recorded(s3, lambda client: calls(client, "fuzzed"))
    data = random.Random(12).randbytes(40_000)
    in_chunks = [chunked("/fuzzed/k", data, 8192, 16384), chunked("/fuzzed/k", data[:5])]
    return [*found, *in_chunks, *in_chunks, *in_chunks]


@pytest.mark.timeout(300 + COUNT // 10)
def test_mutated__and_signed(s3: Any, gateway: Gateway, requests: list[Sent]) -> None:
    """What was changed is signed, so it is looked at."""
    rng, stored = random.Random(COUNT), {"k", "copy", "mp"}
    for number in range(COUNT):
        sent = mutated(rng, rng.choice(requests))
        reply = ask(gateway, sent)
        check(sent, reply)
        if sent.method in STORES and reply.status == 200:
            stored.add(sent.path)
        if number % 50 == 0:
            assert gateway.ask("GET", "/").status == 200
    unasked(s3, stored)


@pytest.mark.timeout(300 + COUNT // 10)
def test_mutated__on_the_wire(s3: Any, gateway: Gateway, requests: list[Sent]) -> None:
    """What was changed does not fit the signature any more, or is no request at all."""
    rng, stored = random.Random(COUNT + 1), {"k", "copy", "mp"}
    for _ in range(COUNT):
        sent = rng.choice(requests)
        wire = head(gateway, sent) + sent.body
        for _ in range(rng.choice((1, 1, 3))):
            wire = mutated_bytes(rng, wire[:3000]) + wire[3000:]
        for reply in answers(gateway, wire, sent.method):
            check(sent, reply)
            if reply.status == 200:
                stored.add("*")
    if "*" not in stored:
        unasked(s3, stored)


def head(gateway: Gateway, sent: Sent) -> bytes:
    payload = sent.headers.get(HASH, UNSIGNED)
    framed = "transfer-encoding" in sent.headers
    length = {} if framed else {"content-length": str(len(sent.body))}
    headers = {name: v for name, v in sent.headers.items() if name != HASH}
    return gateway.head(sent.method, sent.target, headers, payload=payload, unsigned=length)


def ask(gateway: Gateway, sent: Sent) -> Reply | None:
    found = answers(gateway, head(gateway, sent) + sent.body, sent.method)
    return found[0] if found else None


def answers(gateway: Gateway, wire: bytes, method: str) -> list[Reply]:
    """All that come, until the gateway closes; it is told that there will be no more."""
    found = []
    with gateway.connect() as raw:
        try:
            raw.send(wire)
            raw.socket.shutdown(socket.SHUT_WR)
            while True:
                reply = raw.reply(head_only=method == "HEAD")
                if reply.status != 100:
                    found.append(reply)
        except ConnectionError:
            return found


def check(sent: Sent, reply: Reply | None) -> None:
    """An answer of S3's."""
    assert reply is not None, sent
    assert reply.status < 500 or reply.status in (501, 503), (sent, reply)
    if reply.status >= 400 and reply.body:
        assert reply.code != "InternalError", (sent, reply)
    elif reply.status >= 300 and sent.method != "HEAD":
        assert reply.status in LEFT_ALONE, (sent, reply)


def unasked(s3: Any, stored: set[str]) -> None:
    """Nothing is there that was not acknowledged."""
    for page in s3.get_paginator("list_object_versions").paginate(Bucket="fuzzed"):
        for each in page.get("Versions", []):
            assert any(each["Key"] == name or name.startswith("/") for name in stored), each
