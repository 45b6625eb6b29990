"""A gateway's view of one target's name rows, on a real store in memory that loses power at will."""

from __future__ import annotations

import random
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from replicast.flexhash.entries import Policy, TargetEntry, VdevEntry, VdevState
from replicast.flexhash.table import Rows, Table
from replicast.flexhash.versioning import Versioning
from replicast.machine import Incoming
from replicast.memory_disk import MemoryDisk
from replicast.metrics import Counters
from replicast.target.names.service import NameService
from replicast.target.names.store import AppendRecords
from replicast.target.names.vdev_store import VdevRowStore, to_outcome
from replicast.target.store.errors import RecordClass
from replicast.target.store.memory import MemoryVdev
from replicast.target.store.overlay import MemoryCheckpoint
from replicast.units import MS, SECOND
from replicast.wire.chunk_messages import Refused
from replicast.wire.name_messages import (
    ALWAYS,
    NO_VERSION,
    Condition,
    NameDelete,
    NameGet,
    NameKey,
    NameList,
    NamePut,
    NameVersionList,
    NameVersions,
    OperationTime,
    VersionId,
)
from replicast.wire.reasons import Reason
from replicast.wire.schema import Message

WALL_NS = 1_800_000_000 * SECOND
ME = 500
ROWS = 4


def make_table(generation: int, open_count: int, state: VdevState = VdevState.UP) -> Table:
    """One target, one VDEV, which has all rows alone."""
    cells = np.full((ROWS, 1), 1, dtype=np.uint16)
    since = np.ones(ROWS, dtype=np.uint64)
    rows = Rows(
        members=cells, draining=np.full_like(cells, 0xFFFF), names=cells.copy(),
        members_since=since, names_since=since, leader_since=since,
    )  # fmt: skip
    at = ("127.0.0.1", 1)
    target = TargetEntry(ME, "t", "h", "z", at, at, at, "k" * 40, at)
    vdev = VdevEntry(1, bytes(16), ME, 1, state, open_count)
    policy = Policy(row_count=ROWS, group_size=1, copies=1, min_copies=1)
    return Table(generation, policy, {ME: target}, {1: vdev}, rows)


def active_bucket(versioning: Versioning = Versioning.ENABLED) -> Any:
    """The record of the bucket of all names."""
    return SimpleNamespace(incarnation=1, spread=4, state=1, versioning=versioning)


class Desk:
    """A gateway's view of one target whose VDEV loses power at will."""

    def __init__(self) -> None:
        self.rng = random.Random(5)
        self.disk, self.checkpoint = MemoryDisk(), MemoryCheckpoint()
        MemoryVdev.format(self.disk, b"c" * 16, self.rng)
        self.lease_until_ns = 1 << 62
        self.lease = SimpleNamespace(floor=1, valid=lambda now_ns: now_ns < self.lease_until_ns)
        self.buckets: Any = {("t", "b"): active_bucket()}
        self.generation = 1
        self.now_ns = SECOND
        self.events: list[Any] = []
        self.open()

    def open(self) -> None:
        self.vdev = MemoryVdev.open(self.disk, self.checkpoint, b"c" * 16)
        self.counters = Counters()
        self.names = NameService(ME, 77, self.lease, self.buckets, self.counters)
        self.names.set_clock(self.now_ns, WALL_NS + self.now_ns)
        self.names.add_vdev(1, VdevRowStore(self.vdev), self.now_ns)
        self.names.adopt_table(make_table(self.generation, self.vdev.open_count), self.now_ns)

    def keep(self, versioning: Versioning) -> None:
        """The target hears of the bucket's versioning."""
        self.buckets["t", "b"] = active_bucket(versioning)

    def restart(self) -> None:
        """Power loss: nothing closed, nothing flushed."""
        self.vdev.crash()
        self.generation += 1
        self.open()

    def submit(self, message: Message, operation_id: bytes, generation: int | None = None) -> None:
        known = self.generation if generation is None else generation
        self.names.receive(Incoming(message, 9, operation_id, known), self.now_ns)

    def replies(self) -> list[Any]:
        """Everything that leaves until nothing is under way."""
        out: list[Any] = []
        for _ in range(6):
            out += self.names.take_outgoing()
            for event in self.names.take_events():
                self.events.append(event)
                if isinstance(event, AppendRecords):
                    self.vdev.submit(event.records, event.token, self._done, RecordClass.FREEING)
            self.now_ns = self.vdev.run_all(self.now_ns + 30 * MS)
            self.names.expire(self.now_ns)
        return out

    def _done(self, outcomes: list[tuple[object, Any]]) -> None:
        for token, outcome in outcomes:
            assert isinstance(token, int)
            self.names.stored(1, token, to_outcome(outcome), self.now_ns)

    def ask(self, message: Message, operation_id: bytes | None = None) -> Any:
        self.submit(message, operation_id or self.rng.randbytes(16))
        (reply,) = self.replies()
        return reply.message

    def put(self, name: str, **fields: Any) -> Any:
        operation_id = fields.pop("operation_id", None)
        return self.ask(self.put_message(name, **fields), operation_id)

    def put_message(self, name: str, **fields: Any) -> NamePut:
        wall_ns = WALL_NS + self.now_ns
        message = NamePut(
            key=key(name), time=OperationTime(first_sent_ns=wall_ns, begun_ns=wall_ns),
            condition=condition(ALWAYS), null=False, logical_size=3, etag="e", body_hash=b"h" * 32,
            body=name.encode(), short_of_copies=(), holders=(),
        )  # fmt: skip
        return replace(message, **fields)

    def delete(self, name: str, version: VersionId = NO_VERSION, **fields: Any) -> Any:
        wall_ns = WALL_NS + self.now_ns
        time = OperationTime(first_sent_ns=wall_ns, begun_ns=wall_ns)
        ask = NameDelete(
            key=key(name),
            time=time,
            condition=condition(ALWAYS),
            version=version,
            null=False,
            absent_too=False,
        )
        return self.ask(replace(ask, **fields))

    def get(self, name: str, version: VersionId = NO_VERSION) -> Any:
        return self.ask(NameGet(key=key(name), version=version, want_body=True))

    def versions(self, name: str) -> list[Any]:
        reply = self.ask(NameVersions(key=key(name)))
        assert isinstance(reply, NameVersionList)
        return list(reply.versions)

    def list(
        self, prefix: str = "", after: str = "", limit: int = 1000, deleted: bool = False
    ) -> Any:
        return self.ask(self.list_message(prefix, after, limit, deleted))

    def list_message(
        self, prefix: str = "", after: str = "", limit: int = 1000, deleted: bool = False
    ) -> NameList:
        return NameList(
            rows=tuple(range(ROWS)), tenant="t", bucket="b", bucket_incarnation=1,
            prefix=prefix, after=after, limit=limit, deleted=deleted,
        )  # fmt: skip


def key(name: str) -> NameKey:
    row = sum(name.encode()) % ROWS
    return NameKey(row=row, tenant="t", bucket="b", bucket_incarnation=1, name=name)


def condition(kind: int, version: VersionId = NO_VERSION, etag: str = "") -> Condition:
    return Condition(kind=kind, version=version, etag=etag)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def reason(reply: Any) -> Reason:
    assert isinstance(reply, Refused), reply
    return Reason(reply.reason)
