"""Reading, copying and deleting where the newest version is a delete marker; conditional deletes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import refused

LONG_AGO = datetime(2015, 1, 1, tzinfo=UTC)


@pytest.fixture
def versioned(s3: Any, bucket: str) -> str:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return bucket


def headers_of(call: Any) -> tuple[int, dict[str, str]]:
    with pytest.raises(ClientError) as failed:
        call()
    metadata = failed.value.response["ResponseMetadata"]
    return metadata["HTTPStatusCode"], metadata["HTTPHeaders"]


def test_marker__is_told_from_what_never_was(s3: Any, versioned: str) -> None:
    at = {"Bucket": versioned, "Key": "k"}
    s3.put_object(**at, Body=b"x")
    marker = s3.delete_object(**at)["VersionId"]
    for call in (s3.get_object, s3.head_object):
        status, headers = headers_of(lambda call=call: call(**at))
        assert (status, headers["x-amz-delete-marker"]) == (404, "true")
        assert headers["x-amz-version-id"] == marker
        status, headers = headers_of(lambda call=call: call(**at, VersionId=marker))
        assert (status, headers["x-amz-delete-marker"]) == (405, "true")
        assert headers["last-modified"] and headers["allow"] == "DELETE"
        status, headers = headers_of(lambda call=call: call(Bucket=versioned, Key="no"))
        assert (status, headers["x-amz-delete-marker"]) == (404, "false")
    of_marker = lambda: s3.get_object(**at, VersionId=marker)  # noqa: E731
    assert refused(of_marker) == ("MethodNotAllowed", 405)


def test_marker__cannot_be_copied(s3: Any, versioned: str) -> None:
    at = {"Bucket": versioned, "Key": "k"}
    s3.put_object(**at, Body=b"x")
    marker = s3.delete_object(**at)["VersionId"]

    def copy(source: dict[str, str]) -> Any:
        return s3.copy_object(Bucket=versioned, Key="to", CopySource=source)

    assert refused(lambda: copy(at)) == ("NoSuchKey", 404)
    assert refused(lambda: copy(at | {"VersionId": marker})) == ("InvalidRequest", 400)


def test_version__that_is_gone(s3: Any, versioned: str) -> None:
    at = {"Bucket": versioned, "Key": "k"}
    version = s3.put_object(**at, Body=b"x")["VersionId"]
    assert "VersionId" in s3.get_object_attributes(**at, ObjectAttributes=["ETag"])
    s3.delete_object(**at, VersionId=version)
    assert refused(lambda: s3.get_object(**at, VersionId=version)) == ("NoSuchVersion", 404)
    s3.delete_object(**at, VersionId=version)


def test_conditional_delete(s3: Any, bucket: str) -> None:
    at = {"Bucket": bucket, "Key": "k"}
    etag = s3.put_object(**at, Body=b"abc")["ETag"]
    for wrong in (
        {"IfMatch": "another"},
        {"IfMatchSize": 4},
        {"IfMatchLastModifiedTime": LONG_AGO},
    ):
        failing = lambda wrong=wrong: s3.delete_object(**at, **wrong)  # noqa: E731
        assert refused(failing) == ("PreconditionFailed", 412)
    s3.delete_object(**at, IfMatch=etag, IfMatchSize=3)
    s3.delete_object(**at, IfMatch="another")  # there is nothing that it could hold for
    assert refused(lambda: s3.get_object(**at)) == ("NoSuchKey", 404)


def test_conditional_delete__of_what_a_marker_hides(s3: Any, versioned: str) -> None:
    at = {"Bucket": versioned, "Key": "k"}
    etag = s3.put_object(**at, Body=b"abc")["ETag"]
    assert s3.delete_object(**at, IfMatch=etag)["DeleteMarker"]
    stale = lambda: s3.delete_object(**at, IfMatch=etag)  # noqa: E731
    assert refused(stale) == ("PreconditionFailed", 412)


def test_delete_many__each_with_its_own_outcome(s3: Any, versioned: str) -> None:
    for key in ("a", "b", "c"):
        s3.put_object(Bucket=versioned, Key=key, Body=b"x")
    wanted = [{"Key": "a"}, {"Key": "b", "ETag": "another"}, {"Key": "c", "VersionId": "no-id"}]
    answer = s3.delete_objects(Bucket=versioned, Delete={"Objects": wanted})
    assert [each["Key"] for each in answer["Deleted"]] == ["a"]
    assert answer["Deleted"][0]["DeleteMarker"] is True
    errors = {each["Key"]: each["Code"] for each in answer["Errors"]}
    assert errors == {"b": "PreconditionFailed", "c": "InvalidArgument"}


def test_suspended__the_null_version_has_no_id_when_it_is_put(s3: Any, versioned: str) -> None:
    at = {"Bucket": versioned, "Key": "k"}
    kept = s3.put_object(**at, Body=b"1")["VersionId"]
    s3.put_bucket_versioning(Bucket=versioned, VersioningConfiguration={"Status": "Suspended"})
    assert "VersionId" not in s3.put_object(**at, Body=b"2")
    assert s3.get_object(**at)["VersionId"] == "null"
    assert s3.delete_object(**at)["VersionId"] == "null"
    listed = s3.list_object_versions(Bucket=versioned)
    assert [each["VersionId"] for each in listed["Versions"]] == [kept]
    assert [each["VersionId"] for each in listed["DeleteMarkers"]] == ["null"]
