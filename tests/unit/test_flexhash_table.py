"""Lookups, bytes and refusals of a table."""

import dataclasses

import numpy as np
import pytest

from replicast.flexhash.build import build
from replicast.flexhash.delta import diff
from replicast.flexhash.table import (
    Policy,
    Rows,
    Table,
    TableError,
    TargetEntry,
    VdevEntry,
    VdevState,
)

POLICY = Policy(row_count=64)


def make_targets(count: int) -> list[TargetEntry]:
    return [
        TargetEntry(
            node_id=number + 1,
            name=f"target{number}",
            host=f"host{number}",
            zone="",
            udp=("127.0.0.1", 7000 + number),
            peer=("127.0.0.1", 7100 + number),
            control=("127.0.0.1", 7200 + number),
            public_key="k" * 40,
            metrics=("127.0.0.1", 7300 + number),
        )
        for number in range(count)
    ]


def make_vdevs(targets: list[TargetEntry], per_target: int) -> list[VdevEntry]:
    return [
        VdevEntry(index, index.to_bytes(16, "big"), target.node_id, 10, VdevState.UP, 1)
        for index, target in enumerate(t for t in targets for _ in range(per_target))
    ]


@pytest.fixture(scope="module")
def table() -> Table:
    targets = make_targets(4)
    return build(None, targets, make_vdevs(targets, 2), POLICY, (), 1)


def test_row_of_chunk__first_bits(table: Table) -> None:
    assert table.row_of_chunk(b"\x00" * 32) == 0
    assert table.row_of_chunk(b"\xff" * 32) == 63
    assert table.row_of_chunk(b"\x04" + b"\xff" * 31) == 1


def test_row_of_chunk__one_row() -> None:
    targets = make_targets(3)
    one = build(None, targets, make_vdevs(targets, 1), Policy(row_count=1), (), 1)
    assert one.row_of_chunk(b"\xff" * 32) == 0


def test_lookups__of_targets(table: Table) -> None:
    assert table.vdevs_of(2) == (2, 3)
    assert table.vdevs_of(99) == ()
    assert table.target_of(3).name == "target1"
    assert table.host_of(7) == "host3"


def test_rows_led_by__partition_rows(table: Table) -> None:
    led = [row for node_id in table.targets for row in table.rows_led_by(node_id)]
    assert sorted(led) == list(range(64))
    for row in table.rows_led_by(1):
        assert table.row_leader(row) in table.vdevs_of(1)
    replicated = table.rows_replicated_by(1)
    assert replicated == tuple(
        row for row in range(64) if set(table.name_replicas(row)) & set(table.vdevs_of(1))
    )
    assert table.rows_listing(1) == tuple(range(64))


def test_name_candidates__distinct_hosts(table: Table) -> None:
    for row in range(64):
        candidates = table.name_candidates(row)
        assert candidates == table.name_replicas(row) == table.members(row)[:3]
        assert len({table.host_of(index) for index in candidates}) == 3


def test_bytes__round_trip(table: Table) -> None:
    again = Table.from_bytes(table.to_bytes())
    assert again == table and again.to_bytes() == table.to_bytes()
    assert again.targets == table.targets and again.vdevs == table.vdevs
    assert len(table.digest) == 32


@pytest.mark.parametrize(
    ("at", "value", "text"),
    [(0, 0, "not a FlexHash"), (4, 2, "version 2"), (6, 9, "algorithm 9"), (16, 3, "row_count")],
)
def test_from_bytes__refuses_by_name(table: Table, at: int, value: int, text: str) -> None:
    data = bytearray(table.to_bytes())
    data[at] = value
    with pytest.raises(TableError, match=text):
        Table.from_bytes(bytes(data))


def test_from_bytes__refuses_every_cut(table: Table) -> None:
    data = table.to_bytes()
    for size_bytes in range(0, len(data), 37):
        with pytest.raises(TableError):
            Table.from_bytes(data[:size_bytes])
    with pytest.raises(TableError):
        Table.from_bytes(data + b"\0")


def spoiled(table: Table, **arrays: np.ndarray) -> bytes:
    parts = {name: getattr(table.rows, name).copy() for name in Rows.__slots__}
    rows = Rows(**(parts | arrays))
    return Table(table.generation, table.policy, table.targets, table.vdevs, rows).to_bytes()


def test_from_bytes__refuses_bad_rows(table: Table) -> None:
    unknown, double, gap = (table.rows.members.copy() for _ in range(3))
    unknown[3, 3] = 500
    double[3, 3] = double[3, 2]
    gap[3, 3] = 0xFFFF
    for members, text in ((unknown, "unknown"), (double, "twice"), (gap, "gap")):
        with pytest.raises(TableError, match=text):
            Table.from_bytes(spoiled(table, members=members))
    draining = table.rows.draining.copy()
    draining[5, 0] = table.members(5)[0]
    with pytest.raises(TableError, match="twice"):
        Table.from_bytes(spoiled(table, draining=draining))
    late = table.rows.names_since + np.uint64(1)
    with pytest.raises(TableError, match="own generation"):
        Table.from_bytes(spoiled(table, names_since=late))


def test_build__refuses_bad_inputs() -> None:
    targets = make_targets(2)
    vdevs = make_vdevs(targets, 1)
    for changed in ({"weight": 0}, {"target": 77}, {"index": 0xFFFF}, {"vdev_id": b"short"}):
        broken = dataclasses.replace(vdevs[0], **changed)
        with pytest.raises(TableError):
            build(None, targets, [broken, vdevs[1]], POLICY, (), 1)
    with pytest.raises(TableError, match="one index"):
        build(None, targets, [vdevs[0], vdevs[0]], POLICY, (), 1)
    with pytest.raises(TableError, match="255 bytes"):
        build(None, [dataclasses.replace(targets[0], name="n" * 256)], (), POLICY, (), 1)
    for policy in (
        Policy(row_count=100),
        Policy(copies=0),
        Policy(group_size=2),
        Policy(algorithm=2),
    ):
        with pytest.raises(TableError):
            build(None, targets, vdevs, policy, (), 1)


def test_build__refuses_what_cannot_follow(table: Table) -> None:
    targets, vdevs = list(table.targets.values()), list(table.vdevs.values())
    with pytest.raises(TableError, match="not above"):
        build(table, targets, vdevs, POLICY, (), 1)
    with pytest.raises(TableError, match="row_count"):
        build(table, targets, vdevs, Policy(row_count=128), (), 2)


def test_build__no_vdevs() -> None:
    empty = build(None, (), (), POLICY, (), 1)
    assert empty.members(0) == () and empty.row_leader(0) is None
    assert Table.from_bytes(empty.to_bytes()) == empty


def test_diff__counts_cells(table: Table) -> None:
    targets, vdevs = list(table.targets.values()), list(table.vdevs.values())
    out = [dataclasses.replace(vdevs[0], state=VdevState.OUT), *vdevs[1:]]
    delta = diff(table, build(table, targets, out, POLICY, (), 2))
    assert delta.rows_changed == 64 and delta.moved_cells == 0
    assert delta.leaders_changed == len([r for r in range(64) if table.row_leader(r) == 0])
    assert "64 rows changed" in str(delta)
