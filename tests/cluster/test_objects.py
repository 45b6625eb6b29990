"""put, get, cat, ls, stat, rm through the command line, on both transports."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

KIB, MIB = 1024, 1 << 20
INLINE, NEGOTIATED_ABOVE = 64 * KIB, 64 * KIB
SIZES = [
    0,
    1,
    16 * KIB,
    INLINE - 1,
    INLINE,
    INLINE + 1,
    MIB - 1,  # a chunk
    MIB,
    MIB + 1,
    MIB + NEGOTIATED_ABOVE,
    MIB + NEGOTIATED_ABOVE + 1,
    5 * MIB + 3,
]
NAMES = [
    "a",
    "with space and  two",
    "häßlich/日本語/🙂",
    "-rf",
    "a/b/c/../d",
    "#%?*'\"\\;$HOME",
    "n" * 1024,
    "/leading",
]


@pytest.fixture(scope="module", params=["unicast", "multicast"])
def cluster(request, cluster_factory):
    made = cluster_factory(transport=request.param)
    made.run("bucket", "create", "photos")
    yield made
    made.down()
    made.end()


def test_put_get__all_sizes(cluster, bucket, data, tmp_path):
    for size in SIZES:
        source, target = tmp_path / "in", tmp_path / "out"
        source.write_bytes(data(size))
        cluster.run("put", "-q", source, f"{bucket}/{size}")
        cluster.run("get", "-q", f"{bucket}/{size}", target)
        assert target.read_bytes() == source.read_bytes(), size
        entry = json.loads(cluster.out("stat", "--json", f"{bucket}/{size}"))
        assert entry["size_bytes"] == size
        assert entry["chunks"] == (0 if size <= INLINE else -(-size // MIB))
    listed = cluster.out("ls", bucket).decode().split()
    assert listed == sorted(map(str, SIZES))


def test_put__from_standard_input_and_cat(cluster, bucket, data):
    body = data(3 * MIB + 17)
    cluster.run("put", "-q", "-", f"{bucket}/stream", stdin=body)
    assert cluster.out("cat", f"{bucket}/stream") == body
    assert cluster.out("get", f"{bucket}/stream", "-") == body
    cluster.run("put", "-q", "-", f"{bucket}/nothing")
    assert cluster.out("cat", f"{bucket}/nothing") == b""


def test_put__a_second_time_sends_no_chunk(cluster, bucket, data, tmp_path):
    source = tmp_path / "file"
    source.write_bytes(data(2 * MIB))
    first = cluster.run("put", source, f"{bucket}/one").stderr.decode()
    assert "6 copies written" in first
    second = cluster.run("put", source, f"{bucket}/two").stderr.decode()
    assert "2 chunks were there already, 0 copies written" in second


def test_tree(cluster, bucket, data, tmp_path):
    source, target = tmp_path / "tree", tmp_path / "out"
    for number in range(40):
        path = source / f"d{number % 5}" / f"sub dir {number % 3}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data(number * 1999))
    cluster.run("put", "-q", "-r", source, f"{bucket}/tree")
    cluster.run("get", "-q", "-r", f"{bucket}/tree", target)
    files = sorted(path for path in source.rglob("*") if path.is_file())
    assert len(files) == 40 == sum(path.is_file() for path in target.rglob("*"))
    for path in files:
        assert (target / path.relative_to(source)).read_bytes() == path.read_bytes()
    cluster.run("rm", "-r", f"{bucket}/tree/d1")
    assert len(cluster.out("ls", f"{bucket}/tree").decode().splitlines()) == 32
    # A folder, not all that begins alike.
    cluster.run("put", "-q", "-", f"{bucket}/tree2", stdin=b"x")
    assert "nothing under" in cluster.error("rm", "-r", f"{bucket}/tre", code=1)
    cluster.run("rm", "-r", f"{bucket}/tree")
    assert cluster.out("ls", bucket) == b"tree2\n"


def test_tree__modes_and_times_come_back(cluster, bucket, data, tmp_path):
    source, target = tmp_path / "tree", tmp_path / "out"
    (source / "bin").mkdir(parents=True)
    for number, mode in enumerate((0o755, 0o640, 0o600, 0o666, 0o444)):
        path = source / "bin" / f"f{number}"
        path.write_bytes(data(number * 100_000))
        path.chmod(mode)
        os.utime(path, ns=(0, 1_111_111_111_111_111_111 * (-1 if number == 1 else 1) + number))
    (source / "link").symlink_to("bin/f0")  # stored as the file that it leads to
    cluster.run("put", "-q", "-r", source, f"{bucket}/tree")
    cluster.run("get", "-q", "-r", f"{bucket}/tree", target)
    cluster.run("get", "-q", f"{bucket}/tree/bin/f0", tmp_path / "one")
    pairs = [(source / "bin" / f"f{n}", target / "bin" / f"f{n}") for n in range(5)]
    pairs += [(source / "bin/f0", target / "link"), (source / "bin/f0", tmp_path / "one")]
    for ours, theirs in pairs:
        assert theirs.read_bytes() == ours.read_bytes()
        assert theirs.stat().st_mode == ours.stat().st_mode
        assert theirs.stat().st_mtime_ns == ours.stat().st_mtime_ns
    known = json.loads(cluster.out("stat", "--json", f"{bucket}/tree/bin/f0"))["metadata"]
    assert known == {"mode": "0755", "mtime": "1111111111.111111111"}


def test_tree__what_is_neither_file_nor_folder_is_named_and_nothing_stored(
    cluster, bucket, tmp_path
):
    (tmp_path / "a").write_bytes(b"x")
    os.mkfifo(tmp_path / "queue")
    text = cluster.error("put", "-r", tmp_path, f"{bucket}/t", code=2)
    assert "queue is not a regular file" in text
    assert cluster.out("ls", bucket) == b""


def test_tree__a_name_that_is_not_utf_8_is_named_and_nothing_stored(cluster, bucket, tmp_path):
    for name in (b"a", b"bad\xff"):
        (tmp_path / os.fsdecode(name)).write_bytes(b"x")
    text = cluster.error("put", "-r", tmp_path, f"{bucket}/t", code=2)
    assert "bad\\udcff" in text and "not valid UTF-8" in text
    assert cluster.out("ls", bucket) == b""


def test_put__a_target_that_ends_in_a_slash_takes_the_files_name(cluster, bucket, tmp_path):
    (tmp_path / "x").write_bytes(b"x")
    cluster.run("put", "-q", tmp_path / "x", f"{bucket}/")
    cluster.run("put", "-q", tmp_path / "x", f"{bucket}/folder/")
    assert cluster.out("ls", bucket).split() == [b"folder/x", b"x"]
    assert "no name" in cluster.error("put", "-", f"{bucket}/folder/", code=2)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams(cluster, bucket, tmp_path, closed):
    """A cron job or daemon may close any of them: only what needs one fails, in one line."""
    (tmp_path / "x").write_bytes(b"x" * 30_000)
    for arguments, code in {
        f"put {tmp_path / 'x'} {bucket}/x": (0,),
        f"cat {bucket}/x": (0, 2),
        f"put - {bucket}/y": (0, 2),
    }.items():
        command = f"exec {sys.executable} -m replicast.cli {arguments} {closed}"
        done = subprocess.run(
            ["sh", "-c", command], input=b"", capture_output=True, env=cluster.environ, check=False
        )
        assert done.returncode in code and b"Traceback" not in done.stderr, done
        assert done.returncode == 0 or "2>&-" in closed or b"is closed\n" in done.stderr


def test_broken_pipe_and_full_disk(cluster, bucket, data):
    cluster.run("put", "-q", "-", f"{bucket}/x", stdin=data(3 * MIB))
    for command, said in (("| head -c 1", b""), ("> /dev/full", b"No space left on device\n")):
        done = subprocess.run(
            ["sh", "-c", f"{sys.executable} -m replicast.cli cat {bucket}/x {command}"],
            capture_output=True,
            env=cluster.environ,
            check=False,
        )
        assert done.stderr in (b"", b"replicast: " + said), done


def test_names(cluster, bucket, data):
    for name in NAMES:
        body = data(100)
        cluster.run("put", "-q", "--", "-", f"{bucket}/{name}", stdin=body)
        assert cluster.out("cat", "--", f"{bucket}/{name}") == body
    listed = cluster.out("ls", bucket).decode().splitlines()
    assert listed == sorted(NAMES, key=str.encode)
    entries = [json.loads(line) for line in cluster.out("ls", "--json", bucket).splitlines()]
    assert [entry["name"] for entry in entries] == listed


def test_versions_and_delete(cluster, bucket, data):
    bodies = [data(1000), data(200 * KIB)]
    for body in bodies:
        cluster.run("put", "-q", "-", f"{bucket}/v", stdin=body)
    assert cluster.out("cat", f"{bucket}/v") == bodies[1]
    cluster.run("rm", f"{bucket}/v")
    assert "NO_SUCH_NAME" in cluster.error("cat", f"{bucket}/v", code=1)
    lines = cluster.out("stat", "--versions", "--json", f"{bucket}/v").splitlines()
    versions = [json.loads(line) for line in lines]
    assert [v["delete_marker"] for v in versions] == [True, False, False]
    assert [v["size_bytes"] for v in versions[1:]] == [200 * KIB, 1000]
    assert cluster.out("ls", bucket) == b""


def test_refusals(cluster, bucket, tmp_path):
    (tmp_path / "x").write_bytes(b"x")
    x = tmp_path / "x"
    refused = [
        (2, ("put", x, f"{bucket}/" + "n" * 1025)),
        (2, ("put", x, f"{bucket}")),
        (2, ("put", x, "/name")),
        (2, ("bucket", "create", "Bad_Name!")),
        (2, ("bucket", "create", "x")),
        (1, ("put", x, "nosuchbucket/name")),
        (1, ("get", f"{bucket}/missing", tmp_path / "y")),
        (1, ("stat", f"{bucket}/missing")),
        (1, ("rm", f"{bucket}/missing")),
        (1, ("ls", "nosuchbucket")),
        (1, ("bucket", "create", bucket)),
        (1, ("bucket", "delete", "nosuchbucket")),
        (1, ("put", tmp_path / "missing", f"{bucket}/name")),
        (1, ("put", tmp_path, f"{bucket}/name")),
    ]
    for code, arguments in refused:
        cluster.error(*arguments, code=code)
    assert cluster.out("ls", bucket) == b""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x"]


def test_put__if_absent(cluster, bucket):
    cluster.run("put", "-q", "--if-absent", "-", f"{bucket}/once", stdin=b"first")
    assert (
        "CONDITION"
        in cluster.run(
            "put", "-q", "--if-absent", "-", f"{bucket}/once", stdin=b"second", code=1
        ).stderr.decode()
    )
    assert cluster.out("cat", f"{bucket}/once") == b"first"


def test_bucket_delete__only_when_empty(cluster, bucket):
    cluster.run("put", "-q", "-", f"{bucket}/x", stdin=b"x")
    assert "empty" in cluster.error("bucket", "delete", bucket, code=1)
    cluster.run("rm", f"{bucket}/x")
    assert "empty" not in cluster.run("bucket", "list").stdout.decode()
    assert bucket in cluster.out("bucket", "list").decode().split()


def test_flexhash_show(cluster, bucket, data):
    cluster.run("put", "-q", "-", f"{bucket}/x", stdin=data(2 * MIB))
    lines = cluster.out("flexhash", "show", "--json", "--object", f"{bucket}/x").splitlines()
    name, *chunks = [json.loads(line) for line in lines]
    assert not name["inline"] and len(name["name_replicas"]) == 3
    assert [chunk["offset"] for chunk in chunks] == [0, MIB]
    for chunk in chunks:
        assert len(chunk["held_by"]) == 3
        assert set(chunk["held_by"]) <= set(chunk["negotiating_group"])
    rows = cluster.out("flexhash", "show", "--json").splitlines()
    assert len(rows) == 4096
