"""Which VDEVs get a chunk: pure, integer-only, the same answer for the same input.

The cost of a VDEV is its expected completion (start + duration as bid, plus
how much later than promised it stored before, compared with others), lengthened as its free
fraction falls below the mean of the group, and spread by a factor between 1 and 3
that depends on chunk and VDEV only: VDEVs that are about equal share the load,
and equal content meets its earlier copies.

Failure domains are a constraint: no two copies on one host, and not all copies
in one zone when another zone offers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from operator import itemgetter

from replicast.frozen import frozen
from replicast.units import MS, PPM

MASK64 = (1 << 64) - 1


@frozen
class Offer:
    """One VDEV that would take the chunk. `excess_ns`: how late it was, compared with others."""

    vdev_index: int
    host: str
    zone: str
    start_ns: int
    duration_ns: int
    free_ppm: int
    excess_ns: int = 0


@frozen
class Weights:
    """Both weights in percent; differences far below `equal_ns` are noise, not a preference."""

    latency_percent: int = 100
    free_percent: int = 100
    equal_ns: int = 20 * MS


def seed_of(chid: bytes) -> int:
    """What spread() needs of a chunk."""
    return int.from_bytes(chid[8:16], "little")


def spread(seed: int, vdev_index: int) -> int:
    """A number in [0, 2**64) fixed by chunk and VDEV (one round of splitmix64)."""
    x = (seed + (vdev_index + 1) * 0x9E3779B97F4A7C15) & MASK64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK64
    return x ^ (x >> 31)


def order_small(chid: bytes, members: Iterable[int]) -> list[int]:
    """The order in which members are asked to take a small chunk."""
    seed = seed_of(chid)
    return [v for _, v in sorted([(spread(seed, v), v) for v in members])]


def best_equal(chid: bytes, members: Iterable[int]) -> int:
    """The one that rank() puts first among VDEVs of which nothing is known. At least one is needed."""
    best, least, seed = -1, 0, seed_of(chid)
    for v in members:
        share = spread(seed, v) * 2 * PPM >> 64
        if best < 0 or (share, v) < (least, best):
            best, least = v, share
    return best


def _cost(seed: int, offer: Offer, mean_free_ppm: int, weights: Weights) -> int:
    """Lower is better; the unit means nothing."""
    completion_ns = offer.start_ns + offer.duration_ns
    completion_ns += offer.excess_ns * weights.latency_percent // 100
    deficit_ppm = 0
    if offer.free_ppm < mean_free_ppm:
        deficit_ppm = (mean_free_ppm - offer.free_ppm) * PPM // mean_free_ppm
    lengthened = (weights.equal_ns + completion_ns) * (
        100 * PPM + weights.free_percent * deficit_ppm
    )
    return lengthened * (PPM + (spread(seed, offer.vdev_index) * 2 * PPM >> 64))


def rank(chid: bytes, offers: Sequence[Offer], weights: Weights) -> list[Offer]:
    """All offers, best first."""
    if not offers:
        return []
    mean_free_ppm = sum([o.free_ppm for o in offers]) // len(offers)
    seed = seed_of(chid)
    ranked = [(_cost(seed, o, mean_free_ppm, weights), o.vdev_index, o) for o in offers]
    ranked.sort(key=itemgetter(0, 1))
    return [offer for _, _, offer in ranked]


def choose(
    chid: bytes,
    offers: Sequence[Offer],
    count: int,
    weights: Weights,
    *,
    hosts_taken: Collection[str] = (),
    zones_taken: Collection[str] = (),
) -> list[Offer]:
    """Up to `count` offers on distinct hosts, none of `hosts_taken`; best first."""
    best_of_host: dict[str, Offer] = {}
    for offer in rank(chid, offers, weights):
        if offer.host not in hosts_taken and offer.host not in best_of_host:
            best_of_host[offer.host] = offer
    candidates = list(best_of_host.values())
    chosen = candidates[:count]
    if chosen and count - len(chosen) <= 0:
        _spread_zones(chosen, candidates[count:], zones_taken)
    return chosen


def _spread_zones(chosen: list[Offer], rest: list[Offer], zones_taken: Collection[str]) -> None:
    zone = chosen[0].zone
    zones = {*zones_taken, *[o.zone for o in chosen]}
    if len(zones) > 1 or len(chosen) + len(zones_taken) < 2:
        return  # spread already, or a single copy
    for offer in rest:
        if offer.zone != zone:
            chosen[-1] = offer
            return
