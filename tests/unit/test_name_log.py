"""target/names/log.py: an entry that the disk does not give back, and what stands behind it."""

from __future__ import annotations

from replicast.target.names.log import LogEntry, RowLog, read_entry
from replicast.target.names.memory import MemoryRowStore
from replicast.target.names.position import ZERO, tenure_number
from replicast.target.names.store import EntryRecord, TruncateRecord
from replicast.wire.codec import encode
from replicast.wire.name_messages import NO_VERSION
from replicast.wire.row_messages import PUT, RowOperation

ROW = 3
FIRST, SECOND = tenure_number(4, 1), tenure_number(4, 2)


def entry(index: int, epoch: int, tenure: int = FIRST) -> LogEntry:
    operation = RowOperation(
        tenure=tenure, kind=PUT, reason=0, time_ns=index, operation_id=bytes([epoch, index] * 8),
        tenant="t", bucket="b", bucket_incarnation=1, name="n", version=NO_VERSION,
        replaces=NO_VERSION, null=False, superseded=NO_VERSION,
        logical_size=0, etag="", body_hash=b"\0", short_of_copies=(), holders=(), body=b"",
    )  # fmt: skip
    return read_entry(epoch, index, encode(operation))


def holed(hole: int, last: int = 6) -> tuple[MemoryRowStore, RowLog]:
    """The log of epoch 5 up to `last`, opened when entry `hole` could not be read."""
    store = MemoryRowStore()
    log = RowLog(ROW, store, ZERO)
    for index in range(1, last + 1):
        log.append(entry(index, 5))
    write(log, store)
    store.rot(ROW, hole)
    return store, RowLog(ROW, store, ZERO)


def write(log: RowLog, store: MemoryRowStore, count: int | None = None) -> None:
    store.append(log.records[:count])
    log.records = []
    store.sync()


def test_hole__the_log_ends_before_it_and_keeps_what_is_behind() -> None:
    store, log = holed(3)
    assert log.last.index == log.durable_index == 2 and log.hidden_index == 6
    assert not log.records and store.span(ROW, 0) == (6, 6)


def test_hole__filled_with_the_same_history_loses_nothing_at_any_moment() -> None:
    store, log = holed(3)
    log.append(entry(3, 5))
    assert [type(record) for record in log.records] == [EntryRecord]
    write(log, store)
    assert RowLog(ROW, store, ZERO).last == entry(6, 5).position  # power went just then
    for index in (4, 5, 6):
        assert log.hidden_index == 6
        log.append(entry(index, 5))
    assert log.hidden_index == 0
    log.append(entry(7, 5))
    assert not any(isinstance(record, TruncateRecord) for record in log.records)


def test_hole__filled_with_another_history_voids_what_is_behind() -> None:
    store, log = holed(3)
    log.append(entry(3, 9))
    assert log.records[0] == TruncateRecord(ROW, 3) and log.hidden_index == 0
    write(log, store)
    assert RowLog(ROW, store, ZERO).last == entry(3, 9).position
    assert store.span(ROW, 0) == (3, 3)


def test_hole__behind_it_another_tenure_of_the_same_epoch_is_found_at_the_next_entry() -> None:
    _, log = holed(3)
    log.append(entry(3, 5, SECOND))
    assert log.hidden_index == 6  # the tenure of the old one cannot be read
    log.append(entry(4, 5, SECOND))
    assert log.records[1] == TruncateRecord(ROW, 4) and log.hidden_index == 0


def test_hole__half_filled_with_a_later_history_ends_there_when_opened() -> None:
    store, log = holed(3)
    log.append(entry(3, 5, SECOND))
    write(log, store)
    again = RowLog(ROW, store, ZERO)
    assert again.last == entry(3, 5, SECOND).position and again.hidden_index == 0
    assert again.records == [TruncateRecord(ROW, 4)]


def test_hole__a_conflict_before_it_voids_what_is_behind() -> None:
    _, log = holed(3)
    log.truncate(2)
    log.append(entry(2, 9))
    log.append(entry(3, 9))
    assert log.hidden_index == 0
    assert log.records[0] == TruncateRecord(ROW, 2)
    assert [type(record) for record in log.records[1:]] == [EntryRecord] * 2
