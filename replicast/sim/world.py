"""Virtual time: one heap of events, one seeded generator, one trace.

    world = World(seed)
    world.after(5 * MS, action)
    world.run_until(10 * SECOND)

Time is integer nanoseconds and moves only from event to event; events of one instant keep the
order in which they were made. Nothing here or above reads a real clock, an environment variable
or global randomness, so a seed is a run. The fingerprint covers every traced event.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from typing import IO, Any

from replicast.sim.turns import INSTANT_EVENTS_MAX, Events, TraceHash

SHOWN_BYTES_MAX = 16 << 10  # of a message; longer ones show their size


class Trace(TraceHash):
    """What happened, in order: hashed always, written as JSON lines when there is a file."""

    def __init__(self, file: IO[str] | None = None) -> None:
        super().__init__(file is not None)
        self._file = file

    def show(
        self, time_ns: int, process: str, what: str, data: bytes, more: Mapping[str, Any]
    ) -> None:
        line = {"t": time_ns, "process": process, "what": what, **more}
        if data:
            line["bytes"] = len(data)
        if 0 < len(data) <= SHOWN_BYTES_MAX:
            line["data"] = data.hex()
        self._write(line)

    def describe(self, time_ns: int, process: str, what: str, **more: Any) -> None:
        """A line for the reader only: about the run, nothing that happened in it."""
        self._write({"t": time_ns, "process": process, "what": what, **more})

    def _write(self, line: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(line, default=str) + "\n")


class World(Events):
    """Everything that happens, in one thread."""

    def __init__(self, seed: int, trace: Trace | None = None) -> None:
        super().__init__()
        self.seed = seed
        self.rng = random.Random(seed)
        self.trace = trace or Trace()
        self.failures: list[str] = []
        self._news: list[None] = []  # since run_till() asked last; its length costs no call

    def fork_rng(self) -> random.Random:
        """A generator of its own for one part, so that parts do not disturb each other."""
        return random.Random(self.rng.getrandbits(64))

    def tell(self) -> None:
        """Something happened that run_till() may wait for."""
        self._news.append(None)

    def run_till(self, time_ns: int, done: Callable[[], object]) -> bool:
        """As run_until(), but `done` is asked only after events that told the world of something,
        and after the first."""
        self.tell()
        while self.run_until(time_ns, self._news.__len__):
            self._news.clear()
            if done():
                return True
        return False

    def stands_still(self) -> None:
        """Something goes on for ever in no time."""
        what = f"time stands still: {INSTANT_EVENTS_MAX} events in one instant"
        self.fail(what, checker="liveness")

    def note(self, process: str, what: str, **more: Any) -> None:
        """One line of the trace."""
        self.trace.add(self.time_ns, process, what, b"", more)

    def fail(self, what: str, *, checker: str) -> None:
        """Something that must never happen did, says `checker`; the verdict is bad."""
        self.failures.append(f"{checker}: {self.time_ns / 1e9:.6f} {what}")
        self.tell()
        self.note("world", "failure", text=what)
