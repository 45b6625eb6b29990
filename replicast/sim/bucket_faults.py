"""Faults that delay what is said of buckets: gateways and targets act by settings of a while ago.

What is delayed are connections, on which tables, leases and settings travel; datagrams, and so
reads and writes of objects, pass as ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicast.flexhash.commands import BucketState
from replicast.sim.leader_faults import leader
from replicast.units import MS, SECOND

if TYPE_CHECKING:
    from replicast.sim.cluster import Unit
    from replicast.sim.faults import Faults

WATCH_NS, LOOK_NS = 4 * SECOND, 1 * MS
HELD_NS_MIN, HELD_NS_MAX = 200 * MS, 3 * SECOND  # shorter than a lease, and than a gateway's fence


def news_late(faults: Faults, most_ns: int) -> None:
    """What targets tell one client of tables and settings stays in a queue on its way."""
    _hold(faults, [faults.rng.choice(faults.cluster.clients)], most_ns)


def removal_late(faults: Faults, most_ns: int) -> None:
    """A bucket is being removed, and every target knows that it may be. What a row leader and two
    clients are told from then on comes late: that it is gone, and of its successor."""
    world = faults.cluster.world
    until_ns = world.time_ns + WATCH_NS

    def look() -> None:
        if faults.stopped or world.time_ns > until_ns:
            return
        running = [unit for unit in faults.cluster.targets if unit.process.running]
        if running and all(map(_knows_of_a_removal, running)):
            clients = faults.cluster.clients
            two = faults.rng.sample(clients, min(2, len(clients)))
            _hold(faults, [leader(faults) or running[0], *two], most_ns)
        else:
            world.after(LOOK_NS, look)

    look()


def _knows_of_a_removal(unit: Unit) -> bool:
    service = getattr(unit.daemon, "_service", None)
    if service is None:
        return False
    buckets = service.names.context.buckets.values()
    return any(bucket.state == BucketState.DELETING for bucket in buckets)


def _hold(faults: Faults, listeners: list[Unit], most_ns: int) -> None:
    hosts = [unit.process.host for unit in listeners]
    network = faults.cluster.wires.network
    ways = [
        network.change(unit.process.host, host)
        for host in hosts
        for unit in faults.cluster.targets
        if unit.process.host != host
    ]

    def hold(held_ns: int) -> None:
        for way in ways:
            way.held_ns = held_ns

    hold(faults.rng.randrange(HELD_NS_MIN, HELD_NS_MAX))
    lasts_ns = faults.rng.randrange(most_ns // 4, most_ns)
    faults.cluster.world.after(lasts_ns, lambda: hold(0))
    faults.cluster.world.note("world", "held", hosts=hosts)


BUCKET_KINDS = {"news_late": news_late, "removal_late": removal_late}
