"""target/names/members.py: when an addition is decided, and what a refusal says."""

from __future__ import annotations

import pytest

from replicast.flexhash.build import build
from replicast.flexhash.entries import (
    Policy,
    RowChange,
    RowChangeKind,
    TargetEntry,
    VdevEntry,
    VdevState,
)
from replicast.metrics import Counters
from replicast.target.names.context import RowContext
from replicast.target.names.follower import Follower, Role
from replicast.target.names.limits import NameLimits
from replicast.target.names.members import POLL_NS, Members
from replicast.target.names.memory import MemoryRowStore
from replicast.target.names.outbox import Outbox
from replicast.target.names.position import Position
from replicast.target.names.replica import RowReplica
from replicast.target.names.store import RowsChange
from replicast.units import MS, SECOND

POLICY = Policy(row_count=8, group_size=4, copies=3, min_copies=2)


class Lease:
    floor = 1 << 60

    def valid(self, now_ns: int) -> bool:
        return True


class Desk:
    """The members of one row; `candidate` is a VDEV that was removed and wants to come back."""

    def __init__(self) -> None:
        place = ("127.0.0.1", 1)
        self.targets = [
            TargetEntry(n, f"t{n}", f"h{n}", "z", place, place, place, "k" * 40, place)
            for n in (1, 2, 3, 4)
        ]
        vdevs = [VdevEntry(n, bytes([n]) * 16, n, 1, VdevState.UP, 5) for n in (1, 2, 3, 4)]
        self.vdevs = vdevs
        first = build(None, self.targets, vdevs, POLICY, (), 1)
        self.row = next(r for r in range(8) if first.name_replicas(r)[0] == 1)
        self.candidate = first.name_replicas(self.row)[2]
        gone = RowChange(self.row, self.candidate, RowChangeKind.REMOVE, 1)
        self.table = build(first, self.targets, vdevs, POLICY, [gone], 2)
        self.context = RowContext(1, 9, Lease(), {}, NameLimits(), Counters())
        self.context.open_counts[1] = 5
        self.context.adopt(self.table)
        self.outbox = Outbox(1, 1 << 20, Counters())
        store = MemoryRowStore()
        store.open_count = 5
        self.now_ns = SECOND
        self.members = Members(
            RowReplica(self.row, 1, store, NameLimits()), self.context, self.outbox
        )
        self.members.on_table(self.now_ns)

    def tend(self, later_ns: int = 2 * SECOND) -> list[RowsChange]:
        self.now_ns += later_ns
        self.members.tend(self.now_ns)
        events = self.outbox.take_events(self.now_ns)
        return [event for event in events if isinstance(event, RowsChange) and event.add]

    def join(self) -> Follower:
        """The candidate is up to date; its addition is submitted."""
        self.tend()
        follower = self.members.followers[self.candidate]
        follower.match(0, self.now_ns)
        (change,) = self.tend()
        assert change.vdev_index == self.candidate and follower.role == Role.JOINING
        return follower


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_refused__waits_until_every_submission_was(desk: Desk) -> None:
    follower = desk.join()
    assert len(desk.tend()) == 1  # no answer yet: submitted again
    desk.members.refused(desk.candidate, 2)
    assert follower.role == Role.JOINING
    desk.members.refused(desk.candidate, 2)
    assert follower.role == Role.CATCHING_UP


def test_refused__is_asked_again_by_a_newer_table_or_a_second_later(desk: Desk) -> None:
    """Raft knew a newer open of the candidate than our table: each of 300 attempts in a second
    was refused (attrition.toml, seed 300262 for 17 s)."""
    follower = desk.join()
    desk.members.refused(desk.candidate, 2)
    assert not any(desk.tend(100 * MS) for _ in range(9))
    assert len(desk.tend(200 * MS)) == 1 and follower.role == Role.JOINING
    desk.members.refused(desk.candidate, 2)
    desk.context.adopt(build(desk.table, desk.targets, desk.vdevs, POLICY, [], 3))
    desk.members.on_table(desk.now_ns)
    assert len(desk.tend(100 * MS)) == 1


def test_refused__of_an_addition_that_a_table_has_settled_says_nothing_of_the_next(
    desk: Desk,
) -> None:
    follower = desk.join()
    other = next(v for v in desk.table.name_replicas(desk.row) if v != 1)
    down = [
        VdevEntry(n, bytes([n]) * 16, n, 1, VdevState.DOWN if n == 1 else VdevState.UP, 5)
        for n in (1, 2, 3, 4)
    ]
    away = build(desk.table, desk.targets, down, POLICY, [], 3)
    assert away.row_leader(desk.row) == other
    desk.context.adopt(build(away, desk.targets, desk.vdevs, POLICY, [], 4))
    desk.members.on_table(desk.now_ns)
    assert follower.role == Role.CATCHING_UP  # the row has moved on since it was submitted
    assert len(desk.tend()) == 1 and follower.role == Role.JOINING
    desk.members.refused(desk.candidate, 2)
    assert follower.role == Role.JOINING
    desk.members.refused(desk.candidate, 4)
    assert follower.role == Role.CATCHING_UP


def test_poll__an_unsettled_row_is_looked_at_again_soon(desk: Desk) -> None:
    desk.tend()
    assert desk.members.unsettled
    follower = desk.members.followers[desk.candidate]
    follower.match(0, desk.now_ns)
    desk.now_ns += POLL_NS
    desk.members.tend(desk.now_ns)
    assert follower.role == Role.JOINING


def test_poll__who_may_not_be_added_yet_is_looked_for_less_often(desk: Desk) -> None:
    desk.context.note_removal(desk.candidate, desk.now_ns)
    desk.members.tend(desk.now_ns)
    assert desk.members.unsettled and desk.candidate not in desk.members.followers
    assert desk.members.due_ns == desk.now_ns + 4 * POLL_NS
    desk.tend()
    assert desk.candidate in desk.members.followers
    assert desk.members.due_ns == desk.now_ns + POLL_NS


def test_silence__what_may_lie_unread_while_we_were_away_is_none(desk: Desk) -> None:
    desk.tend()
    other = next(v for v in desk.table.name_replicas(desk.row) if v != 1)
    follower = desk.members.follow(other, Role.IN_SYNC, desk.now_ns)
    assert follower is not None
    follower.waiting_since_ns = desk.now_ns
    desk.now_ns += 2 * POLL_NS
    desk.members.tend(desk.now_ns)
    assert desk.now_ns - follower.waiting_since_ns == 2 * POLL_NS
    desk.now_ns += 3 * SECOND  # the process stood still
    desk.members.tend(desk.now_ns)
    assert follower.waiting_since_ns == desk.now_ns


def test_candidate__that_comes_back_with_less_is_not_added_for_what_it_once_had(desk: Desk) -> None:
    """Rolled back between two opens (design-review 1.9): its old acknowledgements are void."""
    desk.tend()
    follower = desk.members.followers[desk.candidate]
    follower.match(0, desk.now_ns)
    follower.acknowledge(100, desk.now_ns)
    follower.lost(desk.now_ns, desk.now_ns)
    follower.match(5, desk.now_ns)
    desk.members._replica.committed_index = 100
    assert desk.tend() == [] and follower.role == Role.CATCHING_UP
    follower.acknowledge(100, desk.now_ns)
    assert len(desk.tend()) == 1


def test_candidate__is_added_under_sustained_load(desk: Desk) -> None:
    """Many undecided entries are always on their way, to replicas in sync too."""
    desk.tend()
    follower = desk.members.followers[desk.candidate]
    follower.match(0, desk.now_ns)
    replica = desk.members._replica
    replica.committed_index, replica.log.last = 100, Position(1, 1, 400)
    follower.acknowledge(99, desk.now_ns)
    assert desk.tend() == []
    follower.acknowledge(100, desk.now_ns)
    assert len(desk.tend()) == 1


def test_candidate__needs_what_leaders_before_may_have_committed(desk: Desk) -> None:
    """Who had answered for those entries lost power, and nobody that is heard knows of it."""
    desk.tend()
    follower = desk.members.followers[desk.candidate]
    follower.match(0, desk.now_ns)
    desk.members._replica.log.last = Position(1, 1, 3)
    desk.members.inherited_index = 3
    follower.acknowledge(2, desk.now_ns)
    assert desk.tend() == [] and follower.role == Role.CATCHING_UP
    follower.acknowledge(3, desk.now_ns)
    assert len(desk.tend()) == 1


def waited_for(desk: Desk) -> list[int] | None:
    """Whose acknowledgement a commit needs; the same as if it was never asked before."""
    reached, found = desk.members.reached(), desk.members._waited_for
    assert found == desk.members._find_waited_for()
    assert (reached is None) == (found is None)
    return None if found is None else sorted(f.vdev_index for f in found)


def test_waited_for__who_joins_is_from_then_on_until_it_is_refused(desk: Desk) -> None:
    others = [v for v in desk.table.name_replicas(desk.row) if v != 1]
    desk.tend()
    assert waited_for(desk) == others, "who catches up is not"
    desk.members.followers[desk.candidate].match(0, desk.now_ns)
    desk.tend()
    assert waited_for(desk) == sorted([*others, desk.candidate])
    desk.members.refused(desk.candidate, 2)
    assert waited_for(desk) == others


def test_waited_for__is_asked_of_every_table_that_was_prepared_or_adopted(desk: Desk) -> None:
    others = [v for v in desk.table.name_replicas(desk.row) if v != 1]
    assert waited_for(desk) == others
    since = desk.table.names_since(desk.row)
    added = RowChange(desk.row, desk.candidate, RowChangeKind.ADD, since)
    coming = build(desk.table, desk.targets, desk.vdevs, POLICY, [added], 3)
    desk.context.prepare(coming)
    assert waited_for(desk) is None, "nobody talks to it yet"
    desk.members.follow_required(desk.now_ns)
    assert waited_for(desk) == sorted([*others, desk.candidate])
    desk.context.prepare(None)
    assert waited_for(desk) == others
    desk.context.adopt(coming)
    desk.members.on_table(desk.now_ns)
    assert waited_for(desk) == sorted([*others, desk.candidate])
    desk.members.drop(desk.members.followers[desk.candidate])
    assert waited_for(desk) is None


def test_reached__is_where_the_slowest_stands_and_never_beyond_our_own_log(desk: Desk) -> None:
    log = desk.members._replica.log
    log.last, log.durable_index = Position(1, 1, 9), 8
    for index, follower in enumerate(desk.members.followers.values()):
        follower.match(0, desk.now_ns)
        assert desk.members.reached() == 0
        follower.acknowledge(9 - index, desk.now_ns)
    assert desk.members.reached() == 8
    log.durable_index, log.last = 9, Position(1, 1, 7)
    assert desk.members.reached() == 7
