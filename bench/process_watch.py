"""What a daemon holds at a moment: memory, open files, threads, and its gauges of what waits.

Every gauge is taken but those that say what is and not what waits, so that one declared later is too.
What grows with the bytes that are stored is apart: mapped pages of the VDEVs' indexes, which the kernel takes
back when it wants to, and open segments (256 a VDEV at most, of 64 MiB). Neither is in the other figures.
"""

from __future__ import annotations

import os
import re
import urllib.request
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path

from replicast.cli.processes import Daemon
from replicast.metrics import METRICS
from replicast.units import KIB, MIB

STATES = frozenset(
    {
        "path_mtu_bytes",
        "udp_offload",
        "vdev_bytes",
        "vdev_state",
        "vdevs_left_out",
        "rows_led",
        "generation",
        "lease_age_seconds",
        "lease_valid",
        "raft_journal_entries",  # up to its next snapshot, which is further away than a run is long
        "raft_state",
        "raft_term",
        "voter_epoch",
        "s3_certificate_expires_seconds",
        "users",
        "users_version",
    }
)
# What is there when nothing happens: a limit that was learned.
LEVELS = frozenset({"chunk_put_window_bytes"})
GAUGES = frozenset(each.name for each in METRICS.values() if each.kind == "gauge")
WATCHED = GAUGES - STATES
QUEUES = WATCHED - LEVELS
MEMORY = ("PSS MiB", "own MiB", "RSS MiB")
HANDLES = ("files", "threads")
STORED = ("index MiB", "segments")
INDEX_FILE, SEGMENT_SUFFIX = "/data.mdb", ".seg"
SCRAPE_SECONDS = 10.0
_SAMPLE = re.compile(r"^replicast_(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_ROLLUP = {"Pss": "PSS MiB", "Pss_Anon": "own MiB", "Rss": "RSS MiB"}
Values = dict[str, float]


def look(daemon: Daemon) -> Values:
    """Now. Raises OSError when it has ended or does not answer."""
    pid = daemon.pid()
    if pid is None:
        raise ProcessLookupError(f"{daemon.name} has ended")
    found = memory(
        Path(f"/proc/{pid}/smaps_rollup").read_text(), Path(f"/proc/{pid}/smaps").read_text()
    )
    files = open_files(pid)
    found["segments"] = sum(each.endswith(SEGMENT_SUFFIX) for each in files)
    found["files"] = len(files) - found["segments"]
    found["threads"] = len(list(Path(f"/proc/{pid}/task").iterdir()))
    return found | gauges(scrape(daemon))


def memory(rollup: str, mappings: str) -> Values:
    """Of a smaps_rollup and a smaps file (proc(5))."""
    index = Counter[str]()
    inside = False
    for line in mappings.splitlines():
        key, _, value = line.partition(":")
        if " " in key:  # the line of the next mapping
            inside = line.endswith(INDEX_FILE)
        elif inside and key in _ROLLUP:
            index[key] += int(value.split()[0])
    found = {"index MiB": index["Rss"] * KIB / MIB}
    for line in rollup.splitlines()[1:]:
        key, _, value = line.partition(":")
        if key in _ROLLUP:
            found[_ROLLUP[key]] = (int(value.split()[0]) - index[key]) * KIB / MIB
    return found


def open_files(pid: int) -> list[str]:
    """What they are called."""
    found = []
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found.append(os.readlink(each))
    return found


def scrape(daemon: Daemon) -> str:
    """Its /metrics."""
    with urllib.request.urlopen(
        f"http://{daemon.metrics}/metrics", timeout=SCRAPE_SECONDS
    ) as answer:
        return str(answer.read().decode())


def gauges(text: str) -> Values:
    """Those that are watched; several of one name are added up."""
    found: Values = defaultdict(float)
    for name, _, value in _SAMPLE.findall(text):
        if name in WATCHED:
            found[name] += float(value)
    return dict(found)


def used_bytes(text: str) -> float:
    """Of all VDEVs of a target."""
    samples = _SAMPLE.findall(text)
    return sum(float(v) for name, of, v in samples if name == "vdev_bytes" and 'kind="used"' in of)
