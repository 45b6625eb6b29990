"""settle() waits for what a cluster does once, and says so when that does not end."""

from __future__ import annotations

import itertools

import at_rest
import pytest
from s3_endpoints import Endpoint

ENDPOINT = Endpoint("it", "", "", "", list)


def test_settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until less than that is taken, and not once more."""
    looks = iter([90.0, 15.0, 14.9, 0.0])
    monkeypatch.setattr(at_rest, "idle_percent", lambda *_: next(looks))
    at_rest.settle(ENDPOINT, percent=15.0)
    assert list(looks) == [0.0]


def test_settle__never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_rest, "idle_percent", lambda *_: 90.0)
    with pytest.raises(SystemExit, match="it: not at rest after 0 s: 90 % of a core"):
        at_rest.settle(ENDPOINT, percent=15.0, seconds_max=0.0)


def test_idle_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one core, whatever the waiting took."""
    taken, now = iter([10.0, 10.5]), itertools.count(100.0, 2.0)
    monkeypatch.setattr(Endpoint, "cpu_seconds", lambda _: next(taken))
    monkeypatch.setattr(at_rest.time, "perf_counter", lambda: next(now))
    assert at_rest.idle_percent(ENDPOINT, 0.0) == 25.0
