"""A daemon's threads are scheduled as it was told, unless somebody chose otherwise."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

import pytest

from replicast.scheduling import BATCH, NORMAL, share_cpus


def in_a_thread(work: Callable[[], None]) -> list[int]:
    """The policies of a thread after `work`, and of one that it starts then; this one keeps its own."""
    policies: list[int] = []

    def note() -> None:
        policies.append(os.sched_getscheduler(0))

    def run() -> None:
        work()
        note()
        inner = threading.Thread(target=note)
        inner.start()
        inner.join()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return policies


def choose(policy: int) -> None:
    os.sched_setscheduler(0, policy, os.sched_param(0))


def test_batch__holds_for_threads_that_come_later() -> None:
    def work() -> None:
        choose(os.SCHED_OTHER)
        share_cpus(BATCH)

    assert in_a_thread(work) == [os.SCHED_BATCH, os.SCHED_BATCH]


def test_normal__changes_nothing() -> None:
    def work() -> None:
        choose(os.SCHED_OTHER)
        share_cpus(NORMAL)

    assert in_a_thread(work) == [os.SCHED_OTHER, os.SCHED_OTHER]


def test_batch__leaves_what_was_chosen() -> None:
    def work() -> None:
        choose(os.SCHED_IDLE)
        share_cpus(BATCH)

    assert in_a_thread(work) == [os.SCHED_IDLE, os.SCHED_IDLE]


def test_batch__refused__is_said_once_and_no_reason_to_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_getscheduler", lambda _: os.SCHED_OTHER)
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with caplog.at_level(logging.WARNING, "replicast"):
        share_cpus(BATCH)
    (record,) = caplog.records
    assert "Operation not permitted" in record.getMessage()
