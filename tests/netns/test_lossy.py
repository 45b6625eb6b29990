"""A tenth of all datagrams is lost, and no file notices.

Dropped by a packet filter in the namespace of every member, with and without segmentation offload.
Several clients put, read, list and remove files of many sizes, and compare every byte.
"""

from __future__ import annotations

import pytest
from checked_load import BUCKET, run_through
from networks import INTERFACE_SEGMENTS, nft, nft_packets

pytestmark = pytest.mark.slow

LOST_PERCENT = 10
LOSS = f"""table ip loss {{
    chain input {{
        type filter hook input priority 0;
        meta l4proto udp numgen random mod 100 < {LOST_PERCENT} counter drop
        meta l4proto udp counter
    }}
}}
"""


@pytest.fixture(scope="module")
def bridged(require, make_module_cluster):
    require("nft")
    cluster = make_module_cluster("unicast")
    cluster.run("bucket", "create", BUCKET)
    return cluster


def filtered(cluster) -> tuple[int, int]:
    """Datagrams that were lost and those that were not."""
    lost = passed = 0
    for name in [*cluster.targets, *cluster.gateways]:
        counts = nft_packets(cluster.network.namespaces[name], "ip loss")
        lost, passed = lost + counts[0], passed + counts[1]
    return lost, passed


@pytest.mark.parametrize("segments", [INTERFACE_SEGMENTS, 1], ids=["with GSO", "without GSO"])
def test_loss(bridged, segments):
    members = [*bridged.targets, *bridged.gateways]
    for name in members:
        bridged.network.segment(name, segments)
        nft(bridged.network.namespaces[name], LOSS)
    load = run_through(bridged, segments, f"s{segments}/")
    lost, passed = filtered(bridged)
    for name in members:
        nft(bridged.network.namespaces[name], "delete table ip loss\n")
    print(f"{load.summary()}; {lost} packets lost, {passed} not")
    assert 0.08 < lost / (lost + passed) < 0.12
    assert lost > 500
    bridged.run("repair", f"{BUCKET}/")
    bridged.run("verify", f"{BUCKET}/")
