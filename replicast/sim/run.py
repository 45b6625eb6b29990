"""One run of a test: a cluster is formed, worked on and harmed, left in peace, and judged.

    result = run_test(test, seed)
    result.verdict, result.problems, result.fingerprint

    form      all targets start, clients connect and make the bucket
    trouble   workloads and faults together for the test's seconds
    peace     faults end, everything mends; operations under way must end within PEACE_SECONDS
    repair    `repair` and then `verify`, as an operator would, and every name is read once more

The verdict is bad when a checker says so, unknown when one cannot tell (which fails a run too).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO

from replicast.buggify import choosing
from replicast.embed import Cluster
from replicast.errors import Conflict, NotFound, ReplicastError
from replicast.gateway.walk import ChunkFinding, NameFinding, Walk, WalkError
from replicast.sim.checkers import BAD, OK, UNKNOWN, check_history
from replicast.sim.cluster import Shape, SimCluster, draw_shape
from replicast.sim.fault_points import FaultPoints, fault_points
from replicast.sim.faults import Faults
from replicast.sim.test_file import Test
from replicast.sim.workloads import BUCKET, Ledger, Program
from replicast.sim.world import Trace, World
from replicast.units import SECOND

FORM_SECONDS = 120
PEACE_SECONDS = 120
POLL_SECONDS = 0.5
OPERATOR = 998  # the number under which the operator reads


@dataclass(slots=True)
class Result:
    """What became of a run."""

    test: str
    seed: int
    verdict: str = OK
    problems: list[str] = field(default_factory=list)
    fingerprint: str = ""
    shape: Shape | None = None
    virtual_ns: int = 0
    cpu_seconds: float = 0.0
    events: int = 0
    operations: int = 0
    refused: int = 0
    faults: int = 0
    points: dict[str, int] = field(default_factory=dict)  # fault points, how often each was taken

    def judge(self, verdict: str, problems: list[str]) -> None:
        """Take over what one checker says; bad beats unknown beats ok."""
        self.problems += problems
        if verdict == BAD or (verdict == UNKNOWN and self.verdict == OK):
            self.verdict = verdict


@contextlib.contextmanager
def one_world() -> Iterator[None]:
    """Around a world's life: it makes little garbage in cycles, and much that lives until its end.

    What collecting that runs (`finally` blocks of processes whose machine is gone) fails, and
    nobody needs to hear of it.
    """
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    log = logging.getLogger("replicast")
    level = log.level
    log.setLevel(logging.CRITICAL)  # what daemons log of faults is no news here
    gc.disable()
    try:
        yield
    finally:
        gc.collect()
        gc.enable()
        log.setLevel(level)
        sys.unraisablehook = hook


def run_test(test: Test, seed: int, trace_file: IO[str] | None = None) -> Result:
    """Run one seed of a test."""
    began = time.process_time()  # for the report only; nothing in the run depends on it
    points = fault_points(seed, test.buggify)
    with one_world(), choosing(points):
        result = _Run(test, World(seed, Trace(trace_file)), points).whole()
    result.cpu_seconds = time.process_time() - began
    return result


class _Run:
    def __init__(self, test: Test, world: World, points: FaultPoints | None) -> None:
        self._test, self._world, self._points = test, world, points
        shape_rng, self._faults_rng = world.fork_rng(), world.fork_rng()
        drawn = draw_shape(shape_rng)
        self._shape = Shape(**{**_as_dict(drawn), **test.shape})
        self._cluster = SimCluster(world, self._shape)
        self._ledger = Ledger(world)
        self._result = Result(test.name, world.seed, shape=self._shape)
        self._stopped = False
        self._ready: set[int] = set()
        self._ended: set[int] = set()

    def whole(self) -> Result:
        """All phases; a phase that does not end is a failure of liveness."""
        world = self._world
        world.note("world", "shape", **_as_dict(self._shape))
        if self._points is not None:
            world.note("world", "fault points", **self._points.on)
        if self._form() and self._trouble() and self._peace():
            self._repair()
        result = self._result
        result.judge(BAD if world.failures else OK, world.failures)
        result.judge(*check_history(self._ledger.history))
        result.fingerprint = world.trace.fingerprint()
        result.virtual_ns, result.events = world.time_ns, world.event_count
        result.operations, result.refused = self._ledger.done, self._ledger.failed
        if self._points is not None:
            result.points = self._points.taken
        self._cluster.end()
        return result

    def _wait(self, seconds: float, done: Callable[[], bool], what: str) -> bool:
        world = self._world
        if world.run_until(
            world.time_ns + int(seconds * SECOND), lambda: done() or bool(world.failures)
        ):
            return not world.failures
        world.fail(f"not within {seconds:g} s: {what}")
        return False

    # -- phases -----------------------------------------------------------------------

    def _form(self) -> bool:
        self._cluster.start()
        for number in range(len(self._cluster.clients)):
            self._start_client(number)
        wanted = len(self._cluster.clients)
        return self._wait(FORM_SECONDS, lambda: len(self._ready) == wanted, "forming")

    def _start_client(self, number: int) -> None:
        rng = self._world.fork_rng()

        async def work(client: Cluster) -> None:
            await _make_bucket(client)
            self._ready.add(number)
            programs = [
                Program(
                    number, client, self._ledger, plan, rng, lambda: self._stopped, asyncio.sleep
                )
                for plan in self._test.workloads
            ]
            await asyncio.gather(*(program.run() for program in programs))
            self._ended.add(number)

        self._cluster.run_client(self._cluster.clients[number], work)

    def _trouble(self) -> bool:
        world = self._world
        faults = Faults(self._cluster, list(self._test.faults), self._faults_rng)
        world.run_until(
            world.time_ns + int(self._test.seconds * SECOND), lambda: bool(world.failures)
        )
        faults.stop()
        self._result.faults = faults.count
        return not world.failures

    def _peace(self) -> bool:
        self._stopped = True
        self._cluster.calm()
        wanted = len(self._cluster.clients)
        return self._wait(
            PEACE_SECONDS, lambda: len(self._ended) == wanted, "operations under way end"
        )

    def _repair(self) -> None:
        done: list[bool] = []

        async def work(client: Cluster) -> None:
            await self._until_healthy(client)
            await self._walks(client)
            await self._read_all(client)
            done.append(True)

        unit = self._cluster.clients[0]
        self._wait(5, lambda: not unit.process.running, "the client program ends")
        self._cluster.run_client(unit, work)
        self._wait(2 * PEACE_SECONDS, lambda: bool(done), "healthy, repaired and verified")

    # -- the operator -----------------------------------------------------------------

    async def _until_healthy(self, client: Cluster) -> None:
        problems: list[str] = []
        for _ in range(int(PEACE_SECONDS / POLL_SECONDS)):
            report = await client._opened.initiator.status()
            problems = [p for p in report["problems"] if "copies" not in p]
            if not problems:
                return
            await asyncio.sleep(POLL_SECONDS)
        self._world.fail(f"not healthy {PEACE_SECONDS} s after the last fault: {problems}")

    async def _walks(self, client: Cluster) -> None:
        opened = client._opened
        async for found in Walk(opened.initiator, opened.objects).repair(BUCKET):
            if isinstance(found, ChunkFinding):
                self._check_bad(found, "before repair")
            elif isinstance(found, WalkError) or (
                not isinstance(found, NameFinding) and found.action != "restored"
            ):
                self._world.fail(f"repair: {found}")
        async for finding in Walk(opened.initiator, opened.objects).verify(BUCKET):
            if isinstance(finding, ChunkFinding):
                self._check_bad(finding, "after repair")
                if finding.hosts < finding.wanted:
                    self._world.fail(f"after repair {finding.hosts} of {finding.wanted}: {finding}")
            elif isinstance(finding, WalkError) or not finding.whole:
                self._world.fail(f"after repair: {finding}")

    def _check_bad(self, finding: ChunkFinding, when: str) -> None:
        """No fault here damages what was synced."""
        for copy in finding.copies:
            if copy.state in ("corrupt", "missing"):
                self._world.fail(f"{when}: {copy}")

    async def _read_all(self, client: Cluster) -> None:
        """Every name once more, so that the history ends in what is there now."""
        ledger, world = self._ledger, self._world
        names = sorted({o.key for o in ledger.history.operations() if not o.key.endswith("/")})
        for key in names:
            token = ledger.begin(OPERATOR, key, "get", None)
            try:
                ledger.ok(token, ledger.read(key, await client.read(BUCKET, key.partition("/")[2])))
            except NotFound:
                ledger.ok(token, None)
            except ReplicastError as error:
                world.fail(f"{key} cannot be read in the end: {error!r}")
                return


async def _make_bucket(client: Cluster) -> None:
    with contextlib.suppress(Conflict):
        await client.create_bucket(BUCKET)


def _as_dict(shape: Shape) -> dict[str, object]:
    return {name: getattr(shape, name) for name in Shape.__slots__}
