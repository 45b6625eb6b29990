"""One run of a test: a cluster is formed, worked on and harmed, left in peace, and judged.

    result = run_test(test, seed)
    result.verdict, result.problems, result.fingerprint

    form      all targets start, clients connect and make the bucket
    trouble   workloads and faults together for the test's seconds
    peace     faults end, everything mends; operations under way must end within PEACE_SECONDS
    repair    `repair` and then `verify`, as an operator would, and every name and version is read once
              more

The verdict is bad when a checker says so, unknown when one cannot tell (which fails a run too).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO

from replicast.buggify import choosing
from replicast.embed import Cluster
from replicast.errors import Conflict, ReplicastError, Unavailable
from replicast.flexhash.raft import clock
from replicast.gateway.walk import Walk
from replicast.sim.checkers import BAD, HISTORY_CHECKS, OK, OPERATOR, UNKNOWN
from replicast.sim.cluster import Shape, SimCluster, draw_shape
from replicast.sim.convergence import copies_of, differences
from replicast.sim.fault_points import FaultPoints, fault_points
from replicast.sim.faults import Faults
from replicast.sim.final_reads import FinalReads
from replicast.sim.meter import Meter
from replicast.sim.swallowed import heard
from replicast.sim.test_file import Test
from replicast.sim.walks import Walks
from replicast.sim.workload_kinds import PROGRAMS
from replicast.sim.workloads import BUCKET, Ledger, Seat, version_of
from replicast.sim.world import Trace, World
from replicast.target.store.vdev import Vdev
from replicast.units import SECOND

FORM_SECONDS = 120
PEACE_SECONDS = 120
POLL_SECONDS = 0.5
POINTS_MESSAGES_FACTOR = 4  # fault points cut messages into small ones and repeat them
POINTS_SECONDS_FACTOR = 2  # they lose messages and refuse tables, which are faults of their own
SMALL_DATAGRAMS_FACTOR = 3  # six times as many for a chunk as at the MTU that the bounds are for
BOUNDS_MTU_BYTES = 9000
CONVERGE_SECONDS = 10
EMPTY_SECONDS = 20
CLIENT_DOWN_NS_MAX = 2 * SECOND  # of one that killed itself


@dataclass(slots=True)
class Result:
    """What became of a run."""

    test: str
    seed: int
    verdict: str = OK
    problems: list[str] = field(default_factory=list)  # each begins with its checker's name
    fingerprint: str = ""
    shape: Shape | None = None
    virtual_ns: int = 0
    cpu_seconds: float = 0.0
    events: int = 0
    operations: int = 0
    refused: int = 0
    faults: int = 0
    counted: dict[str, int] = field(default_factory=dict)  # metrics of all targets together
    points: dict[str, int] = field(default_factory=dict)  # fault points, how often each was taken

    def judge(self, checker: str, verdict: str, problems: list[str]) -> None:
        """Take over what one checker says; bad beats unknown beats ok."""
        self.problems += [f"{checker}: {problem}" for problem in problems]
        if verdict == BAD or (verdict == UNKNOWN and self.verdict == OK):
            self.verdict = verdict

    @property
    def checkers(self) -> list[str]:
        """Those that reported something."""
        return sorted({problem.partition(":")[0] for problem in self.problems})


@contextlib.contextmanager
def one_world(*, last: bool = False) -> Iterator[None]:
    """Around a world's life: it makes little garbage in cycles, and much that lives until its end.

    What was there before it is frozen meanwhile, so that its end is collected without a look at
    all modules. What collecting that runs (`finally` blocks of processes whose machine is gone) fails, and
    nobody needs to hear of it. The `last` one is not collected: its process ends with it.
    """
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    log = logging.getLogger("replicast")
    level = log.level
    log.setLevel(logging.CRITICAL)  # what daemons log of faults is no news here
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        if not last:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # coroutines that never began
                gc.collect()
                clock.leave()  # after what that ran: a Raft node may have had its turn once more
                gc.collect()
            gc.unfreeze()
            gc.enable()
            log.setLevel(level)
            sys.unraisablehook = hook


def run_test(
    test: Test, seed: int, trace_file: IO[str] | None = None, *, last: bool = False
) -> Result:
    """Run one seed of a test; `last`: the process ends with it."""
    began = time.process_time()  # for the report only; nothing in the run depends on it
    points = fault_points(seed, test.buggify)
    with one_world(last=last), choosing(points):
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
        dearer = 1 if points is None else POINTS_MESSAGES_FACTOR
        if self._shape.mtu_bytes < BOUNDS_MTU_BYTES:
            dearer *= SMALL_DATAGRAMS_FACTOR
        self._meter = Meter(self._cluster, test.messages_per_operation, dearer)
        self._ledger = Ledger(world)
        if test.operation_seconds is not None:
            slower = 1 if points is None else POINTS_SECONDS_FACTOR
            self._ledger.operation_ns_max = int(test.operation_seconds * SECOND) * slower
        self._ledger.answered = test.answered
        self._result = Result(test.name, world.seed, shape=self._shape)
        self._stopped = False
        self._ready: set[int] = set()
        self._ended: set[int] = set()
        self._measured = False

    def whole(self) -> Result:
        """All phases; a phase that does not end is a failure of liveness."""
        world = self._world
        world.note("world", "shape", **_as_dict(self._shape))
        if self._points is not None:
            world.note("world", "fault points", **self._points.on)
        with heard(world):
            if self._form() and self._trouble() and self._peace():
                self._repair()
            self._cluster.check_drives()
        result = self._result
        result.verdict, result.problems = BAD if world.failures else OK, list(world.failures)
        for check in self._test.checks:
            result.judge(check, *HISTORY_CHECKS[check](self._ledger.history))
        for verdict in self._cluster.watch.verdicts():
            result.judge(*verdict)
        result.judge("bounds", *self._meter.verdict(self._ledger.done, self._result.faults))
        result.fingerprint = world.trace.fingerprint()
        result.virtual_ns, result.events = world.time_ns, world.event_count
        result.operations, result.refused = self._ledger.done, self._ledger.failed
        if self._points is not None:
            result.points = self._points.taken
        self._cluster.end()
        result.counted = self._cluster.counted
        return result

    def _wait(
        self, seconds: float, done: Callable[[], bool], what: str, *, told: bool = True
    ) -> bool:
        """`told`: what `done` looks at tells the world when it changes; else it is asked after
        each event."""
        world, failures = self._world, self._world.failures
        run = world.run_till if told else world.run_until
        if run(world.time_ns + int(seconds * SECOND), lambda: bool(failures) or done()):
            return not failures
        world.fail(f"not within {seconds:g} s: {what}", checker="liveness")
        return False

    # -- phases -----------------------------------------------------------------------

    def _form(self) -> bool:
        self._cluster.start()
        for number in range(len(self._cluster.clients)):
            self._start_client(number)
        wanted = len(self._cluster.clients)
        return self._wait(FORM_SECONDS, lambda: len(self._ready) == wanted, "forming")

    def _start_client(self, number: int) -> None:
        rng, unit = self._world.fork_rng(), self._cluster.clients[number]

        def kill() -> None:
            self._cluster.kill_client(unit)
            back_ns = rng.randrange(CLIENT_DOWN_NS_MAX)
            self._world.after(back_ns, lambda: self._cluster.restart_client(unit))

        async def work(client: Cluster) -> None:
            await _make_bucket(client)
            self._ready.add(number)
            self._world.tell()
            seat = Seat(
                number=number,
                client=client,
                ledger=self._ledger,
                rng=rng,
                chunk_size_bytes=self._shape.chunk_size_bytes,
                admins=self._shape.admins,
                stopped=lambda: self._stopped,
                kill=kill,
            )
            programs = [PROGRAMS[plan.kind](seat, plan) for plan in self._test.workloads]
            await asyncio.gather(*(program.run() for program in programs))
            self._ended.add(number)
            self._world.tell()
            while not self._measured:  # with the program its memory would go
                await asyncio.sleep(POLL_SECONDS)

        self._cluster.run_client(unit, work)

    def _trouble(self) -> bool:
        world = self._world
        self._meter.start()
        faults = Faults(self._cluster, list(self._test.faults), self._faults_rng)
        world.run_until(  # asked after each event
            world.time_ns + int(self._test.seconds * SECOND), world.failures.__len__
        )
        faults.stop()
        self._result.faults = faults.count
        return not world.failures

    def _peace(self) -> bool:
        self._stopped = True
        self._cluster.calm()
        if self._points is not None:
            self._points.stop()
        wanted = len(self._cluster.clients)
        if not self._wait(
            PEACE_SECONDS, lambda: len(self._ended) == wanted, "operations under way end"
        ):
            return False
        self._meter.stop()
        self._until(EMPTY_SECONDS, self._meter.left, "memory is given back", "bounds")
        self._measured = True
        return not self._world.failures

    def _until(
        self, seconds: float, wrong: Callable[[], list[str]], what: str, checker: str
    ) -> None:
        """Until nothing is wrong any more; looked at twice a second, as it may cost something."""
        world = self._world
        for _ in range(int(seconds / POLL_SECONDS)):
            if not (found := wrong()):
                return
            world.run_until(world.time_ns + int(POLL_SECONDS * SECOND))
        world.fail(f"not within {seconds:g} s: {what}: {found[:3]}", checker=checker)

    def _repair(self) -> None:
        done: list[bool] = []

        async def work(client: Cluster) -> None:
            await self._until_healthy(client)
            await self._write_once(client)
            self._check_stored()
            await self._walks(client)
            await FinalReads(client, self._ledger).run()
            done.append(True)
            self._world.tell()

        unit = self._cluster.clients[0]
        if not self._wait(5, lambda: not unit.process.running, "its program ends", told=False):
            return
        self._cluster.run_client(unit, work)
        if self._wait(2 * PEACE_SECONDS, lambda: bool(done), "healthy, repaired and verified"):
            self._until(
                CONVERGE_SECONDS,
                lambda: differences(copies_of(self._cluster)),
                "replicas converge",
                "convergence",
            )

    # -- the operator -----------------------------------------------------------------

    async def _until_healthy(self, client: Cluster) -> None:
        problems: list[str] = []
        for _ in range(int(PEACE_SECONDS / POLL_SECONDS)):
            report = await client._opened.initiator.status()
            problems = [p for p in report["problems"] if "copies" not in p]
            if not problems:
                return
            await asyncio.sleep(POLL_SECONDS)
        self._world.fail(
            f"not healthy {PEACE_SECONDS} s after the last fault: {problems}", checker="liveness"
        )

    async def _write_once(self, client: Cluster) -> None:
        """Who is healthy takes writes; it may be the only one of a run without a quiet moment."""
        ledger, name = self._ledger, "after-all"
        value = ledger.value(self._world.fork_rng(), (100,))
        token = ledger.begin(OPERATOR, f"{BUCKET}/{name}", "put", value)
        try:
            info = await client.put(BUCKET, name, ledger.values[value])
        except ReplicastError as error:
            self._world.fail(f"a healthy cluster takes no write: {error!r}", checker="liveness")
            return
        ledger.ok(token, version_of(info))
        ledger.learned(f"{BUCKET}/{name}", version_of(info))

    async def _walks(self, client: Cluster) -> None:
        initiator, objects = client._opened.initiator, client._opened.objects
        walks = Walks(
            lambda: Walk(initiator, objects),
            lambda: initiator.table,
            self._cluster.damage,
            self._not_durable,
        )
        for bucket in await client.list_buckets():
            await walks.run(bucket)

    def _not_durable(self, what: str) -> None:
        self._world.fail(what, checker="durability")

    def _check_stored(self) -> None:
        """What no VDEV of a sound host may lack."""
        vdevs: dict[int, Vdev] = {}
        for unit in self._cluster.targets:
            if unit.daemon is not None and not self._cluster.damage.hit(unit.member.host):
                vdevs |= unit.daemon._vdevs.by_index

        def holds(index: int, chid: bytes) -> bool | None:
            return vdevs[index].has(chid) if index in vdevs else None

        for what in self._cluster.watch.checkers.stored.missing(holds):
            self._not_durable(what)


async def _make_bucket(client: Cluster) -> None:
    """As often as it takes: a client that was killed comes back in the middle of faults."""
    while True:
        try:
            return await client.create_bucket(BUCKET)
        except Conflict:
            return
        except Unavailable:
            await asyncio.sleep(POLL_SECONDS)


def _as_dict(shape: Shape) -> dict[str, object]:
    return {name: getattr(shape, name) for name in Shape.__slots__}
