"""S3 clients that know better, while every target of their cluster is killed in turn.

    .venv/bin/python bench/s3_soak.py --minutes 10 --seed 1 [--json FILE]
    .venv/bin/python bench/s3_soak.py --data DIR ...          uses a cluster of `replicast up`

A cluster of four targets with two VDEVs each and two gateways; boto3 with its standard retries and
time-outs, each operation through any of the gateways, and a model of what may be answered
(s3_soak_model.py): puts, gets, ranges, conditions, copies, deletions, uploads, lists and versions in buckets
with, without and no longer with versions, keys that everybody writes, presigned URLs, buckets that come
and go. One target after the other is killed and started again, the next when the
cluster is healthy; with --gateways also a gateway now and then, whose clients' errors are counted apart:
a client knows one of them.

In the end everything is listed, read and compared through each gateway, `repair` and `verify` run, and no
upload is left. Prints a verdict; exit 1 unless no answer was wrong and no error got past the retries of
the SDK. Stores about --gib.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS / "netns"), str(TESTS / "cluster" / "durability")]

from s3_soak_ask import Asker, Tally, make_client  # noqa: E402
from s3_soak_crowd import BUCKET, Crowd, CrowdWork  # noqa: E402
from s3_soak_model import Mode, require  # noqa: E402
from s3_soak_work import BUCKETS, Pace, Worker  # noqa: E402
from soak import Sample, sample, say  # noqa: E402

from replicast.addresses import address_text  # noqa: E402
from replicast.cli.layout import Local, load_local, socket_path  # noqa: E402
from replicast.cli.processes import Daemon, wait_ready  # noqa: E402
from replicast.cli.restart import HEALTHY_SECONDS, wait_healthy  # noqa: E402
from replicast.cli.s3_access import load_s3_access  # noqa: E402
from replicast.cli.up import UpRequest, bring_down, bring_up  # noqa: E402
from replicast.native import IMPLEMENTATION  # noqa: E402
from replicast.units import GIB, MIB  # noqa: E402

COPIES = 3
DOWN_SECONDS = (0.0, 2.0, 6.0, 12.0)  # from a start at once to longer than a lease
PAUSE_SECONDS = 2.0
READY_SECONDS = 60.0
GATEWAY_EVERY = 4  # kills
QUIET_SECONDS = 5.0
POLL_SECONDS = 0.05
SHOWN = 10


class Soak:
    """One run."""

    def __init__(self, data: Path, local: Local, options: argparse.Namespace) -> None:
        self.data, self.local, self.options = data, local, options
        self.rng, self.tally = random.Random(options.seed), Tally()
        self.access = load_s3_access(data)
        host = local.plan["host"]
        endpoints = [f"http://{address_text((host, port))}" for port in local.plan["s3_ports"]]
        self.clients = [make_client(endpoint, self.access) for endpoint in endpoints]
        self.kills: list[dict[str, Any]] = []
        self.failures: list[str] = []
        self.crowd = Crowd()
        self.workers: list[Worker] = []

    def run(self) -> dict[str, Any]:
        """Returns the figures."""
        self._make_buckets()
        seconds = self.options.minutes * 60
        pace = Pace(self.options.gib * GIB / COPIES / seconds, time.monotonic(), self.options.think)
        for number in range(self.options.workers):
            asker = Asker(self.clients, random.Random(self.rng.random()), self.tally)
            self.workers.append(Worker(number, self.options.seed, asker, self.crowd, pace))
        CrowdWork(self.workers[0], self.crowd).begin_chains()
        threads = [threading.Thread(target=worker.run) for worker in self.workers]
        for thread in threads:
            thread.start()
        time.sleep(QUIET_SECONDS)
        before = self._processes()
        try:
            self._disturb(time.monotonic() + seconds)
        finally:
            for worker in self.workers:
                worker.stopping = True
            for thread in threads:
                thread.join()
        say(f"load ended: {self.tally.operations.total()} operations, {len(self.kills)} kills")
        self._check()
        self._walk()
        time.sleep(QUIET_SECONDS)
        return self._figures(before, self._processes())

    def _make_buckets(self) -> None:
        client = self.clients[0]
        for bucket in (*BUCKETS, BUCKET):
            client.create_bucket(Bucket=bucket)
        for bucket, mode in BUCKETS.items():
            if mode != Mode.OFF:
                status = {"Status": mode.value.capitalize()}
                client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=status)

    # -- what is done to the cluster ------------------------------------------------------

    def _disturb(self, end: float) -> None:
        """Kill in turn until then, and leave the cluster healthy."""
        targets = self.local.of_kind("target", self.data)
        gateways = self.local.of_kind("gateway", self.data)
        self._healthy("before the first kill")
        for number, target in enumerate(itertools.cycle(targets), 1):
            if self.tally.wrong or time.monotonic() + DOWN_SECONDS[-1] > end:
                break
            if self.options.kills and len(self.kills) >= self.options.kills:
                break
            self._kill(target)
            if self.options.gateways and number % GATEWAY_EVERY == 0:
                self.tally.excuse = True
                self._kill(self.rng.choice(gateways))
                self.tally.excuse = False
            time.sleep(self.rng.uniform(0, PAUSE_SECONDS))
        while time.monotonic() < end and not self.tally.wrong:
            time.sleep(POLL_SECONDS)

    def _kill(self, daemon: Daemon) -> None:
        down_seconds, began = self.rng.choice(DOWN_SECONDS), time.monotonic()
        daemon.kill()
        time.sleep(down_seconds)
        daemon.start()
        wait_ready([daemon], READY_SECONDS)
        self._healthy(f"{daemon.name} was killed")
        self.kills.append(
            {
                "name": daemon.name,
                "down_seconds": down_seconds,
                "healthy_seconds": round(time.monotonic() - began, 1),
            }
        )
        tally = self.tally
        say(
            f"{daemon.name} killed, {down_seconds:g} s down, healthy after "
            f"{self.kills[-1]['healthy_seconds']} s; {tally.operations.total()} operations, "
            f"{tally.retried.total()} retried, {len(tally.errors)} errors, {len(tally.wrong)} wrong"
        )

    def _healthy(self, what: str) -> None:
        gateway = self.local.of_kind("gateway", self.data)[0]
        wait_healthy(socket_path(gateway.folder), HEALTHY_SECONDS, what)

    # -- the end --------------------------------------------------------------------------

    def _check(self) -> None:
        """Everything once more, through each gateway."""
        first = self.workers[0]
        for worker in self.workers:
            worker.guarded(worker.rites.clean)
        for at in range(len(self.clients)):
            for worker in self.workers:
                worker.guarded(lambda worker=worker, at=at: check_all(worker, at))
            first.guarded(lambda at=at: CrowdWork(first, self.crowd).check(at))
            first.guarded(lambda at=at: self._no_uploads(at))
        say("everything was read once more")

    def _no_uploads(self, at: int) -> None:
        for bucket in (*BUCKETS, BUCKET):
            left = self.clients[at].list_multipart_uploads(Bucket=bucket).get("Uploads", [])
            require(not left, f"{bucket}: uploads are left: {left}")

    def _walk(self) -> None:
        for command in ("repair", "verify"):
            done = subprocess.run(
                [sys.executable, "-m", "replicast.cli", "--cluster", self.data, command],
                capture_output=True,
                text=True,
                check=False,
            )
            say(f"{command}: {done.stdout.splitlines()[-1:]}")
            if done.returncode:
                self.failures.append(f"{command}: {done.stdout[-1000:]}{done.stderr[-1000:]}")

    def _processes(self) -> dict[str, Sample]:
        found = {}
        for daemon in self.local.all(self.data):
            pid = daemon.pid()
            if pid is None:
                self.failures.append(f"{daemon.name} has ended: {daemon.last_words()}")
            else:
                found[daemon.name] = sample(pid)
        return found

    def _figures(self, before: dict[str, Sample], after: dict[str, Sample]) -> dict[str, Any]:
        tally = self.tally
        return {
            "implementation": IMPLEMENTATION,
            "operations": dict(tally.operations.most_common()),
            "retried": {kind: count for kind, count in tally.retried.items() if count},
            "longest_seconds": {kind: round(s, 2) for kind, s in sorted(tally.longest.items())},
            "put_mib": round(tally.bytes_put / MIB),
            "read_mib": round(tally.bytes_read / MIB),
            "races": len(self.crowd.races.winners),
            "links": sum(chain.wins for chain in self.crowd.chains),
            "kills": self.kills,
            "errors": tally.errors,
            "errors_of_killed_gateways": tally.excused,
            "wrong_answers": tally.wrong,
            "failures": self.failures,
            "processes": {
                name: {
                    "memory_mib": [round(s[name].memory_bytes / MIB, 1) for s in (before, after)],
                    "files": [s[name].files for s in (before, after)],
                }
                for name in sorted(before.keys() & after.keys())
            },
        }


def check_all(worker: Worker, at: int) -> None:
    """Every version of every key of a worker's own, through this gateway."""
    for bucket, keys in worker.keys.items():
        worker.lists.look_at(bucket, worker.prefix, 1000, keys, at)
        for key in keys:
            for version in key.versions:
                if version.body is not None:
                    out = worker.ask(
                        "get_object", at=at, Bucket=bucket, Key=key.name, VersionId=version.id
                    )
                    worker.compare(key, version, out)


def show(figures: dict[str, Any]) -> None:
    """For people."""
    print(f"operations: {figures['operations']}")
    print(f"retried by the SDK: {figures['retried']}")
    print(f"longest, seconds: {figures['longest_seconds']}")
    print(
        f"{figures['put_mib']} MiB put, {figures['read_mib']} MiB read; {figures['races']} races of "
        f"If-None-Match won, {figures['links']} links by If-Match"
    )
    for name, process in figures["processes"].items():
        (m0, m1), (f0, f1) = process["memory_mib"], process["files"]
        print(f"{name}: memory {m0} MiB before, {m1} after; files {f0}, {f1}")
    if figures["errors_of_killed_gateways"]:
        print(f"{len(figures['errors_of_killed_gateways'])} errors while a gateway was away")
    bad = figures["wrong_answers"] + figures["errors"] + figures["failures"]
    for text in bad[:SHOWN]:
        print(f"! {text}")
    print(
        f"{'BAD' if bad else 'GOOD'}: {sum(figures['operations'].values())} operations, "
        f"{len(figures['kills'])} kills, {len(figures['errors'])} errors, "
        f"{len(figures['wrong_answers'])} wrong answers ({figures['implementation']})"
    )


@contextlib.contextmanager
def cluster(data: Path | None) -> Iterator[Path]:
    """One of its own, unless there is one."""
    if data is not None:
        yield data.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="s3-soak-") as made:
        folder = Path(made) / "data"
        bring_up(folder, UpRequest(targets=4, vdevs=2, gateways=2), say)
        try:
            yield folder
        finally:
            bring_down(folder, say)


def main() -> int:
    """See the module header."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of a running cluster")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--think", type=float, default=0.02, help="seconds between operations")
    parser.add_argument("--kills", type=int, default=0, help="at most; 0: as many as there is time")
    parser.add_argument("--gateways", action="store_true", help="kill gateways, too")
    parser.add_argument("--gib", type=float, default=2.0, help="to be stored, all copies together")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args()
    with cluster(options.data) as data:
        figures = Soak(data, load_local(data), options).run()
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2))
    show(figures)
    return 1 if figures["wrong_answers"] or figures["errors"] or figures["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
