"""gateway/name_access.py: whose bucket a request ends in when that is removed and made again under way."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import pytest

from replicast.errors import NotFound, Unavailable
from replicast.gateway.bodies import Made
from replicast.gateway.initiation import BucketView
from replicast.gateway.name_access import BucketRef, Names
from replicast.wire.name_messages import NamePut

from .object_memory import MemoryInitiator

MADE = Made(b"body", b"h" * 32, "etag", {}, 4, (), (), 1, sealed=False)


@dataclass(frozen=True)
class Record:
    incarnation: int
    owner: str
    tenant: str = "default"
    bucket: str = "b"
    spread: int = 2
    inline_max_bytes: int = 16
    versioning: int = 1


MINE = Record(1, "me")


class Cluster(MemoryInitiator):
    """Has another bucket of the name by now; `known`: what this gateway believes until it asks."""

    def __init__(self, now: Record | None, known: Record = MINE) -> None:
        super().__init__()
        self.now, self.known = now, known
        self.committed: list[NamePut] = []

    async def bucket(self, tenant: str, bucket: str, gone: int = 0) -> BucketView:
        if self.known.incarnation != gone:
            return self.known
        if self.now is None:
            raise NotFound("no such bucket", reason="NO_SUCH_BUCKET")
        self.known = self.now
        return self.now

    async def named(self, request: Any, row: int, operation: bytes = b"") -> Any:
        if self.now is None or request.key.bucket_incarnation != self.now.incarnation:
            raise NotFound("no such bucket", reason="NO_SUCH_BUCKET")
        self.committed.append(request)
        return await super().named(request, row, operation)


def commit(cluster: Cluster, bucket: BucketRef, made: Made = MADE) -> None:
    asyncio.run(Names(cluster).commit("default", bucket, "n", made))


def test_bucket_made_anew_by_its_owner__is_gone_on_with() -> None:
    for bucket in ("b", MINE):
        cluster = Cluster(now=Record(5, "me"))
        commit(cluster, bucket)
        assert [put.key.bucket_incarnation for put in cluster.committed] == [5]


def test_bucket_made_anew_by_another__gets_nothing_of_who_was_let_into_the_one_before() -> None:
    cluster = Cluster(now=Record(5, "another"))
    for _ in range(2):  # the second time this gateway knows
        with pytest.raises(NotFound) as refused:
            commit(cluster, MINE)
        assert refused.value.reason == "NO_SUCH_BUCKET"
    assert cluster.committed == []
    commit(cluster, "b")  # nobody was asked who he is
    assert len(cluster.committed) == 1


def test_bucket_that_is_gone__is_no_such_bucket() -> None:
    for bucket in ("b", MINE):
        with pytest.raises(NotFound) as refused:
            commit(Cluster(now=None), bucket)
        assert refused.value.reason == "NO_SUCH_BUCKET"


def test_sealed__in_one_incarnation_only() -> None:
    """In another one nobody could open it; who tries again seals it for that."""
    cluster = Cluster(now=Record(5, "me"))
    with pytest.raises(Unavailable):
        commit(cluster, MINE, replace(MADE, sealed=True))
    assert cluster.committed == []
    commit(cluster, Record(5, "me"), replace(MADE, sealed=True))
    assert len(cluster.committed) == 1
