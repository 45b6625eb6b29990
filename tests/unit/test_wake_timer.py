"""WakeTimer on virtual time: when it wakes, and how rarely it is set anew."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from replicast.sim.loop import SimLoop
from replicast.sim.turns import Clock
from replicast.sim.world import World
from replicast.units import MS, SECOND
from replicast.wake_timer import SET_MAX, WakeTimer

START_NS = 7 * SECOND


class Owner:
    """A timer in a loop; notes when it was woken and how many timers it set."""

    def __init__(self) -> None:
        self.world = World(1)
        clock = Clock(self.world, START_NS, 0, 0)
        self.loop = SimLoop(self.world, clock, "p", random.Random(1))  # type: ignore[abstract]
        self.woken: list[int] = []
        self.set_count = 0
        self.held: list[int] = []
        call_later = self.loop.call_later

        def counting(*args, **more):
            self.set_count += 1
            return call_later(*args, **more)

        self.loop.call_later = counting  # type: ignore[method-assign]
        self.timer = WakeTimer(clock.now_ns, lambda now_ns: self.woken.append(now_ns - START_NS))

    def at(self, time_ns: int, do: Callable[[], None]) -> None:
        self.world.at(time_ns, lambda: self.loop.call_soon(do) and None)

    def arm_at(self, time_ns: int, due_ns: int | None) -> None:
        due_ns = None if due_ns is None else START_NS + due_ns
        self.at(time_ns, lambda: self.timer.arm(due_ns))


def test_wake_timer__wakes_once_when_due() -> None:
    owner = Owner()
    owner.arm_at(0, 5 * MS)
    owner.world.run_until(SECOND)
    assert owner.woken == [5 * MS]


def test_wake_timer__moving_to_later_sets_no_timer() -> None:
    owner = Owner()
    for ms in range(10):
        owner.arm_at(ms * MS, (ms + 20) * MS)
    owner.world.run_until(SECOND)
    assert owner.woken == [29 * MS]
    assert owner.set_count == 2  # the first, and again from where that one fired


def test_wake_timer__moving_to_earlier_counts_at_once() -> None:
    owner = Owner()
    owner.arm_at(0, 20 * MS)
    owner.arm_at(MS, 5 * MS)
    owner.world.run_until(SECOND)
    assert owner.woken == [5 * MS]


def test_wake_timer__earlier_for_once_leaves_the_later_set() -> None:
    owner = Owner()
    owner.arm_at(0, 20 * MS)
    for ms in (1, 6, 11):  # each wakes, and the later is asked for again
        owner.arm_at(ms * MS, (ms + 2) * MS)
        owner.arm_at((ms + 3) * MS, 20 * MS)
    owner.world.run_until(SECOND)
    assert owner.woken == [3 * MS, 8 * MS, 13 * MS, 20 * MS]
    assert owner.set_count == 4


def test_wake_timer__ever_earlier_keeps_few_set() -> None:
    owner = Owner()
    for ms in range(10):
        owner.arm_at(ms, (40 - ms) * MS)
    owner.arm_at(10, 50 * MS)
    owner.at(11, lambda: owner.held.append(len(owner.timer._handles)))
    owner.world.run_until(SECOND)
    assert owner.woken == [50 * MS] and owner.held == [SET_MAX]
    owner.arm_at(SECOND + MS, SECOND + 5 * MS)
    owner.arm_at(SECOND + MS, SECOND + 3 * MS)
    owner.at(SECOND + 2 * MS, owner.timer.cancel)
    owner.world.run_until(2 * SECOND)
    assert owner.woken == [50 * MS]


def test_wake_timer__the_earlier_counts() -> None:
    for due_ns in ((9 * MS, 4 * MS), (4 * MS, 9 * MS), (4 * MS, None), (None, 4 * MS)):
        one_ns, other_ns = (None if ns is None else START_NS + ns for ns in due_ns)
        owner = Owner()
        owner.at(0, partial(owner.timer.arm, one_ns, other_ns))
        owner.world.run_until(SECOND)
        assert owner.woken == [4 * MS]


def test_wake_timer__the_past_is_now() -> None:
    owner = Owner()
    owner.arm_at(3 * MS, MS)
    owner.world.run_until(SECOND)
    assert owner.woken == [3 * MS]


def test_wake_timer__no_wish_or_cancelled_is_silent_and_can_be_armed_again() -> None:
    owner = Owner()
    owner.arm_at(0, 5 * MS)
    owner.arm_at(MS, None)
    owner.arm_at(10 * MS, 15 * MS)
    owner.at(11 * MS, owner.timer.cancel)
    owner.arm_at(20 * MS, 30 * MS)
    owner.world.run_until(SECOND)
    assert owner.woken == [30 * MS]
