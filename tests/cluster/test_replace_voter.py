"""The drill of docs/operations.md: a voter is lost for good, another target takes its place.

How long the cluster was without a leader is printed: wall time on a busy machine is no judge.
"""

from __future__ import annotations

import json
import shutil
import time
from typing import Any

from .conftest import POLL_SECONDS, SETTLE_SECONDS, Cluster


def raft(cluster: Cluster) -> dict[str, Any]:
    """The report of `replicast raft status`, whatever its exit code."""
    for code in (0, 1):
        try:
            report: dict[str, Any] = json.loads(
                cluster.run("raft", "status", "--json", code=code).stdout
            )
        except AssertionError:
            continue
        return report | {"exit": code}
    raise AssertionError("raft status failed")


def states(report: dict[str, Any]) -> dict[str, str]:
    return {voter["name"]: voter["state"] for voter in report["voters"]}


def wait_leader(cluster: Cluster) -> dict[str, Any]:
    end = time.monotonic() + SETTLE_SECONDS
    while not (report := raft(cluster))["quorum"]:
        assert time.monotonic() < end, report
        time.sleep(POLL_SECONDS)
    return report


def test_a_lost_voter_is_replaced_and_comes_back_as_a_plain_target(make_cluster, data, tmp_path):
    cluster = make_cluster(targets=4)
    cluster.wait_healthy()
    before = raft(cluster)
    assert before["exit"] == 0 and before["voter_epoch"] == 1
    formed = states(before)
    (spare,) = {"t1", "t2", "t3", "t4"} - set(formed)
    old = before["leader"]
    staying = sorted(set(formed) - {old})
    cluster.run("bucket", "create", "drill")
    cluster.run("user", "create", "ann", "--key-id", "ANNSKEY")
    blobs = {f"o{number}": data(3_000_000) for number in range(3)}
    for name, blob in blobs.items():
        cluster.run("put", "-", f"drill/{name}", stdin=blob)

    assert "no target t9" in cluster.error("raft", "replace", old, "t9", code=2)
    assert f"{spare} is no voter" in cluster.error("raft", "replace", spare, old, code=2)
    assert "is a voter already" in cluster.error("raft", "replace", old, staying[0], code=2)

    # Detect: its machine is lost, and its files of Raft with it.
    cluster.kill(old)
    shutil.rmtree(cluster.data / old / "raft")
    (cluster.data / old / "raft").mkdir()
    assert states(wait_leader(cluster))[old] == "missing"

    # Replace, and verify.
    began = time.monotonic()
    said = cluster.out("raft", "replace", old, spare).decode()
    print(f"replaced after {time.monotonic() - began:.1f} s: {said}")
    after = raft(cluster)
    assert after["exit"] == 0 and after["voter_epoch"] == 2
    assert set(states(after)) == {spare, *staying}
    cluster.run("put", "-", "drill/during", stdin=data(100_000))

    # It comes back: a target like others, which votes no more.
    cluster.daemons()[old].start()
    report = cluster.wait_healthy()
    assert old not in report["raft"]["voters_heard"] and not report["raft"]["voters_lost"]
    assert not (cluster.data / old / "raft" / "raft.vote").exists()
    assert "voter_epoch = 2" in (cluster.data / old / "voters.toml").read_text()

    # Another of the first voters goes: two of the three are there, one of them new.
    cluster.kill(staying[0])
    report = wait_leader(cluster)
    assert states(report)[staying[0]] == "missing" and report["exit"] == 1
    blobs["after"] = data(1_000_000)
    cluster.run("put", "-", "drill/after", stdin=blobs["after"])
    for name, blob in blobs.items():
        assert cluster.out("cat", f"drill/{name}") == blob

    # All of it is on disk: everything is stopped and started again.
    cluster.down()
    cluster.up()
    cluster.wait_healthy()
    assert set(states(raft(cluster))) == {spare, *staying}
    assert b"ANNSKEY" in cluster.out("user", "list")
    for name, blob in blobs.items():
        assert cluster.out("cat", f"drill/{name}") == blob
