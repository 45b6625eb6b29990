"""What a negotiated put costs the gateway beyond I/O: selection, and the whole exchange of cores."""

from __future__ import annotations

import random
from typing import Any

from meter import TINY, Case, measure
from results import digest_of

from replicast.gateway.select import Offer, Weights, choose, order_small
from replicast.units import MS

ROUNDS = 20 if TINY else 2000


def offers(count: int) -> list[Offer]:
    rng = random.Random(3)
    return [
        Offer(v, f"h{v // 2}", "z", 0, rng.randrange(20 * MS), rng.randrange(10**6), 0)
        for v in range(count)
    ]


def chids_of(count: int) -> list[bytes]:
    rng = random.Random(1)
    return [rng.randbytes(32) for _ in range(count)]


def test_choose_three_of_eight(benchmark: Any) -> None:
    chids, eight, weights = chids_of(ROUNDS), offers(8), Weights()

    def digest(chosen: list[Any]) -> str:
        return digest_of([[offer.vdev_index for offer in one] for one in chosen])

    case = Case("choose 3 of 8 VDEVs", operations=ROUNDS)
    measure(
        benchmark,
        case,
        lambda: [choose(chid, eight, 3, weights) for chid in chids],
        digest=digest,
    )


def test_order_small_of_eight(benchmark: Any) -> None:
    chids, members = chids_of(ROUNDS), tuple(range(8))
    case = Case("order 8 VDEVs of a small put", operations=ROUNDS)
    measure(benchmark, case, lambda: [order_small(chid, members) for chid in chids])
