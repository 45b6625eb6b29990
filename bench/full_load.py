"""Does a cluster stay as it is under full load? Memory, open files, queues and latencies, for minutes.

    .venv/bin/python bench/full_load.py [--minutes 10] [--gib 6] [--dir FOLDER] [--json FILE]

4 targets x 2 VDEVs and a gateway with S3 on loopback, 3 copies, no faults. Four native clients in a
process of their own and four of S3, one process each (bench/full_load_client.py), put, get, overwrite,
delete and list objects of 4 KiB, 64 KiB, 1 MiB and 16 MiB; every byte that is read is compared. Chunks
that nothing refers to any more are not freed, so writes have a pace that uses about --gib of disk, all copies
together, in that time; whatever CPU they leave goes to reads.

Every 5 seconds of it, of each daemon: PSS, own memory (anonymous pages), RSS, open files, threads, and every
gauge of its /metrics that is a queue or something under way (bench/process_watch.py). FLAT means that
in each of these series the median of the last third is at most so much above the median of the middle third:

    memory                  10 % and 8 MiB
    open files, threads     4
    queues                  25 %, and 1 MiB where they are bytes, else 8

Neither memory nor files are those that grow with what is stored: pages of the VDEVs' indexes, which are mapped,
and open segments; they have rows of their own. FLAT also means that every queue is empty within 10 seconds of the end of the load. Otherwise NOT FLAT, and each series
that is not is named. Exit 1 then, or when an operation failed or an answer was wrong: the load ends at once.

Latencies are medians of windows of 5 seconds: of their p50 and of their p99, where a window has 20 operations
of the kind at least; else p50 and p99 of the whole third.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flatness import judge
from full_load_client import MIXES
from full_load_table import Found, paces, show
from native_client import written_bytes
from process_watch import HANDLES, MEMORY, QUEUES, STORED, look, scrape, used_bytes
from s3_endpoints import busy_seconds, cluster_endpoint
from s3_load import S3Client

from replicast.cli.layout import load_local
from replicast.cli.up import UpRequest, bring_down, bring_up
from replicast.native import IMPLEMENTATION
from replicast.units import GIB, MIB

TINY = bool(os.environ.get("REPLICAST_BENCH_TINY"))
MINUTES, GIB_USED = (0.08, 0.06) if TINY else (10.0, 6.0)
EVERY_SECONDS = 0.25 if TINY else 5.0
SIZE_MAX = MIB if TINY else 16 * MIB
NATIVE, S3 = (1, 1) if TINY else (4, 4)
COPIES = 3
CPUS = os.cpu_count() or 1
# On the disk a record has a header, a name its manifest, both an index: measured, of this mix.
DISK_PER_BYTE = 1.25
REST_SECONDS = 10.0
LATE_SECONDS = 120.0
BUCKET = "load"
CLIENT = Path(__file__).with_name("full_load_client.py")


class Clients:
    """The load's processes, and the lines that they print."""

    def __init__(self, jobs: Sequence[dict[str, Any]]) -> None:
        self._lock = threading.Lock()
        self._lines: list[dict[str, Any]] = []
        self.failures: list[str] = []
        self._processes = [
            subprocess.Popen(
                [sys.executable, str(CLIENT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in jobs
        ]
        self._readers = [
            threading.Thread(target=self._read, args=(process, job))
            for process, job in zip(self._processes, jobs, strict=True)
        ]
        for reader in self._readers:
            reader.start()

    @property
    def running(self) -> bool:
        """Are they all?"""
        return all(reader.is_alive() for reader in self._readers)

    def take(self) -> list[dict[str, Any]]:
        """What they have printed since."""
        with self._lock:
            taken, self._lines = self._lines, []
        self.failures += [each for line in taken for each in line["failures"]]
        return taken

    def join(self) -> None:
        """Until all have ended. Those that are late are ended, and after a failure all are at once."""
        end = time.monotonic() + (0.0 if self.failures else LATE_SECONDS)
        for reader in self._readers:
            reader.join(max(0.0, end - time.monotonic()))
        for process in self._processes:
            if process.poll() is None:
                if not self.failures:
                    self.failures.append(f"a client has not ended after {LATE_SECONDS:.0f} s")
                process.kill()
        for reader in self._readers:
            reader.join()

    def _read(self, process: subprocess.Popen[str], job: dict[str, Any]) -> None:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.close()
        for line in process.stdout:
            with self._lock:
                self._lines.append(json.loads(line) | {"from": job["prefix"]})
        if (code := process.wait()) > 0:
            self.failures.append(f"a client ended with {code}")


class Load:
    """One run."""

    def __init__(self, data: Path, options: argparse.Namespace) -> None:
        self._data, self._options = data, options
        self._endpoint = cluster_endpoint("load", data)
        self._daemons = load_local(data).all(data)
        self._targets = load_local(data).of_kind("target", data)
        self.found = Found()

    def run(self) -> Found:
        """Load, rest, and what was found meanwhile."""
        found, seconds = self.found, self._options.minutes * 60
        self._make_bucket()
        used, written = self._used(), written_bytes(self._endpoint)
        clients = Clients(self._jobs(seconds))
        try:
            self._wait_until_filled(clients)
            end = time.monotonic() + seconds
            while time.monotonic() < end and clients.running and not clients.failures:
                self._window(clients)
        except BaseException:
            clients.failures.append("interrupted")
            raise
        finally:
            clients.join()
        for line in clients.take():
            self._count(line)
        found.failures += clients.failures
        self._rest()
        found.used, found.written = self._used() - used, written_bytes(self._endpoint) - written
        return found

    def _make_bucket(self) -> None:
        """By S3, so without versions: an overwritten object leaves no name behind."""
        endpoint = self._endpoint
        client = S3Client(endpoint.url, endpoint.key_id, endpoint.secret, endpoint.region)
        status, answer = client.call("PUT", f"/{BUCKET}")
        client.close()
        if status != 200:
            raise SystemExit(f"create bucket: {status} {bytes(answer)!r}")

    def _jobs(self, seconds: float) -> list[dict[str, Any]]:
        clients = NATIVE + S3
        filled = sum(mix.names * mix.size_bytes for mix in MIXES if mix.size_bytes <= SIZE_MAX)
        of_each = self._options.gib * GIB / COPIES / DISK_PER_BYTE / clients
        job = {
            "bucket": BUCKET,
            "seconds": seconds,
            "every": EVERY_SECONDS,
            "size_max": SIZE_MAX,
            "bytes_per_second": max(0.0, of_each - filled) / seconds,
        }
        endpoint = self._endpoint
        access = {
            "url": endpoint.url,
            "key_id": endpoint.key_id,
            "secret": endpoint.secret,
            "region": endpoint.region,
        }
        native = {"who": "native", "prefix": "n", "clients": NATIVE, "data": str(self._data)}
        return [job | native] + [
            job | access | {"who": "S3", "prefix": f"s{number}", "clients": 1}
            for number in range(S3)
        ]

    def _wait_until_filled(self, clients: Clients) -> None:
        """Until every process has said something after it had put every name once."""
        waiting = {"n", *(f"s{number}" for number in range(S3))}
        while waiting and clients.running and not clients.failures:
            time.sleep(EVERY_SECONDS / 5)
            for line in clients.take():
                self._count(line)
                waiting.discard(line["from"])
        self._mark = self._now()

    def _now(self) -> tuple[float, float, float]:
        """Wall, and CPU of the machine and of the daemons."""
        return time.monotonic(), busy_seconds(), self._endpoint.cpu_seconds()

    def _count(self, line: dict[str, Any]) -> None:
        self.found.bytes_put += line["bytes_put"]
        self.found.bytes_compared += line["bytes_compared"]

    def _window(self, clients: Clients) -> None:
        then = self._mark
        time.sleep(max(0.0, then[0] + EVERY_SECONDS - time.monotonic()))
        self._mark = self._now()
        seconds, busy, daemons = (
            now - before for now, before in zip(self._mark, then, strict=True)
        )
        self.found.seconds.append(seconds)
        self.found.busy.append(busy / seconds / CPUS)
        self.found.daemons.append(daemons / seconds / CPUS)
        for daemon in self._daemons:
            try:
                self.found.add(daemon.name, look(daemon))
            except OSError as error:
                clients.failures.append(f"{daemon.name}: {error}")
        taken: dict[str, list[float]] = defaultdict(list)
        for line in clients.take():
            self._count(line)
            for kind, times in line["taken"].items():
                taken[kind] += times
        self.found.taken.append(taken)

    def _rest(self) -> None:
        """Queues run empty."""
        end = time.monotonic() + REST_SECONDS
        while True:
            full = []
            for daemon in self._daemons:
                with suppress(OSError):  # said when it was looked at
                    full += [
                        f"{daemon.name} {what}: {value:.0f} left {REST_SECONDS:.0f} s after the load"
                        for what, value in look(daemon).items()
                        if what in QUEUES and value
                    ]
            if not full or time.monotonic() > end:
                self.found.not_empty = full
                return
            time.sleep(EVERY_SECONDS / 10)

    def _used(self) -> float:
        return sum(used_bytes(scrape(daemon)) for daemon in self._targets)


@contextmanager
def own_cluster(folder: Path) -> Iterator[Path]:
    """Its data, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="replicast-bench-", dir=folder) as base:
        data = Path(base) / "data"
        try:
            bring_up(data, UpRequest(), lambda _: None)
            yield data
        finally:
            bring_down(data, lambda _: None)


def main() -> int:
    """See the module header."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--gib", type=float, default=GIB_USED, help="of disk, all copies together")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="for data")
    parser.add_argument("--json", type=Path, help="write all samples to this file, too")
    options = parser.parse_args()
    if shutil.disk_usage(options.dir).free < options.gib * 1.5 * GIB:
        parser.error(f"{options.dir} has less free than one and a half times {options.gib} GiB")
    with own_cluster(options.dir) as data:
        found = Load(data, options).run()
    rows = [judge(*key, samples) for key, samples in sorted(found.series.items(), key=_order)]
    operations = paces(found)
    good = show(rows, operations, found)
    if options.json is not None:
        text = json.dumps(
            {
                "implementation": IMPLEMENTATION,
                "good": good,
                "failures": found.failures,
                "not_empty": found.not_empty,
                "rows": [asdict(row) for row in rows],
                "operations": [asdict(each) for each in operations],
                "series": {" ".join(key): samples for key, samples in found.series.items()},
                "seconds": found.seconds,
                "busy": found.busy,
                "daemons": found.daemons,
            },
            indent=1,
        )
        options.json.write_text(text + "\n")
    return 0 if good else 1


def _order(item: tuple[tuple[str, str], list[float]]) -> tuple[str, int, str]:
    process, what = item[0]
    known = (*MEMORY, *HANDLES, *STORED)
    return process, known.index(what) if what in known else len(known), what


if __name__ == "__main__":
    sys.exit(main())
