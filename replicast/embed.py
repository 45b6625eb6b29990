"""The initiator inside your program: `replicast.connect()`. A composition root.

    async with await replicast.connect() as cluster:
        await cluster.put("photos", "a.jpg", data, if_none_match="*")
        async for block in cluster.get("photos", "a.jpg", range=(0, 99)):
            ...

Everything runs in the caller's event loop; no daemon stands between the program
and the targets. Errors are those of replicast.errors, by what to do about them.
Programs without an event loop use replicast.blocking; docs/library.md is the guide.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Mapping
from types import TracebackType
from typing import BinaryIO, Self, TypeVar, overload

from replicast.cli.find import find_cluster
from replicast.config import load
from replicast.errors import InvalidRequest, Unavailable
from replicast.formation import formation_beside, load_cluster_file
from replicast.gateway.conditions import condition
from replicast.gateway.config import InitiatorConfig
from replicast.gateway.initiation import Block, Source
from replicast.gateway.objects import ObjectInfo
from replicast.gateway.open import OpenedInitiator, open_initiator
from replicast.gateway.put_stream import PutReport
from replicast.gateway.version_text import parse_version
from replicast.metrics import Counters
from replicast.units import MIB
from replicast.wire.name_messages import VersionId

T = TypeVar("T")
Version = VersionId | str  # as in ObjectInfo.version, or as `replicast stat` shows it
READ_BYTES = MIB


class Cluster:
    """A connection to one cluster; made by connect(), closed by `async with` or close()."""

    def __init__(self, opened: OpenedInitiator, deadline_seconds: float | None = None) -> None:
        self._opened, self._deadline_seconds = opened, deadline_seconds

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Fail what is in flight (Unavailable) and close all sockets; harmless when repeated."""
        await self._opened.close()

    def with_deadline(self, seconds: float | None) -> Cluster:
        """The same connection, whose operations end within that time: Unavailable, reason DEADLINE.

        For get() and list() it bounds the wait for each block and entry. None: each exchange with
        the cluster has its own end (30 s); an operation of many has none.
        """
        if seconds is not None and not seconds > 0:
            raise InvalidRequest(f"a deadline of {seconds} s")
        return Cluster(self._opened, seconds)

    # -- buckets ----------------------------------------------------------------------

    async def create_bucket(self, bucket: str) -> None:
        """Create a bucket; raises Conflict when it exists."""
        await self._write(self._opened.buckets.create(bucket))

    async def delete_bucket(self, bucket: str) -> None:
        """Delete a bucket; raises Conflict when it is not empty."""
        await self._write(self._opened.buckets.delete(bucket))

    async def list_buckets(self) -> list[str]:
        """Names of all buckets, sorted."""
        return [record.bucket for record in await self._read(self._opened.buckets.list())]

    # -- objects ----------------------------------------------------------------------

    async def put(
        self,
        bucket: str,
        name: str,
        data: Source | BinaryIO,
        *,
        metadata: Mapping[str, str] | None = None,
        if_none_match: str | None = None,
        if_match: str | None = None,
        report: PutReport | None = None,
    ) -> ObjectInfo:
        """Store `data`: bytes, an async iterable of them, or a file open for reading in binary.
        Durable on return; a put that is cancelled or fails leaves nothing that can be seen, unless
        its last step was under way (`Unavailable.uncertain`).

        `if_none_match="*"`: only when the name does not exist; `if_match=etag`: only when
        the newest version has this ETag; else ConditionFailed.
        """
        return await self._write(
            self._opened.objects.put(
                bucket,
                name,
                _source(data),
                metadata=metadata,
                when=condition(if_none_match, if_match),
                report=report,
            )
        )

    async def copy(
        self,
        bucket: str,
        name: str,
        to_bucket: str,
        to_name: str,
        *,
        version: Version | None = None,
        metadata: Mapping[str, str] | None = None,
        if_none_match: str | None = None,
        if_match: str | None = None,
        report: PutReport | None = None,
    ) -> ObjectInfo:
        """Store an object under another name without moving its bytes; durable on return.

        `metadata` takes the place of the source's; the conditions are about the new name.
        """
        return await self._write(
            self._opened.objects.copy(
                bucket,
                name,
                to_bucket,
                to_name,
                version=parse_version(version),
                metadata=metadata,
                when=condition(if_none_match, if_match),
                report=report,
            )
        )

    def get(
        self,
        bucket: str,
        name: str,
        *,
        range: tuple[int, int] | None = None,
        version: Version | None = None,
    ) -> AsyncIterator[Block]:
        """The verified bytes, block by block; `range` is (first, last), both included."""
        return self._each(
            self._opened.objects.get(bucket, name, range=range, version=parse_version(version))
        )

    async def read(self, bucket: str, name: str, *, version: Version | None = None) -> bytes:
        """The whole object; for objects that fit in memory."""
        return await self._read(
            self._opened.objects.read(bucket, name, version=parse_version(version))
        )

    async def stat(self, bucket: str, name: str, *, version: Version | None = None) -> ObjectInfo:
        """Size, ETag, version and metadata; raises NotFound."""
        found, _ = await self._read(
            self._opened.objects.head(bucket, name, version=parse_version(version))
        )
        return found

    async def versions(self, bucket: str, name: str) -> list[ObjectInfo]:
        """All versions and delete markers, newest first."""
        return await self._read(self._opened.objects.versions(bucket, name))

    async def delete(
        self,
        bucket: str,
        name: str,
        *,
        version: Version | None = None,
        if_match: str | None = None,
    ) -> ObjectInfo:
        """Put a delete marker, or remove one version for good."""
        return await self._write(
            self._opened.objects.delete(
                bucket,
                name,
                version=parse_version(version),
                when=condition(if_match=if_match),
            )
        )

    @overload
    def list(
        self, bucket: str, prefix: str = "", *, after: str = ""
    ) -> AsyncIterator[ObjectInfo]: ...
    @overload
    def list(
        self, bucket: str, prefix: str = "", *, after: str = "", delimiter: str
    ) -> AsyncIterator[ObjectInfo | str]: ...
    def list(
        self, bucket: str, prefix: str = "", *, after: str = "", delimiter: str = ""
    ) -> AsyncIterator[ObjectInfo | str]:
        """Objects in byte order of their names; common prefixes as str with a delimiter."""
        return self._each(
            self._opened.objects.list(bucket, prefix, after=after, delimiter=delimiter)
        )

    # -- deadlines ----------------------------------------------------------------------

    def _read(self, work: Awaitable[T]) -> Awaitable[T]:
        return self._within(work, uncertain=False) if self._deadline_seconds is not None else work

    def _write(self, work: Awaitable[T]) -> Awaitable[T]:
        return self._within(work, uncertain=True) if self._deadline_seconds is not None else work

    async def _within(self, work: Awaitable[T], *, uncertain: bool) -> T:
        assert self._deadline_seconds is not None
        try:
            async with asyncio.timeout(self._deadline_seconds) as limit:
                return await work
        except TimeoutError:
            if not limit.expired():
                raise  # the source's own
            raise Unavailable(
                f"not done within {self._deadline_seconds:g} s",
                reason="DEADLINE",
                uncertain=uncertain,
            ) from None

    def _each(self, items: AsyncIterator[T]) -> AsyncIterator[T]:
        return items if self._deadline_seconds is None else self._each_within(items)

    async def _each_within(self, items: AsyncIterator[T]) -> AsyncIterator[T]:
        try:
            while True:
                try:
                    item = await self._read(anext(items))
                except StopAsyncIteration:
                    return
                yield item
        finally:
            await end(items)


async def end(items: AsyncIterator[object]) -> None:
    """Free at once what an iterator holds; the collector would do it some time."""
    close = getattr(items, "aclose", None)
    if close is not None:
        await close()


def _source(data: Source | BinaryIO) -> Source:
    if isinstance(data, bytes | bytearray | memoryview) or hasattr(data, "__aiter__"):
        return data
    if hasattr(data, "read"):
        return _blocks(data)
    kind = type(data).__name__
    raise InvalidRequest(f"data is {kind}: bytes, a binary file or an async iterable is wanted")


async def _blocks(file: BinaryIO) -> AsyncIterator[bytes]:
    """A file's bytes, read in a thread: a disk may be slow, and a pipe may wait."""
    while block := await asyncio.to_thread(file.read, READ_BYTES):
        if not isinstance(block, bytes):
            raise InvalidRequest("data is a text file: open it in binary")
        yield block


async def connect(
    cluster: str | os.PathLike[str] | None = None, config: InitiatorConfig | None = None
) -> Cluster:
    """Connect to the cluster at `cluster` (data folder or cluster.toml; default: where the CLI
    looks). Raises Unavailable when no voter answers."""
    place = find_cluster(None if cluster is None else os.fspath(cluster))
    settings = config or load(InitiatorConfig)
    file = load_cluster_file(place.path)
    formation = formation_beside(file)
    return Cluster(await open_initiator(file, settings, Counters(), formation=formation))
