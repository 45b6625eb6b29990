"""A cluster with two gateways, and S3 clients of its first user and of others."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from replicast.addresses import address_text
from replicast.cli.layout import load_local
from replicast.cli.s3_access import load_s3_access

from ..cluster.conftest import Cluster, cluster_factory  # noqa: F401  # a fixture
from .wire import Gateway

WELL_SECONDS, POLL_SECONDS = 30.0, 0.05
DOMAIN = "s3.replicast.test"
Client = Any  # boto3 makes its classes when it runs


@pytest.fixture(scope="session")
def s3_cluster(cluster_factory: Callable[..., Cluster]) -> Cluster:  # noqa: F811
    """One for all tests of this folder; each has buckets of its own, subdomains of DOMAIN too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPLICAST_GATEWAY_S3_DOMAINS", f"replicast.test, {DOMAIN}")
        return cluster_factory(gateways=2)


def client_of(
    endpoint: str, key_id: str, secret: str, region: str = "us-east-1", **more: Any
) -> Client:
    """As most programs make one; errors come at the first answer."""
    config = Config(
        s3={"addressing_style": "path"}, retries={"max_attempts": 1}, signature_version="s3v4"
    )
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        region_name=region,
        config=config.merge(Config(**more)),
    )


def keys_of(s3: Client) -> tuple[str, str]:
    """Key id and secret of a client."""
    credentials = s3._request_signer._credentials
    return credentials.access_key, credentials.secret_key


def again(s3: Client, key_id: str = "", secret: str = "", **config: Any) -> Client:
    """Another client of the same endpoint."""
    known_id, known_secret = keys_of(s3)
    return client_of(s3.meta.endpoint_url, key_id or known_id, secret or known_secret, **config)


def endpoints(cluster: Cluster) -> list[str]:
    """Of all gateways."""
    plan = load_local(cluster.data).plan
    return [f"http://{address_text((plan['host'], port))}" for port in plan["s3_ports"]]


@pytest.fixture(scope="session")
def s3(s3_cluster: Cluster) -> Client:
    """The first user, at the first gateway."""
    access = load_s3_access(s3_cluster.data)
    return client_of(access.endpoint, access.key_id, access.secret)


@pytest.fixture(scope="session")
def make_user(s3_cluster: Cluster) -> Callable[[str], Client]:
    """Makes a user; returns a client."""

    def make(name: str) -> Client:
        made = json.loads(s3_cluster.out("user", "create", name, "--json"))
        return client_of(endpoints(s3_cluster)[0], made["key_id"], made["secret"])

    return make


@pytest.fixture
def bucket(s3: Client, request: pytest.FixtureRequest) -> Iterator[str]:
    """A bucket of the test's own, gone with all that is in it."""
    name = f"b{random.Random(request.node.name).getrandbits(64):016x}"
    s3.create_bucket(Bucket=name)
    yield name
    empty(s3, name)
    s3.delete_bucket(Bucket=name)


def empty(s3: Client, bucket: str) -> None:
    """Remove every version and every marker."""
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        found = page.get("Versions", []) + page.get("DeleteMarkers", [])
        objects = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in found]
        if objects:
            answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects})
            assert "Errors" not in answer, answer["Errors"]


def refused(call: Callable[[], Any]) -> tuple[str, int]:
    """The code and the status with which the call fails."""
    with pytest.raises(ClientError) as failed:
        call()
    response = failed.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


IMPATIENT = {  # settings of replicast-gw, so that a test need not wait for long
    "S3_HEAD_SECONDS": "2", "S3_BODY_SECONDS": "6", "S3_IDLE_SECONDS": "8", "S3_WAIT_SECONDS": "1",
    "S3_CONNECTIONS": "24", "S3_REQUESTS": "8", "S3_WAITING": "3", "S3_BODY_BYTES": "10485760",
    "S3_SIGNATURE_V2": "false",
}  # fmt: skip


@pytest.fixture(scope="session")
def impatient(cluster_factory: Callable[..., Cluster]) -> Iterator[Gateway]:  # noqa: F811
    """A gateway with little patience, for few."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in IMPATIENT.items():
            patch.setenv(f"REPLICAST_GATEWAY_{name}", value)
        cluster = cluster_factory()
    yield from whole(Gateway(cluster, load_s3_access(cluster.data)))


@pytest.fixture(scope="session")
def gateway(s3_cluster: Cluster) -> Iterator[Gateway]:
    """The second gateway, for requests of bytes: SDKs keep connections to the first one open."""
    yield from whole(Gateway(s3_cluster, load_s3_access(s3_cluster.data), 1))


def whole(gateway: Gateway) -> Iterator[Gateway]:
    """Whatever it was sent, nothing went wrong inside."""
    end = time.monotonic() + WELL_SECONDS
    while gateway.ask("GET", "/").status != 200:
        assert time.monotonic() < end
        time.sleep(POLL_SECONDS)
    yield gateway
    assert "Traceback" not in gateway.log.read_text()
    assert gateway.metric("s3_requests", code="InternalError") == 0
