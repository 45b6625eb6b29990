"""Names of objects at their row leaders: where a name lies, and operations on it.

What an operation needs of the bucket comes from its record; when a row leader says that there is no
such bucket it is looked up anew, since it may have been removed and made again through another gateway.
Who was let in by a record gives that in place of the bucket's name: a bucket that was made anew by
another owner is none of theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from replicast.buggify import buggified
from replicast.errors import ConditionFailed, NotFound, Unavailable
from replicast.flexhash.names import bucket_seed, nhid, row_of_name, rows_of_bucket
from replicast.flexhash.versioning import Versioning
from replicast.gateway.bodies import Made
from replicast.gateway.conditions import condition
from replicast.gateway.initiation import BucketView, Initiator
from replicast.gateway.limits import check_name
from replicast.gateway.listing import ListDone
from replicast.gateway.manifest import parse_body
from replicast.hashing import content_hash
from replicast.wire.documents import ManifestBody
from replicast.wire.name_messages import (
    DELETE_MARKER,
    IF_VERSION,
    NO_VERSION,
    NULL_VERSION,
    Condition,
    NameDelete,
    NameGet,
    NameKey,
    NameList,
    NamePut,
    NameResult,
    OperationTime,
    VersionId,
)
from replicast.wire.reasons import Reason
from replicast.wire.schema import Message

LIST_PAGE_ENTRIES = 1000
NEVER = Condition(kind=IF_VERSION, version=NULL_VERSION, etag="")  # no version has this id
BucketRef = str | BucketView  # by name: whosever it is
KeyOf = Callable[[NameKey], NameKey]
RequestOf = Callable[[NameKey, BucketView], Message]


@dataclass(frozen=True, slots=True)
class Decision:
    """Something that happens once or never, whoever tries to do or to prevent it. `operation`: its
    OPERATION_BASE_BYTES. `since_ns`: a time of the cluster before which nobody has prevented it: rows
    refuse what is older than the answers that they remember."""

    operation: bytes
    since_ns: int


def bucket_name(bucket: BucketRef) -> str:
    """Of either."""
    return bucket if isinstance(bucket, str) else bucket.bucket


def itself(key: NameKey) -> NameKey:
    """The name that was given. Others lie in its row, too: parts of uploads (uploads.py)."""
    return key


class Names:
    """Named operations of one tenant after the other."""

    def __init__(self, initiator: Initiator) -> None:
        self._initiator = initiator

    async def record(self, tenant: str, bucket: BucketRef, gone: int = 0) -> BucketView:
        """The bucket; raises NotFound. `gone`: an incarnation that is no answer."""
        if isinstance(bucket, str):
            return await self._initiator.bucket(tenant, bucket, gone)
        if bucket.incarnation != gone:
            return bucket
        found = await self._initiator.bucket(tenant, bucket.bucket, gone)
        if found.owner != bucket.owner:
            raise NotFound(f"bucket {bucket.bucket} is gone", reason=Reason.NO_SUCH_BUCKET.name)
        return found

    async def place(self, tenant: str, bucket: BucketRef, name: str) -> BucketView:
        """Where such a name may be made; raises as locate(), which somebody will ask for later."""
        check_name(name)
        return await self.record(tenant, bucket)

    async def locate(
        self, tenant: str, bucket: BucketRef, name: str, gone: int = 0
    ) -> tuple[NameKey, BucketView]:
        """The name's key and its bucket; raises NotFound. `gone`: an incarnation that is no answer."""
        check_name(name)
        record = await self.record(tenant, bucket, gone)
        row = row_of_name(
            bucket_seed(tenant, record.bucket, record.incarnation),
            nhid(tenant, record.bucket, name),
            record.spread,
            self._initiator.table.policy.row_count,
        )
        key = NameKey(
            row=row,
            tenant=tenant,
            bucket=record.bucket,
            bucket_incarnation=record.incarnation,
            name=name,
        )
        return key, record

    async def ask(
        self,
        tenant: str,
        bucket: BucketRef,
        name: str,
        request_of: RequestOf,
        operation: bytes = b"",
        *,
        bound: bool = False,
    ) -> Message:
        """The row leader's answer. `bound`: the request is right in this incarnation of the bucket only;
        raises Unavailable when that is gone."""
        key, record = await self.locate(tenant, bucket, name)
        try:
            return await self._initiator.named(request_of(key, record), key.row, operation)
        except NotFound as error:
            if error.reason != Reason.NO_SUCH_BUCKET.name:
                raise
        key, record = await self.locate(tenant, bucket, name, record.incarnation)
        if bound:
            raise Unavailable(f"bucket {record.bucket} was made anew meanwhile: try again")
        return await self._initiator.named(request_of(key, record), key.row, operation)

    async def commit(
        self,
        tenant: str,
        bucket: BucketRef,
        name: str,
        made: Made,
        *,
        when: Condition | None = None,
        null: bool | None = None,
        key_of: KeyOf = itself,
        decision: Decision | None = None,
    ) -> NameResult:
        """The last step of a put: all chunks of the body are durable. `null`: None for what the bucket's
        versioning says. `decision`: whoever else decides it gets the same answer."""
        reply = await self.ask(
            tenant,
            bucket,
            name,
            lambda key, record: NamePut(
                key=key_of(key),
                time=OperationTime(
                    first_sent_ns=decision.since_ns if decision else self._initiator.wall_ns(),
                    begun_ns=made.begun_ns,
                ),
                condition=when or condition(),
                null=_is_null(record) if null is None else null,
                logical_size=made.logical_bytes,
                etag=made.etag,
                body_hash=made.body_hash,
                body=made.body,
                short_of_copies=made.short_of_copies,
                holders=self._initiator.known_holders.of_all(made.chids),
            ),
            decision.operation if decision else b"",
            bound=made.sealed,
        )
        assert isinstance(reply, NameResult)
        return reply

    async def prevent(
        self, tenant: str, bucket: BucketRef, name: str, decision: Decision
    ) -> NameResult | None:
        """What a commit under this decision has made; None: it has not, and never will."""
        try:
            reply = await self.ask(
                tenant,
                bucket,
                name,
                lambda key, _: NameDelete(
                    key=key,
                    time=OperationTime(first_sent_ns=decision.since_ns, begun_ns=decision.since_ns),
                    condition=NEVER,
                    version=NO_VERSION,
                    null=False,
                    absent_too=False,
                ),
                decision.operation,
            )
        except ConditionFailed:
            return None
        assert isinstance(reply, NameResult)
        return reply

    async def fetch(
        self,
        tenant: str,
        bucket: BucketRef,
        name: str,
        version: VersionId = NO_VERSION,
        key_of: KeyOf = itself,
        *,
        want_body: bool = True,
    ) -> tuple[NameResult, ManifestBody | None]:
        """A version (newest when NO_VERSION) and its body, None of a delete marker; raises NotFound."""
        reply = await self.ask(
            tenant,
            bucket,
            name,
            lambda key, _: NameGet(key=key_of(key), version=version, want_body=want_body),
        )
        assert isinstance(reply, NameResult)
        if reply.summary.kind == DELETE_MARKER or not want_body:
            return reply, None
        if content_hash(self._initiator.algorithm, reply.body) != reply.summary.body_hash:
            raise Unavailable("the manifest does not match its hash", reason="HASH_MISMATCH")
        body = parse_body(reply.body)
        if reply.holders:
            self._initiator.known_holders.learn(body.references, reply.holders)
        return reply, body

    async def delete(
        self,
        tenant: str,
        bucket: BucketRef,
        name: str,
        *,
        when: Condition | None = None,
        absent_too: bool = False,
    ) -> NameResult:
        """A marker; where versions were never kept, the end of the only one."""

        def request_of(key: NameKey, record: BucketView) -> NameDelete:
            off = record.versioning == Versioning.OFF
            return NameDelete(
                key=key,
                time=self.time(),
                condition=when or condition(),
                version=NULL_VERSION if off else NO_VERSION,
                null=_is_null(record),
                absent_too=absent_too,
            )

        reply = await self.ask(tenant, bucket, name, request_of)
        assert isinstance(reply, NameResult)
        return reply

    async def remove(
        self,
        tenant: str,
        bucket: BucketRef,
        name: str,
        version: VersionId,
        *,
        when: Condition | None = None,
        key_of: KeyOf = itself,
    ) -> NameResult:
        """One version less, for good."""
        reply = await self.ask(
            tenant,
            bucket,
            name,
            lambda key, _: NameDelete(
                key=key_of(key),
                time=self.time(),
                condition=when or condition(),
                version=version,
                null=False,
                absent_too=False,
            ),
        )
        assert isinstance(reply, NameResult)
        return reply

    async def page(
        self,
        record: BucketView,
        prefix: str,
        after: str,
        *,
        deleted: bool = False,
        limit: int = LIST_PAGE_ENTRIES,
        rows: tuple[int, ...] = (),
        within: int = 0,
    ) -> ListDone:
        """Names behind `after`. `rows`: only of these. `within`: of another space of the bucket
        (uploads.py)."""
        seed = bucket_seed(record.tenant, record.bucket, record.incarnation)
        of_bucket = rows_of_bucket(seed, record.spread, self._initiator.table.policy.row_count)
        return await self._initiator.list_page(
            NameList(
                rows=rows or tuple(of_bucket),
                tenant=record.tenant,
                bucket=record.bucket,
                bucket_incarnation=record.incarnation | within,
                prefix=prefix,
                after=after,
                limit=buggified("gateway/page-short", limit, 2),
                deleted=deleted,
            )
        )

    def time(self) -> OperationTime:
        """Of an operation that begins now."""
        now_ns = self._initiator.wall_ns()
        return OperationTime(first_sent_ns=now_ns, begun_ns=now_ns)


def _is_null(record: BucketView) -> bool:
    return record.versioning != Versioning.ENABLED
