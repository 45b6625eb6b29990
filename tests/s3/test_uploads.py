"""Multipart uploads with boto3."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from .conftest import refused

MIB = 1 << 20


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def begun(s3: Any, bucket: str, **more: Any) -> dict[str, str]:
    created = s3.create_multipart_upload(Bucket=bucket, Key="k", **more)
    return {"Bucket": bucket, "Key": "k", "UploadId": created["UploadId"]}


@pytest.mark.parametrize("algorithm", [None, "CRC32", "SHA256"])
def test_upload__from_its_parts(s3: Any, bucket: str, algorithm: str | None) -> None:
    checksum = {"ChecksumAlgorithm": algorithm} if algorithm else {}
    upload = begun(s3, bucket, Metadata={"m": "1"}, ContentType="text/x", **checksum)
    data = [noise(5 * MIB, 1), noise(6 * MIB + 1, 2), noise(77, 3)]
    parts = []
    for number, piece in enumerate(data, 1):
        part = s3.upload_part(**upload, PartNumber=number, Body=piece, **checksum)
        sums = {
            name: part[name]
            for name in part
            if name.startswith("ChecksumCRC32") or name == "ChecksumSHA256"
        }
        parts.append({"PartNumber": number, "ETag": part["ETag"]} | (sums if algorithm else {}))
    listed = s3.list_parts(**upload)["Parts"]
    assert [(p["PartNumber"], p["Size"]) for p in listed] == [
        (n, len(d)) for n, d in enumerate(data, 1)
    ]
    assert [u["UploadId"] for u in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == [
        upload["UploadId"]
    ]
    done = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    assert done["ETag"].endswith('-3"')
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == b"".join(data) and got["Metadata"] == {"m": "1"}
    third = s3.get_object(Bucket=bucket, Key="k", PartNumber=3)
    assert third["Body"].read() == data[2] and third["PartsCount"] == 3
    again = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    assert again["ETag"] == done["ETag"]
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_upload__refused_and_aborted(s3: Any, bucket: str) -> None:
    upload = begun(s3, bucket)
    small = [s3.upload_part(**upload, PartNumber=n, Body=b"x") for n in (1, 2)]
    parts = [{"PartNumber": n, "ETag": p["ETag"]} for n, p in enumerate(small, 1)]

    def complete(chosen: list[dict[str, Any]]) -> Any:
        return s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": chosen})

    assert refused(lambda: complete(parts)) == ("EntityTooSmall", 400)
    assert refused(lambda: complete(parts[::-1])) == ("InvalidPartOrder", 400)
    assert refused(lambda: complete([parts[0] | {"ETag": '"0"'}])) == ("InvalidPart", 400)
    assert refused(lambda: complete([parts[0] | {"PartNumber": 9}])) == ("InvalidPart", 400)
    s3.abort_multipart_upload(**upload)
    assert refused(lambda: complete(parts)) == ("NoSuchUpload", 404)
    assert refused(lambda: s3.list_parts(**upload)) == ("NoSuchUpload", 404)
    assert refused(lambda: s3.upload_part(**upload, PartNumber=1, Body=b"x")) == (
        "NoSuchUpload",
        404,
    )


def test_part_copy__of_a_range(s3: Any, bucket: str) -> None:
    source = noise(6 * MIB)
    s3.put_object(Bucket=bucket, Key="source", Body=source)
    upload = begun(s3, bucket)
    copied = s3.upload_part_copy(
        **upload, PartNumber=1, CopySource={"Bucket": bucket, "Key": "source"},
        CopySourceRange=f"bytes=7-{5 * MIB + 6}",
    )  # fmt: skip
    last = s3.upload_part(**upload, PartNumber=2, Body=b"end")
    etags = [copied["CopyPartResult"]["ETag"], last["ETag"]]
    parts = [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, 1)]
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    got = s3.get_object(Bucket=bucket, Key="k")["Body"].read()
    assert got == source[7 : 5 * MIB + 7] + b"end"


def test_transfer__of_a_file(s3: Any, bucket: str, tmp_path: Path) -> None:
    data = noise(17 * MIB + 3)
    (tmp_path / "up").write_bytes(data)
    s3.upload_file(str(tmp_path / "up"), bucket, "big file+%.bin")
    s3.download_file(bucket, "big file+%.bin", str(tmp_path / "down"))
    assert (tmp_path / "down").read_bytes() == data


def test_parts__are_told_and_read_one_by_one(s3: Any, bucket: str) -> None:
    upload = begun(s3, bucket, ChecksumAlgorithm="CRC32C", ChecksumType="COMPOSITE")
    (listed,) = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert (listed["ChecksumAlgorithm"], listed["ChecksumType"]) == ("CRC32C", "COMPOSITE")
    data = [noise(5 * MIB, 1), noise(99, 2)]
    parts, sums = [], []
    for number, piece in enumerate(data, 1):
        part = s3.upload_part(**upload, PartNumber=number, Body=piece, ChecksumAlgorithm="CRC32C")
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
        sums.append(part["ChecksumCRC32C"])
    done = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    at = {"Bucket": bucket, "Key": "k"}
    for number, (piece, checksum) in enumerate(zip(data, sums, strict=True), 1):
        got = s3.get_object(**at, PartNumber=number, ChecksumMode="ENABLED")
        assert got["Body"].read() == piece and got["ChecksumCRC32C"] == checksum
    assert refused(lambda: s3.get_object(**at, PartNumber=3)) == ("InvalidPart", 400)
    told = s3.get_object_attributes(**at, ObjectAttributes=["ObjectParts", "Checksum"], MaxParts=1)
    assert told["Checksum"]["ChecksumCRC32C"] == done["ChecksumCRC32C"]
    assert (told["ObjectParts"]["TotalPartsCount"], told["ObjectParts"]["IsTruncated"]) == (2, True)
    (part,) = told["ObjectParts"]["Parts"]
    assert (part["Size"], part["ChecksumCRC32C"]) == (5 * MIB, sums[0])


def test_completion__checksum_of_the_object_and_conditions(s3: Any, bucket: str) -> None:
    part = [{"PartNumber": 1, "ETag": ""}]

    def complete(**more: Any) -> Any:
        upload = begun(s3, bucket)
        part[0]["ETag"] = s3.upload_part(**upload, PartNumber=1, Body=b"abc")["ETag"]
        return s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": part}, **more)

    assert refused(lambda: complete(IfMatch="*")) == ("NoSuchKey", 404)
    etag = complete(IfNoneMatch="*")["ETag"]
    assert refused(lambda: complete(IfNoneMatch="*")) == ("PreconditionFailed", 412)
    complete(IfMatch=etag)
    upload = begun(s3, bucket, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
    part[0]["ETag"] = s3.upload_part(**upload, PartNumber=1, Body=b"abc")["ETag"]
    both = {**upload, "MultipartUpload": {"Parts": part}}
    wrong = lambda: s3.complete_multipart_upload(**both, ChecksumCRC32="AAAAAA==")  # noqa: E731
    assert refused(wrong) == ("BadDigest", 400)
    done = s3.complete_multipart_upload(**both, ChecksumCRC32="NSRBwg==")
    assert done["ChecksumCRC32"] == "NSRBwg=="


def test_uploads__listed_page_by_page(s3: Any, bucket: str) -> None:
    made = []
    for key in ("a/1", "a/2", "a/2", "b", "c/1", "d"):
        upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        made.append((key, upload))
    for size in (1, 2, 1000):
        pages = s3.get_paginator("list_multipart_uploads").paginate(
            Bucket=bucket, PaginationConfig={"PageSize": size}
        )
        found = [(u["Key"], u["UploadId"]) for page in pages for u in page.get("Uploads", [])]
        assert found == made
        pages = s3.get_paginator("list_multipart_uploads").paginate(
            Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": size}
        )
        prefixes, keys = [], []
        for page in pages:
            prefixes += [each["Prefix"] for each in page.get("CommonPrefixes", [])]
            keys += [each["Key"] for each in page.get("Uploads", [])]
        assert (prefixes, keys) == (["a/", "c/"], ["b", "d"])
    for key, upload in made:
        s3.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
