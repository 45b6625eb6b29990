"""Buckets that the command line makes for users of S3."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .conftest import refused


@pytest.mark.parametrize(("versioning", "status"), [("off", None), ("enabled", "Enabled")])
def test_bucket_create__for_a_user(
    s3: Any, s3_cluster: Any, versioning: str, status: str | None
) -> None:
    me = s3.list_buckets()["Owner"]["ID"]
    users = [json.loads(line) for line in s3_cluster.out("user", "list", "--json").splitlines()]
    (name,) = (user["name"] for user in users if user["canonical_id"] == me)
    bucket = f"made-{versioning}"
    s3_cluster.out("bucket", "create", bucket, "--owner", name, "--versioning", versioning)
    assert bucket in [each["Name"] for each in s3.list_buckets()["Buckets"]]
    assert s3.get_bucket_versioning(Bucket=bucket).get("Status") == status
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    version = {"VersionId": s3.head_object(Bucket=bucket, Key="k").get("VersionId", "null")}
    s3.delete_object(Bucket=bucket, Key="k", **version)
    s3.delete_bucket(Bucket=bucket)


def test_bucket_create__for_nobody(s3: Any, s3_cluster: Any) -> None:
    s3_cluster.out("bucket", "create", "nobodys")
    assert refused(lambda: s3.list_objects_v2(Bucket="nobodys")) == ("AccessDenied", 403)
    s3_cluster.out("bucket", "delete", "nobodys")
