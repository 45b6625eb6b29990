"""The initiator inside your program: `replicast.connect()`. A composition root.

    async with await replicast.connect() as cluster:
        await cluster.put("photos", "a.jpg", data, if_none_match="*")
        async for block in cluster.get("photos", "a.jpg", range=(0, 99)):
            ...

Everything runs in the caller's event loop; no daemon stands between the program
and the targets. Errors are those of replicast.errors, by what to do about them.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Self

from replicast.cli.find import find_cluster
from replicast.config import load
from replicast.formation import load_cluster_file
from replicast.gateway.config import InitiatorConfig
from replicast.gateway.initiation import Block, Source
from replicast.gateway.objects import ObjectInfo, condition
from replicast.gateway.open import OpenedInitiator, open_initiator
from replicast.gateway.put_stream import PutReport
from replicast.gateway.version_text import parse_version
from replicast.metrics import Counters
from replicast.wire.name_messages import VersionId

Version = VersionId | str  # as in ObjectInfo.version, or as `replicast stat` shows it


class Cluster:
    """A connection to one cluster; made by connect(), closed by `async with` or close()."""

    def __init__(self, opened: OpenedInitiator) -> None:
        self._opened = opened

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

    # -- buckets ----------------------------------------------------------------------

    async def create_bucket(self, bucket: str) -> None:
        """Create a bucket; raises Conflict when it exists."""
        await self._opened.buckets.create(bucket)

    async def delete_bucket(self, bucket: str) -> None:
        """Delete a bucket; raises Conflict when it is not empty."""
        await self._opened.buckets.delete(bucket)

    async def list_buckets(self) -> list[str]:
        """Names of all buckets, sorted."""
        return [record.bucket for record in await self._opened.buckets.list()]

    # -- objects ----------------------------------------------------------------------

    async def put(
        self,
        bucket: str,
        name: str,
        data: Source,
        *,
        metadata: Mapping[str, str] | None = None,
        if_none_match: str | None = None,
        if_match: str | None = None,
        report: PutReport | None = None,
    ) -> ObjectInfo:
        """Store `data` (bytes or an async iterable of them); durable on return.

        `if_none_match="*"`: only when the name does not exist; `if_match=etag`: only when
        the newest version has this ETag; else ConditionFailed.
        """
        return await self._opened.objects.put(
            bucket,
            name,
            data,
            metadata=metadata,
            when=condition(if_none_match, if_match),
            report=report,
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
        return self._opened.objects.get(bucket, name, range=range, version=parse_version(version))

    async def read(self, bucket: str, name: str, *, version: Version | None = None) -> bytes:
        """The whole object; for objects that fit in memory."""
        return b"".join([bytes(b) async for b in self.get(bucket, name, version=version)])

    async def stat(self, bucket: str, name: str, *, version: Version | None = None) -> ObjectInfo:
        """Size, ETag, version and metadata; raises NotFound."""
        found, _ = await self._opened.objects.head(bucket, name, version=parse_version(version))
        return found

    async def versions(self, bucket: str, name: str) -> list[ObjectInfo]:
        """All versions and delete markers, newest first."""
        return await self._opened.objects.versions(bucket, name)

    async def delete(
        self,
        bucket: str,
        name: str,
        *,
        version: Version | None = None,
        if_match: str | None = None,
    ) -> ObjectInfo:
        """Put a delete marker, or remove one version for good."""
        return await self._opened.objects.delete(
            bucket,
            name,
            version=parse_version(version),
            when=condition(if_match=if_match),
        )

    def list(
        self, bucket: str, prefix: str = "", *, after: str = "", delimiter: str = ""
    ) -> AsyncIterator[ObjectInfo | str]:
        """Objects in byte order of their names; common prefixes as str with a delimiter."""
        return self._opened.objects.list(bucket, prefix, after=after, delimiter=delimiter)


async def connect(
    cluster: str | os.PathLike[str] | None = None, config: InitiatorConfig | None = None
) -> Cluster:
    """Connect to the cluster at `cluster` (data folder or cluster.toml; default: where the CLI
    looks). Raises Unavailable when no voter answers."""
    place = find_cluster(None if cluster is None else os.fspath(cluster))
    settings = config or load(InitiatorConfig)
    return Cluster(await open_initiator(load_cluster_file(place.path), settings, Counters()))
