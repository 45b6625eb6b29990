"""A whole cluster on ::1: every channel, the metrics servers, what people see."""

from __future__ import annotations

import urllib.request

import pytest

from replicast.addresses import address_text, parse_address
from replicast.errors import InvalidRequest
from replicast.formation import ENDPOINTS, load_formation
from replicast.keys import Role

MIB = 1 << 20


def test_cluster__on_ipv6_alone(make_cluster, data, tmp_path):
    cluster = make_cluster(host="::1", targets=3, vdevs=1)
    body, small = data(3 * MIB + 5), data(700)
    cluster.run("bucket", "create", "photos")
    cluster.run("put", "-q", "-", "photos/large", stdin=body)
    cluster.run("put", "-q", "-", "photos/small", stdin=small)
    assert cluster.out("cat", "photos/large") == body
    assert cluster.out("cat", "photos/small") == small
    assert cluster.out("ls", "photos").split() == [b"large", b"small"]
    report = cluster.wait_healthy()
    formation = load_formation(cluster.data / "t1")
    members = [each for each in formation.members if each.role == Role.TARGET]
    assert all(getattr(each, what)[0] == "::1" for each in members for what in ENDPOINTS)
    listed = {target["name"]: target["address"] for target in report["targets"]}
    assert listed == {each.name: address_text(each.udp) for each in members}
    assert parse_address(listed["t1"])[0] == "::1"
    for daemon in cluster.daemons().values():
        with urllib.request.urlopen(f"http://{daemon.metrics}/healthz", timeout=60) as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("request_", "match"),
    [
        ({"host": "::1", "transport": "multicast"}, "groups cannot be reached from ::1"),
        ({"host": "fe80::1"}, "link-local"),
        ({"host": "0::1"}, "write ::1"),
        ({"host": "2001:db8::77"}, "--host 2001:db8::77: Cannot assign"),
        ({"host": "::1%lo"}, "link-local|IP address"),
    ],
)
def test_up__addresses_that_no_cluster_can_have(make_cluster, request_, match):
    cluster = make_cluster(start=False)
    with pytest.raises(InvalidRequest, match=match):
        cluster.up(**request_)
    assert not cluster.data.exists()
