"""target/store/lmdb_checkpoint.py: what LMDB says of a disk that refuses is an OSError."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import lmdb
import pytest

from replicast.target.store.lmdb_checkpoint import LmdbCheckpoint


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
        lambda: checkpoint.commit({b"a": b"2"}),
    ):
        with pytest.raises(OSError, match="index: mdb_txn_begin: no") as refused:
            use()
        assert refused.value.errno == told
