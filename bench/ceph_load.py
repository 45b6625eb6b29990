"""The RADOS client of bench/peers.py: librados from threads that wait for each call, the bytes compared.

    /usr/bin/python3 bench/ceph_load.py CEPH.CONF POOL

Run by the distribution's Python, as python3-rados is a module of that. Jobs: bench/load_jobs.py.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Protocol

from load_jobs import Job, Objects, Tally

NAME = "client.admin"
# An operation that never ends would keep the bench waiting.
TIMEOUTS = {"rados_osd_op_timeout": "60", "rados_mon_op_timeout": "60"}


class Pool(Protocol):
    """What is used of rados.Ioctx."""

    def write_full(self, key: str, data: bytes) -> object: ...

    def read(self, key: str, length: int) -> bytes: ...


class Load:
    """Does the jobs of one pool; `failure` is what its calls raise."""

    def __init__(self, pool: Pool, failure: type[Exception]) -> None:
        self._pool, self._failure = pool, failure
        self._objects = Objects()

    def prepare(self, job: Job) -> Run:
        """The job's objects and threads; nothing is done yet."""
        self._objects.prepare(job)
        return Run(self, job)

    def once(self, job: Job) -> tuple[bool, str | None]:
        """One operation: was there anything to do, and what went wrong."""
        is_put = job["do"] == "put"
        found = self._objects.next_to_put() if is_put else self._objects.one_to_get()
        if found is None:
            return False, None
        name, body = found
        try:
            if is_put:
                self._pool.write_full(name, body)
                self._objects.put_done(name, body)
            elif self._pool.read(name, job["size"]) != body:
                return True, f"{name}: wrong bytes"
        except self._failure as error:
            return True, f"{name}: {error}"
        return True, None


class Run:
    """One job by several threads, which are there before the clock starts."""

    def __init__(self, load: Load, job: Job) -> None:
        self._load, self._job = load, job
        self._tally: Tally | None = None
        self._start = threading.Event()
        count = job["clients"]
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def go(self) -> Job:
        """Until there is nothing left or the time is over."""
        self._tally = Tally(self._job)
        self._start.set()
        for thread in self._threads:
            thread.join()
        return self._tally.answer()

    def _work(self) -> None:
        self._start.wait()
        assert self._tally is not None
        while self._tally.open(started := time.perf_counter()):
            did, wrong = self._load.once(self._job)
            if not did:
                return
            self._tally.add(started, wrong)


def main() -> None:
    """Jobs from standard input until it ends."""
    import rados  # the distribution's

    conf, pool = sys.argv[1:]
    with (
        rados.Rados(conffile=conf, name=NAME, conf=TIMEOUTS) as cluster,
        cluster.open_ioctx(pool) as context,
    ):
        load = Load(context, rados.Error)
        while line := sys.stdin.readline():
            run = load.prepare(json.loads(line))
            print("ready", flush=True)
            if not sys.stdin.readline():
                return
            print(json.dumps(run.go()), flush=True)


if __name__ == "__main__":
    main()
