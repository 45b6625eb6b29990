"""Buckets as subdomains (virtual-host style), with names that no DNS knows."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from replicast.cli.s3_access import S3Access, load_s3_access

from ..cluster.conftest import Cluster
from .conftest import DOMAIN, Client, empty
from .wire import Gateway

SECONDS = 60
PART_BYTES = 5 << 20


@pytest.fixture
def access(s3_cluster: Cluster, s3: Client, monkeypatch: pytest.MonkeyPatch) -> S3Access:
    """Of the first user; all names below DOMAIN lead to the gateway of the endpoint."""
    access = load_s3_access(s3_cluster.data)
    place, resolve = urlsplit(access.endpoint), socket.getaddrinfo

    def resolved(host: Any, *more: Any, **named: Any) -> Any:
        ours = isinstance(host, str) and f".{host}".endswith(f".{DOMAIN}")
        return resolve(place.hostname if ours else host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    return access


@pytest.fixture
def host(access: S3Access) -> str:
    """The endpoint by name, with its port."""
    return f"{DOMAIN}:{urlsplit(access.endpoint).port}"


@pytest.fixture
def connect(access: S3Access, host: str) -> Callable[..., Client]:
    """connect(...): a client that knows the endpoint by name, told so much of signatures."""

    def make(**more: Any) -> Client:
        config = Config(s3={"addressing_style": "virtual"}, retries={"max_attempts": 1}, **more)
        return boto3.client(
            "s3",
            endpoint_url=f"http://{host}",
            aws_access_key_id=access.key_id,
            aws_secret_access_key=access.secret,
            region_name="us-east-1",
            config=config,
        )

    return make


@pytest.fixture(params=["v4", "v4.with.dots"])
def hosted(
    request: pytest.FixtureRequest, connect: Callable[..., Client]
) -> Iterator[tuple[Client, str, list[str]]]:
    """A client, a bucket that it made, and the hosts that it asks."""
    s3, bucket, hosts = connect(), f"virtual-{request.param}", []
    s3.meta.events.register(
        "before-send.s3", lambda request, **_: hosts.append(urlsplit(request.url).netloc)
    )
    s3.create_bucket(Bucket=bucket)
    yield s3, bucket, hosts
    empty(s3, bucket)
    s3.delete_bucket(Bucket=bucket)


def fetch(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> bytes:
    request = urllib.request.Request(url, body, headers, method=method)
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        data: bytes = answer.read()
        return data


def test_boto3(hosted: tuple[Client, str, list[str]], host: str, s3: Client) -> None:
    """Everything that a program does with a bucket; the same bucket is seen by its path."""
    client, bucket, hosts = hosted
    at = {"Bucket": bucket, "Key": "a b/ü+"}
    rng = random.Random(bucket)
    body = rng.randbytes(70_000)
    client.put_object(**at, Body=body)
    assert client.get_object(**at, Range="bytes=5-9")["Body"].read() == body[5:10]
    listed = client.list_objects_v2(Bucket=bucket, Prefix="a")["Contents"]
    assert [each["Key"] for each in listed] == ["a b/ü+"]
    client.copy_object(Bucket=bucket, Key=f"{bucket}/copy", CopySource=at)
    upload = client.create_multipart_upload(Bucket=bucket, Key="large")["UploadId"]
    pieces = [rng.randbytes(PART_BYTES), b"end"]
    parts = []
    for number, piece in enumerate(pieces, 1):
        part = {"PartNumber": number, "UploadId": upload}
        tag = client.upload_part(Bucket=bucket, Key="large", Body=piece, **part)["ETag"]
        parts.append({"PartNumber": number, "ETag": tag})
    done = client.complete_multipart_upload(
        Bucket=bucket, Key="large", UploadId=upload, MultipartUpload={"Parts": parts}
    )
    assert done["Location"] == f"http://{bucket}.{host}/large"
    assert set(hosts) == {f"{bucket}.{host}"}
    assert s3.get_object(**at)["Body"].read() == body
    assert s3.get_object(Bucket=bucket, Key="large")["Body"].read() == b"".join(pieces)
    assert s3.get_object(Bucket=bucket, Key=f"{bucket}/copy")["Body"].read() == body
    assert bucket in [each["Name"] for each in client.list_buckets()["Buckets"]]
    with pytest.raises(ClientError, match="NoSuchKey"):
        client.get_object(Bucket=bucket, Key=f"{bucket}/large")


@pytest.mark.parametrize("version", ["s3v4", "s3"])
def test_presigned(
    connect: Callable[..., Client], hosted: tuple[Client, str, list[str]], host: str, version: str
) -> None:
    """Of both versions: Version 2 signs no host, but the bucket that it names."""
    client, (owner, bucket, _) = connect(signature_version=version), hosted
    at = {"Bucket": bucket, "Key": "a b/ü+"}
    url = client.generate_presigned_url("put_object", {**at, "ContentType": "text/x"})
    assert urlsplit(url).netloc == f"{bucket}.{host}"
    assert ("AWSAccessKeyId=" in url) == (version == "s3")
    fetch(url, "PUT", b"abc", **{"Content-Type": "text/x"})
    url = client.generate_presigned_url("get_object", at)
    assert fetch(url) == b"abc"
    listing = client.generate_presigned_url("list_objects_v2", {"Bucket": bucket})
    assert b"<Key>a%20b/%C3%BC%2B</Key>" in fetch(listing)
    owner.create_bucket(Bucket="another")
    try:
        owner.put_object(Bucket="another", Key="a b/ü+", Body=b"not meant")
        with pytest.raises(urllib.error.HTTPError, match="403") as failed:
            fetch(url.replace(bucket, "another"))
        failed.value.close()
    finally:
        empty(owner, "another")
        owner.delete_bucket(Bucket="another")


@pytest.mark.parametrize(
    "name",
    ["{ip}:9000", "127.0.0.1", "[::1]:9000", "[fd00::7]", "localhost", "other.example", DOMAIN,
     f"{DOMAIN}:80", f"{DOMAIN}.", f"{DOMAIN}.evil.example:80", f"x{DOMAIN}.example", f".{DOMAIN}"],
)  # fmt: skip
def test_host__that_names_no_bucket(gateway: Gateway, s3: Client, bucket: str, name: str) -> None:
    """Then the path does."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"abc")
    reply = gateway.ask("GET", f"/{bucket}/k", host=name.format(ip=gateway.host))
    assert (reply.status, reply.body) == (200, b"abc")


@pytest.mark.parametrize(
    "name",
    ["{}.s3.replicast.test", "{}.S3.Replicast.TEST:9000", "{}.s3.replicast.test.:80", "{}.replicast.test"],
)  # fmt: skip
def test_host__that_names_a_bucket(gateway: Gateway, s3: Client, bucket: str, name: str) -> None:
    """Whatever case and port; a bucket of the same name in the path is part of the key."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"abc")
    host = name.format(bucket)
    reply = gateway.ask("GET", "/k", host=host)
    assert (reply.status, reply.body) == (200, b"abc")
    assert gateway.ask("GET", f"/{bucket}/k", host=host).code == "NoSuchKey"


@pytest.mark.parametrize(
    ("label", "code"),
    [("never-made", "NoSuchBucket"), ("a_b", "InvalidBucketName"), ("ab", "InvalidBucketName"),
     ("a%2eb", "InvalidBucketName"), ("a,b.c", "InvalidBucketName")],
)  # fmt: skip
def test_host__of_no_bucket(gateway: Gateway, label: str, code: str) -> None:
    assert gateway.ask("GET", "/k", host=f"{label}.{DOMAIN}").code == code


def test_host__another_than_was_signed(gateway: Gateway, s3: Client, bucket: str) -> None:
    """The bucket of another host is not the one that was meant."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"abc")
    head = gateway.head("GET", "/k", host=f"never-made.{DOMAIN}")
    other = head.replace(b"Host: never-made.", f"Host: {bucket}.".encode())
    assert gateway.exchange(other).code == "SignatureDoesNotMatch"


def test_domains__that_are_none_are_refused(
    s3_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the gateway, which does not start, and by who looks before."""
    settings = s3_cluster.data / "gw1" / "gateway.toml"
    monkeypatch.setenv("REPLICAST_GATEWAY_S3_DOMAINS", "s3.example.org, 10.0.0.7")
    checked = s3_cluster.run("config", "check", settings, code=2)
    assert b"wrong: s3_domains: '10.0.0.7': must be the name of a host" in checked.stderr
    gateway = [sys.executable, "-m", "replicast.gateway.daemon", "--config", str(settings)]
    started = subprocess.run(gateway, capture_output=True, timeout=SECONDS)
    assert started.returncode == 1
    assert b"cannot run: s3_domains: '10.0.0.7'" in started.stderr
