"""The endpoints that bench/s3.py measures, and the CPU time of the processes that serve them."""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from replicast.cli.layout import load_local
from replicast.cli.s3_access import load_s3_access

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PROCESS_CLOCK = 2  # with a pid: what clock_getcpuclockid(3) returns
REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`pids`: of its server processes right now; their descendants are counted with them."""

    name: str
    url: str
    key_id: str
    secret: str = field(repr=False)
    pids: Callable[[], list[int]]
    region: str = REGION

    def cpu_seconds(self) -> float:
        """Of all server processes so far; children that have ended are their parents'."""
        parents = _parents()
        mine = set(self.pids())
        while more := {pid for pid, parent in parents.items() if parent in mine} - mine:
            mine |= more
        return sum(map(process_seconds, mine))


def cluster_endpoint(name: str, data: Path) -> Endpoint:
    """The first gateway of a cluster that `replicast up` made, with all its daemons."""
    access = load_s3_access(data)

    def pids() -> list[int]:
        found = [daemon.pid() for daemon in load_local(data).all(data)]
        return [pid for pid in found if pid is not None]

    return Endpoint(name, access.endpoint, access.key_id, access.secret, pids, access.region)


def parse_endpoint(text: str) -> Endpoint:
    """NAME=DIR of a cluster, or NAME=URL,KEY_ID,SECRET[,PROCESS...]: pids or names of programs."""
    name, _, value = text.partition("=")
    parts = value.split(",")
    if not name or not value:
        raise argparse.ArgumentTypeError(f"{text!r}: give NAME=DIR or NAME=URL,KEY_ID,SECRET")
    if len(parts) == 1:
        return cluster_endpoint(name, Path(value).resolve())
    if len(parts) == 2:
        raise argparse.ArgumentTypeError(f"{text!r}: a secret is missing")
    url, key_id, secret, *wanted = parts
    return Endpoint(name, url.rstrip("/"), key_id, secret, lambda: _pids(wanted))


def busy_seconds() -> float:
    """CPU time of the whole machine so far, without idle and waiting for disks."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    user, nice, system, _, _, *rest = map(int, fields)
    return (user + nice + system + sum(rest)) / TICKS_PER_SECOND


def process_seconds(pid: int) -> float:
    """CPU time of all threads, to the nanosecond; of children that have ended, in ticks."""
    try:
        children = sum(map(int, _fields(pid)[13:15])) / TICKS_PER_SECOND
        return time.clock_gettime(~pid << 3 | PROCESS_CLOCK) + children
    except OSError:
        return 0.0


def _pids(wanted: list[str]) -> list[int]:
    numbers = [int(each) for each in wanted if each.isdecimal()]
    names = {each for each in wanted if not each.isdecimal()}
    return numbers + [pid for pid in _all_pids() if names and _program(pid) in names]


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""  # it ended meanwhile


def _all_pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdecimal()]


def _parents() -> dict[int, int]:
    """Of every process."""
    found = {}
    for pid in _all_pids():
        with contextlib.suppress(OSError):  # it ended meanwhile
            found[pid] = int(_fields(pid)[1])
    return found


def _fields(pid: int) -> list[str]:
    """Of its stat file, from the state on (proc(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
