"""The condition of a write: how it goes to the row's leader, and what its failing is to the client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from replicast.errors import ConditionFailed, NotFound
from replicast.gateway.conditions import condition
from replicast.gateway.objects import Objects
from replicast.gateway.s3.call import Call
from replicast.gateway.s3.conditions import Current, write_condition
from replicast.gateway.s3.errors import S3Error
from replicast.wire.control_messages import BucketInfo
from replicast.wire.name_messages import Condition


@asynccontextmanager
async def guarded_write(
    objects: Objects, bucket: BucketInfo, call: Call
) -> AsyncIterator[Condition]:
    """The condition that the call's head asks for. Raises PreconditionFailed when it does not hold and
    NoSuchKey when If-Match finds nothing; before the write what write_condition raises."""
    asked = write_condition(call.head)
    when = condition(if_match=asked.if_match, if_none_match=asked.if_none_match)
    try:
        yield when
    except ConditionFailed:
        current = None
        with suppress(NotFound):
            info = await objects.summary(bucket, call.key)
            current = Current(info.etag, info.modified_ns, info.size_bytes)
        asked.check(current)
        raise S3Error("PreconditionFailed") from None  # it would hold by now
