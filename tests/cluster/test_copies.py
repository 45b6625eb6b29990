"""cp and mv: objects under other names, and their bytes stay where they are."""

from __future__ import annotations

import json

import pytest

MIB = 1 << 20


def stat(cluster, target):
    return json.loads(cluster.out("stat", "--json", target))


@pytest.mark.parametrize("size_bytes", [0, 1000, 300_000, 5 * MIB + 7])
def test_cp__moves_no_bytes(cluster, bucket, data, tmp_path, size_bytes):
    source = tmp_path / "source"
    source.write_bytes(data(size_bytes))
    cluster.run("put", "-q", "-r", tmp_path, f"{bucket}/from")
    said = cluster.run("cp", f"{bucket}/from/source", f"{bucket}/to/copy").stderr.decode()
    assert said.startswith("copied 1 object, ") and said.endswith(": no bytes sent\n")
    assert cluster.out("cat", f"{bucket}/to/copy") == source.read_bytes()
    ours, theirs = stat(cluster, f"{bucket}/from/source"), stat(cluster, f"{bucket}/to/copy")
    assert {"mode", "mtime"} == set(ours["metadata"])
    for field in ("size_bytes", "etag", "metadata", "chunks"):
        assert ours[field] == theirs[field]
    cluster.run("verify", f"{bucket}/")


def test_cp__into_another_bucket_and_into_a_folder(cluster, bucket, data):
    body = data(200_000)
    cluster.run("put", "-q", "-", f"{bucket}/a/x", stdin=body)
    cluster.run("bucket", "create", f"{bucket}-other")
    for target in (f"{bucket}-other", f"{bucket}-other/folder/"):
        cluster.run("cp", "-q", f"{bucket}/a/x", target)
    assert cluster.out("ls", f"{bucket}-other").split() == [b"folder/x", b"x"]
    assert cluster.out("cat", f"{bucket}-other/folder/x") == body


def test_cp__a_chunk_that_lies_on_too_few_hosts_is_stored_anew(make_cluster, data):
    """Three copies are wanted, two hosts are there: the copy is made, short like a put."""
    cluster = make_cluster(targets=3, vdevs=1)
    cluster.run("bucket", "create", "short")
    body = data(2 * MIB)
    cluster.run("put", "-q", "-", "short/a", stdin=body)
    cluster.kill("t3")
    cluster.wait_status(lambda report: "down" in {vdev["state"] for vdev in report["vdevs"]})
    cluster.run("cp", "short/a", "short/b")
    assert cluster.out("cat", "short/b") == body
    assert cluster.status()["chunks_below_copies"] > 0


def test_tree__is_copied_and_moved(cluster, bucket, data, tmp_path):
    bodies = {f"d{n % 3}/f{n}": data(n * 30_011) for n in range(12)}
    for name, body in bodies.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(body)
    cluster.run("put", "-q", "-r", tmp_path, f"{bucket}/a")
    said = cluster.run("cp", "-r", f"{bucket}/a", f"{bucket}/b").stderr.decode()
    assert said.startswith("copied 12 objects, ") and "no bytes sent" in said
    said = cluster.run("mv", "-r", f"{bucket}/a/", f"{bucket}/c/d").stderr.decode()
    assert said.startswith("moved 12 objects, ") and "no bytes sent" in said
    names = cluster.out("ls", bucket).decode().split()
    assert names == sorted(f"{folder}/{name}" for folder in ("b", "c/d") for name in bodies)
    for folder in ("b", "c/d"):
        for name, body in bodies.items():
            assert cluster.out("cat", f"{bucket}/{folder}/{name}") == body


def test_mv__renames_and_keeps_the_older_versions(cluster, bucket):
    for body in (b"one", b"two"):
        cluster.run("put", "-q", "-", f"{bucket}/old", stdin=body)
    cluster.run("mv", "-q", f"{bucket}/old", f"{bucket}/new")
    assert cluster.out("ls", bucket) == b"new\n"
    assert cluster.out("cat", f"{bucket}/new") == b"two"
    versions = cluster.out("stat", "--versions", "--json", f"{bucket}/old").splitlines()
    assert [json.loads(line)["delete_marker"] for line in versions] == [True, False, False]


def test_refusals(cluster, bucket):
    cluster.run("put", "-q", "-", f"{bucket}/a/x", stdin=b"x")
    cluster.run("put", "-q", "-", f"{bucket}/taken", stdin=b"taken")
    for command in ("cp", "mv"):
        text = cluster.error(command, f"{bucket}/a/x", f"{bucket}/a/x", code=2)
        assert "the same object" in text
        text = cluster.error(command, f"{bucket}/a/x", f"{bucket}/a/", code=2)
        assert "the same object" in text
        for target in ("a", "a/b", ""):
            text = cluster.error(command, "-r", f"{bucket}/a", f"{bucket}/{target}", code=2)
            assert "overlap" in text
        assert "give BUCKET/NAME" in cluster.error(command, bucket, f"{bucket}/b", code=2)
        assert "NO_SUCH_NAME" in cluster.error(command, f"{bucket}/b", f"{bucket}/c", code=1)
        assert "NO_SUCH_BUCKET" in cluster.error(command, f"{bucket}/a/x", "no-bucket", code=1)
        text = cluster.error(command, "--if-absent", f"{bucket}/a/x", f"{bucket}/taken", code=1)
        assert "CONDITION_FAILED" in text
    assert cluster.out("cat", f"{bucket}/a/x") == b"x"
    assert cluster.out("cat", f"{bucket}/taken") == b"taken"
