"""Whole clusters on virtual time: the same seed is the same run, and no run breaks the contract."""

from __future__ import annotations

from .whole import run


def test_another_seed_another_trace() -> None:
    assert run("clog", 1, 2).fingerprint != run("clog", 2, 2).fingerprint


def test_fault_points__change_what_happens_and_not_the_cluster() -> None:
    odd, plain = (run("versions", 2, 2, buggify=on) for on in (True, False))
    assert len(odd.points) > 5 and not plain.points
    assert odd.fingerprint != plain.fingerprint and odd.shape == plain.shape


def test_repair__puts_again_what_came_to_too_few_copies() -> None:
    """Members that were late for a moment left chunks short after `repair`."""
    result = run("attrition", 310, 4, buggify=True)
    assert result.verdict == "ok", result.problems


def test_client__is_open_when_its_first_operation_can_be_done() -> None:
    """A voter that had no grant yet gave it its table: everything was refused for a while."""
    assert run("clog", 202, 2, buggify=False).refused == 0


def test_vdev_on_a_disk_that_takes_no_writes__stays_in_sync() -> None:
    """Such opens were taken for rolled back disks, and the last replicas of a row left it."""
    result = run("disks", 40072)
    assert result.verdict == "ok", result.problems
