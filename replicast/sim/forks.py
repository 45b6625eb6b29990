"""Runs in processes of their own, a few side by side.

    for path, result in forked(wanted, jobs): ...        in the order in which they end

Each is a fork of the process that sweeps, made for one run: it has all modules from the start, and
what the run leaves behind is given back when it ends, so nothing is collected in it. The parent
starts no threads of its own.
"""

from __future__ import annotations

import itertools
import multiprocessing
import signal
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import numpy.ma  # noqa: F401  numpy.unique() loads it when it is first called: in every process

from replicast.sim.run import Result, run_test
from replicast.sim.test_file import Test

FORK = multiprocessing.get_context("fork")


def forked(wanted: Iterable[tuple[Path, Test, int]], jobs: int) -> Iterator[tuple[Path, Result]]:
    """Run (path, test, seed); RuntimeError when a process ends without a result."""
    running: dict[Any, tuple[Path, int, ForkProcess]] = {}  # by the pipe for its result
    todo = iter(wanted)
    try:
        while True:
            for path, test, seed in itertools.islice(todo, jobs - len(running)):
                receiver, process = _start(test, seed)
                running[receiver] = (path, seed, process)
            if not running:
                return
            for ready in wait(list(running)):
                path, seed, process = running.pop(ready)
                yield path, _result(ready, process, f"{path}, seed {seed}")
    finally:
        for _, _, process in running.values():
            process.terminate()


def _start(test: Test, seed: int) -> tuple[Connection, ForkProcess]:
    receiver, sender = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_run, args=(sender, test, seed))
    process.start()
    sender.close()
    return receiver, process


def _run(sender: Connection, test: Test, seed: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who gave the work out
    sender.send(run_test(test, seed, last=True))


def _result(receiver: Any, process: ForkProcess, what: str) -> Result:
    try:
        result: Result = receiver.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"{what}: its process ended with {process.exitcode}") from None
    finally:
        receiver.close()
    process.join()
    return result
