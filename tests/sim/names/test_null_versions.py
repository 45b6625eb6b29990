"""Null versions in random histories under faults: entry by entry, and where logs are cut.

Replay one seed: SIM_SEED=7 pytest tests/sim/names/test_null_versions.py
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

from replicast.target.names import requests
from replicast.target.names.log import read_entry
from replicast.target.names.state import RowState
from replicast.target.names.undecided import Undecided
from replicast.units import MS
from replicast.wire.name_messages import NO_VERSION, NULL_VERSION
from replicast.wire.row_messages import MARK_DELETED, PUT, REMOVE_VERSION

from .test_histories import disturb
from .test_installs import SHORT
from .world import key_of

SEEDS = [int(os.environ["SIM_SEED"])] if "SIM_SEED" in os.environ else list(range(40))
NAMES = ["a", "b"]


@pytest.fixture(autouse=True)
def versioning_of_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the bucket's versioning were another one with each request."""
    monkeypatch.setattr(requests, "by_versioning", lambda context, request: request)


def run_random(sim: Any, seed: int, *, short: bool = False) -> Any:
    """Few names, null versions and others, faults for a while; then peace and the checks."""
    rng = random.Random(seed + 3_000_003)
    limits = {"limits": SHORT} if short else {}
    loss = rng.choice((0.0, 0.02, 0.1))
    world = sim.World(seed, count=rng.choice((3, 4, 4, 5)), loss=loss, **limits)
    world.until(lambda: world.table.generation > 0 and world.nodes[1].table is not None)
    for _ in range(rng.randrange(40, 90)):
        world.run_for(rng.randrange(1, 80) * MS)
        client(world, rng, rng.choice(NAMES))
        if rng.random() < 0.2:
            disturb(world, rng)
    world.settle()
    for name in NAMES:
        there = list(reversed(world.versions(name)))
        assert sum(summary.null for summary in there) <= 1, "two null versions"
        mine = [o for o in world.operations if o.name == name and o.kind != "versions"]
        if short:
            check_what_is_left(mine, there)
        else:
            check_order(mine, entries(world, name), there)
    return world


def client(world: Any, rng: random.Random, name: str) -> None:
    dice = rng.random()
    if dice < 0.5:
        world.put(name, body=rng.randbytes(rng.choice((8, 3000))), null=True)
    elif dice < 0.7:
        world.put(name, body=rng.randbytes(8))
    elif dice < 0.8:
        world.delete(name, null=True)
    elif dice < 0.85:
        world.delete(name, NULL_VERSION)
    else:
        world.get(name)


def entries(world: Any, name: str) -> list[Any]:
    """What the row's log says about a name, in order; nothing of it was cut."""
    row = key_of(name).row
    store = world.nodes[world.table.row_leader(row)].store
    found = []
    for index in store.held(row, 0, 1 << 30):
        epoch, data = store.entry(row, index)
        operation = read_entry(epoch, index, data).operation
        if operation.name == name:
            found.append(operation)
    return found


def check_order(told: list[Any], order: list[Any], there: list[Any]) -> None:
    """One order explains all answers, and what is there in the end follows from it."""
    place = {operation.operation_id: at for at, operation in enumerate(order)}
    assert len(place) == len(order), "an operation was ordered twice"
    states: list[list[Any]] = [[]]
    for operation in order:
        states.append(after(states[-1], operation))
    assert [summary.version for summary in there] == [each.version for each in states[-1]]
    for each in told:
        if each.kind != "get" and each.end_ns is not None:
            assert each.operation_id in place, f"acknowledged {each.kind} is lost"
            assert not each.reason or order[place[each.operation_id]].reason == each.reason
    for each in told:
        if each.end_ns is None:
            continue
        done = [place[o.operation_id] + 1 for o in told if ended_before(o, each)]
        begun = [place[o.operation_id] + 1 for o in told if began_before_end(o, each, place)]
        first, last = max(done, default=0), max(begun, default=0)
        if each.kind == "get":
            assert any(shows(state, each) for state in states[first : last + 1]), each
        else:
            assert place[each.operation_id] >= first, "ordered before what was acknowledged"


def ended_before(one: Any, other: Any) -> bool:
    return one.kind != "get" and one.end_ns is not None and one.end_ns < other.start_ns


def began_before_end(one: Any, other: Any, place: dict[bytes, int]) -> bool:
    return one.operation_id in place and one.start_ns <= other.end_ns


def after(state: list[Any], operation: Any) -> list[Any]:
    """The definition: versions of a name after an operation, oldest first."""
    null = next((each.version for each in state if each.null), NO_VERSION)
    if operation.kind == REMOVE_VERSION:
        return [each for each in state if each.version != operation.version]
    if operation.kind not in (PUT, MARK_DELETED):
        return state
    assert operation.superseded == (null if operation.null else NO_VERSION)
    return [each for each in state if not (operation.null and each.null)] + [operation]


def shows(state: list[Any], get: Any) -> bool:
    newest = state[-1] if state and state[-1].kind == PUT else None
    return get.version == (newest.version if newest else None)


def check_what_is_left(told: list[Any], there: list[Any]) -> None:
    """Where the order is not known any more: versions of their own are all there, and of null ones the
    last, unless it was removed or somebody whose answer never came has superseded it."""
    versions = {summary.version for summary in there}
    sure = [o for o in told if o.end_ns is not None and o.version is not None and o.kind != "get"]
    for each in sure:
        if each.kind == "put" and not each.message.null:
            assert each.version in versions, "an acknowledged version is lost"
    nulls = [o for o in sure if o.kind in ("put", "delete") and o.message.null]
    left = next((summary for summary in there if summary.null), None)
    last = max(nulls, key=lambda o: key(o.version), default=None)
    if left is not None and last is not None:
        assert key(left.version) >= key(last.version), "a superseded version is back"
    elif last is not None:
        removes = [o for o in told if o.kind == "remove" and not o.reason]
        assert any(o.end_ns is None or o.version == last.version for o in removes), "lost"


def key(version: Any) -> tuple[int, int, int]:
    return version.time_ns, version.segment_id, version.sequence


@pytest.mark.parametrize("seed", SEEDS)
def test_null_versions_follow_from_one_order(sim: Any, seed: int) -> None:
    print(f"replay: SIM_SEED={seed} pytest tests/sim/names/test_null_versions.py")
    run_random(sim, seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_null_versions_where_logs_are_cut(sim: Any, seed: int) -> None:
    print(f"replay: SIM_SEED={seed} pytest tests/sim/names/test_null_versions.py")
    run_random(sim, seed, short=True)


def _committed(self: Undecided, prefix: bytes) -> Any:
    held = self._state.null_version(prefix)
    return None if held is None else held.summary


PLANTED = {
    "supersedes the committed one, whatever is ordered before": (Undecided, "null", _committed),
    "supersedes nothing": (Undecided, "null", lambda self, prefix: None),
    "forgets what operations answered": (RowState, "outcome", lambda self, operation_id: None),
}


@pytest.mark.parametrize("bug", list(PLANTED))
def test_canary__a_planted_bug_is_found(
    sim: Any, bug: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*PLANTED[bug])
    with pytest.raises(AssertionError):
        for seed in range(40):
            run_random(sim, seed)
