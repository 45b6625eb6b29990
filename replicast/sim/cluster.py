"""A whole simulated cluster: targets with drives, voters among them, and client programs.

    cluster = SimCluster(world, Shape(targets=5))
    cluster.start()
    cluster.clients[0].run(work)          work(replicast.embed.Cluster) is the client's coroutine

The daemons are replicast.target.daemon.TargetDaemon and the initiator of replicast.gateway.open,
as they run in production; formation documents are made as `replicast cluster join` makes them.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zmq.utils import z85

from replicast.auth.keyring import KeyRing
from replicast.disks import LockableDisk
from replicast.embed import Cluster
from replicast.errors import Unavailable
from replicast.flexhash.voter_file import VoterFile
from replicast.flexhash.voters import formed_voters
from replicast.formation import ClusterFile, Formation, Member, Parameters, choose_voters
from replicast.gateway.config import InitiatorConfig
from replicast.gateway.open import Credentials, OpenedInitiator, open_initiator
from replicast.keys import ClusterKeys, KeyPair, Role
from replicast.memory_disk import MemoryDisk
from replicast.metrics import Counters
from replicast.sim.channels import Exchange
from replicast.sim.cores import cores_of
from replicast.sim.damage import Damage
from replicast.sim.network import Network
from replicast.sim.process import Main, Process, SimRuntime, Wires
from replicast.sim.replicas import Replicas
from replicast.sim.turns import Clock
from replicast.sim.upkeep import Upkeep, cure
from replicast.sim.vdev import Drive, SimVdev, open_sim_vdev
from replicast.sim.watch import Watch
from replicast.sim.world import World
from replicast.target.config import TargetConfig, VdevPlace
from replicast.target.daemon import TargetDaemon
from replicast.target.membership import Membership
from replicast.units import GIB, KIB, MIB, SECOND

WALL_NS = 1_800_000_000 * SECOND
DIRECTORY = Path("/member")
COUNTED = ("row_cuts", "row_installs")
CORES_NS = 2 * SECOND  # after its start a target has made what it serves with
DRIFT_PPM_FAIR = 10_000  # of each clock: half of the lease margin between two


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How large a cluster is and how it is set; a seed draws one."""

    targets: int = 5
    vdevs: int = 2
    clients: int = 3
    admins: int = 0  # of the clients: administrators
    rows: int = 64
    group_size: int = 5
    copies: int = 3
    min_copies: int = 2
    transport: str = "unicast"
    chunk_size_bytes: int = 64 * KIB
    negotiate_above_bytes: int = 8 * KIB
    inline_max_bytes: int = 16 * KIB  # of buckets: little, so that objects of 20 KiB are chunks
    drift_ppm_max: int = 5_000
    drive_bytes: int = 2 * GIB
    mtu_bytes: int = 9000
    retry_window_seconds: int = 900
    beside: bool = False  # clients are on hosts of targets


def draw_shape(rng: random.Random) -> Shape:
    """A cluster to be tested: any of these is one that users may run."""
    targets = rng.choice([3, 4, 5, 5, 6])
    return Shape(
        targets=targets,
        vdevs=rng.choice([1, 2, 2, 3]),
        clients=rng.choice([2, 3, 4]),
        rows=rng.choice([16, 64, 256]),
        group_size=rng.choice([5, 8]),
        transport=rng.choice(["unicast", "unicast", "multicast"]),
        negotiate_above_bytes=rng.choice([0, 8 * KIB, 64 * KIB]),
        drift_ppm_max=rng.choice([0, 100, 5_000, 9_000]),
        mtu_bytes=rng.choice([1500, 9000, 65536]),
        retry_window_seconds=rng.choice([3, 8, 900]),  # short ones let logs be cut
    )


@dataclass(slots=True)
class Unit:
    """A target or client: who it is, its process, its drives."""

    member: Member
    key_pair: KeyPair
    process: Process
    drives: list[Drive] = field(default_factory=list)
    daemon: TargetDaemon | None = None
    opened: OpenedInitiator | None = None
    program: Main | None = None  # of a client: what its process runs

    @property
    def disks(self) -> list[MemoryDisk]:
        """The one of the journal, then the drives'."""
        return [self.process.disk, *(drive.disk for drive in self.drives)]


class SimCluster:
    """See the module header."""

    def __init__(self, world: World, shape: Shape) -> None:
        self.world, self.shape = world, shape
        network = Network(world)
        fair = shape.drift_ppm_max < DRIFT_PPM_FAIR
        self.watch = Watch(world, Replicas(self), by_clocks=fair)
        self.wires = Wires(
            network, Exchange(world, network, self.watch), self.watch, shape.mtu_bytes
        )
        self.counted = dict.fromkeys(COUNTED, 0)  # in all lives of all targets
        self._rng = world.fork_rng()
        self._cluster_keys = ClusterKeys(1, {1: self._rng.randbytes(32)})
        self.targets = [self._target(number) for number in range(1, shape.targets + 1)]
        self.clients = [self._client(number) for number in range(1, shape.clients + 1)]
        self.formation = self._form()
        self.away: dict[str, Unit] = {}  # hosts that are gone until return_target()
        self.watch.voter_epoch = self._voter_epoch
        self.damage, self.upkeep = Damage(world), Upkeep(self)
        for unit in self.targets:
            self._join(unit)
            for drive in unit.drives:
                drive.format(self.formation.cluster_id)

    # -- forming ----------------------------------------------------------------------

    def _process(self, name: str, host: str) -> Process:
        drift = self.shape.drift_ppm_max
        clock = Clock(
            self.world,
            self._rng.randrange(1000 * SECOND),
            self._rng.randint(-drift, drift),
            WALL_NS + self._rng.randrange(SECOND),
        )
        return Process(self.world, self.wires, name, host, clock)

    def _key_pair(self) -> KeyPair:
        public, secret = (z85.encode(self._rng.randbytes(32)).decode("ascii") for _ in range(2))
        return KeyPair(public, secret)

    def _target(self, number: int) -> Unit:
        pair, ip = self._key_pair(), f"10.0.0.{number}"
        ports = ("udp", "peer", "control", "raft", "metrics")
        member = Member(
            node_id=number,
            role=Role.TARGET,
            name=f"t{number}",
            host=f"h{number}",
            zone="z",
            public_key=pair.public,
            vdev_count=self.shape.vdevs,
            **{what: (ip, 7000 + at) for at, what in enumerate(ports)},
        )
        unit = Unit(member, pair, self._process(member.name, ip))
        for _ in range(self.shape.vdevs):
            unit.drives.append(Drive(self.world.fork_rng(), self.shape.drive_bytes))
        return unit

    def _client(self, number: int) -> Unit:
        pair, name = self._key_pair(), f"c{number}"
        # An address of its own in any case: who watches the network tells processes by it.
        beside = self.targets[-number % len(self.targets)] if self.shape.beside else None
        member = Member(
            node_id=1000 + number,
            role=Role.ADMIN if number <= self.shape.admins else Role.GATEWAY,
            name=name,
            host=beside.member.host if beside else name,
            zone="z",
            public_key=pair.public,
        )
        return Unit(member, pair, self._process(name, f"10.0.1.{number}"))

    def _form(self) -> Formation:
        shape = self.shape
        targets = [unit.member for unit in self.targets]
        return Formation(
            cluster_id=self._rng.randbytes(16),
            segment_id=self._rng.getrandbits(63) + 1,
            voter_epoch=1,
            parameters=Parameters(
                transport=shape.transport,
                chunk_size_bytes=shape.chunk_size_bytes,
                row_count=shape.rows,
                group_size=shape.group_size,
                copies=shape.copies,
                min_copies=shape.min_copies,
                retry_window_seconds=shape.retry_window_seconds,
            ),
            voters=choose_voters(targets),
            members=tuple(targets + [unit.member for unit in self.clients]),
        )

    def _join(self, unit: Unit) -> None:
        """What `replicast cluster join` leaves in a folder, as far as a daemon reads it here."""
        formation = self.formation
        voters = formed_voters(formation.voter_epoch, formation.voter_members())
        VoterFile(unit.process.disk, DIRECTORY, formation.cluster_id).save(voters)

    # -- targets ----------------------------------------------------------------------

    def start(self) -> None:
        """Start all targets."""
        self.upkeep.start()
        for unit in self.targets:
            self.start_target(unit)

    def start_target(self, unit: Unit) -> None:
        """Start one; it finds on its drives what was synced."""
        if unit.member.name in self.away:
            return
        keys = self._cluster_keys
        membership = Membership(
            DIRECTORY,
            self.formation,
            unit.member,
            unit.key_pair,
            KeyRing(self.formation.cluster_id, keys.current, keys.keys),
        )
        config = TargetConfig(directory=str(DIRECTORY), vdevs="", buffer_bytes=16 * MIB)
        paths = [DIRECTORY / f"v{at}" for at in range(len(unit.drives))]
        drives = dict(zip(paths, unit.drives, strict=True))

        async def main(runtime: SimRuntime) -> None:
            loop = asyncio.get_running_loop()

            def open_vdev(_disk: LockableDisk, place: VdevPlace, cluster_id: bytes) -> SimVdev:
                return open_sim_vdev(drives[place.path], cluster_id, loop)

            places = [VdevPlace(path) for path in paths]
            unit.daemon = TargetDaemon(config, places, membership, runtime, open_vdev)  # type: ignore[arg-type]
            await unit.daemon.run()

        self._count(unit)
        unit.daemon = None
        for disk in unit.disks:
            disk.process_death()  # the last one's locks end with it
        self.upkeep.started(unit)
        unit.process.start(main, lambda error: self.upkeep.refused(unit, error))
        start = unit.process.starts

        def note() -> None:
            if unit.process.running and unit.process.starts == start:
                self._note_cores(unit, unit.daemon)

        self.world.after(CORES_NS, note)

    def return_target(self, unit: Unit) -> None:
        """A host that was away is there again."""
        del self.away[unit.member.name]
        if not unit.process.running:
            self.start_target(unit)

    def _note_cores(self, unit: Unit, root: object) -> None:
        """So that a trace says which classes ran, and from which files. Compiled or not, it is the
        same run, so this is not part of its fingerprint."""
        world = self.world
        if not world.trace.kept:
            return
        cores = [f"{name}: {file}" for name, file in cores_of(root).items()]
        world.trace.describe(world.time_ns, unit.process.name, "cores", cores=cores)

    def crash_target(self, unit: Unit) -> None:
        """As kill -9 of one process: what it wrote is in the page cache, synced or not."""
        if unit.process.starts and not unit.process.killed:
            unit.process.kill()
            for drive in unit.drives:
                drive.unstick()

    def kill_target(self, unit: Unit) -> None:
        """Power loss of one host: unsynced writes of all its disks are lost or torn."""
        if unit.process.starts and not unit.process.killed:
            unit.process.kill()
            unit.process.disk.power_loss(self._rng)
            for drive in unit.drives:
                drive.unstick()
                drive.disk.power_loss(self._rng)

    def _voter_epoch(self, host: str) -> int:
        """Of the group that the voter on this host takes part in."""
        for unit in self.targets:
            voter = getattr(unit.daemon, "_voter", None)
            if unit.process.host == host and voter is not None and voter.control is not None:
                return int(voter.control.state.group_epoch)
        return 0

    # -- clients ----------------------------------------------------------------------

    def run_client(self, unit: Unit, work: Callable[[Cluster], Awaitable[Any]]) -> None:
        """Start a client program that connects and does `work`."""
        formation, parameters = self.formation, self.formation.parameters
        cluster = ClusterFile(
            cluster_id=formation.cluster_id,
            segment_id=formation.segment_id,
            node_id=unit.member.node_id,
            role=unit.member.role,
            transport=parameters.transport,
            content_hash=parameters.content_hash,
            chunk_size_bytes=parameters.chunk_size_bytes,
            multicast_port=parameters.multicast_port,
            node_key=DIRECTORY,
            cluster_key=DIRECTORY,
            directory=DIRECTORY,
            voters=formation.voter_members(),
        )
        config = InitiatorConfig(
            buffer_bytes=16 * MIB, negotiate_above_bytes=self.shape.negotiate_above_bytes
        )
        credentials = Credentials(unit.key_pair, self._cluster_keys)

        async def main(runtime: SimRuntime) -> None:
            unit.opened = None
            opened = None
            while opened is None:
                with contextlib.suppress(Unavailable):  # started while no voter was there: again
                    opened = await open_initiator(
                        cluster,
                        config,
                        Counters(),
                        table_seconds=300,
                        runtime=runtime,
                        credentials=credentials,
                        formation=formation,
                    )
            opened.buckets.inline_max_bytes = self.shape.inline_max_bytes
            unit.opened = opened
            self._note_cores(unit, opened)
            async with Cluster(opened) as client:
                await work(client)

        unit.program = main
        unit.process.start(main)

    def kill_client(self, unit: Unit) -> None:
        """As SIGKILL, in the middle of whatever it does; it keeps nothing on disk."""
        unit.process.kill()

    def restart_client(self, unit: Unit) -> None:
        """Start a killed client's program again, as a fresh process; harmless otherwise."""
        if unit.process.killed and unit.program is not None:
            unit.process.start(unit.program)

    def check_drives(self) -> None:
        """No open found damage on a drive that nothing damaged."""
        for unit in self.targets:
            for drive in unit.drives:
                if drive.found_damage and not self.damage.hit(unit.member.host):
                    found = drive.found_damage
                    self.world.fail(
                        f"{unit.member.name}: nothing damaged it: {found}", checker="durability"
                    )

    # -- peace ------------------------------------------------------------------------

    def calm(self) -> None:
        """End all faults: the network is whole, everybody runs, all disks work."""
        self.wires.network.calm()
        for unit in (*self.targets, *self.clients):
            unit.process.resume()
        self.upkeep.peace = True
        for unit in self.targets:
            cure(unit)
            if not unit.process.running:
                self.start_target(unit)
        for unit in self.clients:
            self.restart_client(unit)

    def end(self) -> None:
        """Kill everything."""
        for unit in (*self.targets, *self.clients):
            unit.process.kill()
            self._count(unit)

    def _count(self, unit: Unit) -> None:
        """A life of a target is over."""
        if unit.daemon is not None:
            for name in self.counted:
                self.counted[name] += int(unit.daemon.counters.get(name))
            unit.daemon = None
