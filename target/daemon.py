"""replicast-target: one process per storage host.

    replicast-target --config target.toml

Starts the VDEVs that open (target/opening.py), the Raft voter and table service when this member votes, the
table client with its lease, the peer channel and the data plane; joins the
cluster, says READY, and on SIGTERM hands over what it leads (target/handover.py),
gives the lease back, flushes and ends; on SIGINT it ends at once. Exit 1: could not start, with one line that says why.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from replicast.addresses import is_ipv6
from replicast.auth.boot import next_boot_number
from replicast.auth.keyring import KEY_BYTES
from replicast.auth.session import make_session
from replicast.daemon import Heartbeat, Work, run_daemon
from replicast.disks import LockableDisk
from replicast.event_loop import target_runner
from replicast.flexhash.client import TableClient
from replicast.flexhash.control_port import ControlPort
from replicast.flexhash.join import VdevOpen
from replicast.flexhash.lease import LeaseHolder
from replicast.flexhash.table import Table
from replicast.flexhash.tables import TableFiles
from replicast.keys import Identity
from replicast.metrics import Counters
from replicast.native import IMPLEMENTATION
from replicast.notify import notify
from replicast.observe import Observatory
from replicast.runtime import SYSTEM, Runtime
from replicast.scheduling import share_cpus
from replicast.target.config import TargetConfig, VdevPlace, load_target
from replicast.target.handover import HandOver
from replicast.target.membership import Doorkeeper, Membership, load_membership
from replicast.target.names.limits import NameLimits
from replicast.target.names.service import NameService
from replicast.target.opening import open_vdevs
from replicast.target.peers import PeerChannel
from replicast.target.service import TargetService
from replicast.target.store.vdev import Vdev
from replicast.target.vdevs import Vdevs
from replicast.target.voter import VoterRole
from replicast.transport.multicast import MulticastPlan
from replicast.transport.open import UdpCallbacks, UdpPlan, make_buffers, open_udp
from replicast.units import GIB, SECOND

log = logging.getLogger("replicast.target")

TICK_SECONDS = 0.5
JOIN_SECONDS = 30 * 24 * 3600.0  # waits for a quorum as long as it takes


OpenVdev = Callable[[LockableDisk, VdevPlace, bytes], Vdev]


def open_vdev(disk: LockableDisk, place: VdevPlace, cluster_id: bytes) -> Vdev:
    """One VDEV of the settings, recovered; raises VdevError."""
    return Vdev.open(
        disk,
        place.path,
        cluster_id,
        capacity_bytes=place.capacity_bytes or None,
        write_delay_ns=place.write_delay_ns,
        read_delay_ns=place.read_delay_ns,
    )


class TargetDaemon:
    """Everything of one target process; run() returns when it was told to stop."""

    def __init__(
        self,
        config: TargetConfig,
        places: list[VdevPlace],
        membership: Membership,
        runtime: Runtime = SYSTEM,
        open_vdev: OpenVdev = open_vdev,
    ) -> None:
        self._runtime, self._open_vdev = runtime, open_vdev
        self._config, self._places, self._membership = config, places, membership
        self._disk: LockableDisk = runtime.disk(config.disk)
        self._directory = membership.directory
        self.counters = Counters()
        self._rng = runtime.rng()
        self._ready = False
        self._heart = Heartbeat(runtime.now_ns)
        self._stopping = asyncio.Event()  # told to
        self._at_once = asyncio.Event()  # without a hand-over
        self._joined = False

    async def run(self) -> None:
        """Start, serve, stop."""
        self._runtime.on_stop(self._stopping.set, self._stop_at_once)
        self._boot = next_boot_number(self._disk, self._directory / "boot", self._runtime.wall_ns())
        self._lease = LeaseHolder(self._boot)
        opened = await open_vdevs(self._places, self._open_one, self.counters)
        self._vdevs = Vdevs(opened, asyncio.get_running_loop())
        self._vdevs.attach()
        self._hub = self._runtime.hub(self.counters)
        self._door = Doorkeeper(self._membership.formation)
        self._start_raft()
        self._make_service()
        self._open_network()
        self._observatory = self._observe()
        await self._client.start()
        self._voter.connect(self._client)
        ticking = asyncio.ensure_future(self._tick())
        try:
            await self._join()
            await self._stopping.wait()
            await self._hand_over()
        finally:
            ticking.cancel()
            await self._stop()

    def _stop_at_once(self) -> None:
        self._at_once.set()
        self._stopping.set()

    # -- start ------------------------------------------------------------------------

    def _open_one(self, place: VdevPlace) -> Vdev:
        return self._open_vdev(self._disk, place, self._membership.formation.cluster_id)

    def _start_raft(self) -> None:
        self._files = TableFiles(self._disk, self._directory / "tables")
        m, clock_ns = self._membership, self._runtime.now_ns
        self._port = ControlPort(
            self._hub, m.key_pair, m.me.control, self._door, self.counters, clock_ns
        )
        self._voter = VoterRole(
            m,
            self._disk,
            self._hub,
            self._port,
            self._door,
            self._lease,
            self._files.load,
            self._rng,
            self._runtime,
            self.counters,
        )
        self._voter.open()

    def _make_service(self) -> None:
        m, secret = self._membership, self._runtime.secret_rng()
        self._buffers = make_buffers(self._config.buffer_bytes)
        self._client = TableClient(
            self._hub,
            m.key_pair,
            m.me.node_id,
            self._voter.voters,
            clock_ns=self._runtime.now_ns,
            wall_ns=self._runtime.wall_ns,
            rng=self._rng,
            counters=self.counters,
            lease=self._lease,
            files=self._files,
            give_up=self._give_up,
            on_prepared=self._on_prepared,
            on_table=self._on_table,
            on_settings=self._on_settings,
            on_voters=self._voter.on_voters,
            witness=self._runtime.witness,
        )
        names = NameService(
            m.me.node_id,
            m.formation.segment_id,
            self._lease,
            self._client.buckets,
            self.counters,
            NameLimits(retry_window_ns=m.formation.parameters.retry_window_seconds * SECOND),
        )
        self._service = TargetService(
            m.me.node_id,
            names,
            self._vdevs,
            self._lease,
            self._buffers,
            self.counters,
            now_ns=self._runtime.now_ns,
            wall_ns=self._runtime.wall_ns,
            new_key=lambda: secret.randbytes(KEY_BYTES),
            raft_status=self._voter.status,
        )

    def _open_network(self) -> None:
        m = self._membership
        parameters = m.formation.parameters
        plan = None
        if parameters.transport == "multicast":
            plan = MulticastPlan(
                m.formation.cluster_id,
                self._config.multicast_groups,
                self._config.rendezvous_groups,
                parameters.multicast_port,
                is_ipv6(m.me.udp[0]),
            )
        self._udp = open_udp(
            UdpPlan(
                node_id=m.me.node_id,
                bind=m.me.udp,
                boot_number=self._boot,
                keys=m.keys,
                buffer_bytes=self._config.buffer_bytes,
                plan=plan,
                hears_groups=True,
                on_left=self._service.on_left,
            ),
            self._buffers,
            UdpCallbacks(
                on_incoming=self._service.on_incoming,
                on_completed=self._service.on_completed,
                on_sent=self._service.on_sent,
                on_delivered=self._service.on_delivered,
            ),
            self.counters,
            self._runtime,
        )
        self._peers = PeerChannel(
            self._hub,
            m.me.node_id,
            m.me.peer,
            m.key_pair,
            self._allow_peer,
            self._service.on_peers,
            self.counters,
        )
        self._service.connect(self._udp, self._peers, self._client)
        self._udp.start()
        if self._udp.memberships is not None and not self._udp.memberships.join_negotiating():
            log.error("a negotiating group cannot be joined: initiators fall back to unicast")

    def _allow_peer(self, public_key: str) -> Identity | None:
        return self._port.allow(public_key)

    def _observe(self) -> Observatory:
        return self._runtime.observatory(
            *self._membership.me.metrics,
            sources=[self.counters, *(v.counters for v in self._vdevs.by_id.values())],
            refresh=self._refresh,
            alive=self._heart.alive,
            ready=lambda: self._ready and self._lease.valid(self._runtime.now_ns()),
        )

    async def _join(self) -> None:
        opens = [
            VdevOpen(
                vdev_id=vdev.vdev_id,
                weight=max(1, vdev.stat().total_bytes // GIB),
                open_count=vdev.open_count,
                opener=make_session(self._boot, self._rng.getrandbits(32)),
                damaged=bool(vdev.damage),
                counted=vdev.counted,
            )
            for vdev in self._vdevs.by_id.values()
        ]
        joining = asyncio.ensure_future(
            self._client.join(self._membership.entry(), opens, timeout_seconds=JOIN_SECONDS)
        )
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({joining, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not joining.done():
            joining.cancel()
            return
        await joining
        for vdev in self._vdevs.by_id.values():
            if vdev.damage:
                log.error("VDEV %s: %s", vdev.vdev_id.hex(), vdev.damage)
                vdev.clear_damage()
        self._ready = self._joined = True
        notify("READY=1")
        log.info("joined with %d VDEVs, %s", len(opens), IMPLEMENTATION)

    # -- running ----------------------------------------------------------------------

    def _give_up(self, table: Table) -> None:
        self._service.give_up(table)

    def _on_prepared(self, table: Table) -> None:
        self._port.shelf.put(table)  # active any moment now, and then gateways want it
        self._service.on_prepared(table)

    def _on_table(self, table: Table) -> None:
        self._door.update(table)
        self._port.shelf.put(table)
        self._voter.offer(table)
        self._service.on_table(table)

    def _on_settings(self, version: int) -> None:
        self._service.on_settings(version)

    async def _tick(self) -> None:
        while True:
            now_ns = self._heart.beat()
            self._service.tick()
            if self._joined:
                self._client.vouch(self._vdevs.vouched(now_ns))
            await asyncio.sleep(TICK_SECONDS)

    def _refresh(self) -> None:
        self._client.show_lease()
        self._udp.count_stats()
        self._service.refresh_gauges()
        self._voter.show()

    # -- stopping ---------------------------------------------------------------------

    async def _hand_over(self) -> None:
        """Serve on until nobody needs us any more, or somebody is in a hurry."""
        self._ready = False
        notify("STOPPING=1")
        if not self._joined or self._at_once.is_set():
            return
        log.info("handing over")
        handing_over = HandOver(
            self._membership.me.node_id,
            self._client,
            self._lease,
            self._service,
            self._voter.raft,
            self._runtime.now_ns,
            self.counters,
        )
        handing = asyncio.ensure_future(handing_over.run(self._config.hand_over_seconds))
        hurried = asyncio.ensure_future(self._at_once.wait())
        await asyncio.wait({handing, hurried}, return_when=asyncio.FIRST_COMPLETED)
        for task in (handing, hurried):
            task.cancel()
        await asyncio.gather(handing, hurried, return_exceptions=True)

    async def _stop(self) -> None:
        """What rows are still led end first, then the lease; the log of each VDEV last."""
        log.info("stopping")
        self._service.stop()
        await self._client.stop()
        self._udp.close()
        await self._peers.close()
        await self._voter.stop()
        self._port.close()
        self._hub.close()
        self._observatory.close()
        self._vdevs.detach()
        await asyncio.to_thread(self._vdevs.close)


def prepare(path: Path) -> tuple[str, Work]:
    """The log level and the work of the target whose settings are in `path`."""
    config, places = load_target(path)
    share_cpus(config.cpu_scheduling)  # before it starts threads

    async def work() -> None:
        membership = load_membership(path.parent.resolve() / config.directory)
        await TargetDaemon(config, places, membership).run()

    return config.log_level, work


def main(arguments: Sequence[str] | None = None) -> None:
    """The replicast-target command."""
    about = "Serve the VDEVs of one storage host."
    run_daemon("replicast-target", about, "target.toml", prepare, arguments, target_runner)


if __name__ == "__main__":
    main()
