"""PutObject, GetObject, HeadObject, CopyObject, DeleteObject, DeleteObjects with boto3."""

from __future__ import annotations

import base64
import hashlib
import random
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import client_of, endpoints, refused
from .wire import Gateway

KIB, MIB = 1024, 1 << 20
SIZES = [0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, MIB - 1, MIB, MIB + 1, 5 * MIB + 7]
KEYS = [
    "plain",
    "with space",
    "a+b%20c",
    "folder//double",
    "../up",
    "ünïcødé/\U0001f600",
    "k" * 900,
]


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize("size", SIZES)
def test_put_get__every_size(s3: Any, bucket: str, size: int) -> None:
    data = noise(size)
    put = s3.put_object(Bucket=bucket, Key="k", Body=data)
    etag = f'"{hashlib.md5(data).hexdigest()}"'
    assert put["ETag"] == etag and "VersionId" not in put
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == data
    assert (got["ETag"], got["ContentLength"]) == (etag, size)
    assert got["ContentType"] == "binary/octet-stream"


@pytest.mark.parametrize("key", KEYS)
def test_keys__come_back_as_they_were_given(s3: Any, bucket: str, key: str) -> None:
    s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"x"
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [key]


def test_headers__are_stored_and_given_back(s3: Any, bucket: str) -> None:
    given = {
        "ContentType": "text/plain; charset=utf-8",
        "ContentEncoding": "gzip",
        "ContentDisposition": 'attachment; filename="x"',
        "ContentLanguage": "de",
        "CacheControl": "no-cache",
    }
    metadata = {"one": "1", "mixed-case": "Value With Spaces"}
    s3.put_object(Bucket=bucket, Key="k", Body=b"abc", Metadata=metadata, **given)
    found = s3.head_object(Bucket=bucket, Key="k")
    assert {name: found[name] for name in given} == given and found["Metadata"] == metadata
    changed = s3.get_object(Bucket=bucket, Key="k", ResponseContentType="image/png")
    assert changed["ContentType"] == "image/png"


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=0-0", 0, 0), ("bytes=5-", 5, 99_999), ("bytes=-7", 99_993, 99_999),
     ("bytes=10-1000000", 10, 99_999), ("bytes=40000-70000", 40_000, 70_000)],
)  # fmt: skip
def test_range(s3: Any, bucket: str, asked: str, first: int, last: int) -> None:
    data = noise(100_000)
    s3.put_object(Bucket=bucket, Key="k", Body=data)
    got = s3.get_object(Bucket=bucket, Key="k", Range=asked)
    assert got["ContentRange"] == f"bytes {first}-{last}/100000"
    assert got["Body"].read() == data[first : last + 1]
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206


def test_range__beyond_the_end(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"abc")
    ask = lambda: s3.get_object(Bucket=bucket, Key="k", Range="bytes=3-")  # noqa: E731
    assert refused(ask) == ("InvalidRange", 416)


def test_range__of_another_object_than_the_client_has(
    s3: Any, gateway: Gateway, bucket: str
) -> None:
    """Who resumes would put parts of two objects together."""
    was = s3.put_object(Bucket=bucket, Key="k", Body=b"abc")["ETag"]
    resume = {"range": "bytes=1-", "if-range": was}
    assert gateway.ask("GET", f"/{bucket}/k", **resume).body == b"bc"
    s3.put_object(Bucket=bucket, Key="k", Body=b"xyz")
    reply = gateway.ask("GET", f"/{bucket}/k", **resume)
    assert reply.status == 200 and reply.body == b"xyz" and "content-range" not in reply.headers


def test_conditions__of_reads(s3: Any, bucket: str) -> None:
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"abc")
    at = {"Bucket": bucket, "Key": "k"}
    assert s3.get_object(**at, IfMatch=put["ETag"])["ContentLength"] == 3
    assert refused(lambda: s3.get_object(**at, IfMatch='"x"')) == ("PreconditionFailed", 412)
    with pytest.raises(ClientError, match="Not Modified") as not_modified:
        s3.get_object(**at, IfNoneMatch=put["ETag"])
    assert not_modified.value.response["ResponseMetadata"]["HTTPHeaders"]["etag"] == put["ETag"]
    modified = s3.head_object(**at)["LastModified"]
    assert refused(lambda: s3.get_object(**at, IfModifiedSince=modified))[1] == 304
    assert s3.get_object(**at, IfUnmodifiedSince=modified)["ContentLength"] == 3


def test_conditions__of_writes(s3: Any, bucket: str) -> None:
    at = {"Bucket": bucket, "Key": "k"}
    put = s3.put_object(**at, Body=b"1", IfNoneMatch="*")
    again = lambda: s3.put_object(**at, Body=b"2", IfNoneMatch="*")  # noqa: E731
    assert refused(again) == ("PreconditionFailed", 412)
    s3.put_object(**at, Body=b"3", IfMatch=put["ETag"])
    stale = lambda: s3.put_object(**at, Body=b"4", IfMatch=put["ETag"])  # noqa: E731
    assert refused(stale) == ("PreconditionFailed", 412)
    assert s3.get_object(**at)["Body"].read() == b"3"
    for etag in ("*", "another"):
        absent = lambda etag=etag: s3.put_object(Bucket=bucket, Key="no", Body=b"", IfMatch=etag)  # noqa: E731
        assert refused(absent) == ("NoSuchKey", 404)


@pytest.mark.parametrize("name", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_checksums__are_checked_stored_and_given_back(s3: Any, bucket: str, name: str) -> None:
    data = noise(70_000)
    put = s3.put_object(Bucket=bucket, Key="k", Body=data, ChecksumAlgorithm=name)
    got = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert got[f"Checksum{name}"] == put[f"Checksum{name}"] and got["ChecksumType"] == "FULL_OBJECT"


def test_checksums__a_wrong_one_stores_nothing(s3: Any, bucket: str) -> None:
    wrong = base64.b64encode(bytes(32)).decode()
    put = lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"abc", ChecksumSHA256=wrong)  # noqa: E731
    assert refused(put) == ("BadDigest", 400)
    assert refused(lambda: s3.get_object(Bucket=bucket, Key="k")) == ("NoSuchKey", 404)


def test_copy__no_new_bytes_but_what_is_asked_for(s3: Any, bucket: str) -> None:
    data = noise(MIB + 5)
    s3.put_object(Bucket=bucket, Key="a b", Body=data, Metadata={"m": "1"}, ContentType="text/x")
    source = {"Bucket": bucket, "Key": "a b"}
    s3.copy_object(Bucket=bucket, Key="kept", CopySource=source)
    s3.copy_object(
        Bucket=bucket, Key="new", CopySource=source, MetadataDirective="REPLACE",
        Metadata={"m": "2"}, ContentType="text/y",
    )  # fmt: skip
    kept, new = (s3.get_object(Bucket=bucket, Key=key) for key in ("kept", "new"))
    assert kept["Body"].read() == new["Body"].read() == data
    assert (kept["Metadata"], kept["ContentType"]) == ({"m": "1"}, "text/x")
    assert (new["Metadata"], new["ContentType"]) == ({"m": "2"}, "text/y")
    onto_itself = lambda: s3.copy_object(Bucket=bucket, Key="a b", CopySource=source)  # noqa: E731
    assert refused(onto_itself) == ("InvalidRequest", 400)


def test_delete__and_again(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"abc")
    for _ in range(2):
        answer = s3.delete_object(Bucket=bucket, Key="k")
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204 and "VersionId" not in answer
    assert refused(lambda: s3.head_object(Bucket=bucket, Key="k")) == ("404", 404)


def test_delete_many(s3: Any, bucket: str) -> None:
    for key in ("a", "b", "c"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    wanted = {"Objects": [{"Key": key} for key in ("a", "c", "never")]}
    answer = s3.delete_objects(Bucket=bucket, Delete=wanted)
    assert sorted(each["Key"] for each in answer["Deleted"]) == ["a", "c", "never"]
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["b"]


def test_attributes(s3: Any, bucket: str) -> None:
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"abc", ChecksumAlgorithm="CRC32")
    found = s3.get_object_attributes(
        Bucket=bucket, Key="k", ObjectAttributes=["ETag", "Checksum", "ObjectSize", "StorageClass"]
    )
    assert (found["ETag"], found["ObjectSize"]) == (put["ETag"].strip('"'), 3)
    assert found["Checksum"]["ChecksumCRC32"] == put["ChecksumCRC32"]


def test_each_gateway_sees_at_once_what_another_has_stored(
    s3: Any, bucket: str, s3_cluster: Any
) -> None:
    other = client_of(endpoints(s3_cluster)[1], *_keys(s3))
    for number in range(50):
        key = f"n{number:03}"
        (s3 if number % 2 else other).put_object(Bucket=bucket, Key=key, Body=b"x")
        seen = (other if number % 2 else s3).list_objects_v2(Bucket=bucket)
        assert seen["Contents"][-1]["Key"] == key


def _keys(s3: Any) -> tuple[str, str]:
    credentials = s3._request_signer._credentials
    return credentials.access_key, credentials.secret_key
