"""What clients ask for as a matter of course and nobody can set here: answered as S3 answers where it
was never set, which is true.

Deleting what is not there succeeds, as in S3. An ACL is that of a bucket that belongs to one user: to
its owner everything, to nobody else anything. Source: S3 API reference; codes and bodies of
what is not set: ceph/s3-tests and what clients compare with.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from replicast.gateway.objects import Objects
from replicast.gateway.s3.access import Access
from replicast.gateway.s3.answers import Owner
from replicast.gateway.s3.call import Answer, Call, xml
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.lookup import find_version
from replicast.gateway.s3.unsupported import check_write_headers
from replicast.gateway.s3.versions import read_version, version_headers
from replicast.gateway.s3.xml_writer import document, group, text

# Operation to the code with which it fails.
ABSENT = {
    "GetBucketCors": "NoSuchCORSConfiguration",
    "GetBucketLifecycleConfiguration": "NoSuchLifecycleConfiguration",
    "GetBucketOwnershipControls": "OwnershipControlsNotFoundError",
    "GetBucketPolicy": "NoSuchBucketPolicy",
    "GetBucketReplication": "ReplicationConfigurationNotFoundError",
    "GetBucketTagging": "NoSuchTagSet",
    "GetBucketWebsite": "NoSuchWebsiteConfiguration",
    "GetObjectLockConfiguration": "ObjectLockConfigurationNotFoundError",
    "GetPublicAccessBlock": "NoSuchPublicAccessBlockConfiguration",
}
# Operation to its whole answer.
PLAIN = {
    "GetBucketAccelerateConfiguration": document("AccelerateConfiguration"),
    "GetBucketLogging": document("BucketLoggingStatus"),
    "GetBucketNotificationConfiguration": document("NotificationConfiguration"),
    "GetBucketPolicyStatus": document("PolicyStatus", text("IsPublic", False)),
    "GetBucketRequestPayment": document(
        "RequestPaymentConfiguration", text("Payer", "BucketOwner")
    ),
}
NOTHING_TO_DELETE = (
    "DeleteBucketCors",
    "DeleteBucketLifecycle",
    "DeleteBucketOwnershipControls",
    "DeleteBucketPolicy",
    "DeleteBucketReplication",
    "DeleteBucketTagging",
    "DeleteBucketWebsite",
    "DeletePublicAccessBlock",
)
INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"


class UnsetCalls:
    """Handlers of these operations."""

    def __init__(self, objects: Objects, access: Access) -> None:
        self._objects, self._access = objects, access

    def table(self) -> dict[str, Callable[[Call], Awaitable[Answer]]]:
        """Operation to handler."""
        return {
            **{name: partial(self._absent, code) for name, code in ABSENT.items()},
            **{name: partial(self._plain, body) for name, body in PLAIN.items()},
            **dict.fromkeys(NOTHING_TO_DELETE, self._nothing_to_delete),
            "GetBucketAcl": self._bucket_acl,
            "PutBucketAcl": self._set_bucket_acl,
            "GetObjectAcl": self._object_acl,
            "PutObjectAcl": self._set_object_acl,
            "GetObjectTagging": self._object_tags,
            "DeleteObjectTagging": self._no_object_tags,
            "GetObjectRetention": self._no_lock,
            "GetObjectLegalHold": self._no_lock,
        }

    async def _absent(self, code: str, call: Call) -> Answer:
        await self._access.bucket(call.user, call.bucket)
        raise S3Error(code, BucketName=call.bucket)

    async def _plain(self, body: bytes, call: Call) -> Answer:
        await self._access.bucket(call.user, call.bucket)
        return xml(body)

    async def _nothing_to_delete(self, call: Call) -> Answer:
        await self._access.bucket(call.user, call.bucket)
        return Answer(204)

    async def _bucket_acl(self, call: Call) -> Answer:
        await self._access.bucket(call.user, call.bucket)
        return xml(_acl(call))

    async def _set_bucket_acl(self, call: Call) -> Answer:
        await self._access.bucket(call.user, call.bucket)
        _check_private(call)
        return Answer()

    async def _set_object_acl(self, call: Call) -> Answer:
        headers = await self._object_headers(call)
        _check_private(call)
        return Answer(200, headers)

    async def _object_acl(self, call: Call) -> Answer:
        return xml(_acl(call), await self._object_headers(call))

    async def _object_tags(self, call: Call) -> Answer:
        return xml(document("Tagging", group("TagSet")), await self._object_headers(call))

    async def _no_object_tags(self, call: Call) -> Answer:
        return Answer(204, await self._object_headers(call))

    async def _no_lock(self, call: Call) -> Answer:
        await self._object_headers(call)
        raise S3Error("InvalidRequest", "Bucket is missing Object Lock Configuration")

    async def _object_headers(self, call: Call) -> dict[str, str]:
        """Of the version that is there; raises NoSuchKey and the like."""
        record = await self._access.bucket(call.user, call.bucket)
        version = read_version(call.parameter("versionId"))
        info, _ = await find_version(self._objects, record, call.key, version)
        return version_headers(info, record.versioning)


def _acl(call: Call) -> bytes:
    owner = Owner(call.user.canonical_id, call.user.display_name)
    grantee = owner.written("Grantee").replace(
        "<Grantee>", f'<Grantee xmlns:xsi="{INSTANCE}" xsi:type="CanonicalUser">', 1
    )
    grant = group("Grant", grantee, text("Permission", "FULL_CONTROL"))
    return document("AccessControlPolicy", owner.written(), group("AccessControlList", grant))


def _check_private(call: Call) -> None:
    """What is so already may be asked for; raises NotImplemented for the rest."""
    check_write_headers(call.head)
    if call.body.length_bytes or call.head.header("x-amz-acl") is None:
        raise S3Error("NotImplemented", "Access control lists are not implemented.")
