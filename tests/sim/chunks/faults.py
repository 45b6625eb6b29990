"""Which faults are fair: a failing run under them is always a bug.

Loss, duplication, delay and reordering of every datagram, wrong payload bytes, slow and
failing stores, crashed targets (volatile state gone, durable chunks kept), lost leases,
tables that some adopt later than others.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from replicast.flexhash.table import VdevEntry, VdevState
from replicast.units import MS, SECOND, US

from .target import SimVdev


@dataclass
class Faults:
    loss: float = 0.0
    duplication: float = 0.0
    corruption: float = 0.0
    jitter_ns: int = 200 * US
    store_error: float = 0.0


def random_faults(rng: random.Random) -> Faults:
    """A network and disks of some quality, mostly good."""
    return Faults(
        loss=rng.choice([0, 0, 0.02, 0.1]),
        duplication=rng.choice([0, 0.05]),
        corruption=rng.choice([0, 0, 0.01]),
        jitter_ns=rng.choice([100 * US, MS, 20 * MS]),
        store_error=rng.choice([0, 0, 0.02]),
    )


def disturb(cluster: Any, rng: random.Random) -> None:
    """Slow disks, and perhaps a crash, a lost lease, a new table in the next seconds."""
    for vdev in cluster.vdevs.values():
        vdev.delay_ns = rng.choice([MS, 2 * MS, 2 * MS, 50 * MS])
    victim = cluster.targets[rng.choice(sorted(cluster.targets))]
    if rng.random() < 0.4:
        cluster.at(rng.randrange(60 * MS), victim.crash)
        cluster.at(rng.randrange(200 * MS, 3 * SECOND), victim.start)
    if rng.random() < 0.3:
        other = cluster.targets[rng.choice(sorted(cluster.targets))]
        cluster.at(rng.randrange(50 * MS), lambda: setattr(other.lease, "until_ns", 0))
        cluster.at(2 * SECOND, lambda: setattr(other.lease, "until_ns", 1 << 62))
    if rng.random() < 0.4:
        cluster.at(rng.randrange(40 * MS), lambda: new_vdev(cluster, rng))
        if rng.random() < 0.5:
            cluster.at(rng.randrange(60 * MS), cluster.hear_table)


def new_vdev(cluster: Any, rng: random.Random) -> None:
    """A VDEV more: rows move; targets adopt one after the other, the gateway when it is refused
    or hears of it."""
    index = len(cluster.vdev_entries)
    node = cluster.entries[0].node_id
    entry = VdevEntry(index, index.to_bytes(16, "big"), node, 100, VdevState.UP, 1)
    cluster.vdev_entries.append(entry)
    cluster.vdevs[index] = cluster.targets[node].vdevs[index] = SimVdev()
    cluster.change_rows(cluster.table.generation + 1, cluster.vdev_entries)
    table = cluster.table
    for target in cluster.targets.values():
        cluster.at(rng.randrange(30 * MS), lambda target=target: target.adopt(table))  # type: ignore[misc]
