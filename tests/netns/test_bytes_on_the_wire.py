"""What a put of 3 copies costs the gateway's interface: one copy by multicast, three by unicast; and what
comes to the targets' by multicast, where the switch knows who has joined a group.

Frames of MTU 1500 as the interface counts them: headers and control messages included. How much is
sent again depends on how often the machine lets the receivers run: it is printed, taken off, and
bounded by itself. For the same reason the gateway waits long for targets that are late.
A put before it lets the targets join their rendezvous groups, which a fresh cluster has not.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from pathlib import Path

import pytest

from replicast.gateway.context import ChunkSettings, rendezvous_number

COPIES = 3
MIB, GIB = 1 << 20, 1 << 30
WARM_UP_BYTES = 64 * MIB
SMALL_BYTES = 96 * MIB
LIMITS = {"multicast": (1.00, 1.15), "unicast": (3.0, 3.3)}
# Of a frame for each byte of payload in it.
WIRE_BYTES = {"ipv4": 1514 / 1408, "ipv6": 1510 / 1384}
RESENT_MAX = 0.5  # of what is sent once
PATIENT = {"rendezvous_wait_ms": 5000, "straggler_ms": 60_000}


def _write(path: Path, size_bytes: int, seed: int) -> Path:
    """Distinct, incompressible bytes."""
    rng = random.Random(seed)
    with open(path, "wb") as file:
        for _ in range(size_bytes // MIB):
            file.write(rng.randbytes(MIB))
    return path


def _sent_bytes(cluster) -> int:
    return cluster.network.sent_bytes(cluster.gateway)


def _measure(
    make_cluster, folder: Path, transport: str, size_bytes: int, family: str = "ipv4"
) -> None:
    cluster = make_cluster(transport, gateway=PATIENT, family=family)
    cluster.run("bucket", "create", "wire")
    warm_up = _write(folder / "warm-up", WARM_UP_BYTES, 1)
    file = _write(folder / "file", size_bytes, 2)
    cluster.run("put", "-q", warm_up, "wire/warm-up")
    before, began = _sent_bytes(cluster), time.monotonic()
    resent_before = cluster.counter("payload_resent_bytes")
    cluster.run("put", "-q", file, "wire/file")
    seconds, sent = time.monotonic() - began, _sent_bytes(cluster) - before
    resent = (cluster.counter("payload_resent_bytes") - resent_before) * WIRE_BYTES[family]
    ratio = (sent - resent) / size_bytes
    print(
        f"{family} {transport}: {size_bytes / MIB:.0f} MiB x 3 copies sent {sent / MIB:.1f} MiB, "
        f"{resent / MIB:.1f} of them again: {ratio:.3f} a byte without these; "
        f"{size_bytes / MIB / seconds:.0f} MiB/s"
    )
    low, high = LIMITS[transport]
    assert low <= ratio <= high
    assert resent <= RESENT_MAX * (sent - resent)
    out = folder / "out"
    cluster.run("get", "-q", "wire/file", out)
    assert out.read_bytes() == file.read_bytes()


@pytest.mark.parametrize("transport", list(LIMITS))
def test_put__bytes_sent(make_cluster, tmp_path, transport):
    _measure(make_cluster, tmp_path, transport, SMALL_BYTES)


def test_put__bytes_received_behind_a_switch_that_snoops(make_cluster, tmp_path):
    """No more than its copy comes to each of those that store it, and nothing to the fourth target, but where
    its groups are those of others, too: there are 64 for the sets of targets."""
    cluster = make_cluster("multicast", gateway=PATIENT, snooping=True)
    cluster.run("bucket", "create", "wire")
    warm_up = _write(tmp_path / "warm-up", WARM_UP_BYTES, 1)
    file = _write(tmp_path / "file", SMALL_BYTES, 2)
    cluster.run("put", "-q", warm_up, "wire/warm-up")
    before, resent_before = _received_bytes(cluster), cluster.counter("payload_resent_bytes")
    cluster.run("put", "-q", file, "wire/file")
    received = _received_bytes(cluster) - before
    resent = (cluster.counter("payload_resent_bytes") - resent_before) * WIRE_BYTES["ipv4"]
    ratio = (received - resent) / SMALL_BYTES
    print(f"received {ratio:.3f} a byte, {resent / MIB:.1f} MiB sent again not counted")
    assert COPIES <= ratio <= 1.2 * _hearers(cluster)
    cluster.run("get", "-q", "wire/file", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == file.read_bytes()


def _hearers(cluster) -> int:
    """How many targets at most hear what is sent to a rendezvous group."""
    report = asyncio.run(cluster.wait_status(lambda _: True))
    nodes = [int(each["node_id"], 16) for each in report["targets"]]
    hearers: dict[int, set[int]] = {}
    for winners in itertools.combinations(nodes, COPIES):
        number = rendezvous_number(winners, ChunkSettings().rendezvous_groups)
        hearers.setdefault(number, set()).update(winners)
    return max(map(len, hearers.values()))


def _received_bytes(cluster) -> int:
    """By the targets together."""
    network = cluster.network
    return sum(network.received_bytes(network.namespaces[each]) for each in cluster.targets)


@pytest.mark.slow
def test_put__bytes_sent_by_ipv6_multicast(make_cluster, tmp_path):
    _measure(make_cluster, tmp_path, "multicast", SMALL_BYTES, "ipv6")


@pytest.mark.slow
@pytest.mark.parametrize("transport", list(LIMITS))
def test_put__bytes_sent_of_a_gibibyte(make_cluster, tmp_path, transport):
    _measure(make_cluster, tmp_path, transport, GIB)
