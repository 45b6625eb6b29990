"""Small files written whole: magic, checksum, one tagged value (codec.py).

A write is durable when it returns, and a crash at any moment leaves the old file or the new
one: temporary name, sync, rename, sync of the directory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xxhash import xxh3_128_digest

from replicast.disk import Disk
from replicast.errors import ReplicastError
from replicast.flexhash.raft import codec

MAGIC_BYTES, CHECKSUM_BYTES = 8, 16


class Damaged(ReplicastError):
    """Raft state on disk that cannot be trusted: this voter must be replaced, never mended."""

    reason = "VOTER_STATE"


def write_whole(disk: Disk, path: Path, pieces: list[bytes | memoryview]) -> None:
    """Put the pieces in place of `path`, durably."""
    temporary = path.with_name(path.name + ".new")
    file = disk.open(temporary, create=True)
    try:
        file.truncate(0)
        file.write(0, pieces)
        file.sync()
    finally:
        file.close()
    disk.rename(temporary, path)
    disk.sync_directory(path.parent)


def write_sealed(disk: Disk, path: Path, magic: bytes, value: Any) -> None:
    """Put `value` in place of `path`, durably."""
    body = codec.dumps(value)
    write_whole(disk, path, [magic, xxh3_128_digest(body), body])


def read_sealed(disk: Disk, path: Path, magic: bytes) -> Any:
    """The value in `path`; raises Damaged, or FileNotFoundError."""
    file = disk.open(path)
    try:
        raw = file.read(0, file.size())
    finally:
        file.close()
    body = raw[MAGIC_BYTES + CHECKSUM_BYTES :]
    if raw[:MAGIC_BYTES] != magic:
        raise Damaged(f"{path}: not a file of this version of replicast")
    if raw[MAGIC_BYTES : MAGIC_BYTES + CHECKSUM_BYTES] != xxh3_128_digest(body):
        raise Damaged(f"{path}: checksum is wrong")
    try:
        return codec.loads(body)
    except codec.CodecError as error:
        raise Damaged(f"{path}: {error}") from None
