"""target/store/lmdb_checkpoint.py: long keys, and what LMDB says of a disk that refuses."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import lmdb
import pytest

from replicast.target.store.lmdb_checkpoint import LONG_KEY_BYTES, LmdbCheckpoint


class Refusing:
    """An environment on a disk that refuses everything."""

    def __init__(self, code: int) -> None:
        self._error = lmdb.Error("mdb_txn_begin: no")
        self._error.code = code

    def begin(self, **_options: Any) -> Any:
        raise self._error

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
    checkpoint._env = Refusing(code)  # type: ignore[assignment]
    for use in (
        lambda: checkpoint.get(b"a"),
        lambda: checkpoint.scan(b"a", b"b", 9),
        lambda: checkpoint.first(b"a", b"b"),
        lambda: checkpoint.commit({b"a": b"2"}),
    ):
        with pytest.raises(OSError, match="index: mdb_txn_begin: no") as refused:
            use()
        assert refused.value.errno == told


def test_first__where_keys_become_too_long_for_lmdb(tmp_path: Path) -> None:
    checkpoint = LmdbCheckpoint(tmp_path / "index")
    keys = [b"n" * (LONG_KEY_BYTES + more) for more in range(-2, 4)]
    checkpoint.commit(dict.fromkeys(keys[::2], b"1"))
    for start in keys:
        for end in keys:
            wanted = [(key, b"1") for key in keys[::2] if start <= key < end]
            assert checkpoint.first(start, end) == (wanted[0] if wanted else None)
    checkpoint.close()
