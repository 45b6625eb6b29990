"""The cluster's time of day is the median of its voters' clocks."""

from __future__ import annotations

import pytest

from replicast.flexhash.cluster_clock import KEEP_NS, ROUND_TRIP_NS_MAX, ClusterClock
from replicast.units import SECOND

HOUR = 3600 * SECOND


def offset_after(*offsets_ns: int) -> int | None:
    clock = ClusterClock(max(1, len(offsets_ns)))
    for voter, offset_ns in enumerate(offsets_ns):
        clock.heard(voter, 0, 2, 1 + offset_ns)
    return clock.offset_ns


def test_nothing_is_known_before_the_first_answer() -> None:
    assert offset_after() is None


@pytest.mark.parametrize("wrong", [HOUR, -HOUR])
@pytest.mark.parametrize("place", range(3))
def test_one_wrong_clock_of_three_misleads_nobody(place: int, wrong: int) -> None:
    offsets = [SECOND, 2 * SECOND, 3 * SECOND]
    offsets[place] = wrong
    assert offset_after(*offsets) in (SECOND, 2 * SECOND, 3 * SECOND)


@pytest.mark.parametrize("place", range(5))
def test_right_when_most_were_heard__whoever_was_first(place: int) -> None:
    """A gateway that has just started must not wait for a second answer of everybody."""
    for wrong in range(5):
        for other in range(5):
            offsets = [SECOND] * 5
            offsets[wrong], offsets[other] = HOUR, -HOUR
            turned = offsets[place:] + offsets[:place]
            assert offset_after(*turned) == SECOND


@pytest.mark.parametrize("wrong", [HOUR, -HOUR])
def test_of_two_the_one_that_was_believed_before(wrong: int) -> None:
    clock = ClusterClock(3)
    for voter in range(3):
        clock.heard(voter, 0, 0, 0)
    clock.heard(0, KEEP_NS, KEEP_NS, KEEP_NS)
    clock.heard(1, KEEP_NS + 1, KEEP_NS + 1, KEEP_NS + 1 + wrong)  # the third was not heard again
    assert clock.offset_ns == 0


def test_one_clock_after_the_other__what_was_heard_of_the_first_is_old() -> None:
    """Never more than one of three is wrong, but two of three readings are."""
    clock = ClusterClock(3)
    for voter in range(3):
        clock.heard(voter, 0, 0, 0)
    clock.heard(2, 1 * SECOND, 1 * SECOND, 1 * SECOND + HOUR)
    clock.heard(1, 2 * SECOND, 2 * SECOND, 2 * SECOND + 2 * HOUR)  # the last one is right again
    assert clock.offset_ns == 0
    clock.heard(0, 2 * SECOND, 2 * SECOND, 2 * SECOND)
    assert clock.offset_ns == 0
    clock.heard(2, 2 * SECOND, 2 * SECOND, 2 * SECOND)
    assert clock.offset_ns == 0


def test_a_step_of_most_clocks_is_believed_when_most_have_shown_it_since() -> None:
    clock = ClusterClock(5)
    believed = []
    for voter in range(5):
        clock.heard(voter, 0, 0, 0)
    for voter in range(5):
        now_ns = SECOND + voter
        clock.heard(voter, now_ns, now_ns, now_ns + HOUR)
        believed.append(clock.offset_ns)
    assert believed == [0, 0, 0, 0, HOUR]  # three of five show it at the third; since, at the fifth


@pytest.mark.parametrize("voters", [1, 2, 3])
def test_a_step_of_all_clocks_is_believed_within_two_rounds(voters: int) -> None:
    clock = ClusterClock(voters)
    for now in (0, SECOND, 2 * SECOND):
        for voter in range(voters):
            clock.heard(voter, now, now, now + (HOUR if now else 0))
    assert clock.offset_ns == HOUR


def test_a_late_answer_says_nothing() -> None:
    clock = ClusterClock(3)
    clock.heard(0, 0, ROUND_TRIP_NS_MAX + 1, HOUR)
    assert clock.offset_ns is None


def test_the_middle_of_the_round_trip_counts() -> None:
    clock = ClusterClock(3)
    clock.heard(0, 0, 2 * SECOND, 7 * SECOND)
    assert clock.offset_ns == 6 * SECOND
