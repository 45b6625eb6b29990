"""target/names/appends.py: what the store did not take comes again, and nothing overtakes it."""

from __future__ import annotations

from replicast.target.names.appends import AGAIN_NS, Appends, hand_out
from replicast.target.names.limits import NameLimits
from replicast.target.names.log import LogEntry, read_entry
from replicast.target.names.memory import MemoryRowStore
from replicast.target.names.replica import RowReplica
from replicast.target.names.store import AppendRecords, StoreOutcome
from replicast.units import KIB
from replicast.wire.codec import encode
from replicast.wire.name_messages import NO_VERSION
from replicast.wire.row_messages import PUT, RowOperation

ROW = 3


def entry(epoch: int, index: int, body: bytes = b"") -> LogEntry:
    operation = RowOperation(
        tenure=epoch, kind=PUT, reason=0, time_ns=index, operation_id=bytes([epoch, index] * 8),
        tenant="t", bucket="b", bucket_incarnation=1, name="n", version=NO_VERSION,
        replaces=NO_VERSION, null=False, superseded=NO_VERSION,
        logical_size=0, etag="", body_hash=b"\0", short_of_copies=(), holders=(), body=body,
    )  # fmt: skip
    return read_entry(epoch, index, encode(operation))


class Disk:
    """One replica, the records that it hands out, and a store that may refuse them."""

    def __init__(self) -> None:
        self.store = MemoryRowStore()
        self.replica = RowReplica(ROW, 1, self.store, NameLimits())
        self.appends = Appends(1)

    def take(self, now_ns: int = 0) -> list[AppendRecords]:
        fresh = [self.replica] if self.replica.log.records else []
        return list(self.appends.take(fresh, now_ns))

    def store_all(self, now_ns: int) -> None:
        """As a store with room, until nothing waits."""
        while events := self.take(now_ns):
            for event in events:
                self.done(event, StoreOutcome.STORED)

    def done(self, event: AppendRecords, outcome: StoreOutcome) -> None:
        if outcome == StoreOutcome.STORED:
            self.store.append(event.records)
            self.store.sync()
        list(self.appends.stored(event.token, outcome, 0))

    def epochs(self) -> list[int]:
        held = (self.store.entry(ROW, i) for i in range(1, self.store.span(ROW, 0)[0] + 1))
        return [found[0] for found in held if found is not None]


def test_again__an_entry_does_not_come_back_over_what_replaced_it() -> None:
    disk = Disk()
    log = disk.replica.log
    log.append(entry(1, 1))
    (first,) = disk.take()
    log.truncate(1)
    log.append(entry(2, 1))
    (second,) = disk.take()
    disk.done(first, StoreOutcome.AGAIN)
    disk.done(second, StoreOutcome.STORED)
    assert log.durable_index == 0
    disk.store_all(AGAIN_NS)
    assert log.durable_index == 1 and disk.epochs() == [2]


def test_again__a_truncation_does_not_void_what_was_written_behind_it() -> None:
    disk = Disk()
    log = disk.replica.log
    for index in (1, 2):
        log.append(entry(1, index))
    (before,) = disk.take()
    disk.done(before, StoreOutcome.STORED)
    log.truncate(2)
    log.append(entry(2, 2))
    (first,) = disk.take()
    log.append(entry(2, 3))
    (second,) = disk.take()
    disk.done(second, StoreOutcome.STORED)
    disk.done(first, StoreOutcome.AGAIN)
    assert log.durable_index == 1
    assert disk.take(AGAIN_NS - 1) == []
    disk.store_all(AGAIN_NS)
    assert log.durable_index == 3 and disk.epochs() == [1, 2, 2]


def test_again__what_became_of_the_first_writing_says_nothing() -> None:
    disk = Disk()
    log = disk.replica.log
    log.append(entry(1, 1))
    (first,) = disk.take()
    log.append(entry(1, 2))
    (second,) = disk.take()
    disk.done(first, StoreOutcome.AGAIN)
    (again,) = disk.take(AGAIN_NS)
    list(disk.appends.stored(second.token, StoreOutcome.STORED, 0))  # late, of the first writing
    disk.done(again, StoreOutcome.STORED)
    assert log.durable_index == 1
    disk.store_all(AGAIN_NS)
    assert log.durable_index == 2


def test_again__nothing_behind_it_is_written_until_the_first_was_taken() -> None:
    """A store without room must not fill with copies of what would fit."""
    disk = Disk()
    log = disk.replica.log
    log.append(entry(1, 1))
    (first,) = disk.take()
    log.append(entry(1, 2))
    (second,) = disk.take()
    disk.done(first, StoreOutcome.AGAIN)
    disk.done(second, StoreOutcome.STORED)
    for tries in range(1, 5):
        (again,) = disk.take(tries * AGAIN_NS)
        assert again.records == first.records and disk.take(tries * AGAIN_NS) == []
        list(disk.appends.stored(again.token, StoreOutcome.AGAIN, tries * AGAIN_NS))
        assert disk.appends.deadline_ns() == (tries + 1) * AGAIN_NS
    disk.store_all(9 * AGAIN_NS)
    assert log.durable_index == 2 and disk.appends.deadline_ns() is None


def test_take__many_bytes_go_in_several_flights() -> None:
    disk = Disk()
    log = disk.replica.log
    for index in range(1, 41):
        log.append(entry(1, index, body=bytes(128 * KIB)))
    flights = disk.take()
    assert [len(flight.records) for flight in flights] == [32, 8]
    disk.done(flights[0], StoreOutcome.STORED)
    assert log.durable_index == 0  # told with the last of its records
    disk.done(flights[1], StoreOutcome.STORED)
    assert log.durable_index == 40


def test_hand_out__what_waits_stays_dirty_and_holds_up_no_other_vdev() -> None:
    full, other = Disk(), Disk()
    other.appends = Appends(2)
    appends = {1: full.appends, 2: other.appends}
    full.replica.log.append(entry(1, 1))
    (first,) = hand_out({(ROW, 1): full.replica}, appends, 0)
    full.done(first, StoreOutcome.AGAIN)
    full.replica.log.append(entry(1, 2))
    other.replica.log.append(entry(1, 1))
    idle = Disk()
    dirty = {(ROW, 1): full.replica, (ROW, 2): other.replica, (ROW + 1, 1): idle.replica}
    (event,) = hand_out(dirty, appends, 0)
    assert event.vdev_index == 2 and dirty == {(ROW, 1): full.replica}
    (again,) = hand_out(dirty, appends, AGAIN_NS)
    assert again.records == first.records and list(dirty) == [(ROW, 1)]
    full.done(again, StoreOutcome.STORED)
    (second,) = hand_out(dirty, appends, AGAIN_NS)
    assert [record.index for record in second.records] == [2] and not dirty
    assert hand_out(dirty, appends, AGAIN_NS) == []
