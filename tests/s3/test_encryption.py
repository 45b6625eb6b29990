"""Server-side encryption with boto3, through both gateways; and what lies on the VDEVs."""

from __future__ import annotations

import hashlib
import random
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from botocore.exceptions import ClientError

from replicast.cli.s3_access import load_s3_access

from ..cluster.conftest import Cluster
from .conftest import client_of, endpoints, refused

KIB, MIB = 1024, 1 << 20
SSE = "x-amz-server-side-encryption"
SIZES = [0, 1, 64 * KIB, 64 * KIB + 1, MIB, 3 * MIB + 7]


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def customer(letter: str, prefix: str = "") -> dict[str, Any]:
    """Encoded here: boto3 does it for some operations only."""
    return {
        prefix + "SSECustomerAlgorithm": "AES256",
        prefix + "SSECustomerKey": b64encode(letter.encode() * 32).decode(),
        prefix + "SSECustomerKeyMD5": digest(letter),
    }


def digest(letter: str) -> str:
    return b64encode(hashlib.md5(letter.encode() * 32).digest()).decode()


SERVER: dict[str, Any] = {"ServerSideEncryption": "AES256"}
MINE, OTHER = customer("m"), customer("o")
PLAIN: dict[str, Any] = {}
WAYS = {"plain": PLAIN, "server": SERVER, "mine": MINE, "other": OTHER}


def reading(way: str) -> dict[str, Any]:
    """What a read must say of an object that was put this way."""
    return {} if way in ("plain", "server") else WAYS[way]


def check_told(answer: Any, way: str) -> None:
    """The headers of an answer say how it is kept."""
    assert answer.get("ServerSideEncryption") == ("AES256" if way == "server" else None)
    letter = {"mine": "m", "other": "o"}.get(way)
    assert answer.get("SSECustomerAlgorithm") == ("AES256" if letter else None)
    assert answer.get("SSECustomerKeyMD5") == (digest(letter) if letter else None)


@pytest.fixture
def second(s3_cluster: Cluster) -> Any:
    """The same user at the other gateway."""
    access = load_s3_access(s3_cluster.data)
    return client_of(endpoints(s3_cluster)[1], access.key_id, access.secret)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", ["server", "mine"])
def test_put_get__through_both_gateways(
    s3: Any, second: Any, bucket: str, size: int, way: str
) -> None:
    data = noise(size)
    put = s3.put_object(Bucket=bucket, Key="k", Body=data, Metadata={"a": "b"}, **WAYS[way])
    check_told(put, way)
    etag = f'"{hashlib.md5(data).hexdigest()}"'
    for client in (s3, second):
        got = client.get_object(Bucket=bucket, Key="k", **reading(way))
        assert got["Body"].read() == data and got["ETag"] == put["ETag"] == etag
        check_told(got, way)
        head = client.head_object(Bucket=bucket, Key="k", **reading(way))
        assert head["ContentLength"] == size and head["Metadata"] == {"a": "b"}
        check_told(head, way)
    (listed,) = second.list_objects_v2(Bucket=bucket)["Contents"]
    assert listed["Size"] == size
    found = s3.get_object_attributes(
        Bucket=bucket, Key="k", ObjectAttributes=["ObjectSize", "ETag"], **reading(way)
    )
    assert found["ObjectSize"] == size and found["ETag"] == etag.strip('"')


@pytest.mark.parametrize("way", ["server", "mine"])
def test_get__ranges(s3: Any, bucket: str, way: str) -> None:
    data = noise(3 * MIB + 7)
    s3.put_object(Bucket=bucket, Key="k", Body=data, **WAYS[way])
    for first, last in ((0, 0), (MIB - 1, MIB), (5, 2 * MIB), (3 * MIB, 4 * MIB)):
        got = s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={first}-{last}", **reading(way))
        assert got["Body"].read() == data[first : last + 1]
    got = s3.get_object(Bucket=bucket, Key="k", Range="bytes=-9", **reading(way))
    assert got["Body"].read() == data[-9:]


def test_customer_key__of_reads(s3: Any, bucket: str) -> None:
    ways = ("plain", "server", "mine")
    for way in ways:
        s3.put_object(Bucket=bucket, Key=way, Body=noise(100), **WAYS[way])
    wrong = [("plain", MINE), ("server", MINE), ("mine", PLAIN), ("mine", OTHER)]
    for key, more in wrong:
        named = {"Bucket": bucket, "Key": key, **more}
        assert refused(lambda named=named: s3.get_object(**named)) == ("InvalidRequest", 400)
        assert refused(lambda named=named: s3.head_object(**named)) == ("400", 400)
        assert refused(
            lambda named=named: s3.get_object_attributes(**named, ObjectAttributes=["ETag"])
        ) == ("InvalidRequest", 400)
    for key in ways:
        s3.delete_object(Bucket=bucket, Key=key)


def with_headers(s3: Any, operation: str, headers: dict[str, str]) -> Any:
    """A call of `operation` that says this, whatever boto3 thinks of it."""

    def add(params: Any, **_: Any) -> None:
        params["headers"].update(headers)

    event = f"before-call.s3.{operation}"
    s3.meta.events.register(event, add)
    return lambda: s3.meta.events.unregister(event, add)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({SSE: "aws:kms"}, ("NotImplemented", 501)),
        ({SSE: "aws:kms", SSE + "-aws-kms-key-id": "k"}, ("NotImplemented", 501)),
        ({SSE: "aws:kms:dsse"}, ("NotImplemented", 501)),
        ({SSE: "AES256", SSE + "-aws-kms-key-id": "k"}, ("InvalidArgument", 400)),
        ({SSE + "-aws-kms-key-id": "k"}, ("InvalidArgument", 400)),
        ({SSE: "aes:kms"}, ("InvalidArgument", 400)),
        ({SSE + "-customer-algorithm": "AES256"}, ("InvalidArgument", 400)),
        ({SSE + "-customer-algorithm": "DES"}, ("InvalidEncryptionAlgorithmError", 400)),
        (
            {
                SSE + "-customer-algorithm": "AES256",
                SSE + "-customer-key": b64encode(b"m" * 32).decode(),
                SSE + "-customer-key-md5": digest("o"),
            },
            ("InvalidArgument", 400),
        ),
    ],
)
def test_put__refused(s3: Any, bucket: str, headers: dict[str, str], code: tuple[str, int]) -> None:
    done = with_headers(s3, "PutObject", headers)
    try:
        assert refused(lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"x")) == code
    finally:
        done()
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_get__chooses_no_method(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", **SERVER)
    done = with_headers(s3, "GetObject", {SSE: "AES256"})
    try:
        assert refused(lambda: s3.get_object(Bucket=bucket, Key="k")) == ("InvalidArgument", 400)
    finally:
        done()


@pytest.mark.parametrize("size", [100, MIB + 1])
@pytest.mark.parametrize("source", WAYS)
@pytest.mark.parametrize("way", ["plain", "server", "mine"])
def test_copy__from_each_to_each(
    s3: Any, second: Any, bucket: str, source: str, way: str, size: int
) -> None:
    data = noise(size)
    put = s3.put_object(Bucket=bucket, Key="from", Body=data, Metadata={"a": "b"}, **WAYS[source])
    letter = {"mine": "m", "other": "o"}.get(source)
    of_source = customer(letter, "CopySource") if letter else {}
    named = {"Bucket": bucket, "Key": "to", "CopySource": {"Bucket": bucket, "Key": "from"}}
    copied = s3.copy_object(**named, **WAYS[way], **of_source)
    check_told(copied, way)
    assert copied["CopyObjectResult"]["ETag"] == put["ETag"]
    got = second.get_object(Bucket=bucket, Key="to", **reading(way))
    assert got["Body"].read() == data and got["Metadata"] == {"a": "b"}
    check_told(got, way)
    wrong = customer("x", "CopySource")
    assert refused(lambda: s3.copy_object(**named, **WAYS[way], **wrong))[1] == 400


def test_copy__onto_itself_encrypts(s3: Any, bucket: str) -> None:
    data = noise(MIB + 1)
    named = {"Bucket": bucket, "Key": "k"}
    s3.put_object(**named, Body=data)
    s3.copy_object(**named, CopySource=named, **SERVER)
    got = s3.get_object(**named)
    assert got["Body"].read() == data
    check_told(got, "server")


@pytest.mark.parametrize("way", ["server", "mine"])
def test_upload__in_parts(s3: Any, second: Any, bucket: str, way: str) -> None:
    data = [noise(5 * MIB, 1), noise(5 * MIB + 1, 2), noise(77, 3)]
    made = s3.create_multipart_upload(Bucket=bucket, Key="k", **WAYS[way])
    check_told(made, way)
    upload = {"Bucket": bucket, "Key": "k", "UploadId": made["UploadId"]}
    parts = []
    for number, piece in enumerate(data, 1):
        client = (s3, second)[number % 2]
        part = client.upload_part(**upload, PartNumber=number, Body=piece, **reading(way))
        check_told(part, way)
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    assert [p["Size"] for p in s3.list_parts(**upload)["Parts"]] == [len(d) for d in data]
    done = second.complete_multipart_upload(
        **upload, MultipartUpload={"Parts": parts}, **reading(way)
    )
    assert done["ETag"].endswith('-3"')
    whole = b"".join(data)
    got = s3.get_object(Bucket=bucket, Key="k", **reading(way))
    assert got["Body"].read() == whole
    check_told(got, way)
    third = s3.get_object(Bucket=bucket, Key="k", PartNumber=3, **reading(way))
    assert third["Body"].read() == data[2] and third["PartsCount"] == 3
    span = (5 * MIB - 3, 10 * MIB + 5)
    got = s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={span[0]}-{span[1]}", **reading(way))
    assert got["Body"].read() == whole[span[0] : span[1] + 1]


def test_upload__needs_its_key_for_every_part(s3: Any, bucket: str) -> None:
    ids = {
        way: s3.create_multipart_upload(Bucket=bucket, Key=way, **WAYS[way])["UploadId"]
        for way in ("plain", "server", "mine")
    }
    wrong = [("plain", MINE), ("server", MINE), ("mine", PLAIN), ("mine", OTHER)]
    for key, more in wrong:
        upload = {"Bucket": bucket, "Key": key, "UploadId": ids[key]}
        put = {**upload, "PartNumber": 1, "Body": b"x", **more}
        assert refused(lambda put=put: s3.upload_part(**put)) == ("InvalidRequest", 400)
    upload = {"Bucket": bucket, "Key": "mine", "UploadId": ids["mine"]}
    part = s3.upload_part(**upload, PartNumber=1, Body=b"x", **MINE)
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    for more in (PLAIN, OTHER):
        whole = {**upload, "MultipartUpload": parts, **more}
        assert refused(lambda whole=whole: s3.complete_multipart_upload(**whole)) == (
            "InvalidRequest",
            400,
        )
    s3.complete_multipart_upload(**upload, MultipartUpload=parts, **MINE)
    got = s3.get_object(Bucket=bucket, Key="mine", **MINE)
    assert got["Body"].read() == b"x"


@pytest.mark.parametrize("source", ["plain", "server", "mine"])
@pytest.mark.parametrize("way", ["plain", "server", "mine"])
def test_part_copy(s3: Any, bucket: str, source: str, way: str) -> None:
    data = noise(MIB + 9)
    s3.put_object(Bucket=bucket, Key="from", Body=data, **WAYS[source])
    made = s3.create_multipart_upload(Bucket=bucket, Key="to", **WAYS[way])
    upload = {"Bucket": bucket, "Key": "to", "UploadId": made["UploadId"]}
    copied = s3.upload_part_copy(
        **upload,
        PartNumber=1,
        CopySource={"Bucket": bucket, "Key": "from"},
        CopySourceRange=f"bytes=7-{MIB + 7}",
        **reading(way),
        **(customer("m", "CopySource") if source == "mine" else {}),
    )
    check_told(copied, way)
    parts = [{"PartNumber": 1, "ETag": copied["CopyPartResult"]["ETag"]}]
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, **reading(way))
    got = s3.get_object(Bucket=bucket, Key="to", **reading(way))
    assert got["Body"].read() == data[7 : MIB + 8]


def test_presigned__with_a_key(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"secret", **MINE)
    got = s3.get_object(
        Bucket=bucket, Key="k", SSECustomerAlgorithm="AES256", SSECustomerKey="m" * 32
    )
    assert got["Body"].read() == b"secret"
    named = {"Bucket": bucket, "Key": "k", **MINE}
    url = s3.generate_presigned_url("get_object", Params=named)
    headers = {
        SSE + "-customer-algorithm": "AES256",
        SSE + "-customer-key": b64encode(b"m" * 32).decode(),
        SSE + "-customer-key-MD5": digest("m"),
    }
    with urlopen(Request(url, headers=headers), timeout=30) as answer:
        assert answer.read() == b"secret"
    with pytest.raises(HTTPError, match="403"):
        urlopen(url, timeout=30)


def test_local_commands__cannot_read_it(s3: Any, s3_cluster: Cluster, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"secret", **SERVER)
    assert "through S3" in s3_cluster.error("get", f"{bucket}/k", "-", code=2)


def stored_bytes(cluster: Cluster) -> Iterator[bytes]:
    for path in sorted(Path(cluster.data).rglob("*")):
        if path.is_file():
            yield path.read_bytes()


def test_disks__have_no_plain_bytes(s3: Any, s3_cluster: Cluster, bucket: str) -> None:
    """Of small ones (inline in names) and large ones (chunks), nor the keys; of a plain one they do."""
    markers = {way: f"<<{way}:{noise(8, 9).hex()}>>".encode() for way in WAYS}
    for way, marker in markers.items():
        for number, size in enumerate((1, 30_000)):
            body = marker * size
            s3.put_object(Bucket=bucket, Key=f"{way}{number}", Body=body, **WAYS[way])
    made = s3.create_multipart_upload(Bucket=bucket, Key="parts", **MINE)
    upload = {"Bucket": bucket, "Key": "parts", "UploadId": made["UploadId"]}
    s3.upload_part(**upload, PartNumber=1, Body=markers["mine"] * 300_000, **MINE)
    secrets = [b"m" * 32, b64encode(b"m" * 32), digest("m").encode()]
    found = set()
    for raw in stored_bytes(s3_cluster):
        found |= {way for way, marker in markers.items() if marker in raw}
        assert not any(secret in raw for secret in secrets)
    s3.abort_multipart_upload(**upload)
    assert found == {"plain"}


def test_conditions_and_versions(s3: Any, bucket: str) -> None:
    """Everything else is as with plain objects."""
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    named = {"Bucket": bucket, "Key": "k"}
    first = s3.put_object(**named, Body=b"1", **MINE)
    second = s3.put_object(**named, Body=b"2", **SERVER)
    old = s3.get_object(**named, VersionId=first["VersionId"], **MINE)
    assert old["Body"].read() == b"1"
    with pytest.raises(ClientError, match="304"):
        s3.get_object(**named, IfNoneMatch=second["ETag"])
    assert refused(lambda: s3.put_object(**named, Body=b"3", IfNoneMatch="*", **MINE)) == (
        "PreconditionFailed",
        412,
    )


def test_bucket__that_encrypts_by_default(s3: Any, second: Any, bucket: str) -> None:
    none = ("ServerSideEncryptionConfigurationNotFoundError", 404)
    assert refused(lambda: s3.get_bucket_encryption(Bucket=bucket)) == none
    s3.put_object(Bucket=bucket, Key="before", Body=b"0")
    by_default = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    rules = {"Rules": [by_default]}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=rules)
    found = second.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]
    assert found["Rules"] == [by_default | {"BucketKeyEnabled": False}]
    check_told(s3.put_object(Bucket=bucket, Key="k", Body=b"1"), "server")
    check_told(s3.put_object(Bucket=bucket, Key="m", Body=b"1", **MINE), "mine")
    copied = s3.copy_object(
        Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "before"}
    )
    check_told(copied, "server")
    check_told(s3.create_multipart_upload(Bucket=bucket, Key="upload"), "server")
    s3.delete_bucket_encryption(Bucket=bucket)
    s3.delete_bucket_encryption(Bucket=bucket)
    assert refused(lambda: s3.get_bucket_encryption(Bucket=bucket)) == none
    check_told(s3.put_object(Bucket=bucket, Key="after", Body=b"2"), "plain")
    for key, body in (("k", b"1"), ("copy", b"0"), ("after", b"2")):
        assert second.get_object(Bucket=bucket, Key=key)["Body"].read() == body
    kms = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}]}
    assert refused(
        lambda: s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=kms)
    ) == ("NotImplemented", 501)


def test_presigned__put_that_asks_for_encryption_in_its_query(s3: Any, bucket: str) -> None:
    """As signers do that move headers to the query; boto3 leaves them where they are."""

    def hoist(request: Any, **_: Any) -> None:
        request.params = {**request.params, SSE: "AES256"}

    s3.meta.events.register("before-sign.s3.PutObject", hoist)
    try:
        url = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "k"})
    finally:
        s3.meta.events.unregister("before-sign.s3.PutObject", hoist)
    assert SSE in url
    with urlopen(Request(url, data=b"x", method="PUT"), timeout=30) as answer:
        assert answer.headers[SSE] == "AES256"
    check_told(s3.get_object(Bucket=bucket, Key="k"), "server")
