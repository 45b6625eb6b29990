"""Selection: the failure-domain rule always, and shares that follow speed and space."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from replicast.gateway.select import (
    Offer,
    Weights,
    best_equal,
    choose,
    order_small,
    rank,
    seed_of,
    spread,
)
from replicast.gateway.source import READ_WEIGHTS, best_of
from replicast.units import MS

CHIDS = st.binary(min_size=32, max_size=64)
OFFERS = st.lists(
    st.builds(
        Offer,
        vdev_index=st.integers(0, 65_534),
        host=st.sampled_from([f"h{n}" for n in range(6)]),
        zone=st.sampled_from(["a", "b"]),
        start_ns=st.integers(0, 10**10),
        duration_ns=st.integers(0, 2**64 - 1),
        free_ppm=st.integers(0, 2**32 - 1),
        excess_ns=st.integers(0, 10**10),
    ),
    max_size=16,
    unique_by=lambda o: o.vdev_index,
)
WEIGHTS = st.builds(Weights, st.integers(0, 1000), st.integers(0, 1000))


@given(CHIDS, OFFERS, st.integers(0, 8), WEIGHTS, st.sets(st.sampled_from(["h0", "h1"])))
def test_choose__distinct_hosts_and_as_many_as_there_are(
    chid: bytes, offers: list[Offer], count: int, weights: Weights, taken: set[str]
) -> None:
    chosen = choose(chid, offers, count, weights, hosts_taken=taken)
    hosts = [o.host for o in chosen]
    assert len(set(hosts)) == len(hosts) and not taken & set(hosts)
    assert len(chosen) == min(count, len({o.host for o in offers} - taken))


@given(CHIDS, OFFERS, st.integers(2, 8), WEIGHTS)
def test_choose__two_zones_when_two_offer(
    chid: bytes, offers: list[Offer], count: int, weights: Weights
) -> None:
    chosen = choose(chid, offers, count, weights)
    best_of_host: dict[str, Offer] = {}
    for offer in rank(chid, offers, weights):
        best_of_host.setdefault(offer.host, offer)
    if len(chosen) == count and len({o.zone for o in best_of_host.values()}) == 2:
        assert len({o.zone for o in chosen}) == 2


@given(CHIDS, OFFERS, st.integers(1, 8), WEIGHTS, st.randoms(use_true_random=False))
def test_choose__the_order_of_bids_does_not_matter(
    chid: bytes, offers: list[Offer], count: int, weights: Weights, rng: random.Random
) -> None:
    shuffled = list(offers)
    rng.shuffle(shuffled)
    assert choose(chid, offers, count, weights) == choose(chid, shuffled, count, weights)


def shares(offers: list[Offer], rounds: int = 3000) -> Counter[int]:
    rng = random.Random(5)
    counts: Counter[int] = Counter()
    for _ in range(rounds):
        counts.update(o.vdev_index for o in choose(rng.randbytes(32), offers, 3, Weights()))
    return counts


def eight() -> list[Offer]:
    return [Offer(v, f"h{v // 2}", "z", 0, 5 * MS, 900_000) for v in range(8)]


def test_choose__equal_vdevs_share_equally() -> None:
    counts = shares(eight())
    assert all(0.11 < n / 9000 < 0.14 for n in counts.values())


def test_choose__a_little_noise_is_no_preference() -> None:
    offers = eight()
    offers[0] = Offer(0, "h0", "z", 0, 8 * MS, 900_000)
    assert all(0.08 < n / 9000 < 0.17 for n in shares(offers).values())


def test_choose__a_slow_vdev_is_avoided() -> None:
    offers = eight()
    offers[0] = Offer(0, "h0", "z", 0, 55 * MS, 900_000)
    assert shares(offers)[0] == 0


def test_choose__measured_latency_counts_like_a_promise() -> None:
    offers = eight()
    offers[0] = Offer(0, "h0", "z", 0, 5 * MS, 900_000, excess_ns=50 * MS)
    assert shares(offers)[0] == 0


def test_choose__a_full_vdev_gets_less_than_the_mean() -> None:
    offers = eight()
    offers[0] = Offer(0, "h0", "z", 0, 5 * MS, 200_000)
    counts = shares(offers)
    assert 0 < counts[0] < 9000 / 8 * 0.6


@given(CHIDS, st.sets(st.integers(0, 65_534), min_size=1, max_size=16))
def test_order_small__is_fixed_by_the_chunk(chid: bytes, members: set[int]) -> None:
    order = order_small(chid, sorted(members))
    assert sorted(order) == sorted(members)
    assert order == order_small(chid, sorted(members, reverse=True))
    best = order[0]
    assert [v for v in order if v != best] == order_small(chid, sorted(members - {best}))


def test_spread__golden() -> None:
    assert spread(seed_of(bytes(range(32))), 3) == 16482818005032673732


@given(CHIDS, st.lists(st.integers(0, 65_534), min_size=1, max_size=8, unique=True))
def test_best_equal__is_the_first_of_rank_when_nothing_is_known(
    chid: bytes, vdevs: list[int]
) -> None:
    offers = [Offer(v, "", "", 0, 20 * MS, 0) for v in vdevs]
    best = rank(chid, offers, READ_WEIGHTS)[0].vdev_index
    assert best == best_equal(chid, vdevs) == best_of(chid, dict.fromkeys(vdevs))
