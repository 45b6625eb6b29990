"""Faults aimed at a chunk on its way: they look into the cluster for the moment.

What is done is power loss, as `attrition` does it; only the moment is not left to chance.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from replicast.gateway.get import GetChunk
from replicast.units import MS, SECOND, US
from replicast.wire.chunk_messages import STORED

if TYPE_CHECKING:
    from replicast.sim.cluster import Unit
    from replicast.sim.faults import Faults

WATCH_NS, LOOK_NS = 2 * SECOND, 200 * US
SOON_NS_MAX = 3 * MS  # shorter than a flush of a slow disk


def hit_power(faults: Faults, most_ns: int) -> None:
    """A target that is making a chunk durable which several clients put loses its power in the next
    moment: what it says to one of them must not rest on what another is still bringing."""
    world = faults.cluster.world
    until_ns = world.time_ns + WATCH_NS

    def look() -> None:
        if faults.stopped or world.time_ns > until_ns:
            return
        wanted = _put_by_several(faults.cluster.clients)
        hit = [unit for unit in faults.cluster.targets if wanted & _at_the_store(unit).keys()]
        if hit:
            unit = faults.rng.choice(hit)
            world.after(faults.rng.randrange(SOON_NS_MAX), lambda: die(unit))
        else:
            world.after(LOOK_NS, look)

    def die(unit: Unit) -> None:
        if not faults.stopped and unit.process.running:
            faults.cluster.kill_target(unit)
            lasts_ns = faults.rng.randrange(most_ns // 4, most_ns)
            world.after(lasts_ns, lambda: None if faults.stopped else faults.revive(unit))

    look()


def _put_by_several(clients: list[Unit]) -> set[bytes]:
    """Chunks; only asked whether they are in it, so its order does not matter."""
    putting: Counter[bytes] = Counter()
    for unit in clients:
        if unit.process.running and unit.opened is not None:
            cores = unit.opened.initiator._chunks._cores.values()
            puts = [core for core in cores if not isinstance(core, GetChunk)]
            putting.update(dict.fromkeys(put._job.chid for put in puts).keys())
    return {chid for chid, clients_of_it in putting.items() if clients_of_it > 1}


def _at_the_store(unit: Unit) -> dict[bytes, None]:
    """Chunks that have come whole and are not durable yet."""
    service = getattr(unit.daemon, "_service", None)
    if service is None or not unit.process.running:
        return {}
    puts = service.chunks.put._puts.values()
    return {put.chid: None for put in puts if STORED in put.pending.values()}


CHUNK_KINDS = {"hit_power": hit_power}
