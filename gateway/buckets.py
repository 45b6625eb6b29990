"""Buckets: records in the control plane, created and deleted by command (DESIGN 5, 6).

Deleting is two steps, so that no acknowledged name can vanish with its bucket:
marked DELETING (rows that know refuse new names), then, once every target that may
act has adopted the mark, the bucket is listed; empty: removed, else unmarked.
Until every target that may act has heard of a removal no bucket is made: a row leader
that knows the one that is gone would answer for it where its successor is meant.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from replicast.errors import Conflict, NotFound, ReplicastError, Unavailable
from replicast.flexhash.commands import BucketEncryption, Code
from replicast.flexhash.versioning import Versioning
from replicast.gateway.limits import DEFAULT_TENANT, check_bucket
from replicast.gateway.objects import Objects
from replicast.units import KIB
from replicast.wire.bucket_messages import (
    BucketCreate,
    BucketDeleteBegin,
    BucketDeleteEnd,
    BucketEncryptionSet,
    BucketVersioning,
)
from replicast.wire.control_messages import BucketInfo, CommandResult
from replicast.wire.schema import Message

SPREAD_DEFAULT = 64
INLINE_MAX_DEFAULT_BYTES = 64 * KIB
ADOPTION_POLL_SECONDS = 0.05
ADOPTION_POLLS_MAX = 400
NO_OWNER = ""  # made by a program or the command line, not through S3
CREATE_TRIES_MAX = 16  # each is one removal that came in between


class Directory(Protocol):
    """The control plane as a gateway sees it (replicast.flexhash.client)."""

    @property
    def buckets(self) -> Mapping[tuple[str, str], BucketInfo]: ...
    @property
    def settings_version(self) -> int: ...
    @property
    def settings_floor(self) -> int:
        """The settings version that every target which may act has adopted."""

    async def refetch_settings(self) -> None:
        """Fetch buckets and settings, with all that was acknowledged before."""

    async def command(self, message: Message, timeout_seconds: float = ...) -> CommandResult: ...
    @property
    def wall_ns(self) -> Callable[[], int]: ...


class Buckets:
    """The operations on buckets."""

    def __init__(self, directory: Directory, objects: Objects, row_count: int) -> None:
        self._directory, self._objects = directory, objects
        self._spread = min(SPREAD_DEFAULT, row_count)
        self.inline_max_bytes = INLINE_MAX_DEFAULT_BYTES  # of the buckets that this one creates

    async def create(
        self,
        bucket: str,
        *,
        tenant: str = DEFAULT_TENANT,
        owner: str = NO_OWNER,
        versioning: Versioning = Versioning.ENABLED,
        location: str = "",
    ) -> None:
        """Create, for the user with this canonical id; raises Conflict when it exists. `location`: what
        S3 clients are told, else the name of their gateway's region."""
        check_bucket(bucket)
        what = (tenant, bucket, owner, versioning, location)
        result = await self._directory.command(self._create(*what))
        for _ in range(CREATE_TRIES_MAX):
            if result.code != Code.CONFLICT:
                break
            await self._adopted(result.value)
            result = await self._directory.command(self._create(*what))
        if result.code == Code.EXISTS:
            raise Conflict(f"bucket {bucket} exists already", reason="BUCKET_EXISTS")
        _require_ok(result, f"create bucket {bucket}")
        await self._directory.refetch_settings()

    def _create(
        self, tenant: str, bucket: str, owner: str, versioning: Versioning, location: str
    ) -> BucketCreate:
        return BucketCreate(
            tenant=tenant,
            bucket=bucket,
            spread=self._spread,
            inline_max_bytes=self.inline_max_bytes,
            created_ns=self._directory.wall_ns(),
            settings_floor=self._directory.settings_floor,
            owner=owner,
            versioning=versioning,
            location=location,
        )

    async def set_versioning(
        self, bucket: str, versioning: Versioning, *, tenant: str = DEFAULT_TENANT
    ) -> None:
        """Keep versions from now on, or no new ones: on return, for what comes through any gateway,
        since every row leader knows by then, and has the last word. Raises NotFound."""
        await self.refresh()
        record = await self.find(bucket, tenant=tenant)
        change = BucketVersioning(
            tenant=tenant, bucket=bucket, incarnation=record.incarnation, versioning=versioning
        )
        await self._change(bucket, change)

    async def set_encryption(
        self, bucket: str, encryption: BucketEncryption, *, tenant: str = DEFAULT_TENANT
    ) -> None:
        """How S3 gateways keep from now on what is put without a word of encryption; known as
        set_versioning() has it. Raises NotFound."""
        record = await self.find(bucket, tenant=tenant)
        change = BucketEncryptionSet(
            tenant=tenant, bucket=bucket, incarnation=record.incarnation, encryption=encryption
        )
        await self._change(bucket, change)

    async def _change(self, bucket: str, change: Message) -> None:
        result = await self._directory.command(change)
        if result.code == Code.NO_SUCH:
            raise NotFound(f"there is no bucket {bucket}", reason="NO_SUCH_BUCKET")
        _require_ok(result, f"change bucket {bucket}")
        await self._directory.refetch_settings()
        await self._adopted(result.value)

    async def list(self, *, tenant: str = DEFAULT_TENANT) -> list[BucketInfo]:
        """All buckets of the tenant, by name."""
        await self.refresh()
        found = [b for (owner, _), b in self._directory.buckets.items() if owner == tenant]
        return sorted(found, key=lambda record: record.bucket)

    async def find(self, bucket: str, *, tenant: str = DEFAULT_TENANT, gone: int = 0) -> BucketInfo:
        """The record; one that is not known here is looked up once at the Raft leader.

        `gone`: an incarnation of which a row leader said NO_SUCH_BUCKET, as good as not known.
        """
        record = self._directory.buckets.get((tenant, bucket))
        if record is None or record.incarnation == gone:
            check_bucket(bucket)
            await self._directory.refetch_settings()
            record = self._directory.buckets.get((tenant, bucket))
        if record is None or record.incarnation == gone:
            raise NotFound(f"there is no bucket {bucket}", reason="NO_SUCH_BUCKET")
        return record

    async def refresh(self) -> None:
        """Know of all buckets what was acknowledged before this call, through any gateway."""
        await self._directory.refetch_settings()

    async def lookup(self, tenant: str, bucket: str, gone: int = 0) -> BucketInfo:
        """For the object layer."""
        return await self.find(bucket, tenant=tenant, gone=gone)

    async def delete(
        self, bucket: str, *, tenant: str = DEFAULT_TENANT, deleted_too: bool = False
    ) -> None:
        """Delete; raises Conflict when it is not empty. `deleted_too`: a name counts also when its
        newest version is a delete marker."""
        await self.refresh()
        record = await self.find(bucket, tenant=tenant)
        begin = await self._directory.command(BucketDeleteBegin(tenant=tenant, bucket=bucket))
        if begin.code == Code.NO_SUCH:
            raise NotFound(f"there is no bucket {bucket}", reason="NO_SUCH_BUCKET")
        _require_ok(begin, f"delete bucket {bucket}")
        empty = False
        try:
            await self._directory.refetch_settings()
            await self._adopted(self._directory.settings_version)
            empty = await self._is_empty(bucket, tenant, deleted_too)
        finally:
            # Whatever went wrong, the bucket does not stay locked.
            end = await self._directory.command(
                BucketDeleteEnd(
                    tenant=tenant,
                    bucket=bucket,
                    incarnation=record.incarnation,
                    marked=begin.value,
                    remove=empty,
                )
            )
        if not empty:
            raise Conflict(f"bucket {bucket} is not empty", reason="BUCKET_NOT_EMPTY")
        if end.code == Code.NO_SUCH:  # somebody else's deletion was faster
            raise NotFound(f"there is no bucket {bucket}", reason="NO_SUCH_BUCKET")
        _require_ok(end, f"delete bucket {bucket}")
        await self._directory.refetch_settings()

    async def _adopted(self, settings_version: int) -> None:
        """Wait until every row leader that may act has these settings or newer ones."""
        for _ in range(ADOPTION_POLLS_MAX):
            if self._directory.settings_floor >= settings_version:
                return
            await asyncio.sleep(ADOPTION_POLL_SECONDS)
        raise Unavailable("some target has not heard of a change to buckets yet: try again")

    async def _is_empty(self, bucket: str, tenant: str, deleted_too: bool) -> bool:
        async for _ in self._objects.list(bucket, tenant=tenant, deleted=deleted_too):
            return False
        return True


def _require_ok(result: CommandResult, what: str) -> None:
    if result.code == Code.OK:
        return
    name = Code(result.code).name
    if result.code in (Code.CONFLICT, Code.FULL, Code.NOT_FORMED):
        raise Unavailable(f"cannot {what} now: {name}", reason=name)
    raise ReplicastError(f"cannot {what}: {name}", reason=name)
