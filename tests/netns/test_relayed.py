"""Frames come twice, in another order, late or slowly, and no file notices.

By a relay process (relay.py) between the interfaces of all members: TCP is hit as well as UDP.
Several clients put, read, list and remove files of many sizes, and compare every byte.
"""

from __future__ import annotations

import pytest
from checked_load import BUCKET, run_through

from replicast.units import KIB, MIB

pytestmark = pytest.mark.slow

SHARE = 0.10
DELAY_SECONDS = 0.02
SLOW_SIZES = (0, 700, 9 * KIB, 64 * KIB, 64 * KIB + 1, 300 * KIB, MIB + 16 * KIB + 1)


@pytest.fixture(scope="module")
def relayed(make_module_cluster):
    cluster = make_module_cluster("multicast", relayed=True)
    cluster.run("bucket", "create", BUCKET)
    return cluster


def test_duplicates_and_reordering(relayed):
    members = [*relayed.targets, *relayed.gateways]
    before = relayed.network.total("receives")
    relayed.network.spoil(members, "receives", duplicate=SHARE, reorder=SHARE)
    load = run_through(relayed, 3, "d/")
    relayed.network.spoil(members, "receives")
    counts = {k: v - before[k] for k, v in relayed.network.total("receives").items()}
    print(f"{load.summary()}; frames: {counts}")
    assert 0.08 < counts["duplicated"] / (counts["forwarded"] - counts["duplicated"]) < 0.12
    assert 0.05 < counts["reordered"] / counts["forwarded"] < 0.12
    assert counts["reordered"] > 500
    relayed.run("repair", f"{BUCKET}/")
    relayed.run("verify", f"{BUCKET}/")


@pytest.mark.parametrize(("member", "bytes_per_second"), [("t1", 250_000), ("gw1", 6_000_000)])
def test_slow_link(relayed, member, bytes_per_second):
    before = relayed.network.total("sends")["dropped"]
    for line in ("sends", "receives"):
        relayed.network.spoil(
            [member], line, bytes_per_second=bytes_per_second, delay_seconds=DELAY_SECONDS
        )
    load = run_through(relayed, 4, f"{member}/", sizes=SLOW_SIZES, operations=40)
    for line in ("sends", "receives"):
        relayed.network.spoil([member], line)
    dropped = relayed.network.total("sends")["dropped"] - before
    print(f"{load.summary()}; {dropped} frames found the queue of the link full")
    relayed.run("repair", f"{BUCKET}/")
    relayed.run("verify", f"{BUCKET}/")
