"""FlexHash at full size: 1024 VDEVs x 65,536 rows. Goals: full build < 5 s, one VDEV < 1 s."""

import dataclasses

from replicast.flexhash.build import build
from replicast.flexhash.delta import diff
from replicast.flexhash.table import Policy, Table, TargetEntry, VdevEntry, VdevState
from replicast.native import IMPLEMENTATION

ROW_COUNT = 1 << 16 if IMPLEMENTATION == "cython" else 1 << 12
POLICY = Policy(row_count=ROW_COUNT)
ADDRESS = ("10.0.0.1", 7000)


def topology() -> tuple[list[TargetEntry], list[VdevEntry]]:
    """8 zones x 8 hosts x 16 VDEVs."""
    ends = (ADDRESS, ADDRESS, ADDRESS, "", ADDRESS)
    targets = [TargetEntry(n + 1, f"t{n}", f"h{n}", f"z{n % 8}", *ends) for n in range(64)]
    vdevs = [
        VdevEntry(n, n.to_bytes(16, "big"), n // 16 + 1, 1000, VdevState.UP, 1) for n in range(1024)
    ]
    return targets, vdevs


def report(table: Table) -> None:
    print(f"{IMPLEMENTATION}, {ROW_COUNT} rows, result {table.digest.hex()[:16]}")


def test_full_build(benchmark) -> None:  # type: ignore[no-untyped-def]
    targets, vdevs = topology()
    report(benchmark.pedantic(build, (None, targets, vdevs, POLICY, (), 1), rounds=2))


def test_one_vdev_out(benchmark) -> None:  # type: ignore[no-untyped-def]
    targets, vdevs = topology()
    table = build(None, targets, vdevs, POLICY, (), 1)
    vdevs[5] = dataclasses.replace(vdevs[5], state=VdevState.OUT)
    after = benchmark.pedantic(build, (table, targets, vdevs, POLICY, (), 2), rounds=3)
    report(after)
    print(diff(table, after))


def test_one_vdev_down(benchmark) -> None:  # type: ignore[no-untyped-def]
    targets, vdevs = topology()
    table = build(None, targets, vdevs, POLICY, (), 1)
    vdevs[5] = dataclasses.replace(vdevs[5], state=VdevState.DOWN)
    report(benchmark.pedantic(build, (table, targets, vdevs, POLICY, (), 2), rounds=3))


def test_lookup(benchmark) -> None:  # type: ignore[no-untyped-def]
    targets, vdevs = topology()
    table = build(None, targets, vdevs, POLICY, (), 1)
    chids = [(n * 2654435761 % (1 << 32)).to_bytes(4, "big") * 8 for n in range(1000)]

    def lookups() -> int:
        return sum(len(table.members(table.row_of_chunk(chid))) for chid in chids)

    assert benchmark(lookups) == 8000


def test_bytes_round_trip(benchmark) -> None:  # type: ignore[no-untyped-def]
    targets, vdevs = topology()
    data = build(None, targets, vdevs, POLICY, (), 1).to_bytes()
    print(f"{len(data)} bytes")
    report(benchmark.pedantic(Table.from_bytes, (data,), rounds=3))
