"""Planted bugs in what the workloads with versions and trees are there for (canaries.py)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from replicast.errors import ReplicastError
from replicast.gateway.objects import ObjectInfo, Objects
from replicast.sim.cluster import SimCluster
from replicast.target.names.requests import VERSIONS_MAX
from replicast.target.names.state import RowState, name_prefix
from replicast.target.store.errors import RecordClass
from replicast.target.store.record import ChunkDrop
from replicast.wire.name_messages import NO_VERSION, VersionId


def removal_takes_two(patch: pytest.MonkeyPatch) -> None:
    """C2: removing a version takes the next older one away, too."""
    remove = RowState._remove

    def more(self: RowState, index: int, operation: Any, changes: Any) -> None:
        prefix = name_prefix(self.row, operation.bucket_incarnation, operation.name)
        there = [found.summary.version for found in self.versions(prefix, VERSIONS_MAX)]
        at = there.index(operation.version)
        for version in there[at : at + 2]:
            remove(self, index, replace(operation, version=version), changes)

    patch.setattr(RowState, "_remove", more)


def version_list_ends_early(patch: pytest.MonkeyPatch) -> None:
    """A list of versions leaves the oldest out when there are many."""
    versions = RowState.versions

    def short(self: RowState, prefix: bytes, limit: int) -> Iterator[Any]:
        return versions(self, prefix, 8 if limit == VERSIONS_MAX else limit)

    patch.setattr(RowState, "versions", short)


def reclaim_without_counting(patch: pytest.MonkeyPatch) -> None:
    """A removed version takes its chunks along, whoever else references them."""
    clusters: list[SimCluster] = []
    start, end, delete = SimCluster.start, SimCluster.end, Objects.delete

    def started(self: SimCluster) -> None:
        clusters.append(self)
        start(self)

    def ended(self: SimCluster) -> None:
        clusters.clear()
        end(self)

    async def reclaim(
        self: Objects, bucket: str, name: str, *, version: VersionId = NO_VERSION, **more: Any
    ) -> ObjectInfo:
        chids: list[bytes] = []
        if version != NO_VERSION:
            with contextlib.suppress(ReplicastError):
                _, body = await self.head(bucket, name, version=version)
                chids = [each.chid async for each in self.bodies.all_references(body.references)]
        done = await delete(self, bucket, name, version=version, **more)
        drops = [ChunkDrop(chid) for chid in chids]
        for unit in clusters[0].targets:
            if drops and unit.process.running and unit.daemon is not None:
                for vdev in unit.daemon._vdevs.by_id.values():
                    vdev.submit(drops, None, lambda _: None, RecordClass.FREEING)
        return done

    patch.setattr(SimCluster, "start", started)
    patch.setattr(SimCluster, "end", ended)
    patch.setattr(Objects, "delete", reclaim)
