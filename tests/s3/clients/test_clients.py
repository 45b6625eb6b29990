"""Fourteen clients that people have, each with a tree that has what breaks clients and servers.

Each uploads it, lists it, downloads it afresh, replaces a file and removes one, and removes the rest,
with commands as people use them, at a cluster as `replicast up` makes it. docs/s3.md has the versions
and what each needs to be told.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from replicast.cli.s3_access import load_s3_access

from ...cluster.conftest import Cluster
from ...conftest import go_without
from . import tree as trees
from .awscli import AwsCli
from .client import Client, Site
from .curl import Curl, CurlByDefault
from .duplicity import Duplicity
from .environments import NotMade, environment
from .libraries import Boto3, Boto3Of135, JavaScript, Minio, Obstore
from .rclone import Rclone, RcloneOfPip
from .restic import Restic
from .s3cmd import S3cmd
from .s3fs import S3fs
from .s5cmd import S5cmd

ALWAYS = (Boto3, Boto3Of135, AwsCli)
SLOW = (
    *(Minio, Obstore, JavaScript, Curl, CurlByDefault),
    *(Rclone, RcloneOfPip, S5cmd, S3cmd, S3fs),
    *(Restic, Duplicity),
)


@pytest.fixture
def client(
    request: pytest.FixtureRequest,
    s3_cluster: Cluster,
    s3: Any,
    tmp_path: Path,
) -> Iterator[Client]:
    """A client and its bucket."""
    kind: type[Client] = request.param
    if missing := kind.missing():
        go_without("clients", missing)
    place = None
    if kind.environment:
        try:
            place = environment(kind.environment)
        except NotMade as reason:
            go_without("clients", f"environment {kind.environment}: {reason}")
    bucket = f"clients-{kind.__name__.lower()}"
    made = kind(Site(load_s3_access(s3_cluster.data), bucket, tmp_path, place))
    if not kind.makes_bucket:
        s3.create_bucket(Bucket=bucket)
    yield made
    made.close()


@pytest.mark.parametrize(
    "client",
    [*ALWAYS, *(pytest.param(kind, marks=pytest.mark.slow) for kind in SLOW)],
    indirect=True,
    ids=lambda kind: kind.__name__,
)
def test_moves_the_tree(client: Client, s3: Any, tmp_path: Path):
    tree = tmp_path / "tree"
    for name in trees.SIZES:
        trees.write(tree, name)
    print(client.version())
    client.make_bucket()

    client.upload(tree)
    assert client.listing() == trees.SIZES
    check_stored(client, s3, tree)
    client.download(tmp_path / "downloaded")
    assert trees.sums(tmp_path / "downloaded") == trees.sums(tree)

    trees.write(tree, trees.REPLACED, "another version")
    client.upload(tree)
    (tree / trees.REMOVED).unlink()
    client.delete(tree, trees.REMOVED)
    assert client.listing() == trees.sizes(tree)
    check_stored(client, s3, tree)
    client.download(tmp_path / "again")
    assert trees.sums(tmp_path / "again") == trees.sums(tree)

    client.clear()
    left = stored(s3, client.site.bucket)
    assert not client.keys or not left, left


def check_stored(client: Client, s3: Any, tree: Path) -> None:
    """What a client says of itself is not taken for it."""
    objects = {
        name: each for name, each in stored(s3, client.site.bucket).items() if name[-1] != "/"
    }
    in_parts = {name for name, each in objects.items() if "-" in each["ETag"]}
    if client.keys:
        assert {name: each["Size"] for name, each in objects.items()} == trees.sizes(tree)
        assert trees.LARGE in in_parts
        # aws-chunked is how a body travels, not how it is encoded.
        head = s3.head_object(Bucket=client.site.bucket, Key=trees.REPLACED)
        assert "ContentEncoding" not in head, head
    assert bool(in_parts) == client.multipart


def stored(s3: Any, bucket: str) -> dict[str, dict[str, Any]]:
    """What the bucket holds, by key; nothing when it is gone."""
    try:
        pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket=bucket))
    except s3.exceptions.NoSuchBucket:
        return {}
    return {each["Key"]: each for page in pages for each in page.get("Contents", [])}
