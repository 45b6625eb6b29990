"""Puts and gets under random faults; what is fair is in faults.py.

Replay one seed: SIM_SEED=7 pytest tests/sim/chunks/test_histories.py
"""

from __future__ import annotations

import os
import random

import pytest

from replicast.gateway.copies import PutDone
from replicast.gateway.read_events import ChunkRead, Outcome
from replicast.units import KIB, MIB, MS

from .checkers import (
    check_nothing_left,
    check_read_back,
    check_serves,
    stop_faults,
    watch_durability,
)
from .faults import disturb, random_faults
from .world import Cluster

SEEDS = [int(os.environ["SIM_SEED"])] if "SIM_SEED" in os.environ else list(range(200))


def random_run(seed: int) -> Cluster:
    rng = random.Random(seed)
    faults = random_faults(rng)
    cluster = Cluster(
        seed,
        hosts=rng.choice([3, 4, 5]),
        faults=faults,
        credit_bytes=rng.choice([64 * KIB, MIB]),
        transport=rng.choice(["unicast", "multicast"]),
        negotiate_above_bytes=rng.choice([0, 4096]),
    )
    watch_durability(cluster)
    disturb(cluster, rng)
    return cluster


def drive(cluster: Cluster) -> dict[bytes, bytes]:
    """Six puts in flight together, two of them twice and two given up on the way; reads of what
    is done while the faults go on."""
    chunks = [cluster.data(n) for n in (1, 700, 4096, 4097, 9000, 20000)]
    operations = {cluster.put(data): data for data in (*chunks, chunks[1], chunks[4])}
    for delay_ns, data in ((0, cluster.data(2000)), (2 * MS, cluster.data(12000))):
        cluster.give_up_later(cluster.put(data), delay_ns + cluster.rng.randrange(20 * MS))
    cluster.run(lambda: all(op in cluster.results for op in operations))
    done = {op: data for op, data in operations.items() if isinstance(cluster.results[op], PutDone)}
    reads = {cluster.get(data): data for data in done.values()}
    cluster.run(lambda: all(op in cluster.results for op in reads))
    for op, data in reads.items():
        outcome = cluster.results[op]
        if isinstance(outcome, ChunkRead):
            assert bytes(outcome.buffer) == data
        else:
            assert outcome.outcome is Outcome.UNAVAILABLE
    return done


def test_same_seed_same_trace() -> None:
    first, second = random_run(7), random_run(7)
    drive(first), drive(second)
    assert first.trace == second.trace


@pytest.mark.parametrize("seed", SEEDS)
def test_puts_are_durable_and_read_back(seed: int) -> None:
    print(f"replay: SIM_SEED={seed} pytest tests/sim/chunks/test_histories.py")
    cluster = random_run(seed)
    done = drive(cluster)
    stop_faults(cluster)
    check_read_back(cluster, list(done.values()))
    check_serves(cluster)
    check_nothing_left(cluster)
