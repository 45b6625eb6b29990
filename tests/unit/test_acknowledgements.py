"""target/names/leader.py: what follows from an acknowledgement, where replicas share what bounds them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from replicast.flexhash.entries import Policy, TargetEntry, VdevEntry, VdevState
from replicast.flexhash.table import Rows, Table
from replicast.machine import Incoming
from replicast.metrics import Counters
from replicast.target.names.context import RowContext
from replicast.target.names.leader import Leadership, Phase
from replicast.target.names.limits import NameLimits
from replicast.target.names.log import LogEntry, RowLog
from replicast.target.names.memory import MemoryRowStore
from replicast.target.names.outbox import Outbox
from replicast.target.names.replica import RowReplica
from replicast.target.names.replication import PeerWindows
from replicast.target.names.store import SendPeer
from replicast.units import SECOND
from replicast.wire.name_messages import NO_VERSION, NameKey, NameVersions
from replicast.wire.row_messages import (
    ACCEPTED,
    PUT,
    AppendItem,
    RowAppend,
    RowOperation,
    StatusItem,
)

ME, OTHER = 500, 501
NOW_NS = SECOND


class Lease:
    floor = 1 << 60

    def valid(self, now_ns: int) -> bool:
        return True


def table(*replicas: int) -> Table:
    """One row, led by VDEV 1; all others are of one target."""
    cells = np.array([replicas], dtype=np.uint16)
    since = np.ones(1, dtype=np.uint64)
    rows = Rows(
        members=cells, draining=np.full_like(cells, 0xFFFF), names=cells.copy(),
        members_since=since, names_since=since, leader_since=since,
    )  # fmt: skip
    at = ("127.0.0.1", 1)
    targets = {n: TargetEntry(n, "t", "h", "z", at, at, at, "k" * 40, at) for n in (ME, OTHER)}
    owners = {1: ME, 2: OTHER, 3: OTHER, 4: OTHER}
    vdevs = {v: VdevEntry(v, bytes([v]) * 16, n, 1, VdevState.UP, 1) for v, n in owners.items()}
    return Table(1, Policy(row_count=1, group_size=3, copies=3), targets, vdevs, rows)


class Desk:
    """A leader that has taken over an empty row."""

    def __init__(self, peer_bytes_max: int = 1 << 20, replica_bytes_max: int = 1 << 20) -> None:
        limits = NameLimits(replica_bytes_max=replica_bytes_max)
        self.context = RowContext(ME, 9, Lease(), {}, limits, Counters())
        self.context.open_counts[1] = 1
        self.context.adopt(table(1, 2, 3))
        self.outbox = Outbox(ME, 1 << 20, Counters())
        self.store = MemoryRowStore()
        self.store.open_count = 1
        self.replica = RowReplica(0, 1, self.store, limits)
        healer: Any = SimpleNamespace(want=None)
        windows = PeerWindows(peer_bytes_max)
        self.lead = Leadership(self.replica, self.context, self.outbox, windows, healer, NOW_NS)
        self.lead.step(NOW_NS)
        for vdev in (2, 3):
            assert self.hear(vdev, 0)
        self.lead.step(NOW_NS)
        assert self.lead.phase == Phase.LEADING
        self.outbox.take_local()
        self.outbox.take_events(NOW_NS)

    def hear(self, vdev: int, index: int, committed_index: int = 0, tenure: int = 0) -> bool:
        """That `vdev` has everything up to there: does a step follow from it?"""
        at = self.replica.log.position_at(index)
        assert at is not None
        epoch, last = self.lead.epoch, at
        status = StatusItem(
            row=0, replica=vdev, leader=1, epoch=epoch, tenure=tenure or self.lead.tenure,
            open_count=1, outcome=ACCEPTED, known_epoch=epoch, acknowledged_index=index,
            committed_index=committed_index, last=last,
        )  # fmt: skip
        return self.lead.on_status(status, NOW_NS)

    def order(self, number: int) -> None:
        operation = RowOperation(
            tenure=self.lead.tenure, kind=PUT, reason=0, time_ns=number,
            operation_id=number.to_bytes(16, "big"), tenant="t", bucket="b",
            bucket_incarnation=1, name="n", version=self.lead.next_version(NOW_NS),
            replaces=NO_VERSION, null=False, superseded=NO_VERSION, logical_size=1, etag="",
            body_hash=b"h", short_of_copies=(), holders=(), body=b"x" * 100,
        )  # fmt: skip
        key = NameKey(row=0, tenant="t", bucket="b", bucket_incarnation=1, name="n")
        self.lead.order(operation, Incoming(NameVersions(key=key), 9, bytes(16), 1))

    def flush(self) -> None:
        """What is ordered is durable here."""
        mark, records = self.replica.mark(), self.replica.log.records
        self.replica.log.records = []
        self.store.append(records)
        self.store.sync(None)
        self.replica.stored(mark)

    def sent(self, later_ns: int = 0) -> list[tuple[int, int]]:
        """What a step sends: (VDEV, entries)."""
        return [(item.replica, len(item.entries)) for item in self.items(later_ns)]

    def items(self, later_ns: int = 0) -> list[AppendItem]:
        self.lead.step(NOW_NS + later_ns)
        self.outbox.take_local()
        messages = [e.message for e in self.outbox.take_events(NOW_NS) if isinstance(e, SendPeer)]
        return [item for m in messages if isinstance(m, RowAppend) for item in m.items]


def test_acknowledgement__the_one_that_commits_is_followed_by_a_step() -> None:
    desk = Desk()
    desk.order(1)
    assert desk.sent() == [(2, 1), (3, 1)]
    desk.flush()
    assert not desk.hear(2, 1)
    assert not desk.hear(2, 1)  # nor when it comes twice
    assert not desk.hear(3, 1, tenure=desk.lead.tenure - 1)  # of an earlier leadership
    assert desk.hear(3, 1)
    desk.lead.step(NOW_NS)
    assert desk.replica.committed_index == 1 and not desk.lead.undecided.entries


def test_acknowledgement__of_an_earlier_entry_commits_it() -> None:
    desk = Desk()
    desk.order(1)
    desk.order(2)
    assert desk.sent() == [(2, 2), (3, 2)]
    desk.flush()
    assert not desk.hear(2, 2)
    assert desk.hear(3, 1)
    desk.lead.step(NOW_NS)
    assert desk.replica.committed_index == 1


def test_acknowledgement__makes_room_for_another_replica_on_the_same_target() -> None:
    desk = Desk(peer_bytes_max=400)
    desk.order(1)
    desk.order(2)
    size = len(desk.lead.undecided.entries[1].entry.data) + 64
    assert size < 400 < 2 * size
    assert desk.sent() == [(2, 2)]
    # It had all of them and has not said so of the last; but now there is room for the other.
    assert desk.hear(2, 1)
    assert desk.sent() == [(3, 2)]


def test_acknowledgement__asks_nobody_and_adds_nobody() -> None:
    """Who has to have what is committed from now on is asked by the next step."""
    desk = Desk()
    desk.order(1)
    desk.sent()
    desk.context.prepare(table(1, 2, 4))
    desk.flush()
    assert not desk.hear(2, 1) and 4 not in desk.lead.followers
    desk.lead.step(NOW_NS)
    assert 4 in desk.lead.followers


def test_step__makes_what_all_lack_once(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    desk.order(1)
    desk.order(2)
    made: list[int] = []
    wire = LogEntry.wire
    monkeypatch.setattr(LogEntry, "wire", lambda e: made.append(e.position.index) or wire(e))
    first, second = desk.items()
    assert made == [1, 2]
    assert (first.replica, second.replica) == (2, 3)
    assert first.entries == second.entries and first.previous == second.previous


def test_step__sends_each_what_there_is_room_for() -> None:
    desk = Desk(replica_bytes_max=400)
    desk.order(1)
    size = len(desk.lead.undecided.entries[1].entry.data) + 64
    assert size < 400 < 2 * size
    assert desk.sent() == [(2, 1), (3, 1)]
    desk.hear(3, 1)
    desk.order(2)
    desk.order(3)
    assert desk.sent() == [(2, 1), (3, 2)]
    desk.order(4)
    assert desk.sent() == [], "there is no room at either"


def test_step__sends_those_who_stand_elsewhere_something_else() -> None:
    desk = Desk()
    desk.order(1)
    desk.context.up = frozenset((1, 2))
    assert desk.sent() == [(2, 1)]
    desk.context.up = frozenset((1, 2, 3))
    desk.order(2)
    (first, second) = desk.items()
    assert [entry.index for entry in first.entries] == [2] and first.previous.index == 1
    assert [entry.index for entry in second.entries] == [1, 2] and second.previous.index == 0


def test_step__with_nothing_to_send_does_not_look_into_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk()
    desk.order(1)
    assert desk.sent() == [(2, 1), (3, 1)]
    desk.flush()
    desk.hear(2, 1)
    looks: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(RowLog, "position_at", lambda _, index: looks.append(index))
        assert desk.sent() == []
    assert not looks
    desk.hear(3, 1)
    assert desk.sent() == []  # it is committed now
    later_ns = 2 * desk.context.limits.commit_notice_ns
    assert desk.sent(later_ns) == [(2, 0), (3, 0)]
    assert desk.sent(later_ns) == []  # told once, for a while


def test_stored_here__is_followed_by_a_step_when_it_is_what_commits_waited_for() -> None:
    desk = Desk()
    desk.order(1)
    assert desk.sent() == [(2, 1), (3, 1)]
    for vdev in (2, 3):
        desk.hear(vdev, 1)
    desk.lead.step(NOW_NS)
    assert desk.replica.committed_index == 0, "it is not durable here"
    desk.flush()
    assert desk.lead.decides_stored()
    desk.lead.step(NOW_NS)
    assert desk.replica.committed_index == 1


def test_stored_here__before_the_replicas_have_acknowledged_decides_nothing() -> None:
    desk = Desk()
    desk.order(1)
    assert desk.lead.decides_stored(), "nobody was sent it yet"
    desk.sent()
    desk.flush()
    assert not desk.lead.decides_stored()
    desk.hear(2, 1)
    assert not desk.lead.decides_stored()
    desk.hear(3, 1)
    assert desk.lead.decides_stored()


def test_stored_here__answers_who_waits_for_what_was_committed_before_it_was_stored() -> None:
    """What a leader has taken over may be known to be committed before it is durable here."""
    desk = Desk()
    desk.order(1)
    desk.sent()
    desk.replica.commit(1)
    desk.flush()
    assert desk.replica.state.applied.index == 1 and desk.lead.undecided.entries
    assert desk.lead.decides_stored()
