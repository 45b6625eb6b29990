"""Any topology, any history: rules hold, twins agree, what has to move moves and little more."""

import dataclasses
import os
import random
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replicast.flexhash import build as build_module
from replicast.flexhash import placement
from replicast.flexhash.build import build
from replicast.flexhash.names import bucket_seed, nhid, row_of_name, rows_of_bucket
from replicast.flexhash.quota import cell_quotas
from replicast.flexhash.table import (
    NO_VDEV,
    Policy,
    RowChange,
    RowChangeKind,
    Table,
    TableError,
    TargetEntry,
    VdevEntry,
    VdevState,
)
from replicast.native import _flexhash

ADDRESS = ("127.0.0.1", 1)
UP, DOWN, DRAINING, OUT = VdevState.UP, VdevState.DOWN, VdevState.DRAINING, VdevState.OUT
QUICK = settings(
    max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def make_target(node_id: int, host: int, zone: int) -> TargetEntry:
    addresses = (ADDRESS, ADDRESS, ADDRESS, "", ADDRESS)
    return TargetEntry(node_id, f"t{node_id}", f"h{host}", f"z{zone}", *addresses)


def make_vdev(index: int, target: int, weight: int = 100, state: VdevState = UP) -> VdevEntry:
    return VdevEntry(index, index.to_bytes(16, "big"), target, weight, state, 1)


def grid(
    zones: int, hosts_per_zone: int, per_host: int
) -> tuple[list[TargetEntry], list[VdevEntry]]:
    """Equal weights everywhere."""
    targets = [make_target(n + 1, n, n % zones) for n in range(zones * hosts_per_zone)]
    owners = [target.node_id for target in targets for _ in range(per_host)]
    return targets, [make_vdev(index, owner) for index, owner in enumerate(owners)]


@st.composite
def clusters(draw: st.DrawFn) -> tuple[list[TargetEntry], list[VdevEntry], Policy]:
    zone_count = draw(st.integers(1, 4))
    zones = draw(st.lists(st.integers(0, zone_count - 1), min_size=1, max_size=9))
    targets = [make_target(n + 1, n, zone) for n, zone in enumerate(zones)]
    owners = draw(st.lists(st.integers(1, len(zones)), min_size=1, max_size=20))
    weights = st.sampled_from([1, 50, 100, 100, 100, 200, 4000])
    states = st.sampled_from([UP, UP, UP, *VdevState])
    vdevs = [
        make_vdev(index * 3, owner, draw(weights), draw(states))
        for index, owner in enumerate(owners)
    ]
    copies = draw(st.integers(1, 4))
    policy = Policy(
        row_count=draw(st.sampled_from([1, 8, 64])),
        group_size=draw(st.integers(copies, 8)),
        copies=copies,
        min_copies=draw(st.integers(1, copies)),
    )
    return targets, vdevs, policy


def check_invariants(table: Table) -> None:
    """What holds for every table; the domain rule for rows whose members may all stay."""
    assert Table.from_bytes(table.to_bytes()).digest == table.digest
    staying = [v.index for v in table.vdevs.values() if v.state in (UP, DOWN, VdevState.STOPPING)]
    hosts = {table.host_of(index) for index in staying}
    zones = {table.target_of(index).zone for index in staying}
    for row in range(table.policy.row_count):
        members = table.members(row)
        assert not any(table.vdevs[i].state == OUT for i in (*members, *table.draining(row)))
        full_list = len(table.draining(row)) == table.policy.group_size
        if full_list or any(table.vdevs[i].state == DRAINING for i in members):
            continue
        assert len(members) == min(table.policy.group_size, len(staying))
        check_domains(table, members, len(zones), len(hosts))
        prefix = members[: min(table.policy.copies, len(hosts))]
        check_domains(table, prefix, len(zones), len(hosts))
        assert table.name_candidates(row) == prefix


def check_domains(table: Table, members: Sequence[int], zone_count: int, host_count: int) -> None:
    zones = {table.target_of(index).zone for index in members}
    hosts = {table.host_of(index) for index in members}
    assert len(zones) == min(len(members), zone_count)
    assert len(hosts) == min(len(members), host_count)


@QUICK
@given(clusters(), st.data())
def test_history__keeps_invariants(
    cluster: tuple[list[TargetEntry], list[VdevEntry], Policy], data: st.DataObject
) -> None:
    targets, vdevs, policy = cluster
    table = build(None, targets, vdevs, policy, (), 1)
    check_invariants(table)
    holders = [set(table.members(row)) for row in range(policy.row_count)]
    for generation in range(2, 6):
        before = table
        vdevs = [change_vdev(vdev, data) for vdev in vdevs]
        changes = [draw_row_change(before, data) for _ in range(3)]
        emptied = draw_emptied(before, data)
        for row, index in emptied:
            if index in before.draining(row):
                holders[row].discard(index)
        table = build(before, targets, vdevs, policy, changes, generation, emptied=emptied)
        check_invariants(table)
        check_holders(table, holders)
        check_stamps(before, table)


def change_vdev(vdev: VdevEntry, data: st.DataObject) -> VdevEntry:
    match data.draw(st.integers(0, 9)):
        case 0:
            return dataclasses.replace(vdev, state=data.draw(st.sampled_from(list(VdevState))))
        case 1:
            return dataclasses.replace(vdev, weight=data.draw(st.integers(1, 500)))
        case _:
            return vdev


def draw_row_change(table: Table, data: st.DataObject) -> RowChange:
    row = data.draw(st.integers(0, table.policy.row_count - 1))
    index = data.draw(st.sampled_from(list(table.vdevs)))
    kind = data.draw(st.sampled_from(list(RowChangeKind)))
    return RowChange(row, index, kind, table.names_since(row) - data.draw(st.integers(0, 1)))


def draw_emptied(table: Table, data: st.DataObject) -> list[tuple[int, int]]:
    rows = range(table.policy.row_count)
    listed = [(row, index) for row in rows for index in table.draining(row)]
    return data.draw(st.lists(st.sampled_from(listed), max_size=5)) if listed else []


def check_holders(table: Table, holders: list[set[int]]) -> None:
    """A row lists everybody who may hold its chunks, unless OUT."""
    for row, known in enumerate(holders):
        listed = {*table.members(row), *table.draining(row)}
        known -= {index for index in known if table.vdevs[index].state == OUT}
        assert known <= listed
        known |= listed


def check_stamps(before: Table, table: Table) -> None:
    """Each since is the new generation exactly where its subject changed."""
    for row in range(table.policy.row_count):
        cells = before.members(row) != table.members(row)
        cells |= before.draining(row) != table.draining(row)
        led = before.row_leader(row) != table.row_leader(row)
        named = led or before.name_replicas(row) != table.name_replicas(row)
        for changed, old, new in (
            (cells, before.members_since(row), table.members_since(row)),
            (named, before.names_since(row), table.names_since(row)),
            (led, before.leader_since(row), table.leader_since(row)),
        ):
            assert new == (table.generation if changed else old)


@QUICK
@given(clusters(), st.randoms(use_true_random=False))
def test_twins_agree(
    cluster: tuple[list[TargetEntry], list[VdevEntry], Policy], rng: random.Random
) -> None:
    targets, vdevs, policy = cluster
    changed = [dataclasses.replace(vdev, state=rng.choice(list(VdevState))) for vdev in vdevs]
    digests = []
    for twin in (_flexhash.place_cells, placement.place_cells):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(build_module, "place_cells", twin)
            first = build(None, targets, vdevs, policy, (), 1)
            digests.append((first.digest, build(first, targets, changed, policy, (), 2).digest))
    assert digests[0] == digests[1]


@QUICK
@given(clusters(), st.randoms(use_true_random=False))
def test_order_of_inputs_does_not_matter(
    cluster: tuple[list[TargetEntry], list[VdevEntry], Policy], rng: random.Random
) -> None:
    targets, vdevs, policy = cluster
    shuffled = rng.sample(targets, len(targets)), rng.sample(vdevs, len(vdevs))
    assert build(None, targets, vdevs, policy, (), 1) == build(None, *shuffled, policy, (), 1)


@QUICK
@given(st.binary(max_size=8), st.integers(0, 1 << 30), st.data())
def test_from_bytes__survives_mutation(junk: bytes, at: int, data: st.DataObject) -> None:
    targets, vdevs = grid(2, 2, 1)
    raw = build(None, targets, vdevs, Policy(row_count=4), (), 1).to_bytes()
    at %= len(raw)
    mutated = raw[:at] + junk + raw[at + data.draw(st.integers(0, 8)) :]
    try:
        again = Table.from_bytes(mutated)
    except TableError:
        return
    assert again.to_bytes() == mutated


def loads(table: Table, prefix: int | None = None) -> np.ndarray:
    cells = table.rows.members[:, :prefix]
    return np.bincount(cells[cells != NO_VDEV], minlength=max(table.vdevs) + 1)


def moved_cells(before: Table, after: Table) -> int:
    return sum(
        len(set(after.members(row)) - set(before.members(row)))
        for row in range(before.policy.row_count)
    )


@pytest.mark.parametrize(
    "shape", [(1, 4, 2), (1, 12, 1), (2, 4, 3), (3, 3, 2), (4, 4, 2), (9, 2, 1), (1, 5, 4)]
)
def test_goals__balance_and_movement(shape: tuple[int, int, int]) -> None:
    """Max/mean load <= 1.05 at equal weights; one VDEV or host moves <= 1.2 times its share."""
    targets, vdevs = grid(*shape)
    policy = Policy(row_count=1024)
    full = build(None, targets, vdevs, policy, (), 1)
    for prefix in (None, 3):
        assert loads(full, prefix).max() <= 1.05 * loads(full, prefix).mean()
    leaders = np.bincount(full.rows.names[:, 0])
    assert leaders.max() <= 1.1 * leaders.mean()
    for gone in (vdevs[:1], [vdev for vdev in vdevs if vdev.target == targets[0].node_id]):
        check_movement(full, gone)


def check_movement(full: Table, gone: Sequence[VdevEntry]) -> None:
    """Take VDEVs out and put them back as new ones."""
    targets, vdevs = list(full.targets.values()), list(full.vdevs.values())
    policy = full.policy
    left = [dataclasses.replace(v, state=OUT) if v in gone else v for v in vdevs]
    less = build(full, targets, left, policy, (), 2)
    check_invariants(less)
    needed = sum(
        len(set(full.members(row)) & {v.index for v in gone}) for row in range(policy.row_count)
    )
    assert moved_cells(full, less) <= 1.2 * needed
    again = build(less, targets, vdevs, policy, (), 3)
    check_invariants(again)
    share = sum(loads(again)[vdev.index] for vdev in gone)
    assert moved_cells(less, again) <= 1.2 * share
    assert loads(again).max() <= 1.05 * loads(again).mean()
    assert loads(again, 3).max() <= 1.05 * loads(again, 3).mean()


def test_weights__decide_shares() -> None:
    targets, vdevs = grid(1, 12, 1)
    vdevs = [dataclasses.replace(v, weight=100 + 100 * (v.index % 2)) for v in vdevs]
    table = build(None, targets, vdevs, Policy(row_count=1024, group_size=5), (), 1)
    shares = loads(table)
    for index in range(12):
        fair = 1024 * 5 * vdevs[index].weight / 1800
        assert abs(shares[index] - fair) <= 0.03 * fair


@given(clusters(), st.integers(1, 8))
def test_quotas__sum_and_bounds(
    cluster: tuple[list[TargetEntry], list[VdevEntry], Policy], size: int
) -> None:
    _, vdevs, policy = cluster
    quotas = cell_quotas(
        [(v.index, v.weight, v.target, v.target % 3) for v in vdevs], policy.row_count, size
    )
    assert sum(quotas.values()) == policy.row_count * min(size, len(vdevs))
    assert all(0 <= quota <= policy.row_count for quota in quotas.values())


PROGRAM = """
import sys; sys.path[:0] = [{path!r}]
from replicast.flexhash.build import build
from replicast.flexhash.table import *
address = ("127.0.0.1", 1)
targets = [TargetEntry(n + 1, f"t{{n}}", f"h{{n}}", f"z{{n % 3}}", address, address, address, "", address) for n in range(7)]
vdevs = [VdevEntry(n, bytes([n]) * 16, n % 7 + 1, 10 + n, VdevState.UP, 1) for n in range(14)]
table = build(None, targets, vdevs, Policy(row_count=64), (), 1)
print(build(table, targets, vdevs[1:], Policy(row_count=64), (), 2).digest.hex())
"""


def test_same_bytes__under_any_hash_seed() -> None:
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    digests = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM.format(path=root)],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


@given(st.text(max_size=20), st.text(max_size=20), st.integers(0, 1 << 40), st.integers(0, 6))
def test_names__rows_of_a_bucket(tenant: str, name: str, incarnation: int, bits: int) -> None:
    seed = bucket_seed(tenant, "photos", incarnation)
    rows = rows_of_bucket(seed, 1 << bits, 64)
    assert len(set(rows)) == 1 << bits and list(rows) == sorted(rows)
    assert row_of_name(seed, nhid(tenant, "photos", name), 1 << bits, 64) in rows
