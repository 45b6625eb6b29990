"""The version of an object that a request is about, and what S3 says when that is a delete marker.

Sources: S3 user guide, "Working with delete markers"; S3 API reference, GetObject, HeadObject; that
x-amz-delete-marker says false of what was never there: ceph/s3-tests.
"""

from __future__ import annotations

from replicast.errors import NotFound
from replicast.gateway.objects import ObjectInfo, Objects
from replicast.gateway.s3.dates import http_date
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.versions import version_headers
from replicast.wire.control_messages import BucketInfo
from replicast.wire.documents import ManifestBody
from replicast.wire.name_messages import NO_VERSION, VersionId

DELETE_MARKER_HEADER = "x-amz-delete-marker"


async def find_version(
    objects: Objects, bucket: BucketInfo, key: str, version: VersionId
) -> tuple[ObjectInfo, ManifestBody]:
    """The newest for NO_VERSION. Raises NoSuchKey, NoSuchVersion, and MethodNotAllowed where the
    version is a delete marker, which cannot be read."""
    try:
        info, body = await objects.look(bucket, key, version=version)
    except NotFound as error:
        if error.reason != "NO_SUCH_NAME":
            raise
        headers = {DELETE_MARKER_HEADER: "false"}
        code = "NoSuchKey" if version == NO_VERSION else "NoSuchVersion"
        raise S3Error(code, Key=key).with_headers(headers) from None
    if body is not None:
        return info, body
    headers = {DELETE_MARKER_HEADER: "true", **version_headers(info, bucket.versioning)}
    if version == NO_VERSION:
        raise S3Error("NoSuchKey", Key=key).with_headers(headers)
    headers |= {"last-modified": http_date(info.modified_ns), "allow": "DELETE"}
    failed = S3Error("MethodNotAllowed", Method="GET", ResourceType="DeleteMarker")
    raise failed.with_headers(headers)
