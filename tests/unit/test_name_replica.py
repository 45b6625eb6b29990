"""target/names/replica.py: promises, and a log whose entries the disk does not give back."""

from __future__ import annotations

import dataclasses

import pytest

from replicast.target.names import base as bases
from replicast.target.names.limits import NameLimits
from replicast.target.names.log import ENTRY_COST_BYTES, TAIL_ENTRIES
from replicast.target.names.memory import MemoryRowStore
from replicast.target.names.position import ZERO, Position, tenure_number
from replicast.target.names.replica import RowReplica
from replicast.wire.codec import decode, encode
from replicast.wire.name_messages import NO_VERSION
from replicast.wire.row_messages import (
    ACCEPTED,
    ENTRIES_MAX,
    MISMATCH,
    PUT,
    STALE,
    AppendItem,
    FetchItem,
    QueryItem,
    RowEntry,
    RowFetched,
    RowOperation,
)

ROW, LEADER, ME = 3, 7, 1
TENURE = tenure_number(4, 1)


def entry(index: int, epoch: int) -> RowEntry:
    operation = RowOperation(
        tenure=TENURE, kind=PUT, reason=0, time_ns=index,
        operation_id=bytes([epoch]) * 8 + index.to_bytes(8, "big"),
        tenant="t", bucket="b", bucket_incarnation=1, name="n", version=NO_VERSION,
        replaces=NO_VERSION, null=False, superseded=NO_VERSION,
        logical_size=0, etag="", body_hash=b"\0", short_of_copies=(), holders=(), body=b"",
    )  # fmt: skip
    return RowEntry(epoch=epoch, index=index, data=encode(operation))


def append(replica: RowReplica, epoch: int, previous: Position, *indexes: int, committed: int = 0):
    return AppendItem(
        row=ROW, leader=LEADER, replica=ME, epoch=epoch, tenure=TENURE,
        open_count=replica.open_count, committed_index=committed, previous=previous,
        entries=tuple(entry(index, epoch) for index in indexes),
    )  # fmt: skip


def query(epoch: int) -> QueryItem:
    return QueryItem(row=ROW, leader=LEADER, replica=ME, epoch=epoch, tenure=TENURE)


def store_all(replica: RowReplica, store: MemoryRowStore) -> None:
    mark, records = replica.mark(), replica.log.records
    replica.log.records = []
    store.append(records)
    store.sync()
    replica.stored(mark)


def reopened(unreadable: int) -> RowReplica:
    """After a restart: entries 1 to 3 of epoch 5, two of them applied, one that cannot be read."""
    store = MemoryRowStore()
    first = RowReplica(ROW, ME, store, NameLimits())
    first.on_query(query(epoch=5), 5)
    first.on_append(append(first, 5, ZERO, 1, 2, 3, committed=2), 5)
    store_all(first, store)
    assert first.state.applied.index == 2
    store.checkpoint()
    store.crash()
    store.rot(ROW, unreadable)
    return RowReplica(ROW, ME, store, NameLimits())


def test_promise__to_a_later_leader_outlasts_a_leadership_by_an_older_table() -> None:
    replica = RowReplica(ROW, ME, MemoryRowStore(), NameLimits())
    assert replica.on_query(query(epoch=9), 5).outcome == ACCEPTED
    replica.promise_self((5, tenure_number(1, 1)))  # our table is of generation 5
    assert replica.on_query(query(epoch=9), 9).outcome == ACCEPTED
    assert replica.on_append(append(replica, 9, ZERO, 1), 9) is None
    assert replica.log.last == Position(9, TENURE, 1)


def test_conflict__right_behind_an_applied_entry_that_cannot_be_read() -> None:
    again = reopened(unreadable=2)
    assert again.log.last.index == 3
    again.on_query(query(epoch=9), 9)
    again.on_append(append(again, 9, Position(5, TENURE, 2), 3), 9)
    assert again.log.last == Position(9, TENURE, 3)


def test_fetched__behind_an_applied_entry_that_cannot_be_read() -> None:
    again = reopened(unreadable=1)
    assert again.log.position_at(1) is None and again.on_query(query(epoch=9), 9).last.index == 3
    answer = again.fetched(fetch(after_index=1))
    assert answer is not None and [entry.index for entry in answer.entries] == [2, 3]
    fresh = RowReplica(ROW, LEADER, MemoryRowStore(), NameLimits())
    assert not fresh.accept(answer.previous, answer.entries), "may be another history"
    assert fresh.accept(ZERO, (entry(1, 5),))
    assert not fresh.accept(answer.previous, answer.entries), "not known as committed"
    fresh.commit(1)
    assert fresh.accept(answer.previous, answer.entries)
    assert again.fetched(fetch(after_index=4)) is None


def test_append__one_that_cannot_be_decoded_is_refused_with_all_behind_it() -> None:
    store = MemoryRowStore()
    replica = RowReplica(ROW, ME, store, NameLimits())
    replica.on_query(query(epoch=5), 5)
    odd = RowEntry(epoch=5, index=2, data=entry(2, 5).data[:-1])
    item = append(replica, 5, ZERO, 1, 2, 3, committed=3)
    answer = replica.on_append(
        dataclasses.replace(item, entries=(entry(1, 5), odd, entry(3, 5))), 5
    )
    assert answer is not None and answer.outcome == MISMATCH
    store_all(replica, store)
    status = replica.take_status()
    assert status is not None and (status.last.index, status.acknowledged_index) == (1, 0)
    assert replica.state.applied == ZERO, "what is committed counts with what it was said of"
    assert replica.on_append(item, 5) is None
    store_all(replica, store)
    assert replica.state.applied == Position(5, TENURE, 3)


def test_append__with_nothing_new_is_answered_at_once() -> None:
    store = MemoryRowStore()
    replica = RowReplica(ROW, ME, store, NameLimits())
    replica.on_query(query(epoch=5), 5)
    assert replica.on_append(append(replica, 5, ZERO, 1, 2), 5) is None
    store_all(replica, store)
    for item in (append(replica, 5, Position(5, TENURE, 2), committed=1),
                 append(replica, 5, ZERO, 1, 2, committed=2),
                 append(replica, 5, Position(5, TENURE, 1), committed=2)):  # fmt: skip
        answer = replica.on_append(item, 5)
        assert answer is not None and answer.outcome == ACCEPTED
        assert (answer.acknowledged_index, answer.committed_index) == (2, item.committed_index)
        assert replica.state.applied.index == item.committed_index and not replica.log.records
    refused = replica.on_append(append(replica, 5, Position(5, TENURE, 3), committed=2), 5)
    assert refused is not None and refused.outcome == MISMATCH


@pytest.mark.parametrize("older", ["epoch", "floor", "leader", "life"])
def test_append__of_who_is_not_followed_any_more_is_refused(older: str) -> None:
    replica = RowReplica(ROW, ME, MemoryRowStore(), NameLimits())
    replica.on_query(query(epoch=5), 5)
    item, floor, outcome = append(replica, 5, ZERO, 1), 5, STALE
    if older == "epoch":
        replica.on_query(query(epoch=6), 5)
    elif older == "floor":
        floor = 6
    elif older == "leader":
        item = dataclasses.replace(item, leader=LEADER + 1)
    else:
        item, outcome = dataclasses.replace(item, open_count=item.open_count + 1), MISMATCH
    answer = replica.on_append(item, floor)
    assert answer is not None and answer.outcome == outcome
    assert replica.log.last == ZERO and not replica.log.records


def test_tail__applied_entries_make_room_for_those_that_wait() -> None:
    store = MemoryRowStore()
    replica = RowReplica(ROW, ME, store, NameLimits())
    replica.on_query(query(epoch=5), 5)
    replica.on_append(append(replica, 5, ZERO, *range(1, 101), committed=50), 5)
    assert len(replica.log._tail) == 100
    store_all(replica, store)
    assert min(replica.log._tail) == 100 - TAIL_ENTRIES + 1
    previous = replica.log.last
    replica.on_append(append(replica, 5, previous, *range(101, 151), committed=50), 5)
    store_all(replica, store)
    assert min(replica.log._tail) == 51, "who waits to be applied stays"
    replica.commit(150)
    assert min(replica.log._tail) == 150 - TAIL_ENTRIES + 1
    cost = sum(ENTRY_COST_BYTES + len(e.data) * 3 // 2 for e in replica.log._tail.values())
    assert replica.log.tail_cost_bytes == cost
    replica.log.forget_applied()
    assert replica.log.tail_cost_bytes == 0 == len(replica.log._tail)


def test_entries__no_more_than_an_item_of_a_message_has_room_for() -> None:
    """A replica that was away for thousands of small ones could not be brought up to date, nor give a
    new leader what that lacked: the message could not be encoded, nor what went with it for other rows."""
    replica = RowReplica(ROW, ME, MemoryRowStore(), NameLimits())
    replica.on_query(query(epoch=5), 5)
    last = ENTRIES_MAX + 3
    replica.on_append(append(replica, 5, ZERO, *range(1, last + 1), committed=0), 5)
    store_all(replica, MemoryRowStore())
    replica.on_query(query(epoch=9), 9)
    after, found = 0, list[int]()
    while after < last:
        answer = replica.fetched(fetch(after_index=after))
        assert answer is not None
        [told] = decode(RowFetched.TYPE, encode(RowFetched(items=(answer,)))).items
        found += [entry.index for entry in told.entries]
        after = found[-1]
    assert found == list(range(1, last + 1))
    unbounded = list(replica.entries_after(0, 1 << 40))
    assert [each.position.index for each in unbounded] == found[:ENTRIES_MAX]


def fetch(after_index: int) -> FetchItem:
    return FetchItem(
        row=ROW,
        leader=LEADER,
        replica=ME,
        epoch=9,
        tenure=TENURE,
        after_index=after_index,
        install=False,
        base=bases.to_wire(bases.START),
    )
