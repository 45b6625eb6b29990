"""Reservations of a target, memory and credit of an initiator."""

from replicast.ewma import HALF_LIFE_NS, Ewma
from replicast.gateway.context import rendezvous_number
from replicast.gateway.select import Weights
from replicast.gateway.stats import (
    CREDIT_MIN_BYTES,
    CREDIT_START_BYTES,
    FULL_NS,
    STORED_AGAIN_NS,
    STORED_AGAIN_NS_MAX,
    SUSPECT_NS,
    SmallCredit,
    Stats,
)
from replicast.target.reserve import RESERVATION_NS, RESERVATIONS_MAX, Reservations
from replicast.units import MS, SECOND
from replicast.wire.reasons import Reason


def key(n: int) -> tuple[int, bytes]:
    return n, bytes(16)


def test_reservations__renewed_released_expired() -> None:
    r = Reservations()
    assert r.reserve(key(1), (4, 5), 100, 0)
    assert r.reserve(key(1), (4,), 100, 1), "a repeated proposal replaces its own"
    assert (r.backlog_bytes[4], r.backlog_bytes[5]) == (100, 0)
    r.reserve(key(2), (4,), 50, 2)
    r.release(key(1))
    assert r.backlog_bytes[4] == 50 and r.due_ns == 2 + RESERVATION_NS
    r.expire(2 + RESERVATION_NS)
    assert r.backlog_bytes[4] == 0 and r.due_ns is None


def test_reservations__are_bounded() -> None:
    r = Reservations()
    assert all(r.reserve(key(n), (1,), 1, 0) for n in range(RESERVATIONS_MAX))
    assert not r.reserve(key(RESERVATIONS_MAX), (1,), 1, 0)


def test_ewma__follows_and_fades() -> None:
    e = Ewma()
    assert e.get(0) == 0
    e.add(800, 0)
    assert e.get(0) == 800
    e.add(0, 0)
    assert e.get(0) == 700
    assert e.get(HALF_LIFE_NS) == 350


def test_stats__suspicion_and_fullness_pass() -> None:
    stats = Stats()
    stats.silent(1, 0)
    stats.refused(2, Reason.NO_SPACE, 0)
    assert stats.suspect(1, SUSPECT_NS - 1) and not stats.suspect(1, SUSPECT_NS)
    assert stats.full(2, FULL_NS - 1) and not stats.full(2, FULL_NS)
    stats.silent(1, 0)
    stats.answered((1,), MS, 1)
    assert not stats.suspect(1, 1), "an answer clears it"


def test_stats__slow_means_far_slower_than_the_group() -> None:
    stats = Stats()
    for v in range(3):
        stats.vdevs[v].small_ns.add(5 * MS, 0)
    stats.vdevs[3].small_ns.add(200 * MS, 0)
    assert stats.slow(3, range(4), 0) and not stats.slow(0, range(4), 0)
    for v in range(3):
        stats.vdevs[v].small_ns.add(2000 * MS, 0)
    assert not stats.slow(3, range(4), 0), "everybody is"


def test_stats__a_bad_moment_is_over_soon() -> None:
    """Eight puts under way were 5 s late at once; that must not cost the VDEV its share for long."""
    stats, equal_ns = Stats(), Weights().equal_ns
    for _ in range(8):
        stats.stored(1, 5 * SECOND, 0)
    assert stats.vdevs[1].excess_ns.get(0) > 10 * equal_ns
    assert stats.vdevs[1].excess_ns.get(6 * SECOND) < equal_ns


def test_stats__keeps_only_the_table() -> None:
    stats = Stats()
    stats.silent(1, 0)
    stats.silent(2, 0)
    stats.keep({2: None}, {})
    assert not stats.suspect(1, 1) and stats.suspect(2, 1)


def test_small_credit__halves_on_loss_and_lets_one_through() -> None:
    credit = SmallCredit()
    assert credit.take(2 * CREDIT_START_BYTES), "one is always let through"
    assert not credit.take(1)
    credit.give_back(2 * CREDIT_START_BYTES, lost=True)
    assert credit.window_bytes == CREDIT_START_BYTES // 2
    for _ in range(20):
        credit.take(1)
        credit.give_back(1, lost=True)
    assert credit.window_bytes == CREDIT_MIN_BYTES


def test_rendezvous_number__depends_on_the_set_only() -> None:
    assert rendezvous_number([1, 2, 3], 64) == rendezvous_number((3, 1, 2), 64) < 64
    assert len({rendezvous_number([1, 2, n], 64) for n in range(3, 40)}) > 10


def test_ewma__from_zero_one_bad_moment_counts_an_eighth() -> None:
    e = Ewma(0)
    assert e.get(0) == 0
    e.add(800, 1)
    assert e.get(1) == 100


def test_read__who_is_far_slower_than_the_others_is_passed_over_for_a_while() -> None:
    stats = Stats()
    group = (1, 2, 3)
    assert stats.sound(group, 0) == [1, 2, 3]  # nothing is known
    stats.read(1, 100 * MS, 0)
    assert stats.sound(group, 0) == [1, 2, 3]  # nor of the others
    stats.read(2, 4 * MS, 0)
    stats.read(3, 5 * MS, 0)
    assert stats.sound(group, 0) == [2, 3]
    assert stats.sound(group, 3 * HALF_LIFE_NS) == [1, 2, 3]  # 12.5 ms is not slow anyway


def test_read__small_times_are_noise() -> None:
    stats = Stats()
    stats.read(1, 19 * MS, 0)
    for v in (2, 3):
        stats.read(v, MS, 0)
    assert stats.sound((1, 2, 3), 0) == [1, 2, 3]


def test_read__who_was_silent_is_passed_over_for_a_while() -> None:
    stats = Stats()
    stats.silent(2, 0)
    assert stats.sound((1, 2, 3), SUSPECT_NS - 1) == [1, 3]
    assert stats.sound((1, 2, 3), SUSPECT_NS) == [1, 2, 3]


def test_round_trip__what_it_was_last_for_a_second() -> None:
    stats = Stats()
    assert stats.round_trip_ns(1, 0) is None
    stats.heard(1, 3 * MS, 0)
    stats.heard(1, 40 * MS, MS)
    assert stats.round_trip_ns(1, 2 * MS) == 40 * MS
    assert stats.round_trip_ns(1, 2 * SECOND) is None


def test_stats__a_stored_chunk_is_waited_for_as_long_as_that_takes_here() -> None:
    stats = Stats()
    assert stats.stored_again_ns(0) == STORED_AGAIN_NS, "nothing is known"
    stats.took_to_store(2 * MS, 0)
    assert stats.stored_again_ns(0) == STORED_AGAIN_NS
    for _ in range(50):
        stats.took_to_store(20 * MS, 0)
    assert 55 * MS < stats.stored_again_ns(0) <= 60 * MS
    for _ in range(50):
        stats.took_to_store(SECOND, 0)
    assert stats.stored_again_ns(0) == STORED_AGAIN_NS_MAX
    assert stats.stored_again_ns(100 * SECOND) == STORED_AGAIN_NS, "it fades"
