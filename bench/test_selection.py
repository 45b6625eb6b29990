"""What a negotiated put costs the gateway beyond I/O: selection, and the whole exchange of cores."""

import hashlib
import os
import random
from typing import Any

from replicast.gateway.select import Offer, Weights, choose, order_small
from replicast.native import IMPLEMENTATION
from replicast.units import MS

TINY = bool(os.environ.get("REPLICAST_BENCH_TINY"))
ROUNDS = 20 if TINY else 2000


def offers(count: int) -> list[Offer]:
    rng = random.Random(3)
    return [
        Offer(v, f"h{v // 2}", "z", 0, rng.randrange(20 * MS), rng.randrange(10**6), 0)
        for v in range(count)
    ]


def test_choose_three_of_eight(benchmark: Any) -> None:
    rng = random.Random(1)
    chids = [rng.randbytes(32) for _ in range(ROUNDS)]
    eight, weights = offers(8), Weights()
    chosen = benchmark(lambda: [choose(chid, eight, 3, weights) for chid in chids])
    _report(benchmark, repr([[o.vdev_index for o in one] for one in chosen]))


def test_order_small_of_eight(benchmark: Any) -> None:
    rng = random.Random(1)
    chids = [rng.randbytes(32) for _ in range(ROUNDS)]
    members = tuple(range(8))
    orders = benchmark(lambda: [order_small(chid, members) for chid in chids])
    _report(benchmark, repr(orders))


def _report(benchmark: Any, result: str) -> None:
    if benchmark.stats is None:  # --benchmark-disable
        return
    each_us = benchmark.stats.stats.mean / ROUNDS * 1e6
    digest = hashlib.sha256(result.encode()).hexdigest()[:12]
    print(f"\n{each_us:.1f} us a chunk, {IMPLEMENTATION}, result {digest}")
