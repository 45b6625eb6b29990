"""The overlay's memory of what its checkpoint has not got (target/store/overlay.py)."""

from __future__ import annotations

import pytest

from replicast.target.store import overlay
from replicast.target.store.overlay import CheckpointFull, MemoryCheckpoint, Overlay


class Counting(MemoryCheckpoint):
    """Notes what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[bytes] = []

    def get(self, key: bytes) -> bytes | None:
        self.asked.append(key)
        return super().get(key)


@pytest.fixture
def disk() -> Counting:
    return Counting()


@pytest.fixture
def kv(disk: Counting) -> Overlay:
    return Overlay(disk)


def checkpoint(kv: Overlay) -> None:
    kv.freeze()
    kv.commit()


def test_absent__is_asked_of_the_checkpoint_once(kv: Overlay, disk: Counting) -> None:
    assert [kv.get(b"ca"), kv.get(b"ca"), kv.get(b"cb"), kv.get(b"ca")] == [None] * 4
    assert disk.asked == [b"ca", b"cb"]


def test_absent__is_found_once_it_was_put_whether_committed_or_not(kv: Overlay) -> None:
    assert kv.get(b"ca") is None
    kv.put(b"ca", b"1")
    assert kv.get(b"ca") == b"1"
    kv.freeze()
    assert kv.get(b"ca") == b"1"
    kv.commit()
    assert kv.get(b"ca") == b"1"


def test_absent__after_it_was_put_and_deleted_again(kv: Overlay) -> None:
    assert kv.get(b"ca") is None
    kv.put(b"ca", b"1")
    checkpoint(kv)
    kv.delete(b"ca")
    assert kv.get(b"ca") is None
    checkpoint(kv)
    assert kv.get(b"ca") is None
    kv.put(b"ca", b"2")
    checkpoint(kv)
    assert kv.get(b"ca") == b"2"


def test_absent__asked_for_while_it_is_being_committed(kv: Overlay, disk: Counting) -> None:
    """The other way round: what was put is known, and what is asked for meanwhile was not there."""
    kv.put(b"ca", b"1")
    kv.freeze()
    assert kv.get(b"cb") is None
    kv.put(b"cb", b"2")
    kv.commit()
    checkpoint(kv)
    assert [kv.get(b"ca"), kv.get(b"cb")] == [b"1", b"2"]


def test_absent__when_the_commit_failed(
    kv: Overlay, disk: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kv.get(b"ca") is None
    kv.put(b"ca", b"1")
    with monkeypatch.context() as patch:
        patch.setattr(disk, "commit", lambda changes: (_ for _ in ()).throw(CheckpointFull()))
        with pytest.raises(CheckpointFull):
            checkpoint(kv)
    assert kv.get(b"ca") == b"1"
    checkpoint(kv)
    assert kv.get(b"ca") == b"1"


def test_absent__is_bounded(kv: Overlay, disk: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay, "ABSENT_MAX", 4)
    for number in range(10):
        assert kv.get(b"c%d" % number) is None
        assert len(kv._absent) <= 4
    assert len(disk.asked) == 10
