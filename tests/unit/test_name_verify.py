"""NAME_VERIFY on one target: what the disk gave back is judged against the view."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from replicast.hashing import HashAlgorithm, content_hash
from replicast.machine import Incoming
from replicast.metrics import Counters
from replicast.target.names.verify import VERIFIES_MAX, EntryBad, NameVerifier
from replicast.wire.chunk_messages import VERIFIED, VERIFY_CORRUPT, VERIFY_ERROR, VERIFY_MISSING
from replicast.wire.codec import encode
from replicast.wire.name_messages import (
    NO_VERSION,
    OBJECT,
    NameKey,
    NameVerify,
    VersionId,
    VersionSummary,
)
from replicast.wire.reasons import Reason
from replicast.wire.row_messages import PUT, RowOperation, RowVersion

ALGORITHM = HashAlgorithm.BLAKE3_256
KEY = NameKey(row=3, tenant="t", bucket="b", bucket_incarnation=1, name="n")
VERSION = VersionId(time_ns=5, segment_id=1, sequence=0)
BODY = b"the body"
OPERATION = RowOperation(
    tenure=1, kind=PUT, reason=0, time_ns=5, operation_id=b"o" * 16, tenant="t", bucket="b",
    bucket_incarnation=1, name="n", version=VERSION, replaces=NO_VERSION, null=False, superseded=NO_VERSION,
    logical_size=8,
    etag="e", body_hash=content_hash(ALGORITHM, BODY), short_of_copies=(), holders=(), body=BODY,
)  # fmt: skip


def entry(**fields: Any) -> bytes:
    values = {name: getattr(OPERATION, name) for name, _ in OPERATION.PLAN}
    return encode(RowOperation(**(values | fields)))


class Bench:
    """A verifier with everything around it noted down."""

    def __init__(self) -> None:
        summary = VersionSummary(
            version=VERSION, replaces=NO_VERSION, kind=OBJECT, null=False, logical_size=8, etag="e",
            operation_id=b"o" * 16, body_hash=OPERATION.body_hash, short_chunks=0,
        )  # fmt: skip
        self.version: RowVersion | None = RowVersion(index=7, restored_index=0, summary=summary)
        self.last_index = 9
        self.replies: list[Any] = []
        self.refused: list[Reason] = []
        self.events: list[Any] = []
        self.wanted: list[int] = []
        policy = SimpleNamespace(row_count=8)
        table = SimpleNamespace(policy=policy, name_replicas=lambda row: (1, 2))
        replica = SimpleNamespace(
            row=3, vdev_index=1,
            state=SimpleNamespace(version=lambda p, v: self.version, applied=SimpleNamespace(index=9)),
            log=SimpleNamespace(last=SimpleNamespace(index=9)),
        )  # fmt: skip
        self.replica = replica
        outbox = SimpleNamespace(
            reply=lambda to, message: self.replies.append(message),
            refuse=lambda to, reason, **more: self.refused.append(reason),
            event=self.events.append,
        )
        healer = SimpleNamespace(want=lambda replica, index, summary: self.wanted.append(index))
        self.leased = True
        lease = SimpleNamespace(valid=lambda now_ns: self.leased)
        context = SimpleNamespace(table=table, counters=Counters(), lease=lease)
        found: Any = {1: replica}
        parts: Any = (context, outbox, lambda row, vdev: found.get(vdev), healer)
        self.verifier = NameVerifier(*parts)

    def ask(self, vdev: int = 1, key: NameKey = KEY) -> None:
        request = NameVerify(
            key=key, version=VERSION, hash_algorithm=int(ALGORITHM), vdev_index=vdev
        )
        self.verifier.receive(Incoming(request, 9, b"i" * 16, 1), request, 0)

    def result(self, found: bytes | EntryBad | None) -> int:
        self.ask()
        self.verifier.read(self.events[-1].token, found)
        return int(self.replies[-1].result)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_verify__the_entry_of_the_view_is_read(bench: Bench) -> None:
    bench.ask()
    (event,) = bench.events
    assert (event.vdev_index, event.row, event.index) == (1, 3, 7)
    assert not bench.replies


@pytest.mark.parametrize(
    ("found", "result"),
    [
        (entry(), VERIFIED),
        (entry(body=b"the bodY"), VERIFY_CORRUPT),
        (entry(version=NO_VERSION), VERIFY_CORRUPT),
        (entry(operation_id=b"x" * 16), VERIFY_CORRUPT),
        (entry()[:-1], VERIFY_CORRUPT),
        (b"", VERIFY_CORRUPT),
        (EntryBad("wrong checksum"), VERIFY_CORRUPT),
        (None, VERIFY_ERROR),
    ],
    ids=["good", "body", "version", "operation", "cut", "empty", "checksum", "unreadable"],
)
def test_verify__what_the_disk_gave(bench: Bench, found: Any, result: int) -> None:
    assert bench.result(found) == result
    assert bench.wanted == ([7] if result == VERIFY_CORRUPT else [])


def test_verify__a_version_that_is_not_there(bench: Bench) -> None:
    bench.version = None
    bench.ask()
    assert bench.replies[-1].result == VERIFY_MISSING
    bench.replica.log.last.index = 10  # more is on its way: it may be that one
    bench.ask()
    assert bench.refused == [Reason.BUSY]


def test_verify__without_a_lease_nothing_is_called_missing(bench: Bench) -> None:
    """It may have been removed from the row long ago (contract C6)."""
    bench.version, bench.leased = None, False
    bench.ask()
    assert bench.refused == [Reason.NO_LEASE] and not bench.replies


def test_verify__not_a_replica_not_open_too_many(bench: Bench) -> None:
    bench.ask(vdev=5)
    bench.ask(vdev=2)
    assert bench.refused == [Reason.NOT_MEMBER, Reason.FAULTED]
    for _ in range(VERIFIES_MAX + 1):
        bench.ask()
    assert bench.refused[-1] == Reason.BUSY and len(bench.events) == VERIFIES_MAX


def test_verify__a_long_detail_is_cut(bench: Bench) -> None:
    assert bench.result(EntryBad("é" * 1000)) == VERIFY_CORRUPT
    assert len(bench.replies[-1].detail.encode()) <= 500
