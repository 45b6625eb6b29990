"""When the commit thread of a Vdev waits for work, and has seen that there is none: from then on only a
wake-up makes it look again."""

from __future__ import annotations

import queue
import threading
from types import SimpleNamespace

import pytest

from replicast.target.store.vdev import Vdev

WAIT_SECONDS = 60


class Wakes(queue.SimpleQueue):  # type: ignore[type-arg]
    """A Vdev's: `waiting` says that none is there, and that somebody waits for one."""

    def __init__(self) -> None:
        self.waiting, self._lock = threading.Event(), threading.Lock()

    def get(self, block: bool = True, timeout: float | None = None) -> None:
        with self._lock:
            if self.empty():
                self.waiting.set()
        super().get(block, timeout)

    def put(self, item: None, block: bool = True, timeout: float | None = None) -> None:
        with self._lock:
            super().put(item)
            self.waiting.clear()


def watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of Vdevs that are opened from now on; and they wake only when told."""
    module = SimpleNamespace(**{**vars(queue), "SimpleQueue": Wakes})
    monkeypatch.setattr("replicast.target.store.vdev.queue", module)
    monkeypatch.setattr("replicast.target.store.vdev.PROBE_NS", 3600 * 10**9)


def settle(vdev: Vdev) -> None:
    """Wait until it waits."""
    assert isinstance(vdev._wakes, Wakes)
    assert vdev._wakes.waiting.wait(WAIT_SECONDS)
