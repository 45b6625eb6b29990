"""What a daemon holds at a moment: memory, open files, threads, and its gauges of what waits.

Every gauge is taken but those that say what is and not what waits, so that one declared later is too.
"""

from __future__ import annotations

import re
import urllib.request
from collections import defaultdict
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
SCRAPE_SECONDS = 10.0
_SAMPLE = re.compile(r"^replicast_(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_ROLLUP = {"Pss": "PSS MiB", "Pss_Anon": "own MiB", "Rss": "RSS MiB"}
Values = dict[str, float]


def look(daemon: Daemon) -> Values:
    """Now. Raises OSError when it has ended or does not answer."""
    pid = daemon.pid()
    if pid is None:
        raise ProcessLookupError(f"{daemon.name} has ended")
    found: Values = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        key, _, value = line.partition(":")
        if key in _ROLLUP:
            found[_ROLLUP[key]] = int(value.split()[0]) * KIB / MIB
    found["files"] = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    found["threads"] = len(list(Path(f"/proc/{pid}/task").iterdir()))
    return found | gauges(scrape(daemon))


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
