"""Virtual time and the turns of event loops in it: the definition; native/_simworld.pyx is its twin.

    events = Events()
    events.at(5 * MS, action)          events of one instant keep the order in which they were made
    events.run_until(10 * SECOND)
    turns = Turns(events, Clock(events, 0, 0, 0))      what an event loop (sim/loop.py) rests on
    turns.call_soon(callback)

All times are integer nanoseconds and fit 63 bits; a world is younger than two days, so that a
clock's rate times its age does, too.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from collections import deque
from collections.abc import Callable
from typing import Any

INSTANT_EVENTS_MAX = 50_000
ROUNDS_MAX = 100  # in one event of the world
TIMES_MAX = 1 << 63
Action = Callable[[], None]
Callback = Callable[..., object]


class Events:
    """One heap of events. A subclass says in stands_still() what endless work in no time means."""

    def __init__(self) -> None:
        self.time_ns = 0
        self.event_count = 0
        self._heap: list[tuple[int, int, Action]] = []
        self._made = self._in_this_instant = 0
        self._running: Turns | None = None

    def at(self, time_ns: int, action: Action) -> None:
        """Do `action` at `time_ns`, or now when that has passed."""
        if time_ns >= TIMES_MAX:
            raise OverflowError("an event that never comes")
        self._made += 1
        at_ns = time_ns if time_ns > self.time_ns else self.time_ns
        heapq.heappush(self._heap, (at_ns, self._made, action))

    def after(self, delay_ns: int, action: Action) -> None:
        """Do `action` after `delay_ns`."""
        self.at(self.time_ns + delay_ns, action)

    def busy(self) -> bool:
        """Whether something else is to happen in this very instant."""
        return bool(self._heap) and self._heap[0][0] <= self.time_ns

    def run_until(self, time_ns: int, done: Callable[[], object] | None = None) -> bool:
        """Run to `time_ns`; earlier when `done()` holds after an event. Whether it did."""
        try:
            return self._run(time_ns, done)
        finally:
            self.enter(None)

    def _run(self, time_ns: int, done: Callable[[], object] | None) -> bool:
        heap = self._heap
        while heap and heap[0][0] <= time_ns:
            at_ns, _, action = heapq.heappop(heap)
            self._in_this_instant = self._in_this_instant + 1 if at_ns == self.time_ns else 0
            self.time_ns = at_ns
            self.event_count += 1
            action()
            if self._in_this_instant > INSTANT_EVENTS_MAX:
                self.stands_still()
                return False
            if done is not None and done():
                return True
        self.time_ns = max(self.time_ns, time_ns)
        return False

    def stands_still(self) -> None:
        """INSTANT_EVENTS_MAX events happened in one instant: the run ends."""

    def enter(self, turns: Turns | None) -> None:
        """Whose turn it is: asyncio's running loop. It stays until another's, as telling asyncio
        costs a system call."""
        if self._running is not turns:
            self._running = turns
            asyncio._set_running_loop(turns)  # type: ignore[arg-type]


class Clock:
    """A process's clocks: CLOCK_BOOTTIME and the time of day, off by an offset and a rate."""

    def __init__(self, events: Events, offset_ns: int, rate_ppm: int, wall_offset_ns: int) -> None:
        self._events = events
        self._offset_ns, self.rate_ppm = offset_ns, rate_ppm
        self.wall_offset_ns = wall_offset_ns

    def now_ns(self) -> int:
        """Monotonic."""
        t = self._events.time_ns
        return self._offset_ns + t + t * self.rate_ppm // 1_000_000

    def wall_ns(self) -> int:
        """Time of day; an operator may set it."""
        return self.wall_offset_ns + self.now_ns() - self._offset_ns

    def world_ns(self, now_ns: int) -> int:
        """World time at which this clock shows `now_ns`, or just after."""
        passed = now_ns - self._offset_ns
        return -(-passed * 1_000_000 // (1_000_000 + self.rate_ppm))


def _nothing() -> None:
    """What a cancelled callback does."""


class SimHandle:
    """A callback that waits for its turn. As asyncio.Handle, which costs more to make."""

    __slots__ = ("_args", "_callback", "_cancelled", "_context")

    def __init__(
        self, callback: Callback, args: tuple[Any, ...], context: contextvars.Context | None
    ) -> None:
        self._callback, self._args, self._context = callback, args, context
        self._cancelled = False

    def cancel(self) -> None:
        """It will not run, and lets go of what it held: a timer may stay in the heap for long."""
        self._cancelled = True
        self._callback, self._args, self._context = _nothing, (), None

    def cancelled(self) -> bool:
        """Whether it will not run."""
        return self._cancelled

    def run(self, turns: Turns) -> None:
        """Take the turn."""
        if self._cancelled:
            return
        try:
            if self._context is None:
                self._callback(*self._args)
            else:
                self._context.run(self._callback, *self._args)
        except Exception as error:  # noqa: BLE001 - as asyncio: told to the loop, which goes on
            message = f"exception in callback {self._callback!r}"
            turns.call_exception_handler({"message": message, "exception": error})


class SimTimer(SimHandle):
    """A callback at a time of its process's clock."""

    __slots__ = ("_when",)

    def __init__(
        self,
        when: float,
        callback: Callback,
        args: tuple[Any, ...],
        context: contextvars.Context | None,
    ) -> None:
        super().__init__(callback, args, context)
        self._when = when

    def when(self) -> float:
        """The time that was asked for."""
        return self._when


class Reading(SimHandle):
    """Something can be read; who reads is decided when the turn comes."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        super().__init__(_nothing, (), None)
        self._fd = fd

    def run(self, turns: Turns) -> None:
        reader = turns.reader(self._fd)
        if reader is not None:
            self._callback, self._args = reader
            super().run(turns)


class Turns:
    """What of a process is ready to run, and its turns. See sim/loop.py for the rest of a loop."""

    def __init__(self, events: Events, clock: Clock) -> None:
        self._events, self._clock = events, clock
        self._ready: deque[SimHandle] = deque()
        self._scheduled = self._paused = self._dead = False
        self._readers: dict[int, tuple[Callback, tuple[Any, ...]]] = {}

    # -- life -------------------------------------------------------------------------

    def pause(self) -> None:
        """As SIGSTOP."""
        self._paused = True

    def resume(self) -> None:
        """As SIGCONT."""
        self._paused = False
        if self._ready:
            self._schedule()

    def kill(self) -> None:
        """As SIGKILL: nothing runs again."""
        self._dead = True
        self._ready.clear()
        self._readers.clear()

    @property
    def dead(self) -> bool:
        """Whether it was killed."""
        return self._dead

    @property
    def paused(self) -> bool:
        """Whether it is stopped for now."""
        return self._paused

    def alive(self) -> bool:
        """Whether it was not."""
        return not self._dead

    # -- callbacks --------------------------------------------------------------------

    def call_soon(
        self, callback: Callback, *args: Any, context: contextvars.Context | None = None
    ) -> SimHandle:
        """In the next round."""
        handle = SimHandle(callback, args, context)
        self._add(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callback,
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> SimTimer:
        """After `delay` seconds of this process's clock."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callback,
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> SimTimer:
        """At that time of this process's clock."""
        timer = SimTimer(when, callback, args, context)

        def due() -> None:
            if not timer.cancelled():
                self._add(timer)

        self._events.at(self._clock.world_ns(round(when * 1e9)), due)
        return timer

    def time(self) -> float:
        """Of this process's clock."""
        return self._clock.now_ns() / 1e9

    def _add(self, handle: SimHandle) -> None:
        if not self._dead:
            self._ready.append(handle)
            self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled and not self._paused:
            self._scheduled = True
            self._events.at(self._events.time_ns, self._turn)

    def _turn(self) -> None:
        """Run what is ready, and what that makes ready, while nothing else happens now."""
        ready = self._ready
        if self._paused or self._dead:
            self._scheduled = False
            return
        self._events.enter(self)
        for _ in range(ROUNDS_MAX):
            for _ in range(len(ready)):
                if ready:  # a callback may have killed this process
                    ready.popleft().run(self)
            if not ready or self._paused or self._events.busy():
                break
        self._scheduled = False
        if ready:
            self._schedule()

    # -- descriptors ------------------------------------------------------------------

    def add_reader(self, fd: int, callback: Callback, *args: Any) -> None:
        """Call it when there is something to read."""
        self._readers[int(fd)] = (callback, args)

    def remove_reader(self, fd: int) -> bool:
        """No more; whether there was one."""
        return self._readers.pop(int(fd), None) is not None

    def readable(self, fd: int) -> None:
        """A simulated descriptor has something to read."""
        self._add(Reading(fd))

    def reader(self, fd: int) -> tuple[Callback, tuple[Any, ...]] | None:
        """Who wants to read it."""
        return self._readers.get(fd)

    # -- asyncio asks -----------------------------------------------------------------

    def get_debug(self) -> bool:
        """Never."""
        return False

    def is_running(self) -> bool:
        """Until it is killed."""
        return not self._dead

    def is_closed(self) -> bool:
        """From then on."""
        return self._dead

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """A callback raised."""
        raise NotImplementedError
