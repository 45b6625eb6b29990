"""Datagrams of MTU 1500: several a message (GSO, GRO) or one by one; and paths that take less.

Every byte is right in all of it; /metrics of the gateway says which way it was.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

MIB = 1 << 20
FILE_BYTES = 24 * MIB + 20_000  # the last chunk is sent at once
NARROW_MTU = 1280
SMALL = 40  # objects of one small chunk each


def _file(folder: Path, name: str, size_bytes: int) -> Path:
    path = folder / name
    path.write_bytes(random.Random(name).randbytes(size_bytes))
    return path


def _exchange(cluster, folder: Path, name: str) -> None:
    """Large and small chunks, manifests and a list too long for one datagram, there and back."""
    large = _file(folder, f"{name}-large", FILE_BYTES)
    small = folder / f"{name}-small"
    small.mkdir()
    for number in range(SMALL):
        _file(small, f"a-name-of-some-length-{number:03}", 70_000 + number)
    cluster.run("put", "-q", large, f"sizes/{large.name}")
    cluster.run("put", "-r", "-q", small, f"sizes/{small.name}")
    cluster.run("get", "-q", f"sizes/{large.name}", folder / "out")
    assert (folder / "out").read_bytes() == large.read_bytes()
    (folder / "out").unlink()
    cluster.run("get", "-r", "-q", f"sizes/{small.name}", folder / f"{name}-back")
    for path in small.iterdir():
        assert (folder / f"{name}-back" / path.name).read_bytes() == path.read_bytes()
    listed = cluster.run("ls", f"sizes/{small.name}").decode().splitlines()
    assert len(listed) == SMALL


@pytest.mark.slow
@pytest.mark.parametrize("joined", [True, False])
def test_segments__joined_as_far_as_the_interface_takes_them(make_cluster, tmp_path, joined):
    cluster = make_cluster("unicast", vdevs=1, joined=joined)
    cluster.run("bucket", "create", "sizes")
    before = cluster.network.sent_packets(cluster.gateway)
    _exchange(cluster, tmp_path, "first")
    packets = cluster.network.sent_packets(cluster.gateway) - before
    sent = cluster.metric("datagrams_sent_total", kind="payload")
    assert cluster.metric("udp_offload", direction="sent") == 1
    assert cluster.metric("udp_offload", direction="received") == 1
    assert cluster.metric("datagrams_joined_total", direction="sent") > 0.8 * sent
    # A message is one packet to the interface, or is cut by the kernel before it gets there.
    assert packets < sent / 4 if joined else packets > sent


def test_segments__refused_by_the_kernel(make_cluster, tmp_path):
    cluster = make_cluster("unicast", vdevs=1, gateway_module="unsegmented_gateway")
    cluster.run("bucket", "create", "sizes")
    _exchange(cluster, tmp_path, "first")
    assert cluster.metric("datagrams_sent_total", kind="payload") > 3 * FILE_BYTES / 1500
    assert cluster.metric("udp_offload", direction="sent") == 0
    assert cluster.metric("datagrams_joined_total", direction="sent") == 0
    assert cluster.metric("datagrams_unsendable_total", reason="refused") == 0


@pytest.mark.slow
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_path__narrower_than_the_interfaces_at_its_ends(make_cluster, tmp_path, family):
    cluster = make_cluster("unicast", vdevs=1, joined=True, family=family, link_mtu=NARROW_MTU)
    cluster.run("bucket", "create", "sizes")
    _exchange(cluster, tmp_path, "first")
    assert cluster.metric("path_mtu_bytes", of="interface") == 1500
    assert cluster.metric("path_mtu_bytes", of="least") == NARROW_MTU
    # Segmentation goes on with datagrams that fit.
    sent = cluster.metric("datagrams_sent_total", kind="payload")
    assert cluster.metric("datagrams_joined_total", direction="sent") > 0.8 * sent


@pytest.mark.slow
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_path__becomes_narrower_under_way(make_cluster, tmp_path, family):
    cluster = make_cluster("unicast", vdevs=1, joined=True, family=family, link_mtu=1500)
    cluster.run("bucket", "create", "sizes")
    _exchange(cluster, tmp_path, "first")
    assert cluster.metric("path_mtu_bytes", of="least") == 1500
    cluster.network.set_link_mtu(NARROW_MTU)
    # A reader sends nothing that is too long: the gateway's probes find out.
    cluster.run("get", "-q", "sizes/first-large", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "first-large").read_bytes()
    _exchange(cluster, tmp_path, "second")
    cluster.network.set_link_mtu(1500)
    _exchange(cluster, tmp_path, "third")
    assert cluster.metric("path_mtu_bytes", of="least") == NARROW_MTU
