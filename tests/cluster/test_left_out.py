"""A target starts without a VDEV whose folder is not there, and with it when it is back."""

from __future__ import annotations

import re
import urllib.request
from typing import Any

import pytest

from .conftest import Cluster

MIB = 1 << 20


def metric(cluster: Cluster, target: str, name: str) -> float:
    address = cluster.daemons()[target].metrics
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=20) as answer:
        found = re.search(rf"^replicast_{name} (\S+)$", answer.read().decode(), re.MULTILINE)
    assert found is not None, name
    return float(found[1])


def states(report: dict[str, Any], target: str) -> list[str]:
    return sorted(vdev["state"] for vdev in report["vdevs"] if vdev["target"] == target)


@pytest.mark.parametrize("mounted", [False, True], ids=["gone", "empty"])
def test_a_folder_that_is_gone_or_empty__costs_one_vdev_and_not_its_target(
    make_cluster, data, tmp_path, mounted
):
    cluster = make_cluster(targets=3, vdevs=2)
    cluster.run("bucket", "create", "left")
    bodies = {f"before {number}": data(2 * MIB) for number in range(3)}
    for name, body in bodies.items():
        cluster.run("put", "-q", "-", f"left/{name}", stdin=body)
    cluster.wait_healthy()
    folder = cluster.data / "t2" / "v1"

    cluster.kill("t2")
    folder.rename(tmp_path / "elsewhere")
    if mounted:
        folder.mkdir()
    cluster.daemons()["t2"].start()
    report = cluster.wait_status(
        lambda report: (
            states(report, "t2") == ["missing", "up"]
            and report["rows"]["without_leader"] == report["rows"]["not_writable"] == 0
        )
    )
    (missing,) = (vdev["index"] for vdev in report["vdevs"] if vdev["state"] == "missing")
    assert f"VDEV {missing} of t2 is missing" in report["problems"]
    assert report["verdict"] == "degraded" and [t["up"] for t in report["targets"]] == [True] * 3
    assert metric(cluster, "t2", "vdevs_left_out") == 1
    said = cluster.out("logs", "-n", 100_000).decode()
    assert f"the VDEV in {folder} is left out" in said

    bodies["while it is missing"] = data(2 * MIB)
    cluster.run("put", "-q", "-", "left/while it is missing", stdin=bodies["while it is missing"])
    for name, body in bodies.items():
        assert cluster.out("cat", f"left/{name}") == body

    if mounted:
        folder.rmdir()
    (tmp_path / "elsewhere").rename(folder)
    cluster.run("target", "restart", "t2")
    cluster.wait_status(lambda report: states(report, "t2") == ["up", "up"])
    cluster.run("repair")
    cluster.wait_healthy()
    assert metric(cluster, "t2", "vdevs_left_out") == 0
    for name, body in bodies.items():
        assert cluster.out("cat", f"left/{name}") == body
    cluster.run("verify", "left/")
