"""Who may do what with which bucket: a bucket belongs to who made it, and to nobody else."""

from __future__ import annotations

from contextlib import suppress

from replicast.errors import NotFound
from replicast.gateway.buckets import Buckets
from replicast.gateway.s3.copy_source import copy_source
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.head import Head
from replicast.gateway.users import User
from replicast.wire.control_messages import BucketInfo

EXPECTED = "x-amz-expected-bucket-owner"
OF_SOURCE = "x-amz-source-expected-bucket-owner"


class Access:
    """Looks buckets up."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets

    async def current_bucket(self, user: User, name: str) -> BucketInfo:
        """As bucket(), with all that was acknowledged before through any gateway: for answers that say
        nothing but what the record says. Operations on objects end at row leaders, who know better."""
        await self._buckets.refresh()
        return await self.bucket(user, name)

    async def bucket(self, user: User, name: str) -> BucketInfo:
        """The bucket's record; raises NoSuchBucket, AccessDenied."""
        try:
            record = await self._buckets.find(name)
        except NotFound:
            raise S3Error("NoSuchBucket", BucketName=name) from None
        if record.owner != user.canonical_id:
            raise S3Error("AccessDenied")
        return record

    async def check_expectation(self, head: Head, bucket: str) -> None:
        """What a client expects of a bucket's owner, as canonical id, lest it writes into a stranger's.
        Raises AccessDenied; what is not there is the operation's to say."""
        source = copy_source(head).bucket if OF_SOURCE in head.headers else ""
        for name, expected in ((bucket, head.header(EXPECTED)), (source, head.header(OF_SOURCE))):
            if expected is None or not name:
                continue
            with suppress(NotFound):
                if (await self._buckets.find(name)).owner != expected.strip():
                    raise S3Error("AccessDenied")
