"""What targets say, judged: each planted breach is reported by its checker, and nothing else is.

Two targets with one VDEV each; t1 leads all rows by generation 1, t2 by generation 4. Both have a
lease unless a test takes it away.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from replicast.flexhash.entries import Policy, TargetEntry, VdevEntry, VdevState
from replicast.flexhash.table import Rows, Table
from replicast.machine import Incoming, Outgoing
from replicast.sim.answers import Answers
from replicast.sim.replicas import Replicas
from replicast.sim.turns import Clock
from replicast.sim.watch import Watch
from replicast.sim.world import World
from replicast.units import SECOND
from replicast.wire import chunk_messages as chunks
from replicast.wire import control_messages as cm
from replicast.wire import name_messages as names
from replicast.wire.frame import pack_frame
from replicast.wire.reasons import Reason

ROWS = 4
NO_VDEV = 0xFFFF
KEY = names.NameKey(row=2, tenant="t", bucket="b", bucket_incarnation=1, name="n")
GET = names.NameGet(key=KEY, version=names.NO_VERSION, want_body=True)
NOT_HERE = chunks.Refused(
    reason=Reason.NO_SUCH_NAME, current_generation=1, vdevs=(), retry_after_ns=0, detail=""
)
PUT = names.NamePut(
    key=KEY,
    time=names.OperationTime(first_sent_ns=1, begun_ns=1),
    condition=names.Condition(kind=names.ALWAYS, version=names.NO_VERSION, etag=b""),
    null=False,
    logical_size=0,
    etag=b"",
    body_hash=b"h" * 32,
    body=b"",
    short_of_copies=(),
    holders=(),
)
CHUNK_PUT = chunks.ChunkPut(
    row=2,
    chid=b"c" * 32,
    hash_algorithm=1,
    size_bytes=4,
    vdevs=(1,),
    transfer_id=bytes(16),
    datagram_bytes=8192,
    data=b"data",
)
STORED = chunks.ChunkStored(chid=b"c" * 32, vdevs=())
ID = b"i" * 16


def table(generation: int, leader: int) -> Table:
    """Both VDEVs in all rows, `leader` first; every row changed in this generation."""
    other = 3 - leader
    cells = np.tile(np.array([leader, other], dtype=np.uint16), (ROWS, 1))
    since = np.full(ROWS, generation, dtype=np.uint64)
    rows = Rows(
        members=cells,
        draining=np.full_like(cells, NO_VDEV),
        names=cells.copy(),
        members_since=since,
        names_since=since,
        leader_since=since,
    )
    at = ("127.0.0.1", 1)
    targets = {n: TargetEntry(n, f"t{n}", f"h{n}", "z", at, at, at, "k" * 40, at) for n in (1, 2)}
    vdevs = {n: VdevEntry(n, bytes([n]) * 16, n, 1, VdevState.UP, 1) for n in (1, 2)}
    policy = Policy(row_count=ROWS, group_size=2, copies=2, min_copies=1)
    return Table(generation, policy, targets, vdevs, rows)


class FakeProcess:
    """What the watch knows of a process."""

    def __init__(self, world: World, name: str) -> None:
        self.name, self.host, self.starts = name, f"{name}.host", 1
        self.clock = Clock(world, 0, 0, 0)


def no_replicas() -> Replicas:
    """There are no logs here."""
    nobody: Any = SimpleNamespace(targets=[])
    return Replicas(nobody)


class Room:
    """Two targets, the first voter beside t1, and a gateway's messages."""

    def __init__(self) -> None:
        self.world = World(1)
        self.watch = Watch(self.world, no_replicas())
        self.processes = {name: FakeProcess(self.world, name) for name in ("t1", "t2")}
        self.seats = {name: self.watch.witness(p) for name, p in self.processes.items()}
        for name, seat in self.seats.items():
            seat.adopting(table(1, 1))
            self.renew(name, 1)

    def renew(self, name: str, sequence: int, generation: int = 1, stopping: bool = False) -> None:
        host, voter = f"{name}.host", "t1.host"
        renew = cm.LeaseRenew(
            session=1,
            sequence=sequence,
            adopted=generation,
            settings_version=1,
            stopping=stopping,
            may_lead=True,
            vouched=(),
        )
        self.watch.sent(host, voter, pack_frame(renew))
        grant = cm.LeaseGrant(
            sequence=sequence,
            duration_ns=6 * SECOND,
            age_ns=0,
            floor=1,
            settings_floor=1,
            active=1,
        )
        self.watch.sent(voter, host, pack_frame(grant))
        self.watch.arrived(voter, host, pack_frame(grant))

    def later(self, seconds: int) -> None:
        self.world.run_until(self.world.time_ns + seconds * SECOND)

    def exchange(
        self, name: str, request: Any, answer: Any, asked: int = 1, said: int = 1, id: bytes = ID
    ) -> None:
        seat: Answers = self.seats[name]
        seat.heard(Incoming(request, 9, id, asked))
        seat.said(Outgoing(answer, 9, id, said))

    @property
    def problem(self) -> str:
        """What was reported, if anything."""
        return " ".join(self.world.failures)

    @property
    def bad(self) -> list[str]:
        """The checkers that found something."""
        return [name for name, verdict, _ in self.watch.verdicts() if verdict == "bad"]


@pytest.fixture
def room() -> Room:
    return Room()


def miss(kind: int = chunks.MISS) -> chunks.ChunkAnswer:
    answer = chunks.VdevAnswer(vdev_index=1, kind=kind, size_bytes=0, start_ns=0, duration_ns=0)
    return chunks.ChunkAnswer(answers=(answer,))


def entries(*rows: int) -> names.NameEntries:
    return names.NameEntries(rows=rows, entries=(), more=False)


LIST = names.NameList(
    rows=(0, 2),
    tenant="t",
    bucket="b",
    bucket_incarnation=1,
    prefix="",
    after="",
    limit=10,
    deleted=False,
)
QUERY = chunks.ChunkQuery(row=2, chid=b"c" * 32)
VERIFY = chunks.ChunkVerify(chid=b"c" * 32, hash_algorithm=1, vdev_index=1)
MISSING = chunks.ChunkVerified(vdev_index=1, result=chunks.VERIFY_MISSING, detail="")
NEED_LEASE = [
    (GET, NOT_HERE),
    (LIST, entries(0, 2)),
    (CHUNK_PUT, STORED),
    (QUERY, miss()),
    (VERIFY, MISSING),
]


@pytest.mark.parametrize(("request_", "answer"), NEED_LEASE)
def test_answer_with_lease__is_ok(room: Room, request_: Any, answer: Any) -> None:
    room.exchange("t1", request_, answer)
    assert room.problem == ""


@pytest.mark.parametrize(("request_", "answer"), NEED_LEASE)
def test_answer_without_lease__is_bad(room: Room, request_: Any, answer: Any) -> None:
    room.later(7)
    room.exchange("t1", request_, answer)
    assert "without a lease" in room.problem
    assert room.bad == ["leases"]


def test_answer_after_giving_the_lease_back__is_bad(room: Room) -> None:
    room.renew("t1", 2, stopping=True)
    room.exchange("t1", GET, NOT_HERE)
    assert "given back" in room.problem


def test_answer_of_the_next_life_before_its_own_lease__is_bad(room: Room) -> None:
    process = room.processes["t1"]
    process.starts += 1
    room.seats["t1"] = room.watch.witness(process)
    room.seats["t1"].adopting(table(1, 1))
    room.exchange("t1", GET, NOT_HERE)
    assert "none was granted since it started" in room.problem


def test_hit_without_lease__is_allowed(room: Room) -> None:
    room.later(7)
    room.exchange("t1", QUERY, miss(chunks.HIT))
    room.exchange("t1", QUERY, miss(chunks.UNSURE))
    assert room.problem == ""


def test_stored_said_again_without_lease__is_allowed(room: Room) -> None:
    room.exchange("t1", CHUNK_PUT, STORED)
    room.later(7)
    room.exchange("t1", CHUNK_PUT, STORED)
    assert room.problem == ""


def test_refusals_that_need_nothing__are_allowed(room: Room) -> None:
    room.later(7)
    for reason in (Reason.NO_LEASE, Reason.STALE_GENERATION, Reason.NOT_LEADER, Reason.BUSY):
        refused = chunks.Refused(
            reason=reason, current_generation=1, vdevs=(), retry_after_ns=0, detail=""
        )
        room.exchange("t2", GET, refused, id=reason.name.encode().ljust(16))
    assert room.problem == ""


def test_follower_that_answers__is_bad(room: Room) -> None:
    room.exchange("t2", GET, NOT_HERE)
    assert room.bad == ["leaders"]


def test_old_leader_that_answers_after_the_new_one__is_bad(room: Room) -> None:
    room.exchange("t1", GET, NOT_HERE)
    room.seats["t2"].adopting(table(4, 2))
    room.exchange("t2", GET, NOT_HERE, asked=4, said=4)
    assert room.problem == ""
    room.exchange("t1", LIST, entries(2))
    assert "after t2 did" in room.problem
    assert room.bad == ["leaders"]


def test_answer_by_a_generation_that_nobody_has__is_bad(room: Room) -> None:
    room.exchange("t1", GET, NOT_HERE, said=9)
    assert "which nobody adopted" in room.problem


@pytest.mark.parametrize(
    ("request_", "answer"), [(GET, NOT_HERE), (PUT, NOT_HERE), (LIST, entries(2)), (QUERY, miss())]
)
def test_answer_to_a_stale_request__is_bad(room: Room, request_: Any, answer: Any) -> None:
    room.seats["t2"].adopting(table(4, 2))
    room.exchange("t2", request_, answer, asked=3, said=4)
    assert room.bad == ["fences"]


def test_chunk_stored_for_a_stale_request__is_bad_once_the_newer_table_was_reported(
    room: Room,
) -> None:
    room.seats["t2"].adopting(table(4, 2))
    room.exchange("t2", CHUNK_PUT, STORED, asked=3, said=1)
    assert room.problem == ""  # it is not on disk yet: the old one is still acted by
    room.renew("t2", 2, generation=4)
    room.exchange("t2", CHUNK_PUT, STORED, asked=3, said=4, id=b"j" * 16)
    assert room.bad == ["fences"]


def test_write_that_was_fresh_when_it_came__may_be_answered_later(room: Room) -> None:
    room.seats["t1"].heard(Incoming(PUT, 9, ID, 1))
    room.seats["t1"].adopting(table(4, 1))
    room.seats["t1"].heard(Incoming(PUT, 9, ID, 1))  # again: stale by now, and under way
    room.seats["t1"].said(Outgoing(NOT_HERE, 9, ID, 4))
    assert room.problem == ""


def test_stale_request_that_came_again_with_the_new_table__may_be_answered(room: Room) -> None:
    room.seats["t2"].adopting(table(4, 2))
    room.seats["t2"].heard(Incoming(PUT, 9, ID, 1))
    room.exchange("t2", PUT, NOT_HERE, asked=4, said=4)
    assert room.problem == ""


def test_generation_that_forks__is_bad(room: Room) -> None:
    room.seats["t1"].adopting(table(4, 1))
    room.seats["t2"].adopting(table(4, 2))
    assert "forked" in room.problem
    assert room.bad == ["generations"]


def test_nothing_shown__is_unknown() -> None:
    verdicts = Watch(World(1), no_replicas()).verdicts()
    assert {verdict for _, verdict, _ in verdicts} == {"unknown"} and len(verdicts) > 4
