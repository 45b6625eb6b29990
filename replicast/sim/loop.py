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
from collections.abc import Callable, Coroutine
from typing import Any

from replicast.sim.turns import Clock, Turns
from replicast.sim.world import World
from replicast.units import MS

THREAD_NS_MAX = 2 * MS  # what a hand-over to a worker thread and back may take
BLOCKED_SECONDS = 0.05  # between two tries of a blocked thread


class Blocked(Exception):
    """The work of a thread waits for a device: it is done again later, from its beginning."""


class SimLoop(Turns, asyncio.AbstractEventLoop):  # type: ignore[misc]
    """See the module header. Tasks stay referenced until the world ends: collecting one of a killed
    process would run its `finally` blocks, and a killed process runs nothing."""

    def __init__(self, world: World, clock: Clock, name: str, rng: random.Random) -> None:
        super().__init__(world, clock)
        self._world, self._rng = world, rng
        self.name = name
        self._tasks: list[asyncio.Task[Any]] = []  # see above
        self._tasks_max = 16

    # -- tasks and futures ------------------------------------------------------------

    def run_soon(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task from outside of the loop."""
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            return self.create_task(work)
        finally:
            asyncio._set_running_loop(before)

    call_soon_threadsafe = Turns.call_soon  # type: ignore[assignment]

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

    # -- asyncio asks -----------------------------------------------------------------

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not self.dead:
            self._world.fail(f"{self.name}: {context.get('message')}: {error!r}", checker="errors")
