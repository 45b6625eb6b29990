"""ListBuckets; CreateBucket, DeleteBucket, HeadBucket; location and versioning of buckets."""

from __future__ import annotations

from replicast.errors import Conflict
from replicast.flexhash.versioning import Versioning
from replicast.gateway.buckets import Buckets
from replicast.gateway.objects import Objects
from replicast.gateway.s3 import answers
from replicast.gateway.s3.access import Access
from replicast.gateway.s3.call import Answer, Call, xml
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.hash_executor import HashExecutor
from replicast.gateway.s3.paging import buckets_page
from replicast.gateway.s3.regions import FIRST_REGION, Regions
from replicast.gateway.s3.request_bodies import read_location_constraint, read_versioning
from replicast.gateway.s3.small_body import small_body
from replicast.gateway.s3.unsupported import check_write_headers
from replicast.gateway.uploads import Uploads

REGION_HEADER = "x-amz-bucket-region"
PAGE_PARAMETERS = ("bucket-region", "continuation-token", "max-buckets", "prefix")


class BucketCalls:
    """The operations on buckets."""

    def __init__(
        self,
        buckets: Buckets,
        objects: Objects,
        uploads: Uploads,
        access: Access,
        threads: HashExecutor,
        regions: Regions,
    ) -> None:
        self._buckets, self._objects, self._uploads = buckets, objects, uploads
        self._access, self._threads, self._regions = access, threads, regions

    async def list_buckets(self, call: Call) -> Answer:
        """ListBuckets: those of the user; with their regions where anything was asked of them."""
        page = buckets_page(call.request.parameters)
        region = call.parameter("bucket-region")
        with_regions = any(name in call.request.parameters for name in PAGE_PARAMETERS)
        mine = [
            each
            for each in await self._buckets.list()
            if each.owner == call.user.canonical_id
            and region in (None, "", self._regions.of(each))
            and each.bucket.startswith(page.prefix)
            and each.bucket > page.after
        ]
        shown = mine[: page.buckets_max]
        token = page.next_token(shown[-1].bucket) if len(mine) > len(shown) else ""
        entries = [
            answers.BucketEntry(
                each.bucket, each.created_ns, self._regions.of(each) if with_regions else ""
            )
            for each in shown
        ]
        owner = answers.Owner(call.user.canonical_id, call.user.display_name)
        return xml(answers.all_buckets(owner, entries, token=token, prefix=page.prefix))

    async def create(self, call: Call) -> Answer:
        """CreateBucket. One's own exists already: fine in the first region, as S3 has it."""
        check_write_headers(call.head)
        constraint = read_location_constraint(await small_body(call, None, self._threads))
        location = self._regions.location(constraint)
        try:
            await self._buckets.create(
                call.bucket,
                owner=call.user.canonical_id,
                versioning=Versioning.OFF,
                location=location,
            )
        except Conflict as error:
            if error.reason != "BUCKET_EXISTS":
                raise
            await self._buckets.refresh()
            record = await self._buckets.find(call.bucket)
            if record.owner != call.user.canonical_id:
                raise S3Error("BucketAlreadyExists", BucketName=call.bucket) from None
            if self._regions.of(record) != FIRST_REGION:
                raise S3Error("BucketAlreadyOwnedByYou", BucketName=call.bucket) from None
        return Answer(200, {"location": f"/{call.bucket}"})

    async def delete(self, call: Call) -> Answer:
        """DeleteBucket: refused while it has a version or a delete marker; uploads end with it."""
        record = await self._access.current_bucket(call.user, call.bucket)
        async for _ in self._objects.list(record, deleted=True):
            raise S3Error("BucketNotEmpty", BucketName=call.bucket)
        async for upload in self._uploads.list(record):
            await self._uploads.abort(record, upload.name, upload.upload_id)
        await self._buckets.delete(call.bucket, deleted_too=True)
        return Answer(204)

    async def head(self, call: Call) -> Answer:
        """HeadBucket."""
        record = await self._access.current_bucket(call.user, call.bucket)
        return Answer(200, {REGION_HEADER: self._regions.of(record)})

    async def location(self, call: Call) -> Answer:
        """GetBucketLocation."""
        record = await self._access.current_bucket(call.user, call.bucket)
        return xml(answers.location(self._regions.of(record)))

    async def versioning(self, call: Call) -> Answer:
        """GetBucketVersioning."""
        record = await self._access.current_bucket(call.user, call.bucket)
        off = record.versioning == Versioning.OFF
        return xml(answers.versioning(None if off else record.versioning == Versioning.ENABLED))

    async def set_versioning(self, call: Call) -> Answer:
        """PutBucketVersioning."""
        await self._access.current_bucket(call.user, call.bucket)
        asked = read_versioning(await small_body(call, None, self._threads))
        wanted = Versioning.ENABLED if asked.enabled else Versioning.SUSPENDED
        await self._buckets.set_versioning(call.bucket, wanted)
        return Answer(200)
