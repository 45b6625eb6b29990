"""target/vdev_state.py: one word for each VDEV, and its gauge."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from replicast.memory_disk import MemoryDisk
from replicast.metrics import Counters
from replicast.target.store.errors import VdevStatus
from replicast.target.store.memory import MemoryVdev
from replicast.target.store.overlay import MemoryCheckpoint
from replicast.target.store.record import RowUnstage
from replicast.target.store.shell import SLOW_COUNT, SLOW_NS
from replicast.target.vdev_state import FAILING_NS, STATES, VdevStates
from replicast.units import SECOND

VDEV_ID = b"v" * 16


class Bench:
    def __init__(self) -> None:
        self.vdev: Any = SimpleNamespace(
            vdev_id=VDEV_ID,
            damage="",
            status=VdevStatus.OK,
            reads_refused=0,
            slow=False,
            fits=lambda kind, size: self.room,
        )
        self.room = True
        self.counters = Counters()
        vdevs: Any = SimpleNamespace(by_id={VDEV_ID: self.vdev})
        self.states = VdevStates(vdevs, self.counters)

    def word(self, now_ns: int = 0) -> str:
        return self.states.word(cast(Any, self.vdev), now_ns)

    def shown(self, now_ns: int = 0) -> list[str]:
        """The states whose gauge is 1."""
        self.states.show(cast(Any, self.vdev), now_ns)
        values = self.counters.values
        return [s for s in STATES if values["vdev_state", (VDEV_ID.hex(), s)] == 1]


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ({}, "ok"),
        ({"slow": True}, "slow"),
        ({"status": VdevStatus.READ_ONLY, "slow": True}, "read_only"),
        ({"status": VdevStatus.FAULTED}, "faulted"),
        ({"status": VdevStatus.FAULTED, "damage": "a flush is gone"}, "damaged"),
    ],
)
def test_word__the_gravest_first(bench: Bench, facts: dict[str, Any], word: str) -> None:
    for name, value in facts.items():
        setattr(bench.vdev, name, value)
    assert bench.word() == word and bench.shown() == [word]


def test_full__is_shown_unless_something_worse_is(bench: Bench) -> None:
    bench.room = False
    assert bench.word() == "ok" and bench.shown() == ["full"]
    bench.vdev.slow = True
    assert bench.shown() == ["full"]
    bench.vdev.status = VdevStatus.READ_ONLY
    assert bench.shown() == ["read_only"]


def test_refused_reads__are_counted_once_and_said_for_a_while(bench: Bench) -> None:
    bench.states.tick(0)
    bench.vdev.reads_refused = 3
    bench.states.tick(1 * SECOND)
    bench.states.tick(2 * SECOND)
    assert bench.counters.values["vdev_read_errors", (VDEV_ID.hex(),)] == 3
    assert bench.word(2 * SECOND) == "failing" and bench.shown(2 * SECOND) == ["failing"]
    assert bench.word(1 * SECOND + FAILING_NS) == "ok"
    bench.vdev.reads_refused = 4
    bench.states.tick(2 * FAILING_NS)
    assert bench.word(2 * FAILING_NS) == "failing"


def test_slow__after_a_row_of_slow_flushes_until_a_quick_one() -> None:
    disk, cluster_id, took_ns, now_ns = MemoryDisk(), b"cluster-16-bytes", SLOW_NS + 1, 0
    MemoryVdev.format(disk, cluster_id, random.Random(1))
    vdev = MemoryVdev.open(
        disk, MemoryCheckpoint(), cluster_id, latency_ns=lambda _size_bytes: took_ns
    )
    for number in range(SLOW_COUNT):
        assert not vdev.slow
        vdev.submit([RowUnstage(number)], number, lambda _outcomes: None)
        now_ns = vdev.run_all(now_ns)
    assert vdev.slow
    took_ns = SLOW_NS
    vdev.submit([RowUnstage(1)], 1, lambda _outcomes: None)
    vdev.run_all(now_ns)
    assert not vdev.slow
