"""target/names/tails.py: the memory that the logs of all rows have for recent entries."""

from __future__ import annotations

from replicast.target.names.limits import NameLimits
from replicast.target.names.memory import MemoryRowStore
from replicast.target.names.position import tenure_number
from replicast.target.names.replica import RowReplica
from replicast.target.names.tails import Tails
from replicast.wire.name_messages import NO_VERSION
from replicast.wire.row_messages import PUT, RowOperation

TENURE = tenure_number(4, 1)
BODY = b"b" * 1000


class Rows:
    """Replicas on one VDEV whose records are stored when a test says so."""

    def __init__(self, bytes_max: int) -> None:
        self.store, self.tails = MemoryRowStore(), Tails(bytes_max)
        self.replicas = [RowReplica(row, 1, self.store, NameLimits()) for row in range(9)]

    def put(self, row: int, count: int = 1, *, apply: bool = True) -> None:
        replica = self.replicas[row]
        for _ in range(count):
            number = replica.log.last.index + 1
            replica.log.make(5, RowOperation(
                tenure=TENURE, kind=PUT, reason=0, time_ns=number, tenant="t",
                operation_id=bytes([row]) * 8 + number.to_bytes(8, "big"), bucket="b",
                bucket_incarnation=1, name=f"{row}", version=NO_VERSION, replaces=NO_VERSION,
                null=False, superseded=NO_VERSION, logical_size=0, etag="", body_hash=b"\0",
                short_of_copies=(), holders=(), body=BODY,
            ))  # fmt: skip
        mark, records = replica.mark(), replica.log.records
        replica.log.records = []
        self.store.append(records)
        if apply:
            self.store.sync()
            replica.stored(mark)
            replica.commit(replica.log.last.index)
        self.tails.used(replica)

    def kept(self) -> list[int]:
        return [len(replica.log._tail) for replica in self.replicas]


def test_tails__who_was_used_longest_ago_gives_up() -> None:
    rows = Rows(bytes_max=3 * 10 * 3000)
    for row in (0, 1, 2):
        rows.put(row, 10)
    assert rows.kept()[:4] == [10, 10, 10, 0]
    rows.put(0)
    rows.put(3, 10)
    assert rows.kept()[:4] == [11, 0, 10, 10]
    replica = rows.replicas[1]
    read = [replica.log.get(index) for index in range(1, 11)]
    assert [entry.operation.body for entry in read if entry] == [BODY] * 10
    assert [e.position.index for e in replica.entries_after(3, 1 << 20)] == list(range(4, 11))
    assert replica.log.position_at(5) is not None
    rows.put(1)
    assert replica.state.applied.index == 11


def test_tails__what_is_not_applied_stays() -> None:
    rows = Rows(bytes_max=1)
    rows.put(0, 4)
    assert rows.kept()[0] == 0
    rows.put(0, 3, apply=False)
    rows.put(1, 2)
    assert rows.kept()[:2] == [3, 0]
    assert [rows.replicas[0].log.get(index) is not None for index in range(1, 9)] == [True] * 7 + [
        False
    ]


def test_tails__of_a_vdev_that_is_gone_take_nothing() -> None:
    rows = Rows(bytes_max=10 * 3000)
    rows.put(0, 10)
    rows.tails.forget(1)
    for row in range(1, 9):
        rows.put(row)
    assert rows.kept() == [10] + [1] * 8, "the rows that are left have all the room"
