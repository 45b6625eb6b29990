"""The simulator's events and turns: both twins do the same things in the same order."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import importlib
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicast.native import PURE
from replicast.sim import turns_pure

FAST: Any = turns_pure if PURE else importlib.import_module("replicast.native._simworld")
TWINS = [turns_pure] if PURE else [turns_pure, FAST]
LABEL: contextvars.ContextVar[int] = contextvars.ContextVar("label", default=-1)
LOOPS = 3
RATES = (0, 9_000, -50_000)
ENDLESS_ROUNDS = 2 * turns_pure.ROUNDS_MAX


class Play:
    """Commands, done a few at a time by whatever happens; what happened is written down."""

    def __init__(self, twin: Any, commands: list[tuple[str, int, int]]) -> None:
        self._left = list(reversed(commands))
        self.log: list[object] = []
        self.handles: list[Any] = []
        play = self

        class Loop(twin.Turns):  # type: ignore[misc]
            def __init__(self, number: int) -> None:
                clock = twin.Clock(play.events, number * 7_000, RATES[number], number)
                super().__init__(play.events, clock)
                self.clock = clock

            def call_exception_handler(self, context: dict[str, Any]) -> None:
                play.log.append(repr(context["exception"]))

        self.events = twin.Events()
        self.loops = [Loop(number) for number in range(LOOPS)]

    def happens(self, label: object) -> None:
        running = asyncio._get_running_loop()
        who = self.loops.index(running) if running is not None else None  # type: ignore[arg-type]
        clocks = [(each.time(), each.clock.now_ns(), each.clock.wall_ns()) for each in self.loops]
        self.log.append((label, who, LABEL.get(), self.events.time_ns, self.events.busy(), clocks))
        for _ in range(2):
            if self._left:
                self.do(*self._left.pop())

    def do(self, what: str, number: int, value: int) -> None:
        loop, label = self.loops[number % LOOPS], len(self._left)
        if what == "at":
            self.events.at(value, lambda: self.happens(label))
        elif what == "after":
            self.events.after(value, lambda: self.happens(label))
        elif what == "soon":
            self.handles.append(loop.call_soon(self.happens, label))
        elif what == "context":
            context = contextvars.copy_context()
            context.run(LABEL.set, value)
            self.handles.append(loop.call_soon(self.happens, label, context=context))
        elif what == "later":
            self.handles.append(loop.call_later(value / 1e9, self.happens, label))
        elif what == "call_at":
            timer = loop.call_at(value / 1e9, self.happens, label)
            self.log.append((timer.when(), timer.cancelled()))
            self.handles.append(timer)
        elif what == "cancel" and self.handles:
            self.handles[value % len(self.handles)].cancel()
        elif what == "reader":
            loop.add_reader(value % 3, self.happens, label)
        elif what == "no reader":
            self.log.append(loop.remove_reader(value % 3))
        elif what == "readable":
            loop.readable(value % 3)
        elif what in ("pause", "resume", "kill"):
            getattr(loop, what)()
        elif what == "raise":
            raise ValueError(value)

    def whole(self, until: list[int]) -> list[object]:
        for time_ns in until:
            try:
                self.happens("outside")
                reached = self.events.run_until(time_ns, lambda: len(self.log) % 7 == 6)
            except ValueError as error:  # of an action that no loop is around
                reached = repr(error)
            self.log.append((reached, self.events.time_ns, self.events.event_count))
            assert asyncio._get_running_loop() is None
        self.log += [
            (each.dead, each.paused, each.alive(), each.is_closed()) for each in self.loops
        ]
        return self.log


TIMED = ["at", "after", "soon", "context", "later", "call_at"]
COMMANDS = [*TIMED, "cancel", "reader", "no reader", "readable", "pause", "resume", "kill", "raise"]
commands = st.lists(
    st.tuples(st.sampled_from(COMMANDS), st.integers(0, LOOPS - 1), st.integers(-5, 300)),
    max_size=60,
)


@given(commands, st.lists(st.integers(0, 500), min_size=1, max_size=8))
def test_turns__both_twins_do_the_same(each: list[Any], until: list[int]) -> None:
    written = [("soon", 0, 0), ("context", 1, 5), ("later", 2, 9), *each]
    assert Play(turns_pure, written).whole(until) == Play(FAST, written).whole(until)


@given(st.lists(st.integers(0, 40), max_size=300))
def test_events__come_by_time_and_then_as_they_were_made(times: list[int]) -> None:
    for twin in TWINS:
        events, seen = twin.Events(), []
        for pair in zip(times, itertools.count(), strict=False):
            events.at(pair[0], functools.partial(seen.append, pair))
        assert not events.run_until(100)
        assert seen == sorted(seen) and len(seen) == len(times) == events.event_count


def shown(twin: Any, now_ns: int, offset_ns: int, rate_ppm: int, when: float) -> list[object]:
    events, due = twin.Events(), []
    clock = twin.Clock(events, offset_ns, rate_ppm, 7)
    events.run_until(now_ns)
    twin.Turns(events, clock).call_at(when, lambda: due.append(events.time_ns))
    first = [clock.now_ns(), clock.wall_ns(), clock.world_ns(offset_ns + now_ns)]
    events.run_until(10**13)
    return [*first, clock.now_ns(), due]


@given(
    st.integers(0, 10**13),
    st.integers(-(10**16), 10**16),
    st.integers(-50_000, 50_000),
    st.floats(-2e4, 2e4),
)
def test_clock__both_twins_show_the_same(now_ns: int, offset: int, rate: int, when: float) -> None:
    for at in (when, when + offset / 1e9):
        both = [shown(twin, now_ns, offset, rate, at) for twin in (turns_pure, FAST)]
        assert both[0] == both[1]


@pytest.mark.parametrize("twin", TWINS)
def test_turns__a_time_that_never_comes_is_refused(twin: Any) -> None:
    events = twin.Events()
    turns = twin.Turns(events, twin.Clock(events, 0, 0, 0))
    for never in (1e11, float("inf")):
        with pytest.raises(OverflowError):
            turns.call_at(never, print)
    with pytest.raises(OverflowError):
        events.at(1 << 63, print)


@pytest.mark.parametrize("twin", TWINS)
def test_turns__who_goes_on_for_ever_lets_others_in(twin: Any) -> None:
    events, seen = twin.Events(), []
    turns = twin.Turns(events, twin.Clock(events, 0, 0, 0))

    def again() -> None:
        seen.append(events.event_count)
        if len(seen) < ENDLESS_ROUNDS:
            turns.call_soon(again)

    turns.call_soon(again)
    events.run_until(1)
    assert set(seen) == {1, 2} and seen.count(1) == turns_pure.ROUNDS_MAX
