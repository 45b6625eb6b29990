"""sim/forks.py: runs in processes of their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from replicast.sim import forks
from replicast.sim.run import Result
from replicast.sim.test_file import Test as SimTest

FILE = Path("a.toml")
TEST = SimTest("a", 1.0, {}, (), ())


def wanted(count: int) -> list[tuple[Path, SimTest, int]]:
    return [(FILE, TEST, seed) for seed in range(count)]


@pytest.mark.parametrize("jobs", [1, 3])
def test_forked__every_run_once_each_in_a_process_of_its_own(monkeypatch, jobs):
    def run(test: SimTest, seed: int, *, last: bool) -> Result:
        assert last
        return Result(test.name, seed, fingerprint=str(os.getpid()))

    monkeypatch.setattr(forks, "run_test", run)
    results = [result for _, result in forks.forked(wanted(5), jobs)]
    assert sorted(result.seed for result in results) == list(range(5))
    processes = {result.fingerprint for result in results}
    assert len(processes) == 5 and str(os.getpid()) not in processes


def test_forked__a_process_that_ends_without_a_result(monkeypatch):
    monkeypatch.setattr(forks, "run_test", lambda *_, **__: os._exit(3))
    with pytest.raises(RuntimeError, match=r"a.toml, seed 0: its process ended with 3"):
        list(forks.forked(wanted(1), 1))


def test_forked__closed_early__ends_what_runs(monkeypatch):
    def run(test: SimTest, seed: int, *, last: bool) -> Result:
        if seed:
            forks.signal.pause()
        return Result(test.name, seed)

    monkeypatch.setattr(forks, "run_test", run)
    results = forks.forked(wanted(2), 2)
    assert next(results)[1].seed == 0
    results.close()
    assert not [p for p in forks.multiprocessing.active_children() if p.join(10) or p.is_alive()]
