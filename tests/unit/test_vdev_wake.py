"""Waking the commit thread of a Vdev: nothing is left lying, and who submits waits for nobody.

It never wakes by itself here, so what is left lying is never told.
"""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from replicast.disks import ForgetfulDisk
from replicast.target.store.core import Outcomes, StoreCore
from replicast.target.store.errors import Outcome
from replicast.target.store.format import format_vdev
from replicast.target.store.record import RowUnstage
from replicast.target.store.vdev import Vdev

CLUSTER = b"cluster-16-bytes"
WAIT_SECONDS = 60
HELD_SECONDS = 5  # as long as the commit thread is held, if who should let it go waits for it


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("replicast.target.store.vdev.PROBE_NS", 3600 * 10**9)
    format_vdev(ForgetfulDisk(), tmp_path / "vdev", CLUSTER, None, random.Random(1))
    return tmp_path / "vdev"


@pytest.fixture
def often() -> Iterator[None]:
    """Threads take turns after each few instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class Held:
    """The commit thread, when it has seen that there is nothing to do, and does not wait yet."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.there, self.let_go = threading.Event(), threading.Event()
        self.was_let_go: list[bool] = []
        look: Callable[[Any], bool] = StoreCore.has_work.fget  # type: ignore[attr-defined]

        def has_work(core: StoreCore) -> bool:
            found = look(core)
            held = threading.current_thread().name == "vdev-commit" and not self.there.is_set()
            if held and not found:
                self.there.set()
                self.was_let_go.append(self.let_go.wait(HELD_SECONDS))
            return found

        monkeypatch.setattr(StoreCore, "has_work", property(has_work))


def test_submit__while_the_commit_thread_goes_idle(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, told = Held(monkeypatch), threading.Event()
    vdev = Vdev.open(ForgetfulDisk(), path, CLUSTER)
    assert held.there.wait(WAIT_SECONDS)
    vdev.submit([RowUnstage(1)], 1, lambda _: told.set())
    held.let_go.set()
    assert told.wait(WAIT_SECONDS)
    assert held.was_let_go == [True]
    vdev.close()


def test_close__while_the_commit_thread_goes_idle(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    vdev = Vdev.open(ForgetfulDisk(), path, CLUSTER)
    assert held.there.wait(WAIT_SECONDS)
    monkeypatch.setattr(vdev._reads, "put", _before(vdev._reads.put, held.let_go.set))
    closing = threading.Thread(target=vdev.close, daemon=True)
    closing.start()
    closing.join(WAIT_SECONDS)
    assert not closing.is_alive()
    assert held.was_let_go == [True]


def _before(call: Callable[[Any], None], first: Callable[[], None]) -> Callable[[Any], None]:
    def both(what: Any) -> None:
        first()
        call(what)

    return both


def test_submit__one_after_the_other_from_many_threads(path: Path, often: None) -> None:
    """Each time that all have heard, the commit thread goes idle: and somebody submits meanwhile."""
    vdev = Vdev.open(ForgetfulDisk(), path, CLUSTER)
    stored: list[int] = []
    missing: list[int] = []

    def client(number: int) -> None:
        for turn in range(300):
            told = threading.Event()

            def done(outcomes: Outcomes, told: threading.Event = told) -> None:
                stored.extend(token for token, o in outcomes if o is Outcome.STORED)  # type: ignore[misc]
                told.set()

            vdev.submit([RowUnstage(number)], number, done)
            if not told.wait(WAIT_SECONDS):
                missing.append(turn)
                return

    clients = [threading.Thread(target=client, args=(n,), daemon=True) for n in range(3)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    assert not missing
    assert sorted(stored) == sorted(n for n in range(3) for _ in range(300))
    vdev.close()


def test_wakings__do_not_pile_up(path: Path) -> None:
    """Who submits while the thread is on its way to wake up leaves one as well."""
    vdev = Vdev.open(ForgetfulDisk(), path, CLUSTER)
    told = threading.Semaphore(0)
    for turn in range(50):
        for number in range(20):
            vdev.submit([RowUnstage(number)], (turn, number), lambda o: told.release(len(o)))
        for _ in range(20):
            assert told.acquire(timeout=WAIT_SECONDS)
    assert vdev._wakes.qsize() <= 20
    vdev.close()
    assert vdev._wakes.qsize() <= 1
