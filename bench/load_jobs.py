"""What the native clients of bench/peers.py have in common: jobs, objects, and what became of them.

A client is a process of its own. It reads jobs as lines of JSON and answers each with one, as
bench/s3_load.py does: {"do": "put" or "get", "size": bytes, "count": objects to put, "clients": how many at
once, "seconds": at most}. A put job's objects are made before the clock starts, which happens when
another line is read; a get job reads those of the put job before it. Nothing but the standard
library: the distribution's Python runs it, too.
"""

from __future__ import annotations

import os
import random
import time
from typing import Any

Job = dict[str, Any]


class Objects:
    """What waits to be put, and what was put: new names and new incompressible bytes for each put job."""

    def __init__(self) -> None:
        self._waiting: list[tuple[str, bytes]] = []
        self._stored: list[tuple[str, bytes]] = []
        self._serial = 0
        self._choose = random.Random(os.getpid()).choice

    def prepare(self, job: Job) -> None:
        """Those of a put job; a get job keeps what there is."""
        if job["do"] != "put":
            return
        self._stored, self._waiting = [], []
        for _ in range(job["count"]):
            self._serial += 1
            self._waiting.append((f"{os.getpid()}-{self._serial}", os.urandom(job["size"])))

    def next_to_put(self) -> tuple[str, bytes] | None:
        """Name and bytes; None: that was all."""
        try:
            return self._waiting.pop()
        except IndexError:
            return None

    def put_done(self, name: str, body: bytes) -> None:
        """It can be read from now on."""
        self._stored.append((name, body))

    def one_to_get(self) -> tuple[str, bytes] | None:
        """Any that was put; None: there is none."""
        return self._choose(self._stored) if self._stored else None


class Tally:
    """Times and errors of a job, from now on."""

    def __init__(self, job: Job) -> None:
        self._taken: list[float] = []
        self._errors: list[str] = []
        self._cpu, self._began = time.process_time(), time.perf_counter()
        self._end = self._began + job["seconds"]

    def open(self, now: float) -> bool:
        """The time is not over."""
        return now < self._end

    def add(self, started: float, wrong: str | None) -> None:
        """One operation that began then, of time.perf_counter(); None: all was well."""
        if wrong is None:
            self._taken.append(time.perf_counter() - started)
        else:
            self._errors.append(wrong)

    def answer(self) -> Job:
        """What the bench is told. Seconds; "cpu" is that of this process with all its threads."""
        return {
            "taken": self._taken,
            "wall": time.perf_counter() - self._began,
            "cpu": time.process_time() - self._cpu,
            "errors": len(self._errors),
            "first_error": self._errors[0] if self._errors else "",
        }
