"""FlexHash at full size: 1024 VDEVs x 65,536 rows. Goals: full build < 5 s, one VDEV < 1 s."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from meter import TINY, Case, measure
from results import digest_of

from replicast.flexhash.build import build
from replicast.flexhash.delta import diff
from replicast.flexhash.table import Policy, Table, TargetEntry, VdevEntry, VdevState
from replicast.native import IMPLEMENTATION

ROW_COUNT = 1 << 16 if IMPLEMENTATION == "cython" else 1 << 12
POLICY = Policy(row_count=ROW_COUNT)
LOOKUPS = 1000
RUNS = 1 if TINY else 3
ADDRESS = ("10.0.0.1", 7000)


def topology() -> tuple[list[TargetEntry], list[VdevEntry]]:
    """8 zones x 8 hosts x 16 VDEVs."""
    ends = (ADDRESS, ADDRESS, ADDRESS, "", ADDRESS)
    targets = [TargetEntry(n + 1, f"t{n}", f"h{n}", f"z{n % 8}", *ends) for n in range(64)]
    vdevs = [
        VdevEntry(n, n.to_bytes(16, "big"), n // 16 + 1, 1000, VdevState.UP, 1) for n in range(1024)
    ]
    return targets, vdevs


def measure_table(benchmark: Any, what: str, work: Callable[[], Table]) -> Table:
    case = Case(f"flexhash {what}, {ROW_COUNT} rows", runs=RUNS)
    return measure(benchmark, case, work, digest=lambda table: table.digest.hex()[:16])


def test_full_build(benchmark: Any) -> None:
    targets, vdevs = topology()
    measure_table(benchmark, "build", lambda: build(None, targets, vdevs, POLICY, (), 1))


@pytest.mark.parametrize("state", [VdevState.OUT, VdevState.DOWN], ids=lambda each: each.name)
def test_one_vdev_less(benchmark: Any, state: VdevState) -> None:
    targets, vdevs = topology()
    table = build(None, targets, vdevs, POLICY, (), 1)
    vdevs[5] = dataclasses.replace(vdevs[5], state=state)
    what = f"one VDEV {state.name.lower()}"
    after = measure_table(benchmark, what, lambda: build(table, targets, vdevs, POLICY, (), 2))
    print(diff(table, after), end=" ")


def test_lookup(benchmark: Any) -> None:
    targets, vdevs = topology()
    table = build(None, targets, vdevs, POLICY, (), 1)
    chids = [(n * 2654435761 % (1 << 32)).to_bytes(4, "big") * 8 for n in range(LOOKUPS)]

    def lookups() -> int:
        return sum(len(table.members(table.row_of_chunk(chid))) for chid in chids)

    def digest(members: int) -> str:
        assert members == 8 * LOOKUPS
        found = [tuple(table.members(table.row_of_chunk(chid))) for chid in chids]
        return digest_of([tuple(map(int, each)) for each in found])

    case = Case(f"flexhash lookup, {ROW_COUNT} rows", operations=LOOKUPS)
    measure(benchmark, case, lookups, digest=digest)


def test_from_bytes(benchmark: Any) -> None:
    targets, vdevs = topology()
    data = build(None, targets, vdevs, POLICY, (), 1).to_bytes()
    measure_table(benchmark, "from bytes", lambda: Table.from_bytes(data))
    print(f"{len(data)} bytes", end=" ")
