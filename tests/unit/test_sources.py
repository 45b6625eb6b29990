"""flexhash/sources.py: the nearest target first, and no crowd at one of them."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from replicast.flexhash.entries import TargetEntry, VdevState
from replicast.flexhash.sources import PASSED_OVER_NS, Nearness, Place, Sources, serving

from .small_tables import table


def target(number: int, host: str = "", zone: str = "z", address: str = "") -> TargetEntry:
    at = (address or f"10.0.0.{number}", 7002)
    return TargetEntry(number, f"t{number}", host or f"h{number}", zone, at, at, at, "k", at)


def order(sources: Sources, voters: tuple[int, ...] = (), now_ns: int = 0) -> list[int]:
    tried: list[int] = []
    while (source := sources.choose(tried, voters, now_ns)) is not None:
        tried.append(source.node_id)
    return tried


@pytest.mark.parametrize(
    ("place", "nearness"),
    [
        (Place("h1", "z"), Nearness.HOST),
        (Place("gw", "a", ("10.0.0.1",)), Nearness.HOST),  # the label may be another one
        (Place("gw", "z", ("10.0.0.9",)), Nearness.ZONE),
        (Place("gw", "a"), Nearness.OTHER),
        (Place(), Nearness.OTHER),
    ],
)
def test_nearness(place: Place, nearness: Nearness) -> None:
    assert place.nearness(target(1)) is nearness


def test_nearness__what_is_unknown_on_both_sides_is_not_equal() -> None:
    nowhere = TargetEntry(1, "", "", "", ("", 0), ("", 0), ("", 0), "", ("", 0))
    assert Place().nearness(nowhere) is Nearness.OTHER


def test_choose__host_then_zone_then_others_and_voters_only_on_this_host() -> None:
    sources = Sources(Place("h1", "a"), random.Random(1))
    sources.learn([target(n, zone="a" if n < 4 else "b") for n in range(1, 8)])
    asked = order(sources)
    assert asked[0] == 1 and set(asked[1:3]) == {2, 3} and set(asked[3:]) == {4, 5, 6, 7}
    left = order(sources, voters=(1, 2, 4))
    assert left == [n for n in asked if n not in (2, 4)]


def test_choose__many_that_start_at_once_turn_to_different_targets() -> None:
    first: Counter[int] = Counter()
    for process in range(64):
        sources = Sources(Place("gw", "z"), random.Random(process))
        sources.learn([target(n) for n in range(1, 9)])
        first[order(sources)[0]] += 1
        assert order(sources) == order(sources), "and each stays with its own"
    assert len(first) == 8 and max(first.values()) < 20


def test_pass_over__for_a_while() -> None:
    sources = Sources(Place("h1"), random.Random(1))
    targets = [target(1), target(2)]
    sources.learn(targets)
    sources.pass_over(1, 5)
    sources.pass_over(9, 5)
    assert order(sources, now_ns=5) == [2]
    sources.learn(targets)
    assert order(sources, now_ns=4 + PASSED_OVER_NS) == [2]
    assert order(sources, now_ns=5 + PASSED_OVER_NS) == [1, 2]


def test_learn__those_who_are_gone_are_forgotten() -> None:
    sources = Sources(Place("h1"), random.Random(1))
    sources.learn([target(1), target(2)])
    sources.pass_over(1, 0)
    sources.learn([target(2)])
    assert order(sources) == [2] and not sources._passed_over_ns and list(sources._draws) == [2]


@pytest.mark.parametrize("state", VdevState)
def test_serving__targets_with_a_vdev_that_serves(state: VdevState) -> None:
    made = table(1, {1: state})
    found = [each.node_id for each in serving(made)]
    expected = [1, 2, 3] if state in (VdevState.UP, VdevState.DRAINING) else [2, 3]
    assert found == expected
