"""Puts an initiator together from a cluster.toml: table client, UDP side, object layer.

    opened = await open_initiator(load_cluster_file(path), config)
    opened.objects, opened.buckets, opened.initiator
    await opened.close()

Used by replicast-gw and by replicast.connect().
"""

from __future__ import annotations

import random
import secrets
import socket
from dataclasses import dataclass, replace

from replicast import clocks
from replicast.auth.keyring import KeyRing
from replicast.curve import CurveHub
from replicast.flexhash.client import TableClient, Voter
from replicast.flexhash.table import Table
from replicast.formation import ClusterFile
from replicast.gateway.buckets import Buckets
from replicast.gateway.config import InitiatorConfig
from replicast.gateway.context import ChunkContext
from replicast.gateway.initiator import UdpInitiator
from replicast.gateway.objects import ObjectLimits, Objects
from replicast.hashing import algorithm_named
from replicast.keys import load_cluster_keys, load_key_pair
from replicast.machine import Address
from replicast.metrics import Counters
from replicast.transfer import CreditPool
from replicast.transport.multicast import MulticastPlan
from replicast.transport.net import Reassembly
from replicast.transport.open import UdpCallbacks, UdpPlan, make_buffers, open_udp, payload_bytes
from replicast.transport.shell import UdpShell

FIRST_TABLE_SECONDS = 30.0


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

    async def close(self) -> None:
        """Fail what is in flight, close everything."""
        self.initiator.close()
        await self.client.stop()
        self.udp.close()
        self.hub.close()


async def open_initiator(
    cluster: ClusterFile,
    config: InitiatorConfig,
    *,
    table_seconds: float = FIRST_TABLE_SECONDS,
) -> OpenedInitiator:
    """Connect; returns with a table in hand. Raises Unavailable when no voter gives one."""
    counters = Counters()
    rng = random.Random(secrets.randbits(128))
    hub = CurveHub(counters)
    opened: list[UdpInitiator] = []

    def on_table(table: Table) -> None:
        for initiator in opened:
            initiator.on_table(table)
            set_addresses(table)

    node_id = rng.getrandbits(64)
    client = TableClient(
        hub,
        load_key_pair(cluster.node_key),
        node_id,
        [Voter(v.node_id, v.control, v.public_key) for v in cluster.voters],
        clock_ns=clocks.now_ns,
        wall_ns=clocks.wall_ns,
        rng=rng,
        counters=counters,
        on_table=on_table,
    )
    try:
        await client.start()
        table = await client.wait_table(table_seconds)
        await client.refetch_settings()
        bind = (config.host or _route_to(cluster.voters[0].control), 0)
        plan = _multicast_plan(cluster, config)
        buffers = make_buffers(config.buffer_bytes)
        context = _context(config, cluster, bind, counters, rng, buffers)
        initiator = UdpInitiator(
            source=client,
            context=context,
            algorithm=algorithm_named(cluster.content_hash),
            rng=rng,
            now_ns=clocks.now_ns,
            wall_ns=clocks.wall_ns,
        )
        keys = load_cluster_keys(cluster.cluster_key)
        udp = open_udp(
            UdpPlan(
                node_id=node_id,
                bind=bind,
                boot_number=0,
                keys=KeyRing(cluster.cluster_id, keys.current, keys.keys),
                buffer_bytes=config.buffer_bytes,
                plan=plan,
            ),
            buffers,
            UdpCallbacks(
                on_incoming=initiator.on_incoming,
                on_completed=initiator.on_completed,
                on_sent=initiator.on_sent,
            ),
            counters,
            clocks.now_ns,
        )
    except BaseException:
        await client.stop()
        hub.close()
        raise

    def set_addresses(table: Table) -> None:
        udp.endpoint.set_addresses({n: t.udp for n, t in table.targets.items()})

    initiator.connect(udp)
    opened.append(initiator)
    set_addresses(table)
    udp.start()
    limits = ObjectLimits(
        chunk_size_bytes=cluster.chunk_size_bytes,
        put_pipeline=config.put_pipeline,
        get_read_ahead=config.get_read_ahead,
    )
    objects = Objects(initiator, limits)
    buckets = Buckets(client, objects, table.policy.row_count)
    initiator.find_bucket = buckets.lookup
    return OpenedInitiator(initiator, objects, buckets, client, counters, udp, hub)


def _multicast_plan(cluster: ClusterFile, config: InitiatorConfig) -> MulticastPlan | None:
    if cluster.transport != "multicast":
        return None
    return MulticastPlan(
        cluster.cluster_id,
        config.multicast_groups,
        config.rendezvous_groups,
        cluster.multicast_port,
    )


def _context(
    config: InitiatorConfig,
    cluster: ClusterFile,
    bind: Address,
    counters: Counters,
    rng: random.Random,
    buffers: Reassembly,
) -> ChunkContext:
    largest = payload_bytes(bind, 0)
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


def _route_to(address: Address) -> str:
    """Our address on the way to a voter."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asked:
        asked.connect(address)  # sends nothing
        return str(asked.getsockname()[0])
