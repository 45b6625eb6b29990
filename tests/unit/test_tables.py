"""flexhash/tables.py and inputs.py: building, checking, travelling, keeping."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from replicast.disks import RealDisk
from replicast.flexhash.commands import EditKind, decode_result, encode_command
from replicast.flexhash.entries import TableError
from replicast.flexhash.inputs import row_changes
from replicast.flexhash.state import ControlState
from replicast.flexhash.table import Table
from replicast.flexhash.tables import TABLE_BYTES_MAX, TableBook, TableFiles, unpack_table
from replicast.sim.control import info, vdev_join
from replicast.wire import control_messages as cm
from replicast.wire.schema import Message

POLICY = cm.PolicyInfo(row_count=32, group_size=4, copies=3, min_copies=2, algorithm=1)


def do(state: ControlState, message: Message) -> None:
    assert decode_result(state.apply(encode_command(message)))[0] == 0


def join(state: ControlState, node: int, opens: int = 1) -> None:
    do(state, cm.TargetJoin(target=info(node)))
    do(state, vdev_join(node, opens))


def new_state() -> ControlState:
    state = ControlState()
    do(
        state,
        cm.ClusterInit(
            cluster_id=bytes(16), segment_id=1, recovery_epoch=0, expected_targets=4, policy=POLICY
        ),
    )
    for node in range(1, 5):
        join(state, node)
    return state


def advance(state: ControlState, book: TableBook) -> Table:
    generation = state.next_generation
    do(state, cm.Prepare(generation=generation))
    table = build(book)
    do(state, cm.Seal(generation=generation, digest=table.digest))
    do(state, cm.Activate(generation=generation))
    return table


def build(book: TableBook) -> Table:
    job = book.wanted()
    assert job is not None
    table = job.run()
    assert table is not None and book.put(table)
    return table


def test_book__another_voter_builds_the_same_from_an_older_table() -> None:
    state = new_state()
    book = TableBook(state)
    first = advance(state, book)
    join(state, 1, 2)
    advance(state, book)
    join(state, 2, 2)
    third = advance(state, book)
    other = ControlState()
    other.restore(state.snapshot())
    behind = TableBook(other)
    behind.put(first)
    build(behind)
    assert build(behind).digest == third.digest
    assert behind.wanted() is None


def test_book__a_table_with_another_digest_is_refused_and_not_served() -> None:
    state = new_state()
    book = TableBook(state)
    do(state, cm.Prepare(generation=1))
    build(book)
    assert book.reply(1) is None  # not sealed yet
    do(state, cm.Seal(generation=1, digest=b"x" * 32))
    assert not book.check(1)
    assert book.mismatch == 1 and book.wanted() is None and book.reply(1) is None


def test_unpack_table__only_what_was_announced() -> None:
    state = new_state()
    book = TableBook(state)
    table = advance(state, book)
    reply = book.reply(1)
    assert reply is not None
    assert unpack_table(reply, table.digest) == table
    bomb = zlib.compress(bytes(50 << 20))
    for bad in (
        replace(reply, data=reply.data[: len(reply.data) // 2]),
        replace(reply, data=b"junk"),
        replace(reply, data=bomb),
        replace(reply, generation=2),
    ):
        with pytest.raises(TableError):
            unpack_table(bad, table.digest)
    with pytest.raises(TableError):
        unpack_table(reply, bytes(32))


def test_unpack_table__a_peer_that_announces_its_bomb_is_refused() -> None:
    packer = zlib.compressobj(1)
    raw = bytes(TABLE_BYTES_MAX + 1)
    reply = cm.TableData(
        generation=1,
        digest=hashlib.blake2b(raw, digest_size=32).digest(),
        raw_bytes=len(raw),
        data=packer.compress(raw) + packer.flush(),
    )
    with pytest.raises(TableError, match="is the most"):
        unpack_table(reply, reply.digest)


def test_files__the_newest_few_are_kept_and_damage_is_passed_over(tmp_path: Path) -> None:
    state = new_state()
    book = TableBook(state)
    files = TableFiles(RealDisk(), tmp_path / "tables")
    assert files.load() == []
    tables = []
    for opens in range(2, 7):
        tables.append(advance(state, book))
        files.save(tables[-1])
        join(state, 1, opens)
    assert files.load() == tables[-3:]
    newest = tmp_path / "tables" / f"{tables[-1].generation:016x}"
    newest.write_bytes(newest.read_bytes()[:-1] + b"?")
    assert files.load() == tables[-3:-1]


def test_row_changes__only_from_the_acting_leader_about_an_unmoved_row() -> None:
    state = new_state()
    table = advance(state, TableBook(state))
    replicas = table.name_replicas(0)
    leader, backup = replicas[0], replicas[1]

    def edit(vdev: int, by: int, seen: int = 1, kind: int = EditKind.REMOVE) -> cm.RowEdit:
        return cm.RowEdit(row=0, vdev=vdev, kind=kind, seen=seen, by=by)

    assert len(row_changes(table, (edit(backup, leader),))) == 1
    assert not row_changes(table, (edit(backup, backup),))  # not the leader
    assert not row_changes(table, (edit(leader, leader),))  # the leader stays
    assert not row_changes(table, (edit(backup, leader, seen=0),))  # the row has moved
    assert not row_changes(None, (edit(backup, leader),))
