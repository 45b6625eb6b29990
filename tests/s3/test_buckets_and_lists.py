"""Buckets, their owners and versioning, and listings, with boto3."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import again, refused

NAMES = ["a", "b/1", "b/2", "b/c/3", "d", "e/4", "z"]


@pytest.fixture
def filled(s3: Any, bucket: str) -> str:
    for name in NAMES:
        s3.put_object(Bucket=bucket, Key=name, Body=name.encode())
    return bucket


def test_bucket__made_again_by_its_owner_and_by_another(
    s3: Any, bucket: str, make_user: Any
) -> None:
    s3.create_bucket(Bucket=bucket)
    other = make_user("other-maker")
    assert refused(lambda: other.create_bucket(Bucket=bucket)) == ("BucketAlreadyExists", 409)
    assert other.list_buckets()["Buckets"] == []
    for call in (
        lambda: other.list_objects_v2(Bucket=bucket),
        lambda: other.put_object(Bucket=bucket, Key="k", Body=b""),
        lambda: other.delete_bucket(Bucket=bucket),
    ):
        assert refused(call) == ("AccessDenied", 403)
    assert bucket in [each["Name"] for each in s3.list_buckets()["Buckets"]]


def test_bucket__that_is_not_there(s3: Any) -> None:
    for call in (
        lambda: s3.list_objects_v2(Bucket="never-made"),
        lambda: s3.put_object(Bucket="never-made", Key="k", Body=b"x"),
        lambda: s3.delete_bucket(Bucket="never-made"),
    ):
        assert refused(call) == ("NoSuchBucket", 404)
    assert refused(lambda: s3.head_bucket(Bucket="never-made")) == ("404", 404)
    assert refused(lambda: s3.create_bucket(Bucket="No_Such_Name"))[0] == "InvalidBucketName"


def test_bucket__that_is_not_empty(s3: Any, filled: str) -> None:
    assert refused(lambda: s3.delete_bucket(Bucket=filled)) == ("BucketNotEmpty", 409)


def test_buckets__listed_page_by_page(make_user: Any) -> None:
    mine = make_user("many-buckets")
    names = [f"many-{number}" for number in range(5)]
    for name in names:
        mine.create_bucket(Bucket=name)
    pages = mine.get_paginator("list_buckets").paginate(PaginationConfig={"PageSize": 2})
    assert [[b["Name"] for b in page["Buckets"]] for page in pages] == [
        names[:2],
        names[2:4],
        names[4:],
    ]
    found = mine.list_buckets(Prefix="many-3")
    assert [b["Name"] for b in found["Buckets"]] == ["many-3"]
    assert mine.list_buckets(BucketRegion="eu-west-9")["Buckets"] == []
    here = mine.list_buckets(BucketRegion="us-east-1")["Buckets"]
    assert [each["BucketRegion"] for each in here] == ["us-east-1"] * 5
    assert not any("BucketRegion" in each for each in mine.list_buckets()["Buckets"])
    for name in names:
        mine.delete_bucket(Bucket=name)


def test_bucket__of_another_owner_than_expected(s3: Any, bucket: str) -> None:
    me = s3.list_buckets()["Owner"]["ID"]
    at = {"Bucket": bucket, "Key": "k"}
    s3.put_object(**at, Body=b"x", ExpectedBucketOwner=me)
    source = {"CopySource": at, "ExpectedSourceBucketOwner": "somebody"}
    for call in (
        lambda: s3.put_object(**at, Body=b"y", ExpectedBucketOwner="somebody"),
        lambda: s3.list_objects_v2(Bucket=bucket, ExpectedBucketOwner="somebody"),
        lambda: s3.copy_object(Bucket=bucket, Key="to", **source),
    ):
        assert refused(call) == ("AccessDenied", 403)
    missing = lambda: s3.head_bucket(Bucket="never-made", ExpectedBucketOwner=me)  # noqa: E731
    assert refused(missing)[1] == 404


def test_location(s3: Any, bucket: str) -> None:
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None
    assert s3.head_bucket(Bucket=bucket)["BucketRegion"] == "us-east-1"


def test_location__by_another_name_of_the_region(make_user: Any) -> None:
    """As for a cluster of Ceph: the bucket says the name, and who signs for it is heard."""
    mine = make_user("elsewhere")
    called = {"CreateBucketConfiguration": {"LocationConstraint": "default"}}
    mine.create_bucket(Bucket="called-default", **called)
    mine.create_bucket(Bucket="called-nothing")
    at = {"Bucket": "called-default"}
    for s3 in (mine, again(mine, region="default")):
        assert s3.get_bucket_location(**at)["LocationConstraint"] == "default"
        assert s3.head_bucket(**at)["BucketRegion"] == "default"
        found = s3.list_buckets(BucketRegion="default")["Buckets"]
        assert [(each["Name"], each["BucketRegion"]) for each in found] == [
            ("called-default", "default")
        ]
    taken = lambda: mine.create_bucket(**at, **called)  # noqa: E731
    assert refused(taken) == ("BucketAlreadyOwnedByYou", 409)
    called["CreateBucketConfiguration"]["LocationConstraint"] = "eu-west-9"
    unknown = lambda: mine.create_bucket(Bucket="called-wrongly", **called)  # noqa: E731
    assert refused(unknown) == ("InvalidLocationConstraint", 400)
    for name in ("called-default", "called-nothing"):
        mine.delete_bucket(Bucket=name)


@pytest.mark.parametrize("page", [1, 2, 3, 1000])
@pytest.mark.parametrize("operation", ["list_objects", "list_objects_v2"])
def test_list__page_by_page(s3: Any, filled: str, operation: str, page: int) -> None:
    pages = s3.get_paginator(operation).paginate(Bucket=filled, PaginationConfig={"PageSize": page})
    found = [o["Key"] for each in pages for o in each.get("Contents", [])]
    assert found == NAMES


@pytest.mark.parametrize("page", [1, 2, 1000])
def test_list__common_prefixes(s3: Any, filled: str, page: int) -> None:
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=filled, Delimiter="/", PaginationConfig={"PageSize": page}
    )
    keys, prefixes = [], []
    for each in pages:
        keys += [o["Key"] for o in each.get("Contents", [])]
        prefixes += [p["Prefix"] for p in each.get("CommonPrefixes", [])]
    assert (keys, prefixes) == (["a", "d", "z"], ["b/", "e/"])


def test_list__from_a_place(s3: Any, filled: str) -> None:
    found = s3.list_objects_v2(Bucket=filled, StartAfter="b/2")
    assert [o["Key"] for o in found["Contents"]] == ["b/c/3", "d", "e/4", "z"]
    found = s3.list_objects_v2(Bucket=filled, Prefix="b/", MaxKeys=0)
    assert found["KeyCount"] == 0 and not found["IsTruncated"]


def test_versioning__versions_markers_and_the_null_version(s3: Any, bucket: str) -> None:
    at = {"Bucket": bucket, "Key": "k"}
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    s3.put_object(**at, Body=b"null")
    enable = {"Status": "Enabled"}
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=enable)
    made = [s3.put_object(**at, Body=str(n).encode())["VersionId"] for n in range(3)]
    marker = s3.delete_object(**at)
    assert marker["DeleteMarker"] and refused(lambda: s3.get_object(**at))[0] == "NoSuchKey"
    listed = s3.list_object_versions(Bucket=bucket)
    assert [v["VersionId"] for v in listed["Versions"]] == [*reversed(made), "null"]
    assert [m["VersionId"] for m in listed["DeleteMarkers"]] == [marker["VersionId"]]
    assert s3.get_object(**at, VersionId="null")["Body"].read() == b"null"
    assert s3.get_object(**at, VersionId=made[1])["Body"].read() == b"1"
    s3.delete_object(**at, VersionId=marker["VersionId"])
    assert s3.get_object(**at)["Body"].read() == b"2"
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    assert "VersionId" not in s3.put_object(**at, Body=b"again")
    listed = s3.list_object_versions(Bucket=bucket)
    assert [v["VersionId"] for v in listed["Versions"]] == ["null", *reversed(made)]
    assert refused(lambda: s3.get_object(**at, VersionId="x"))[0] == "InvalidArgument"


@pytest.mark.parametrize("page", [1, 2, 1000])
def test_versions__common_prefixes_of_more_names_than_are_asked_at_once(
    s3: Any, bucket: str, page: int
) -> None:
    names = [f"{number:02}{'/x' * (number % 2)}" for number in range(30)]
    for name in names:
        s3.put_object(Bucket=bucket, Key=name, Body=b"x")
    pages = s3.get_paginator("list_object_versions").paginate(
        Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": page}
    )
    keys, prefixes = [], []
    for each in pages:
        keys += [v["Key"] for v in each.get("Versions", [])]
        prefixes += [p["Prefix"] for p in each.get("CommonPrefixes", [])]
    assert keys == names[::2] and prefixes == [f"{name[:2]}/" for name in names[1::2]]
    wanted = [{"Key": name} for name in reversed(names)]
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": wanted})
    assert [each["Key"] for each in answer["Deleted"]] == names[::-1]


@pytest.mark.parametrize("page", [1, 2, 3])
def test_versions__page_by_page(s3: Any, bucket: str, page: int) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    made = []
    for key in ("a", "b"):
        versions = [s3.put_object(Bucket=bucket, Key=key, Body=b"x")["VersionId"] for _ in range(3)]
        made += [(key, version) for version in reversed(versions)]
    pages = s3.get_paginator("list_object_versions").paginate(
        Bucket=bucket, PaginationConfig={"PageSize": page}
    )
    assert [(v["Key"], v["VersionId"]) for each in pages for v in each["Versions"]] == made


def test_versions__a_marker_outside_of_what_is_listed(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    made = {}
    for key in ("a", "b/1", "c"):
        made[key] = [s3.put_object(Bucket=bucket, Key=key, Body=b"x")["VersionId"] for _ in "12"]

    def listed(**how: Any) -> list[str]:
        found = s3.list_object_versions(Bucket=bucket, **how)
        names = [each["Key"] for each in found.get("Versions", [])]
        return names + [each["Prefix"] for each in found.get("CommonPrefixes", [])]

    newest = {"KeyMarker": "a", "VersionIdMarker": made["a"][1]}
    assert listed(**newest) == ["a", "b/1", "b/1", "c", "c"]
    assert listed(**newest, Prefix="b") == ["b/1", "b/1"]
    within = {"KeyMarker": "b/1", "VersionIdMarker": made["b/1"][1]}
    assert listed(**within, Delimiter="/") == ["c", "c"]
