"""limits.py, ladder.py, table.py and multicast_pairs.py, tiny: all cells have figures, and plots are XML."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from cheap_hash import cheap_hash
from no_disk import SmallWriter, no_disk
from svg_plot import line_chart
from tmpfs import SHM, lacking

from replicast.disks import RealDisk
from replicast.hashing import DEFAULT_ALGORITHM, content_hash, content_hasher
from replicast.units import MIB

FOLDER = Path(__file__).parent
LIMITS = (
    "memcpy, 256 MiB",
    "SHA-256, 1 MiB",
    "SHA-256, 4 KiB",
    "content hash, 1 MiB",
    "disk, sync each MiB",
    "disk, sync each 8 MiB",
    "disk, sync each 8 MiB, three copies",
    "disk, 4 KiB and sync",
    "disk, 4 KiB and sync, three copies",
    "UDP stream, 61440 B",
    "UDP stream, UDP_SEGMENT",
    "UDP ping-pong, 64 B",
)
ON_TMPFS = ("no disk", "no disk, no hash")
ELSEWHERE = ("whole", "no network", "no network, no hash")
STANDING = ("start to first PUT", "memory, PSS", "CPU, of one core")
UNITS = ("MiB/s", "op/s", "us", "s", "MiB", "%", "x")
SECONDS = 120
SVG = "{http://www.w3.org/2000/svg}"


def run(program: str, *options: str) -> str:
    """Its output."""
    environ = os.environ | {"REPLICAST_BENCH_TINY": "1"}
    command = [sys.executable, str(FOLDER / program), *options]
    done = subprocess.run(
        command, env=environ, timeout=SECONDS, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def check(path: Path, names: Sequence[str]) -> None:
    """Each of them was measured once, and nothing else was."""
    found: dict[str, Any] = json.loads(path.read_text())
    assert found["implementation"]
    assert {each["name"] for each in found["figures"]} == set(names)
    for each in found["figures"]:
        assert each["unit"] in UNITS
        assert len(each["runs"]) == 1 and each["runs"][0] > 0, each
        assert all(min(column) >= 0 for column in each.values() if isinstance(column, list)), each


def test_limits(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    run("limits.py", "--dir", str(tmp_path), "--json", str(path))
    check(path, LIMITS)
    assert list(tmp_path.iterdir()) == [path]


def test_ladder(tmp_path: Path) -> None:
    path, plot = tmp_path / "figures.json", tmp_path / "plot.svg"
    said = run("ladder.py", "--dir", str(tmp_path), "--json", str(path), "--plot", str(plot))
    rungs = ELSEWHERE if "left out" in said else ELSEWHERE + ON_TMPFS
    check(path, LIMITS + rungs)
    texts = [each.text for each in ElementTree.parse(plot).iter(f"{SVG}text")]
    assert set(rungs) <= set(texts)
    assert sorted(tmp_path.iterdir()) == [path, plot]


def test_table(tmp_path: Path) -> None:
    """The sizes of the tiny table are two of four: each has two operations and numbers of clients."""
    path, plot = tmp_path / "figures.json", tmp_path / "plot.svg"
    said = run("table.py", "--json", str(path), "--plot", str(plot))
    sizes = "4 KiB", "1 MiB"
    names = [
        f"{who} {operation} {size} x{clients}"
        for who in ("native", "S3")
        for operation in ("PUT", "GET")
        for size in sizes
        for clients in (1, 8)
    ]
    check(path, LIMITS + tuple(names) + STANDING)
    rows = [line.split("|")[1].strip() for line in said.splitlines() if line.startswith("| ")]
    assert set(rows) >= {*names, *LIMITS, *STANDING}
    assert len(list(ElementTree.parse(plot).iter(f"{SVG}polyline"))) == len(names) / 4


@pytest.mark.parametrize("where", ["loopback", "namespaces"])
def test_multicast_pairs(tmp_path: Path, where: str) -> None:
    """By multicast payload leaves once: the groups are used."""
    if why := lacking(SHM):
        pytest.skip(why)
    demanded = "netns" in os.environ.get("REPLICAST_REQUIRE", "").split(",")
    if where == "namespaces" and not demanded and not can_make_namespaces():
        pytest.skip("network namespaces cannot be made")
    path = tmp_path / "figures.json"
    said = run("multicast_pairs.py", "--where", where, "--json", str(path))
    check(path, [f"{where} {each}" for each in ("unicast", "multicast", "multicast to unicast")])
    unicast, multicast = (float(sent) for sent in re.findall(r"sent (\S+),", said))
    assert multicast < 2 and unicast >= 3


def can_make_namespaces() -> bool:
    """As root, with `ip`."""
    if shutil.which("ip") is None:
        return False
    name = f"rcprobe{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True)
    subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
    return made.returncode == 0


def test_line_chart() -> None:
    series = {"put & get": [(4096, 1.5), (MIB, 300.0)], "<one>": [(MIB, 20.0)]}
    root = ElementTree.fromstring(line_chart('"Sizes"', "MiB/s", series))
    texts = [each.text for each in root.iter(f"{SVG}text")]
    assert {"put & get", "<one>", "4 KiB", "1 MiB", '"Sizes"'} <= set(texts)
    assert len(list(root.iter(f"{SVG}polyline"))) == len(series)


@pytest.mark.parametrize("size", [0, 100, 4096, 5000, MIB])
def test_cheap_hash(size: int) -> None:
    """The same in pieces, another for another beginning or size, and gone after the block."""
    data = os.urandom(size)
    real = content_hash(DEFAULT_ALGORITHM, data)
    with cheap_hash():
        cheap = content_hash(DEFAULT_ALGORITHM, data)
        pieces = content_hasher(DEFAULT_ALGORITHM)
        for start in range(0, size, 1000):
            pieces.update(data[start : start + 1000])
        assert pieces.digest() == cheap != real
        assert len(cheap) == len(real)
        assert cheap != content_hash(DEFAULT_ALGORITHM, data + b"x")
        assert cheap != content_hash(DEFAULT_ALGORITHM, b"x" + data)
    assert content_hash(DEFAULT_ALGORITHM, data) == real


def test_no_disk(tmp_path: Path) -> None:
    """Only what is small is written, and nothing is allocated; all is as before after the block."""
    path, large = tmp_path / "file", os.urandom(MIB)
    with no_disk():
        file = RealDisk().open(path, create=True)
        file.allocate(4 * MIB)
        file.write(0, [b"small"])
        file.write_synced(MIB, [large])
        file.write(2 * MIB, [large])
        assert file.size() == 4 * MIB and path.stat().st_blocks * 512 < MIB
    assert file.read(0, 5) == b"small" and not any(file.read(MIB, 2 * MIB))
    file.write_synced(MIB, [large])
    assert file.read(MIB, MIB) == large


def test_no_disk__writer(tmp_path: Path) -> None:
    """What is large has ended at once, what is small when it is there."""
    notify_fd = os.eventfd(0)
    writer = SmallWriter(notify_fd)
    with open(tmp_path / "file", "w+b") as file:
        for pieces in ([os.urandom(MIB)], [b"small", b"er"]):
            writer.submit_pieces(file.fileno(), -1, 0, pieces)
            assert os.eventfd_read(notify_fd) == 1
            assert (writer.take(), writer.take()) == (0, None)
        writer.stop()
        assert file.read() == b"smaller"
    os.close(notify_fd)
