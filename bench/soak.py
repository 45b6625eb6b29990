"""Everything that can happen to a cluster happens to one, at random, under clients that know better.

    .venv/bin/python bench/soak.py --minutes 30 --seed 1

As root, with a packet filter and loop devices. Six targets with two VDEVs each and two gateways live in
network namespaces of their own; bench/soak_faults.py says what is done to them, up to two at a time, in
rounds; after each round the cluster must become whole, and some are followed by one of the drills
of bench/soak_drills.py. Eight clients, half of them at each gateway, keep
a model of what each name may hold (tests/netns/checked_load.py): operations may fail while too many are
away, answers may never be wrong. In the end all is healed, `repair` runs, `verify` must be clean, the
cluster healthy, and memory and open files of all processes what they were before the first fault.

Prints what is done as it is done, and a verdict; exit 1 unless it is good. With the same seed the same
faults are chosen, if not at the same moments. About --gib of disk space is used.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS / "netns"), str(TESTS / "cluster" / "durability")]

import busy_name  # noqa: E402
from checked_load import BUCKET, CheckedLoad  # noqa: E402
from loop_disk import LoopDisk  # noqa: E402
from namespaces import Cluster, form, running  # noqa: E402
from networks import RelayedNetwork  # noqa: E402
from soak_drills import Drill, Drills  # noqa: E402
from soak_faults import Member, choose, wait_until  # noqa: E402

from replicast.cli.restart import hindrances  # noqa: E402
from replicast.formation import Parameters  # noqa: E402
from replicast.native import IMPLEMENTATION  # noqa: E402
from replicast.units import GIB, KIB, MIB  # noqa: E402

TARGETS, VDEVS, GATEWAYS, CLIENTS = 6, 2, 2, 8
COPIES = 3
SIZES = (
    0,
    1,
    700,
    9 * KIB,
    9 * KIB,
    40 * KIB,
    64 * KIB,
    64 * KIB + 1,
    300 * KIB,
    MIB + 40 * KIB,
    3 * MIB + 77,
)
AT_ONCE = 2  # faults, each of another member
ROUND_SECONDS = 60.0
DRILLS_SHARE = 0.6  # of the rounds are followed by one
RETRY_WINDOW_SECONDS = 90  # logs are cut behind it; longer than a client waits for an answer
PAUSE_SECONDS = 3.0  # at most, between two faults of one hand
WHOLE_SECONDS = 180.0
WALK_SECONDS = 1800.0  # of `repair` and `verify`
SAMPLE_SECONDS = 5.0
QUIET_SECONDS = 15.0
THINK_SECONDS = 0.1
POLL_SECONDS = 0.05
MEMORY_GROWTH_MAX = 96 * MIB  # of a process: 64 MiB of it are buffers that payload may fill
FILES_GROWTH_MAX = 32
FAILURES_SHOWN = 10


def say(text: str) -> None:
    """To the terminal at once, with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


@dataclass
class Sample:
    """One process at one moment."""

    memory_bytes: int
    files: int


@dataclass
class Watch:
    """Memory and open files of all processes, and who ended unasked."""

    cluster: Cluster
    began: float = field(default_factory=time.monotonic)
    most: dict[str, Sample] = field(default_factory=dict)
    series: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def look(self) -> dict[str, Sample]:
        """Now."""
        found = {}
        for name, process in list(self.cluster.processes.items()):
            if process.poll() is not None and self.cluster.processes.get(name) is process:
                self.failures.append(f"{name} ended with {process.returncode}")
                self.cluster.start(name)
                continue
            with contextlib.suppress(OSError):  # ended just now
                found[name] = sample(process.pid)
        for name, now in found.items():
            most = self.most.setdefault(name, now)
            most.memory_bytes = max(most.memory_bytes, now.memory_bytes)
            most.files = max(most.files, now.files)
        memory = {name: round(now.memory_bytes / MIB, 1) for name, now in found.items()}
        self.series.append({"seconds": round(time.monotonic() - self.began), "memory_mib": memory})
        return found

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(SAMPLE_SECONDS)


def sample(pid: int) -> Sample:
    """Memory of its own, without the pages of mapped indexes (the kernel's to take back, they grow
    with what is stored), and open files."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    memory_bytes = int(found[1]) * KIB if found else 0
    return Sample(memory_bytes, len(os.listdir(f"/proc/{pid}/fd")))


class Soak:
    """One run."""

    def __init__(
        self, cluster: Cluster, members: list[Member], options: argparse.Namespace
    ) -> None:
        self.cluster, self.members = cluster, members
        self.rng = random.Random(options.seed)
        self.seconds = options.minutes * 60
        self.watch = Watch(cluster)
        self.faults: Counter[str] = Counter()
        self.installs = 0.0  # replicas that were given a snapshot
        self.relayed: dict[str, int] = {}  # frames, by what the relay did to them
        self.busy = busy_name.BusyName(cluster)
        by_name = {member.name: member for member in members}
        self._drills = Drills(cluster, by_name, self.busy, self._become_whole, self._faults)
        self._drills_left: list[Drill] = []
        self.whole_after: list[float] = []  # seconds, after each round
        self._installs_seen: dict[str, float] = {}
        self._busy: set[str] = set()
        self._round_end = 0.0
        self._wait = wait_until(lambda: time.monotonic() >= self._round_end, POLL_SECONDS)
        pace = options.gib * GIB / COPIES / self.seconds
        self.load = CheckedLoad(
            [cluster.socket(name) for name in cluster.gateways] * (CLIENTS // GATEWAYS),
            options.seed,
            strict=False,
            sizes=SIZES,
            think_seconds=THINK_SECONDS,
            pace_bytes_per_second=pace,
            deadline_seconds=60.0,
        )

    async def run(self) -> dict[str, Any]:
        """Returns the figures."""
        watching = asyncio.ensure_future(self.watch.run())
        await self.load.during(operations=CLIENTS * len(SIZES))
        before = await self._quiet()
        say(f"before the first fault: {self.load.summary()}")
        began, number = time.monotonic(), 0
        self.load.begin()
        working = asyncio.ensure_future(self.load.run())
        writing = asyncio.ensure_future(self.busy.run())
        while time.monotonic() < began + self.seconds and not self._failures():
            number += 1
            await self._faults(set(), min(ROUND_SECONDS, began + self.seconds - time.monotonic()))
            await self._become_whole(f"round {number}")
            if self.rng.random() < DRILLS_SHARE and not self._failures():
                await self._drill()
        self.load.stopping = self.busy.stopping = True
        await asyncio.wait({working, writing})
        await working
        await writing
        await self._finish()
        after = await self._quiet()
        watching.cancel()
        return self._figures(before, after)

    def _failures(self) -> list[str]:
        return self.load.failures + self.watch.failures

    async def _faults(self, spared: set[str], seconds: float) -> None:
        """Of these members none. One hand less when some are spared: they have one already."""
        self._round_end, self._busy = time.monotonic() + seconds, set(spared)
        await asyncio.gather(*(self._hand() for _ in range(AT_ONCE - bool(spared))))

    async def _drill(self) -> None:
        if not self._drills_left:  # each once before any comes again
            drills = self._drills.all()
            self._drills_left = self.rng.sample(drills, len(drills))
        drill = self._drills_left.pop()
        self.faults[drill.__name__] += 1
        say(drill.__name__)
        try:
            await drill(random.Random(self.rng.random()))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the verdict
            self.watch.failures.append(f"{drill.__name__}: {error!r:.2000}")

    async def _hand(self) -> None:
        """One fault after the other until the round ends."""
        while time.monotonic() < self._round_end:
            free = [member for member in self.members if member.name not in self._busy]
            fault, member = choose(free, self.rng)
            rng = random.Random(self.rng.random())
            self._busy.add(member.name)
            self.faults[fault.__name__] += 1
            say(f"{fault.__name__} {member.name}")
            await asyncio.to_thread(fault, member, rng, self._wait)
            self._busy.discard(member.name)
            await asyncio.sleep(rng.uniform(0, PAUSE_SECONDS))

    async def _become_whole(self, what: str) -> None:
        began = time.monotonic()
        try:
            await self.cluster.wait_status(lambda report: not hindrances(report), WHOLE_SECONDS)
        except AssertionError as error:
            self.watch.failures.append(f"not whole after {what}: {str(error)[:2000]}")
            return
        self.whole_after.append(time.monotonic() - began)
        await asyncio.to_thread(self._count)
        say(f"whole {self.whole_after[-1]:.1f} s after {what}; {self.load.summary()}")

    def _count(self) -> None:
        """What processes count only until they end, so as often as all are there."""
        now = {
            name: self.cluster.metric("row_installs_total", name) for name in self.cluster.targets
        }
        for name, count in now.items():
            before = self._installs_seen.get(name, 0.0)
            self.installs += count - before if count >= before else count
        self._installs_seen = now
        self.relayed = self.cluster.network.total("receives")

    async def _finish(self) -> None:
        """Every name once more, repair, verify, healthy."""
        steps = (
            ("every name once more", self.load.check),
            ("every version of the busy name", self.busy.check),
            ("repair", lambda: self._walk("repair")),
            ("healthy", lambda: self.cluster.wait_status(lambda r: r["verdict"] == "healthy")),
            ("verify", lambda: self._walk("verify")),
        )
        for what, step in steps:
            try:
                await step()
                say(f"{what}: done")
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the verdict
                self.watch.failures.append(f"{what}: {type(error).__name__}: {str(error)[:2000]}")

    async def _walk(self, command: str) -> None:
        for bucket in (BUCKET, busy_name.BUCKET):
            arguments = (command, f"{bucket}/")
            await asyncio.to_thread(self.cluster.run, *arguments, seconds=WALK_SECONDS)

    async def _quiet(self) -> dict[str, Sample]:
        await asyncio.sleep(QUIET_SECONDS)
        return self.watch.look()

    def _figures(self, before: dict[str, Sample], after: dict[str, Sample]) -> dict[str, Any]:
        processes = {}
        # Connections are made when they are first needed: what one has, all of its kind may have.
        files: dict[str, int] = {}
        for name, first in before.items():
            files[name[0]] = max(files.get(name[0], 0), first.files)
        for name in sorted(before.keys() & after.keys()):
            first, last, most = before[name], after[name], self.watch.most[name]
            grown = last.memory_bytes - first.memory_bytes
            processes[name] = {
                "memory_mib": [round(s.memory_bytes / MIB, 1) for s in (first, last, most)],
                "files": [s.files for s in (first, last, most)],
            }
            if grown > MEMORY_GROWTH_MAX:
                self.watch.failures.append(f"{name} has grown by {grown / MIB:.0f} MiB")
            if last.files > files[name[0]] + FILES_GROWTH_MAX:
                text = f"{name}: {first.files} open files, now {last.files}"
                self.watch.failures.append(text)
        wrong = [each for each in self._failures() if "WRONG ANSWER" in each]
        return {
            "implementation": IMPLEMENTATION,
            "operations": dict(self.load.done),
            "unanswered": dict(self.load.failed),
            "compared_mib": round(self.load.bytes_read / MIB),
            "put_mib": round(self.load.bytes_put / MIB),
            "faults": dict(self.faults),
            "versions_of_the_busy_name": [self.busy.written, len(self.busy.kept)],
            "rows_installed": round(self.installs),
            "frames": self.relayed,
            "wrong_answers": len(wrong),
            "longest_silence_seconds": round(self.load.longest_silence, 1),
            "longest_wait_seconds": round(self.load.longest_wait, 1),
            "whole_after_seconds": [round(each, 1) for each in self.whole_after],
            "processes": processes,
            "memory_series": self.watch.series,
            "failures": self._failures(),
        }


@contextlib.contextmanager
def soaked(base: Path) -> Iterator[tuple[Cluster, list[Member]]]:
    """A cluster whose targets' first VDEVs lie on disks in files."""
    data = base / "data"
    disks: dict[str, LoopDisk] = {}
    try:
        parameters = Parameters(transport="multicast", retry_window_seconds=RETRY_WINDOW_SECONDS)
        addresses = form(data, TARGETS, VDEVS, parameters, GATEWAYS)
        network = RelayedNetwork()
        planned = Cluster(data, network, addresses)
        for name in addresses:
            if name.startswith("t"):
                (folder := base / "disks" / name).mkdir(parents=True)
                disks[name] = LoopDisk(folder)
                Member(planned, name, disks[name]).move_in()
        with running(data, addresses, network) as cluster:
            yield cluster, [Member(cluster, name, disks.get(name)) for name in addresses]
    finally:
        for disk in disks.values():
            disk.unmount()


def show(figures: dict[str, Any]) -> None:
    """For people."""
    print(f"operations answered: {figures['operations']}")
    print(f"not answered, by reason: {figures['unanswered']}")
    print(f"{figures['put_mib']} MiB put, {figures['compared_mib']} MiB read and compared")
    print(f"faults: {figures['faults']}")
    written, kept = figures["versions_of_the_busy_name"]
    print(f"{written} versions of one name written, {kept} kept")
    print(f"{figures['rows_installed']} replicas installed; frames: {figures['frames']}")
    print(
        f"longest time in which no client had an answer {figures['longest_silence_seconds']} s, "
        f"in which one had none {figures['longest_wait_seconds']} s; "
        f"whole again after each round within {figures['whole_after_seconds']} s"
    )
    for name, process in figures["processes"].items():
        (m0, m1, m2), (f0, f1, f2) = process["memory_mib"], process["files"]
        print(f"{name}: memory {m0} MiB before, {m1} after, at most {m2}; files {f0}, {f1}, {f2}")
    for failure in figures["failures"][:FAILURES_SHOWN]:
        print(f"! {failure}")
    good = not figures["failures"]
    print(
        f"{'GOOD' if good else 'BAD'}: {figures['wrong_answers']} wrong answers, "
        f"{len(figures['failures'])} failures in all ({figures['implementation']})"
    )


def main() -> int:
    """See the module header."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="of faults")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--gib", type=float, default=2.0, help="to be stored, all copies together")
    parser.add_argument("--keep", action="store_true", help="leave logs and settings behind")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        with soaked(base) as (cluster, members):
            for bucket in (BUCKET, busy_name.BUCKET):
                cluster.run("bucket", "create", bucket)
            figures = asyncio.run(Soak(cluster, members, options).run())
            if figures["failures"]:
                print(json.dumps(cluster.words(), indent=2))
    finally:
        if options.keep:
            say(f"logs are in {base}")
            for vdev in base.glob("data/*/v*"):
                shutil.rmtree(vdev, ignore_errors=True)
            shutil.rmtree(base / "disks", ignore_errors=True)
        else:
            shutil.rmtree(base)
    show(figures)
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2))
    return 1 if figures["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
