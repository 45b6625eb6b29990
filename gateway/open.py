"""Puts an initiator together from a cluster.toml: table client, UDP side, object layer.

    opened = await open_initiator(load_cluster_file(path), config, counters)
    opened.objects, opened.buckets, opened.initiator
    await opened.close()

Used by replicast-gw and by replicast.connect().
"""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from replicast.addresses import is_ipv6
from replicast.auth.keyring import KeyRing
from replicast.credit import CreditPool
from replicast.curve import CurveHub
from replicast.errors import Unavailable
from replicast.flexhash.client import TableClient
from replicast.flexhash.follow_events import AdoptUsers
from replicast.flexhash.follow_tables import TargetFetch
from replicast.flexhash.sources import Place, Sources
from replicast.flexhash.table import Table
from replicast.flexhash.voter_file import VoterFile
from replicast.flexhash.voters import VoterSet, formed_voters
from replicast.formation import VOTER_EPOCH, ClusterFile, Formation, Member
from replicast.gateway.bodies import ObjectLimits
from replicast.gateway.buckets import Buckets
from replicast.gateway.config import InitiatorConfig
from replicast.gateway.context import ChunkContext
from replicast.gateway.initiator import SOURCE_AGE_NS_MAX, UdpInitiator
from replicast.gateway.objects import Objects
from replicast.hashing import algorithm_named
from replicast.keys import ClusterKeys, KeyPair, Role, load_cluster_keys, load_key_pair
from replicast.machine import Address, NodeId
from replicast.metrics import Counters
from replicast.runtime import SYSTEM, Runtime
from replicast.transport.multicast import MulticastPlan
from replicast.transport.net import Reassembly
from replicast.transport.open import UdpCallbacks, UdpPlan, make_buffers, open_udp, payload_bytes
from replicast.transport.shell import UdpShell

log = logging.getLogger("replicast.gateway")

FIRST_TABLE_SECONDS = 30.0
FRESH_SECONDS = 3.0
# One that a reader has in hand and the one that comes next: whoever does not go on reading keeps
# them, and must not keep others from theirs.
READERS_MAX, CHUNKS_PER_READER = 256, 2
UsersCallback = Callable[[AdoptUsers], None]


@dataclass(frozen=True, slots=True)
class Credentials:
    """What proves who we are: our CURVE keys, and the MAC keys of the cluster."""

    key_pair: KeyPair
    cluster_keys: ClusterKeys


def load_credentials(cluster: ClusterFile) -> Credentials:
    """From the files of a member; raises KeyFileError."""
    return Credentials(load_key_pair(cluster.node_key), load_cluster_keys(cluster.cluster_key))


@dataclass(slots=True)
class OpenedInitiator:
    """A running initiator and what stands on it."""

    initiator: UdpInitiator
    objects: Objects
    buckets: Buckets
    client: TableClient
    counters: Counters
    udp: UdpShell
    hub: CurveHub
    closed: bool = False

    async def close(self) -> None:
        """Fail what is in flight, close everything; harmless when repeated."""
        if self.closed:
            return
        self.closed = True
        self.initiator.close()
        await self.client.stop()
        self.udp.close()
        self.hub.close()


async def open_initiator(
    cluster: ClusterFile,
    config: InitiatorConfig,
    counters: Counters,
    *,
    table_seconds: float = FIRST_TABLE_SECONDS,
    runtime: Runtime = SYSTEM,
    credentials: Credentials | None = None,
    formation: Formation | None = None,
    on_users: UsersCallback | None = None,
) -> OpenedInitiator:
    """Connect; returns with a table in hand. Raises Unavailable when nobody gives one.

    The credentials are read from the files that `cluster` names unless they are given. With the
    formation document the first table, too, can come from a target near by. Who gives `on_users` hears
    of the users of the S3 gateways, and has heard what some voter has when this returns.
    """
    known = credentials or load_credentials(cluster)
    opening = _Opening(cluster, config, counters, runtime, known, formation, on_users)
    try:
        await opening.client.start()
        await opening.client.wait_table(table_seconds)
        await opening.client.wait_settings()
        if on_users is not None:
            await opening.client.wait_users()
        with contextlib.suppress(Unavailable):  # without one, only names and puts are refused
            await opening.client.wait_fresh(SOURCE_AGE_NS_MAX, FRESH_SECONDS)
        return opening.finish()
    except BaseException:
        await opening.client.stop()
        opening.hub.close()
        raise


class _Opening:
    """The parts while they are put together; tables that come meanwhile wait in the client."""

    def __init__(
        self,
        cluster: ClusterFile,
        config: InitiatorConfig,
        counters: Counters,
        runtime: Runtime,
        credentials: Credentials,
        formation: Formation | None,
        on_users: UsersCallback | None,
    ) -> None:
        self._cluster, self._config = cluster, config
        self._runtime, self._credentials = runtime, credentials
        self._counters = counters
        self._rng = runtime.rng()
        self._node_id = self._rng.getrandbits(64)
        self._opened: OpenedInitiator | None = None
        self.hub = runtime.hub(self._counters)
        self._voter_file = VoterFile(runtime.disk("real"), cluster.directory, cluster.cluster_id)
        self.client = TableClient(
            self.hub,
            credentials.key_pair,
            self._node_id,
            self._voter_file.load() or formed_voters(VOTER_EPOCH, cluster.voters),
            clock_ns=self._runtime.now_ns,
            wall_ns=self._runtime.wall_ns,
            rng=self._rng,
            counters=self._counters,
            on_table=self._on_table,
            on_users=on_users,
            on_voters=self._on_voters,
            witness=runtime.witness,
            near=self._near(formation),
        )

    def _near(self, formation: Formation | None) -> TargetFetch:
        """Where this process is, and which targets were there when the cluster was formed."""
        place = Place()
        targets: tuple[Member, ...] = ()
        with contextlib.suppress(OSError):  # no way to the voters yet
            place = Place(addresses=(self._own_host(),))
        if formation is not None:
            targets = formation.of_role(Role.TARGET)
            for me in formation.members:
                if me.node_id == self._cluster.node_id:
                    place = replace(place, host=me.host, zone=me.zone)
        return TargetFetch(Sources(place, self._rng), targets, self._rng, self._counters)

    def _own_host(self) -> str:
        """The address that this host is known by."""
        return self._config.host or self._runtime.route_to(self._cluster.voters[0].control)

    def _on_table(self, table: Table) -> None:
        if self._opened is not None:
            self._opened.udp.endpoint.set_addresses(_addresses(table))
            self._opened.initiator.on_table(table)

    def _on_voters(self, voters: VoterSet) -> None:
        """A client whose folder cannot be written is told again after its next start."""
        try:
            self._voter_file.save(voters)
        except OSError as error:
            log.warning("the voters of epoch %d are not kept: %s", voters.epoch, error)

    def finish(self) -> OpenedInitiator:
        """The UDP side and the object layer, on the first table."""
        table = self.client.table
        assert table is not None
        config, cluster = self._config, self._cluster
        bind = (self._own_host(), 0)
        buffers = make_buffers(
            config.buffer_bytes
            + config.pipeline_bytes
            + READERS_MAX * CHUNKS_PER_READER * cluster.chunk_size_bytes
        )
        context = _context(config, cluster, bind, self._runtime, self._counters, self._rng, buffers)
        initiator = UdpInitiator(
            source=self.client,
            context=context,
            algorithm=algorithm_named(cluster.content_hash),
            rng=self._rng,
            now_ns=self._runtime.now_ns,
            wall_ns=self.client.wall_ns,
        )
        udp = self._open_udp(bind, buffers, initiator)
        context.credit.limit(udp.receive_bytes)
        context.path_bytes = udp.payload_bytes
        initiator.connect(udp)
        udp.endpoint.set_addresses(_addresses(table))
        udp.start()
        limits = ObjectLimits(
            chunk_size_bytes=cluster.chunk_size_bytes,
            put_pipeline=config.put_pipeline,
            get_read_ahead=config.get_read_ahead,
            pipeline_bytes=config.pipeline_bytes,
        )
        objects = Objects(initiator, limits)
        buckets = Buckets(self.client, objects, table.policy.row_count)
        initiator.find_bucket = buckets.lookup
        self._opened = OpenedInitiator(
            initiator, objects, buckets, self.client, self._counters, udp, self.hub
        )
        return self._opened

    def _open_udp(self, bind: Address, buffers: Reassembly, initiator: UdpInitiator) -> UdpShell:
        keys = self._credentials.cluster_keys
        plan = UdpPlan(
            node_id=self._node_id,
            bind=bind,
            boot_number=0,  # the node id is new with each start
            keys=KeyRing(self._cluster.cluster_id, keys.current, keys.keys),
            buffer_bytes=self._config.buffer_bytes,
            plan=_multicast_plan(self._cluster, self._config, bind),
        )
        callbacks = UdpCallbacks(
            on_incoming=initiator.on_incoming,
            on_completed=initiator.on_completed,
            on_sent=initiator.on_sent,
            on_delivered=initiator.on_delivered,
        )
        return open_udp(plan, buffers, callbacks, self._counters, self._runtime)


def _addresses(table: Table) -> dict[NodeId, Address]:
    return {node_id: entry.udp for node_id, entry in table.targets.items()}


def _multicast_plan(
    cluster: ClusterFile, config: InitiatorConfig, bind: Address
) -> MulticastPlan | None:
    if cluster.transport != "multicast":
        return None
    return MulticastPlan(
        cluster.cluster_id,
        config.multicast_groups,
        config.rendezvous_groups,
        cluster.multicast_port,
        is_ipv6(bind[0]),
    )


def _context(
    config: InitiatorConfig,
    cluster: ClusterFile,
    bind: Address,
    runtime: Runtime,
    counters: Counters,
    rng: random.Random,
    buffers: Reassembly,
) -> ChunkContext:
    largest = payload_bytes(bind, runtime)
    settings = replace(
        config,
        transport=cluster.transport,
        datagram_bytes=min(largest, config.datagram_bytes // 8 * 8),
    )
    return ChunkContext(
        settings=settings,
        buffers=buffers,
        counters=counters,
        rng=rng,
        credit=CreditPool(config.credit_bytes),
    )
