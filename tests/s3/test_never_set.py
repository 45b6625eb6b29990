"""What clients ask for as a matter of course, of buckets and objects where nobody has set it."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import refused
from .wire import Gateway

ABSENT = {
    "GetBucketCors": "NoSuchCORSConfiguration",
    "GetBucketEncryption": "ServerSideEncryptionConfigurationNotFoundError",
    "GetBucketLifecycleConfiguration": "NoSuchLifecycleConfiguration",
    "GetBucketOwnershipControls": "OwnershipControlsNotFoundError",
    "GetBucketPolicy": "NoSuchBucketPolicy",
    "GetBucketReplication": "ReplicationConfigurationNotFoundError",
    "GetBucketTagging": "NoSuchTagSet",
    "GetBucketWebsite": "NoSuchWebsiteConfiguration",
    "GetObjectLockConfiguration": "ObjectLockConfigurationNotFoundError",
    "GetPublicAccessBlock": "NoSuchPublicAccessBlockConfiguration",
}
NOTHING_TO_DELETE = [
    "DeleteBucketCors",
    "DeleteBucketEncryption",
    "DeleteBucketLifecycle",
    "DeleteBucketOwnershipControls",
    "DeleteBucketPolicy",
    "DeleteBucketReplication",
    "DeleteBucketTagging",
    "DeleteBucketWebsite",
    "DeletePublicAccessBlock",
]


def method_of(s3: Any, operation: str) -> Any:
    names = {name: method for method, name in s3.meta.method_to_api_mapping.items()}
    return getattr(s3, names[operation])


def test_buckets__say_what_is_not_set(s3: Any, bucket: str) -> None:
    for operation, code in ABSENT.items():
        ask_it = method_of(s3, operation)
        assert refused(lambda ask_it=ask_it: ask_it(Bucket=bucket)) == (code, 404), operation


def test_buckets__deleting_what_is_not_set_succeeds(s3: Any, bucket: str) -> None:
    for operation in NOTHING_TO_DELETE:
        answer = method_of(s3, operation)(Bucket=bucket)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204, operation
    gone = lambda: s3.delete_bucket_policy(Bucket="never-made")  # noqa: E731
    assert refused(gone) == ("NoSuchBucket", 404)


def test_buckets__defaults(s3: Any, bucket: str) -> None:
    assert s3.get_bucket_request_payment(Bucket=bucket)["Payer"] == "BucketOwner"
    assert "Status" not in s3.get_bucket_accelerate_configuration(Bucket=bucket)
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)
    assert s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"] is False
    told = s3.get_bucket_notification_configuration(Bucket=bucket)
    assert set(told) == {"ResponseMetadata"}


def test_acl__is_the_owners_alone(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ACL="private")
    owner = s3.list_buckets()["Owner"]
    for acl in (s3.get_bucket_acl(Bucket=bucket), s3.get_object_acl(Bucket=bucket, Key="k")):
        assert acl["Owner"] == owner
        (grant,) = acl["Grants"]
        assert grant["Permission"] == "FULL_CONTROL"
        assert grant["Grantee"] == {**owner, "Type": "CanonicalUser"}
    assert refused(lambda: s3.get_object_acl(Bucket=bucket, Key="no")) == ("NoSuchKey", 404)


def test_acl__may_be_set_to_what_it_is(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    s3.put_bucket_acl(Bucket=bucket, ACL="private")
    s3.put_object_acl(Bucket=bucket, Key="k", ACL="private")
    for call in (
        lambda: s3.put_bucket_acl(Bucket=bucket, ACL="public-read"),
        lambda: s3.put_object_acl(Bucket=bucket, Key="k", ACL="public-read"),
        lambda: s3.put_object_acl(Bucket=bucket, Key="k", GrantRead="id=somebody"),
        lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"x", ACL="public-read"),
    ):
        assert refused(call) == ("NotImplemented", 501)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ACL="bucket-owner-full-control")
    unknown = lambda: s3.put_bucket_acl(Bucket=bucket, ACL="public-ready")  # noqa: E731
    assert refused(unknown) == ("InvalidArgument", 400)


def test_objects__have_no_tags_and_no_locks(s3: Any, bucket: str) -> None:
    at = {"Bucket": bucket, "Key": "k"}
    s3.put_object(**at, Body=b"x")
    assert s3.get_object_tagging(**at)["TagSet"] == []
    assert s3.delete_object_tagging(**at)["ResponseMetadata"]["HTTPStatusCode"] == 204
    for call in (lambda: s3.get_object_retention(**at), lambda: s3.get_object_legal_hold(**at)):
        assert refused(call) == ("InvalidRequest", 400)
    assert refused(lambda: s3.get_object_tagging(Bucket=bucket, Key="no")) == ("NoSuchKey", 404)


@pytest.mark.parametrize(
    "query",
    ["cors", "lifecycle", "logging", "notification", "object-lock", "policy",
     "publicAccessBlock", "replication", "requestPayment", "tagging", "website", "accelerate"],
)  # fmt: skip
def test_setting_them_is_not_there_yet(gateway: Gateway, bucket: str, query: str) -> None:
    answer = gateway.ask("PUT", f"/{bucket}?{query}", b"<Anything/>")
    assert (answer.status, answer.code) == (501, "NotImplemented")
