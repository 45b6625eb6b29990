"""URLs as boto3 presigns them unless it is told otherwise: Signature Version 2."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Any

import boto3
import pytest
from botocore.config import Config

from replicast.cli.s3_access import S3Access, load_s3_access

from .conftest import refused
from .wire import Gateway

SECONDS = 60


@pytest.fixture(scope="module")
def old(s3: Any, s3_cluster: Any) -> Any:
    """A client that nobody told about Version 4."""
    return untold(load_s3_access(s3_cluster.data))


def untold(access: S3Access) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=access.endpoint,
        aws_access_key_id=access.key_id,
        aws_secret_access_key=access.secret,
        region_name="us-east-1",
    )


def fetch(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> bytes:
    request = urllib.request.Request(url, body, headers, method=method)
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        data: bytes = answer.read()
        return data


def status(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> int:
    with pytest.raises(urllib.error.HTTPError) as failed:
        fetch(url, method, body, **headers)
    with failed.value:
        assert b"<Error>" in failed.value.read()
    return failed.value.code


def test_get(s3: Any, old: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a b/ü+", Body=b"abc")
    asked = {"Bucket": bucket, "Key": "a b/ü+", "ResponseContentType": "text/x y"}
    url = old.generate_presigned_url("get_object", Params=asked)
    assert "AWSAccessKeyId=" in url and fetch(url) == b"abc"
    assert status(url, "DELETE") == status(url + "&acl") == 403
    assert status(url.replace("Expires=", "Expires=1")) == 403
    over = old.generate_presigned_url("get_object", Params=asked, ExpiresIn=-1)
    assert status(over) == 403


def test_put(s3: Any, old: Any, bucket: str) -> None:
    described = {"ContentType": "text/x", "Metadata": {"m": "1"}}
    asked = {"Bucket": bucket, "Key": "k", **described}
    url = old.generate_presigned_url("put_object", Params=asked)
    assert "AWSAccessKeyId=" in url
    assert status(url, "PUT", b"abc", **{"Content-Type": "text/y"}) == 403
    fetch(url, "PUT", b"abc", **{"Content-Type": "text/x"})
    found = s3.get_object(Bucket=bucket, Key="k")
    assert found["Body"].read() == b"abc"
    assert {name: found[name] for name in described} == described


def test_list(s3: Any, old: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"abc")
    assert b"<Key>k</Key>" in fetch(
        old.generate_presigned_url("list_objects_v2", Params={"Bucket": bucket})
    )


def test_in_a_header__is_refused(old: Any, s3: Any, bucket: str) -> None:
    credentials = old._request_signer._credentials
    client = boto3.client(
        "s3",
        endpoint_url=old.meta.endpoint_url,
        aws_access_key_id=credentials.access_key,
        aws_secret_access_key=credentials.secret_key,
        region_name="us-east-1",
        config=Config(signature_version="s3"),
    )
    assert refused(client.list_buckets) == ("InvalidRequest", 400)


def test_switched_off(impatient: Gateway) -> None:
    url = untold(impatient.access).generate_presigned_url("list_buckets")
    assert "AWSAccessKeyId=" in url and status(url) == 400
