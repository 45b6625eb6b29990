"""bench/full_load.py: what is flat, what gauges it takes, and a tiny run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from flatness import judge, thirds
from full_load_table import Found, paces
from process_watch import GAUGES, LEVELS, QUEUES, STATES, gauges, memory, used_bytes

from replicast.units import MIB

SECONDS = 120
TEXT = """# TYPE replicast_vdev_queue_bytes gauge
replicast_vdev_queue_bytes{vdev="a"} 5.0
replicast_vdev_queue_bytes{vdev="b"} 1e+03
replicast_vdev_bytes{kind="used",vdev="a"} 70.0
replicast_vdev_bytes{kind="free",vdev="a"} 30.0
replicast_vdev_bytes{kind="used",vdev="b"} 7.0
replicast_names_parked 0.0
replicast_datagrams_sent_total{kind="control"} 12.0
"""


@pytest.mark.parametrize(
    ("what", "samples", "flat"),
    [
        ("PSS MiB", [20, 90, 100, 101, 117, 118], True),
        ("PSS MiB", [20, 90, 100, 100, 119, 120], False),
        ("own MiB", [300, 300, 100, 100, 90, 90], True),
        ("files", [1, 1, 50, 50, 54, 54], True),
        ("files", [1, 1, 50, 50, 55, 55], False),
        ("segments", [1, 1, 50, 50, 99, 99], True),
        ("names_parked", [0, 0, 0, 0, 8, 8], True),
        ("names_parked", [0, 0, 0, 0, 9, 9], False),
        ("vdev_queue_bytes", [0, 0, MIB, MIB, 2 * MIB, 2 * MIB], True),
        ("vdev_queue_bytes", [0, 0, MIB, MIB, 3 * MIB, 3 * MIB], False),
    ],
)
def test_judge(what: str, samples: list[float], flat: bool) -> None:
    row = judge("t1", what, samples)
    assert (row.problem == "") is flat
    assert row.most == max(samples)


def test_judge__too_few_samples_are_not_flat() -> None:
    assert judge("t1", "files", [1, 1]).problem


@pytest.mark.parametrize("count", [3, 4, 5, 120])
def test_thirds(count: int) -> None:
    parts = thirds(range(count))
    assert [each for part in parts for each in part] == list(range(count))
    assert all(parts)


def test_gauges__are_all_sorted_out() -> None:
    assert STATES < GAUGES and LEVELS < GAUGES
    assert {"vdev_queue_bytes", "s3_requests_waiting", "payload_transfers"} <= QUEUES
    assert gauges(TEXT) == {"vdev_queue_bytes": 1005, "names_parked": 0}
    assert used_bytes(TEXT) == 77


def test_memory__without_the_index() -> None:
    total = "00-ff ---p 0 00:00 0  [rollup]\nRss:  9216 kB\nPss:  7168 kB\nPss_Anon:  4096 kB\n"
    other = "10-20 rw-p 0 00:00 0\nRss:  5120 kB\nPss:  5120 kB\n"
    index = "20-30 r--s 0 fe:00 7   /d/t1/v1/index/data.mdb\nRss:  1024 kB\nPss:  1024 kB\n"
    found = memory(total, other + index + other + index)
    assert found == {"PSS MiB": 5, "own MiB": 4, "RSS MiB": 7, "index MiB": 2}


def test_paces__of_windows_or_of_the_third() -> None:
    found = Found(taken=[{"get": [1.0] * 19 + [9.0]}] * 3, seconds=[2.0] * 3)
    (pace,) = paces(found)
    assert (pace.count, pace.per_second, pace.most_ms) == (60, [10.0] * 3, 9.0)
    assert (pace.p50_ms, pace.p99_ms) == ([1.0] * 3, [9.0] * 3)
    found.taken[2] = {}
    assert paces(found)[0].p50_ms == [1.0, 1.0, 0.0]


def test_full_load(tmp_path: Path) -> None:
    """All kinds of operations, and all daemons. Seconds are too short to be flat in."""
    path = tmp_path / "found.json"
    program = Path(__file__).with_name("full_load.py")
    done = subprocess.run(
        [sys.executable, str(program), "--dir", str(tmp_path), "--json", str(path)],
        env=os.environ | {"REPLICAST_BENCH_TINY": "1"},
        timeout=SECONDS,
        stdout=subprocess.PIPE,
        text=True,
    )
    found = json.loads(path.read_text())
    assert found["failures"] == found["not_empty"] == []
    assert done.returncode == (0 if found["good"] else 1)
    assert done.stdout.splitlines()[-1] == ("FLAT" if found["good"] else "NOT FLAT")
    kinds = {each["kind"] for each in found["operations"]}
    for who in ("native", "S3"):
        assert {f"{who} get 4 KiB", f"{who} get 64 KiB", f"{who} overwrite 4 KiB"} <= kinds
    for each in ("t1", "t4", "gw1"):
        assert min(found["series"][f"{each} own MiB"]) > 1
    assert "t1 vdev_queue_bytes" in found["series"]
    assert "gw1 s3_requests_under_way" in found["series"]
    assert list(tmp_path.iterdir()) == [path]
