"""An asyncio event loop on virtual time, one per simulated process.

Daemons run in it unchanged: tasks, timers, `asyncio.timeout`, conditions and `to_thread` work
as ever, only that `time()` is the process's own clock and that what would run in a thread runs
in the loop after a drawn delay. Callbacks take no time. A paused loop keeps its callbacks for
later; a dead one forgets them, and nothing of the process runs again.

Kept from asyncio's rules: ready callbacks run in the order in which they were made, timers of
one instant too, and a callback made by a callback runs in the next round.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from replicast.sim.world import World
from replicast.units import MS

ROUNDS_MAX = 100  # in one event of the world
THREAD_NS_MAX = 2 * MS  # what a hand-over to a worker thread and back may take
BLOCKED_SECONDS = 0.05  # between two tries of a blocked thread


class Blocked(Exception):
    """The work of a thread waits for a device: it is done again later, from its beginning."""


class Clock:
    """A process's clocks: CLOCK_BOOTTIME and the time of day, off by an offset and a rate."""

    def __init__(self, world: World, offset_ns: int, rate_ppm: int, wall_offset_ns: int) -> None:
        self._world = world
        self._offset_ns, self.rate_ppm = offset_ns, rate_ppm
        self.wall_offset_ns = wall_offset_ns

    def now_ns(self) -> int:
        """Monotonic."""
        t = self._world.time_ns
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

    __slots__ = ("_args", "_cancelled", "callback", "context")

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
    ) -> None:
        self.callback, self._args, self.context = callback, args, context
        self._cancelled = False

    def cancel(self) -> None:
        """It will not run, and lets go of what it held: a timer may stay in the heap for long."""
        self._cancelled = True
        self.callback, self._args, self.context = _nothing, (), None

    def cancelled(self) -> bool:
        """Whether it will not run."""
        return self._cancelled

    def run(self, loop: SimLoop) -> None:
        """Take the turn."""
        if self._cancelled:
            return
        try:
            if self.context is None:
                self.callback(*self._args)
            else:
                self.context.run(self.callback, *self._args)
        except Exception as error:  # noqa: BLE001 - as asyncio: told to the loop, which goes on
            message = f"exception in callback {self.callback!r}"
            loop.call_exception_handler({"message": message, "exception": error})


class SimTimer(SimHandle):
    """A callback at a time of its process's clock."""

    __slots__ = ("_when",)

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
    ) -> None:
        super().__init__(callback, args, context)
        self._when = when

    def when(self) -> float:
        """The time that was asked for."""
        return self._when


class SimLoop(asyncio.AbstractEventLoop):
    """See the module header."""

    def __init__(self, world: World, clock: Clock, name: str, rng: random.Random) -> None:
        self._world, self._clock, self._rng = world, clock, rng
        self.name = name
        self._ready: deque[SimHandle] = deque()
        self._scheduled = self._paused = self._dead = False
        self._readers: dict[int, tuple[Callable[..., object], tuple[Any, ...]]] = {}
        self._tasks: list[asyncio.Task[Any]] = []  # see kill()
        self._tasks_max = 16

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
        """As SIGKILL. Tasks stay referenced until the world ends: collecting one would run its
        `finally` blocks, and a killed process runs nothing."""
        self._dead = True
        self._ready.clear()
        self._readers.clear()

    @property
    def dead(self) -> bool:
        """Whether it was killed."""
        return self._dead

    def run_soon(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task from outside of the loop."""
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            return self.create_task(work)
        finally:
            asyncio._set_running_loop(before)

    # -- callbacks --------------------------------------------------------------------

    def call_soon(  # type: ignore[override]
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> SimHandle:
        handle = SimHandle(callback, args, context)
        if not self._dead:
            self._ready.append(handle)
            if not self._scheduled:
                self._schedule()
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> SimTimer:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> SimTimer:
        timer = SimTimer(when, callback, args, context)

        def due() -> None:
            if not self._dead and not timer.cancelled():
                self._ready.append(timer)
                self._schedule()

        self._world.at(self._clock.world_ns(round(when * 1e9)), due)
        return timer

    def _schedule(self) -> None:
        if not self._scheduled and not self._paused:
            self._scheduled = True
            self._world.at(self._world.time_ns, self._turn)

    def _turn(self) -> None:
        """Run what is ready, and what that makes ready, while nothing else happens now."""
        ready = self._ready
        if self._paused or self._dead:
            self._scheduled = False
            return
        asyncio._set_running_loop(self)
        try:
            for _ in range(ROUNDS_MAX):
                for _ in range(len(ready)):
                    if ready:  # a callback may have killed this process
                        ready.popleft().run(self)
                if not ready or self._paused or self._world.busy():
                    break
        finally:
            asyncio._set_running_loop(None)
        self._scheduled = False
        if ready:
            self._schedule()

    # -- time, tasks, futures ---------------------------------------------------------

    def time(self) -> float:
        return self._clock.now_ns() / 1e9

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, name=name or self.name, context=context)
        self._tasks.append(task)
        if len(self._tasks) > self._tasks_max:
            self.forget_done()
        return task

    def forget_done(self) -> None:
        """Let go of tasks that have ended, and of what they returned."""
        self._tasks = [each for each in self._tasks if not each.done()]
        self._tasks_max = 16 + 2 * len(self._tasks)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """In the loop, later: the work of threads is pure or goes to simulated disks."""
        future = self.create_future()
        delay = self._rng.randrange(THREAD_NS_MAX) / 1e9
        self.call_later(delay, self._work, future, func, args)
        return future

    def _work(
        self, future: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]
    ) -> None:
        # No closure that refers to itself: nothing collects cycles while a world lives.
        if future.cancelled():
            return
        try:
            future.set_result(func(*args))
        except Blocked:
            self.call_later(BLOCKED_SECONDS, self._work, future, func, args)
        except Exception as error:  # noqa: BLE001 - whatever it raised belongs to the future
            future.set_exception(error)

    # -- descriptors and signals ------------------------------------------------------

    def add_reader(  # type: ignore[override]
        self, fd: int, callback: Callable[..., object], *args: Any
    ) -> None:
        self._readers[int(fd)] = (callback, args)

    def remove_reader(self, fd: Any) -> bool:
        return self._readers.pop(int(fd), None) is not None

    def readable(self, fd: int) -> None:
        """A simulated descriptor has something to read."""

        def read() -> None:
            reader = self._readers.get(fd)
            if reader is not None:
                reader[0](*reader[1])

        self.call_soon(read)

    # -- asyncio asks -----------------------------------------------------------------

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self._dead

    def is_closed(self) -> bool:
        return self._dead

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not self._dead:
            self._world.fail(f"{self.name}: {context.get('message')}: {error!r}", checker="errors")
