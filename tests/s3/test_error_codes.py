"""What S3 says to requests that are wrong, one code after the other."""

from __future__ import annotations

import base64
import hashlib
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from .conftest import again, refused
from .wire import Gateway

GIB = 1 << 30
TRAILERS = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
CRC = "x-amz-checksum-crc32"


# -- who asks -----------------------------------------------------------------------------


def test_signature__of_another_secret_key_or_region(s3: Any, gateway: Gateway) -> None:
    assert refused(again(s3, secret="s" * 40).list_buckets) == ("SignatureDoesNotMatch", 403)
    assert refused(again(s3, key_id="NOBODYSKEYID").list_buckets) == ("InvalidAccessKeyId", 403)
    elsewhere = gateway.head("GET", "/").replace(b"us-east-1", b"eu-west-9")
    assert gateway.exchange(elsewhere).code == "AuthorizationHeaderMalformed"


def test_signature__of_another_time(gateway: Gateway) -> None:
    head = gateway.head("GET", "/")
    given = head.partition(b"X-Amz-Date: ")[2].partition(b"\r\n")[0]
    old = f"{datetime.now(UTC) - timedelta(minutes=16):%Y%m%dT%H%M%SZ}".encode()
    late = head.replace(given, old).replace(b"/%s/" % given[:8], b"/%s/" % old[:8])
    assert gateway.exchange(late).code == "RequestTimeTooSkewed"


def test_signature__none_at_all(s3: Any, gateway: Gateway, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    for method, path in (("GET", f"/{bucket}"), ("GET", f"/{bucket}/k"),
                         ("PUT", f"/{bucket}/new"), ("DELETE", f"/{bucket}/k"), ("PUT", "/anybodys-bucket"),
                         ("GET", f"/{bucket}?acl"), ("POST", f"/{bucket}?delete")):  # fmt: skip
        assert gateway.ask_unsigned(method, path).code == "AccessDenied", (method, path)


def test_signature__none_at_all__and_no_bucket_is_nobodys(
    s3: Any, gateway: Gateway, bucket: str
) -> None:
    found = gateway.ask_unsigned("GET", "/")
    assert found.status == 200
    assert b"<ID>anonymous</ID>" in found.body
    assert b"<Bucket>" not in found.body
    for target, authorization, code in (
        ("/", "AWS4-HMAC-SHA256", "AccessDenied"),  # no date
        ("/", "Bearer of-nothing", "InvalidArgument"),
        ("/", "AWS none:none", "InvalidRequest"),
        ("/?X-Amz-Signature=00", "", "AuthorizationQueryParametersError"),
        ("/?AWSAccessKeyId=a&Signature=b", "", "AccessDenied"),  # no Expires
    ):
        claims = {"authorization": authorization} if authorization else {}
        assert gateway.ask_unsigned("GET", target, **claims).code == code, (target, authorization)


def test_form__of_a_browser_is_not_there_yet(gateway: Gateway, bucket: str) -> None:
    form = {"content-type": "multipart/form-data; boundary=b"}
    assert gateway.ask_unsigned("POST", f"/{bucket}", **form).code == "NotImplemented"


def test_session__was_never_opened(gateway: Gateway) -> None:
    answer = gateway.ask("GET", "/", **{"x-amz-security-token": "token"})
    assert (answer.status, answer.code) == (400, "InvalidToken")


@pytest.mark.parametrize(
    ("expires", "code", "status"),
    [
        ("604801", "AccessDenied", 403),
        ("0", "AccessDenied", 403),
        ("soon", "AuthorizationQueryParametersError", 400),
    ],
)
def test_presigned__valid_for_a_week_at_most(
    s3: Any, gateway: Gateway, bucket: str, expires: str, code: str, status: int
) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"abc")
    at = {"Bucket": bucket, "Key": "k"}
    url = s3.generate_presigned_url("get_object", at, ExpiresIn=604_800)
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"abc"
    place = urlsplit(url.replace("Expires=604800", f"Expires={expires}"))
    found = gateway.ask_unsigned("GET", f"{place.path}?{place.query}", host=place.netloc)
    assert (found.code, found.status) == (code, status)


# -- what it is asked for -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "code", "status"),
    [
        ("GET", "/{}/%zz", "InvalidURI", 400),
        ("PATCH", "/{}/k", "MethodNotAllowed", 405),
        ("PUT", "/{}?cors", "NotImplemented", 501),
        ("PUT", "/{}/k?tagging", "NotImplemented", 501),
        ("POST", "/{}", "NotImplemented", 501),
        ("GET", "/{}/k?versionId=1", "InvalidArgument", 400),
        ("GET", "/{}?max-keys=-1", "InvalidArgument", 400),
    ],
)
def test_request__that_means_nothing(
    gateway: Gateway, bucket: str, method: str, path: str, code: str, status: int
) -> None:
    answer = gateway.ask(method, path.format(bucket))
    assert (answer.code, answer.status) == (code, status)


def test_names__too_long_and_too_odd(s3: Any, bucket: str) -> None:
    key = "k" * 1025
    assert refused(lambda: s3.get_object(Bucket=bucket, Key=key)) == ("KeyTooLongError", 400)
    elsewhere = {"LocationConstraint": "eu-west-9"}
    answer = refused(
        lambda: s3.create_bucket(Bucket="some-where", CreateBucketConfiguration=elsewhere)
    )
    assert answer == ("InvalidLocationConstraint", 400)


def test_storage_class__there_is_but_one(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", StorageClass="STANDARD")
    glacier = lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"x", StorageClass="GLACIER")  # noqa: E731
    assert refused(glacier) == ("InvalidStorageClass", 400)


def test_metadata__beyond_two_kilobytes(s3: Any, bucket: str) -> None:
    put = lambda: s3.put_object(Bucket=bucket, Key="k", Metadata={"m": "x" * 2048})  # noqa: E731
    assert refused(put) == ("MetadataTooLarge", 400)


@pytest.mark.parametrize(
    ("method", "query", "body", "code"),
    [
        ("POST", "delete", b"<Delete><Object>", "MalformedXML"),
        ("POST", "delete", b"<Delete></Delete>", "MalformedXML"),
        ("PUT", "versioning", b"<VersioningConfiguration/>", "IllegalVersioningConfigurationException"),
        ("PUT", "versioning", b"<!DOCTYPE a><VersioningConfiguration/>", "MalformedXML"),
    ],
)  # fmt: skip
def test_xml__that_is_not_as_documented(
    gateway: Gateway, bucket: str, method: str, query: str, body: bytes, code: str
) -> None:
    md5 = {"content-md5": base64.b64encode(hashlib.md5(body).digest()).decode()}
    answer = gateway.ask(method, f"/{bucket}?{query}", body, **md5)
    assert (answer.status, answer.code) == (400, code)


# -- bodies -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "size", "code"),
    [
        ("PUT", "/{}/k", 5 * GIB + 1, "EntityTooLarge"),
        ("POST", "/{}?delete", 3 << 20, "MaxMessageLengthExceeded"),
    ],
)
def test_body__too_large_is_refused_before_it_comes(
    gateway: Gateway, bucket: str, method: str, path: str, size: int, code: str
) -> None:
    more = {"content-length": str(size), "content-md5": "AAAAAAAAAAAAAAAAAAAAAA=="}
    answer = gateway.ask(method, path.format(bucket), **more)
    assert (answer.status, answer.code) == (400, code)


@pytest.mark.parametrize(
    ("headers", "payload", "code"),
    [
        ({"content-md5": "x"}, "UNSIGNED-PAYLOAD", "InvalidDigest"),
        ({"content-md5": "AAAAAAAAAAAAAAAAAAAAAA=="}, "UNSIGNED-PAYLOAD", "BadDigest"),
        ({CRC: "AAAAAA=="}, "UNSIGNED-PAYLOAD", "BadDigest"),
        ({}, "0" * 64, "XAmzContentSHA256Mismatch"),
    ],
)
def test_body__another_than_its_head_says(
    s3: Any, gateway: Gateway, bucket: str, headers: dict[str, str], payload: str, code: str
) -> None:
    answer = gateway.ask("PUT", f"/{bucket}/k", b"abc", payload=payload, **headers)
    assert (answer.status, answer.code) == (400, code)
    assert refused(lambda: s3.get_object(Bucket=bucket, Key="k")) == ("NoSuchKey", 404)


@pytest.mark.parametrize(
    ("length", "body", "code"),
    [
        ("3", b"3\r\nabc\r\n0\r\n\r\n", "MalformedTrailerError"),
        ("9", b"3\r\nabc\r\n0\r\n" + CRC.encode() + b":NSRBwg==\r\n\r\n", "IncompleteBody"),
        ("6", b"3\r\nabc\r\n3\r\nabc\r\n0\r\n\r\n", "InvalidChunkSizeError"),
        ("3", b"3\r\nabc\r\n0\r\n" + CRC.encode() + b":AAAAAA==\r\n\r\n", "BadDigest"),
    ],
)
def test_chunks__that_are_broken(
    s3: Any, gateway: Gateway, bucket: str, length: str, body: bytes, code: str
) -> None:
    headers = {
        "content-encoding": "aws-chunked",
        "x-amz-decoded-content-length": length,
        "x-amz-trailer": CRC,
    }
    answer = gateway.ask("PUT", f"/{bucket}/k", body, payload=TRAILERS, **headers)
    assert (answer.status, answer.code) == (400, code)
    assert refused(lambda: s3.get_object(Bucket=bucket, Key="k")) == ("NoSuchKey", 404)


def test_chunks__without_a_length(gateway: Gateway, bucket: str) -> None:
    headers = {"content-encoding": "aws-chunked", "x-amz-trailer": CRC}
    answer = gateway.ask("PUT", f"/{bucket}/k", b"0\r\n\r\n", payload=TRAILERS, **headers)
    assert (answer.status, answer.code) == (411, "MissingContentLength")


def test_body__whose_length_only_its_end_says(s3: Any, gateway: Gateway, bucket: str) -> None:
    head = gateway.head("PUT", f"/{bucket}/k", unsigned={"transfer-encoding": "chunked"})
    assert gateway.exchange(head + b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n").status == 200
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"abcdef"
