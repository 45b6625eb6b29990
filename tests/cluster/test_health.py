"""status, verify, repair: killed targets, a flipped byte."""

from __future__ import annotations

import re

import pytest

MIB = 1 << 20


@pytest.fixture(scope="module")
def cluster(cluster_factory):
    made = cluster_factory()
    made.run("bucket", "create", "photos")
    yield made
    made.down()
    made.end()


def flip_byte(cluster, chunk):
    """Flip one byte of one copy of `chunk` on disk; returns the name of its target."""
    for path in sorted(cluster.data.glob("t*/v*/log/*.seg")):
        at = path.read_bytes().find(chunk)
        if at >= 0:
            with open(path, "r+b") as file:
                file.seek(at + len(chunk) // 2)
                byte = file.read(1)
                file.seek(-1, 1)
                file.write(bytes([byte[0] ^ 1]))
            return path.parts[-4]
    raise AssertionError("no copy found")


def copies_of(verified: bytes) -> int:
    """What a `verify` that found nothing wrong has counted: 3 of the version, 3 of each chunk.

    More of a chunk where a VDEV was so late to store it that another one was asked too.
    """
    (line,) = verified.decode().splitlines()
    found = re.search(r"(\d+) copies", line)
    assert found is not None and int(found[1]) >= 12, line
    return int(found[1])


def test_a_flipped_byte_is_found_and_mended(cluster, data):
    body = data(3 * MIB)
    cluster.run("put", "-q", "-", "photos/flip", stdin=body)
    whole = copies_of(cluster.out("verify", "photos/flip"))
    target = flip_byte(cluster, body[MIB : 2 * MIB])
    found = cluster.run("verify", "photos/", code=1).stdout.decode().splitlines()
    bad = [line for line in found if line.startswith("CORRUPT: chunk ")]
    assert len(bad) == 1 and f" of {target}: photos/flip" in bad[0] and " on VDEV " in bad[0]
    assert cluster.out("cat", "photos/flip") == body
    repaired = cluster.run("repair").stdout.decode()
    assert repaired.count("restored: chunk ") == 1
    assert copies_of(cluster.out("verify", "photos/flip")) >= whole


def test_versions_that_no_listing_shows_are_walked_too(cluster, data):
    """An older version, and one under a delete marker."""
    older, deleted = data(MIB), data(MIB)
    for name, bodies in {"replaced": (older, data(1000)), "deleted": (deleted,)}.items():
        for body in bodies:
            cluster.run("put", "-q", "-", f"photos/{name}", stdin=body)
    cluster.run("rm", "photos/deleted")
    for name, body in {"replaced": older, "deleted": deleted}.items():
        target = flip_byte(cluster, body)
        found = cluster.run("verify", f"photos/{name}", code=1).stdout.decode()
        assert f" of {target}: photos/{name}" in found and found.startswith("CORRUPT: chunk ")
        assert "restored: chunk " in cluster.out("repair", f"photos/{name}").decode()
        cluster.run("verify", f"photos/{name}")


def test_a_flipped_byte_is_never_returned(cluster, data):
    body = data(MIB)
    cluster.run("put", "-q", "-", "photos/read", stdin=body)
    flip_byte(cluster, body)
    for _ in range(3):
        assert cluster.out("cat", "photos/read") == body
    cluster.run("repair")
    cluster.run("verify")


def test_status__says_what_is_there(cluster):
    report = cluster.wait_healthy()
    assert report["verdict"] == "healthy" and report["problems"] == []
    assert "all failure domains share one machine" in report["notes"]
    assert [target["up"] for target in report["targets"]] == [True] * 4
    assert [vdev["state"] for vdev in report["vdevs"]] == ["up"] * 8
    assert report["raft"]["leader"] and report["raft"]["quorum"]
    text = cluster.out("status").decode()
    assert text.startswith("cluster is HEALTHY") and "8 VDEVs" not in text


def test_one_and_two_targets_killed(cluster, data):
    body = data(2 * MIB + 5)
    cluster.run("put", "-q", "-", "photos/before", stdin=body)
    cluster.kill("t2")
    cluster.wait_status(
        lambda report: report["exit"] == 1 and "target t2 does not answer" in report["problems"]
    )
    assert cluster.out("cat", "photos/before") == body
    cluster.run("put", "-q", "-", "photos/with one down", stdin=body[1:])
    assert cluster.out("cat", "photos/with one down") == body[1:]
    cluster.kill("t3")
    cluster.wait_status(lambda report: report["exit"] == 2 and report["verdict"] == "at_risk")
    cluster.up()
    cluster.wait_healthy()
    assert cluster.out("cat", "photos/with one down") == body[1:]
    cluster.run("repair")
    cluster.run("verify")
