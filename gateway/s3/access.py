"""Who may do what with which bucket: a bucket belongs to who made it, and to nobody else."""

from __future__ import annotations

from replicast.errors import NotFound
from replicast.gateway.buckets import Buckets
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.users import User
from replicast.wire.control_messages import BucketInfo


class Access:
    """Looks buckets up."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets

    async def bucket(self, user: User, name: str) -> BucketInfo:
        """The bucket's record; raises NoSuchBucket, AccessDenied."""
        try:
            record = await self._buckets.find(name)
        except NotFound:
            raise S3Error("NoSuchBucket", BucketName=name) from None
        if record.owner != user.canonical_id:
            raise S3Error("AccessDenied")
        return record
