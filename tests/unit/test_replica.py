"""target/names/replica.py: whom a replica has promised to follow."""

from __future__ import annotations

import pytest

from replicast.target.names.limits import NameLimits
from replicast.target.names.memory import MemoryRowStore
from replicast.target.names.replica import RowReplica
from replicast.wire.row_messages import ACCEPTED, STALE, QueryItem

ROW, ME, OTHER = 1, 2, 3


@pytest.fixture
def replica() -> RowReplica:
    return RowReplica(ROW, ME, MemoryRowStore(), NameLimits())


def query(epoch: int, tenure: int) -> QueryItem:
    return QueryItem(row=ROW, leader=OTHER, replica=ME, epoch=epoch, tenure=tenure)


def test_promise_self__older_leaders_are_refused(replica: RowReplica) -> None:
    replica.promise_self((4, 7))
    assert replica.leader == ME
    assert replica.on_query(query(4, 6), 0).outcome == STALE
    assert replica.on_query(query(5, 1), 0).outcome == ACCEPTED


def test_promise_self__by_an_old_table_keeps_the_promise_to_a_newer_leader(
    replica: RowReplica,
) -> None:
    assert replica.on_query(query(4, 7), 0).outcome == ACCEPTED
    replica.promise_self((1, 9))
    assert (replica.promised, replica.leader) == ((4, 7), OTHER)
    assert replica.on_query(query(4, 7), 0).outcome == ACCEPTED
