"""A byte of an inline object flipped in a segment file, on a follower and on the row's leader.

`verify` finds it, no get ever gives wrong bytes or fails, and the entry comes back from
another replica.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def cluster(cluster_factory):
    made = cluster_factory(targets=3, vdevs=1)
    made.run("bucket", "create", "names")
    yield made
    made.down()
    made.end()


def target_of_vdev(cluster, index: int) -> str:
    return next(v["target"] for v in cluster.status()["vdevs"] if v["index"] == index)


def replicas(cluster, name: str) -> list[str]:
    """Targets of the name's row, its leader first, once all of them are in sync."""
    cluster.wait_healthy()
    shown = cluster.out("flexhash", "show", "--json", "--object", f"names/{name}")
    row = json.loads(shown.splitlines()[0])
    order = [row["row_leader"], *(v for v in row["name_replicas"] if v != row["row_leader"])]
    assert len(order) == 3
    return [target_of_vdev(cluster, index) for index in order]


def flip(cluster, target: str, body: bytes) -> int:
    """Flip one bit of each place where this VDEV has `body`; returns how many there were."""
    count = 0
    for path in sorted(Path(cluster.data / target / "v1").rglob("*")):
        if not path.is_file() or path.suffix == ".mdb":
            continue
        raw = path.read_bytes()
        at = raw.find(body)
        while at >= 0:
            with open(path, "r+b") as file:
                file.seek(at + 10)
                file.write(bytes([raw[at + 10] ^ 4]))
            count += 1
            at = raw.find(body, at + 1)
    return count


def versions(cluster, name: str) -> list[str]:
    """Version ids, oldest first."""
    lines = cluster.out("stat", "--versions", "--json", f"names/{name}").splitlines()
    return [json.loads(line)["version"] for line in lines][::-1]


@pytest.mark.parametrize("which", ["leader", "follower"])
@pytest.mark.parametrize("restart", [False, True], ids=["live", "after a restart"])
def test_flipped__found_read_right_and_restored(cluster, data, which, restart):
    name = f"{which}-{restart}"
    bodies = [data(3000) for _ in range(3)]
    for body in bodies:
        cluster.run("put", "-q", "-", f"names/{name}", stdin=body)
    if restart:
        cluster.down()
        cluster.up()
    order = replicas(cluster, name)
    damaged = order[0] if which == "leader" else order[1]
    if restart:
        cluster.down()
    for body in (bodies[0], bodies[2]):
        assert flip(cluster, damaged, body) >= 1
    if restart:
        cluster.up()
    assert cluster.out("cat", f"names/{name}") == bodies[2]
    if not restart:
        done = cluster.run("verify", f"names/{name}", code=1)
        text = done.stdout.decode()
        assert text.count("CORRUPT") == 2 and damaged in text, text
        print(text.splitlines()[0])
    cluster.run("repair", f"names/{name}")
    cluster.run("verify", f"names/{name}")
    assert len(versions(cluster, name)) == 3
    assert cluster.out("cat", f"names/{name}") == bodies[2]


def test_flipped__repair_restores_in_one_go(cluster, data):
    body = data(2000)
    cluster.run("put", "-q", "-", "names/once", stdin=body)
    for target in replicas(cluster, "once")[1:]:
        assert flip(cluster, target, body) >= 1
    text = cluster.run("repair", "names/once").stdout.decode()
    assert "restored: version entry of names/once, 1 -> 3 copies" in text, text
    cluster.run("verify", "names/once")


@pytest.mark.slow
def test_flipped_everywhere__an_error_and_never_wrong_bytes(cluster, data):
    body = data(2000)
    cluster.run("put", "-q", "-", "names/lost", stdin=body)
    order = replicas(cluster, "lost")
    cluster.down()
    for target in order:
        assert flip(cluster, target, body) >= 1
    cluster.up()
    cluster.run("verify", "names/lost", code=1)
    cluster.run("cat", "names/lost", code=1)
    cluster.run("put", "-q", "-", "names/found", stdin=body)
    assert cluster.out("cat", "names/found") == body
