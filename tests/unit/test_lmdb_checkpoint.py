"""target/store/lmdb_checkpoint.py: long keys, and what LMDB says of a disk that refuses."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import lmdb
import pytest

from replicast.target.store import lmdb_checkpoint
from replicast.target.store.lmdb_checkpoint import LONG_KEY_BYTES, LmdbCheckpoint
from replicast.target.store.overlay import CheckpointTooSmall


class Refusing:
    """An environment, and a transaction of it, on a disk that refuses everything."""

    def __init__(self, code: int) -> None:
        self._error = lmdb.Error("mdb: no")
        self._error.code = code

    def begin(self, **_options: Any) -> Any:
        raise self._error

    def get(self, _key: bytes) -> Any:
        raise self._error

    cursor = begin

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (errno.ENOENT, errno.ENOENT),
        (errno.EROFS, errno.EROFS),
        (0, errno.EIO),
        (-30_797, errno.EIO),
    ],
)
def test_disk__that_refuses_reads_and_writes(tmp_path: Path, code: int, told: int) -> None:
    checkpoint = LmdbCheckpoint(tmp_path / "index")
    checkpoint.commit({b"a": b"1"})
    assert checkpoint.get(b"a") == b"1" and checkpoint.scan(b"a", b"b", 9) == [(b"a", b"1")]
    checkpoint.close()
    checkpoint._env = checkpoint._committed = Refusing(code)  # type: ignore[assignment]
    for use in (
        lambda: checkpoint.get(b"a"),
        lambda: checkpoint.scan(b"a", b"b", 9),
        lambda: checkpoint.first(b"a", b"b"),
        lambda: checkpoint.commit({b"a": b"2"}),
    ):
        with pytest.raises(OSError, match="index: mdb: no") as refused:
            use()
        assert refused.value.errno == told


def test_reads__go_on_while_a_commit_fails_and_the_map_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lmdb_checkpoint, "MAP_BYTES", 1 << 20)
    checkpoint = LmdbCheckpoint(tmp_path / "index")
    checkpoint.commit({b"a": b"1", b"b": b"1"})
    much = {b"c%03d" % n: bytes(8 << 10) for n in range(200)}
    with pytest.raises(CheckpointTooSmall):
        checkpoint.commit({b"a": b"2", **much})
    assert checkpoint.get(b"a") == b"1" and checkpoint.get(b"c000") is None
    for _ in range(4):
        checkpoint.grow()
        assert checkpoint.get(b"a") == b"1"
    checkpoint.commit({b"a": b"2", b"b": None, **much})
    assert checkpoint.get(b"a") == b"2" and checkpoint.get(b"b") is None
    assert checkpoint.first(b"b", b"d") == (b"c000", much[b"c000"])
    checkpoint.close()


def test_index__does_not_grow_for_what_is_written_over_and_over(tmp_path: Path) -> None:
    """Reads see the last commit and no older one: pages from before are used again."""
    checkpoint = LmdbCheckpoint(tmp_path / "index")
    for round_ in range(50):
        checkpoint.commit({b"c%03d" % n: bytes([round_]) * 1000 for n in range(100)})
        assert checkpoint.get(b"c099") == bytes([round_]) * 1000
        if round_ == 10:
            settled_bytes = checkpoint.size_bytes()
    assert checkpoint.size_bytes() <= settled_bytes
    checkpoint.close()


def test_first__where_keys_become_too_long_for_lmdb(tmp_path: Path) -> None:
    checkpoint = LmdbCheckpoint(tmp_path / "index")
    keys = [b"n" * (LONG_KEY_BYTES + more) for more in range(-2, 4)]
    checkpoint.commit(dict.fromkeys(keys[::2], b"1"))
    for start in keys:
        for end in keys:
            wanted = [(key, b"1") for key in keys[::2] if start <= key < end]
            assert checkpoint.first(start, end) == (wanted[0] if wanted else None)
    checkpoint.close()
