"""docs/flexhash.md: one table and a few names, pinned for every implementation."""

import pytest

from replicast.flexhash import build as build_module
from replicast.flexhash import placement
from replicast.flexhash.build import build
from replicast.flexhash.names import bucket_seed, nhid, row_of_name, rows_of_bucket
from replicast.flexhash.table import Policy, Table, TargetEntry, VdevEntry, VdevState

TARGETS = [
    TargetEntry(
        node_id=100 + n,
        name=f"target{n}",
        host=f"host{n}",
        zone=f"zone{n % 3}",
        udp=("192.0.2.1", 7000 + n),
        peer=("192.0.2.1", 7100 + n),
        control=("192.0.2.1", 7200 + n),
        public_key="0" * 40,
        metrics=("192.0.2.1", 7300 + n),
    )
    for n in range(6)
]
VDEVS = [
    VdevEntry(n, bytes([n]) * 16, 100 + n % 6, 1000 + 100 * n, VdevState.UP, 1) for n in range(12)
]
POLICY = Policy(row_count=256)

FIRST = "1224f44351b3aa2a39a939600051c0ef398278f9972aa339d6d4e8ea9d44f193"
SECOND = "8d324f799c0ca8d2e57fd12f33b1771eb8725306f789f2f51cd01bcd73623e81"
SEED = "74daa80381599875b39247ff5bd87de4a5aa6b42f29a40049738d7186f9a67a5"
NHID = "d5cc2080bef63de688caa6d7184372e8960217056abcd477bb449df080408144"
ROWS = (81, 1499, 2410, 3747)


@pytest.fixture(params=["chosen", "python"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "python":
        monkeypatch.setattr(build_module, "place_cells", placement.place_cells)


@pytest.mark.usefixtures("place")
def test_table__digests() -> None:
    """How build() decides; Bytes of a table, version 1."""
    first = build(None, TARGETS, VDEVS, POLICY, (), 1)
    second = build(first, TARGETS, VDEVS[1:], POLICY, (), (1 << 48) + 2)
    assert first.digest.hex() == FIRST
    assert second.digest.hex() == SECOND
    assert Table.from_bytes(second.to_bytes()) == second


def test_names__rows() -> None:
    """What a row says: names of a bucket live in `spread` rows."""
    seed = bucket_seed("default", "photos", 1)
    name_hash = nhid("default", "photos", "a.jpg")
    assert seed.hex() == SEED
    assert name_hash.hex() == NHID
    assert rows_of_bucket(seed, 4, 4096) == ROWS
    assert row_of_name(seed, name_hash, 4, 4096) in ROWS
