"""The directory of a VDEV and its header file.

    vdev             two header slots of 4 KiB; the one with the higher open count holds
    probe            one block, rewritten when idle to prove that flushes still complete
    log/*.seg        the log
    index/           the checkpoint (LMDB)

format_vdev() is the only way to make one; open_header() refuses a path without a
header, so that an unmounted disk is an error and not an empty VDEV. The slots are
written in turn and in place: counting an open needs no free space.
"""

from __future__ import annotations

import errno
import random
import struct
from dataclasses import dataclass, replace
from pathlib import Path

from xxhash import xxh3_64_intdigest

from replicast.disks import LockableDisk
from replicast.target.store.errors import BadVersion, NotAVdev, VdevError, WrongCluster
from replicast.target.store.segment import BLOCK_BYTES

HEADER_NAME = "vdev"
PROBE_NAME = "probe"
LOG_NAME = "log"
INDEX_NAME = "index"
MAGIC = b"RCVDEV\r\n"
# 4: payloads with checksums; 3: rows without holders; 2: without null versions; 1: logs never cut
VERSION = 5
READ_ONLY_ERRORS = (errno.EROFS, errno.EACCES, errno.EPERM)

_FIXED = struct.Struct("<8sHHI16s16sQQQ")
_CHECKSUM = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class VdevHeader:
    """What identifies a VDEV. `seed` is secret; capacity_bytes 0 = share the file system."""

    vdev_id: bytes
    cluster_id: bytes
    seed: int
    open_count: int
    capacity_bytes: int


def format_vdev(
    disk: LockableDisk,
    path: Path,
    cluster_id: bytes,
    capacity_bytes: int | None,
    rng: random.Random,
) -> VdevHeader:
    """Make an empty VDEV in `path`; raises VdevError when one is there already.

    `rng` makes the id and the secret seed: random.SystemRandom() outside of tests.
    """
    disk.make_directory(path)
    if set(disk.list(path)) - {"lost+found"}:
        raise VdevError(f"{path}: not empty; a VDEV is only ever made in an empty directory")
    header = VdevHeader(rng.randbytes(16), cluster_id, rng.getrandbits(64), 0, capacity_bytes or 0)
    for name in (LOG_NAME, INDEX_NAME):
        disk.make_directory(path / name)
    probe = disk.open(path / PROBE_NAME, create=True)
    probe.write(0, [bytes(BLOCK_BYTES)])
    probe.sync()
    probe.close()
    # The header comes last: a format cut short leaves a path that is refused.
    disk.sync_directory(path.parent)
    disk.sync_directory(path)
    file = disk.open(path / HEADER_NAME, create=True)
    file.write(0, [_pack(header), _pack(header)])
    file.sync()
    file.close()
    disk.sync_directory(path)
    return header


def read_header(disk: LockableDisk, path: Path) -> VdevHeader:
    """The header of the VDEV at `path`; raises NotAVdev, BadVersion."""
    try:
        file = disk.open(path / HEADER_NAME)
        slots = [file.read(at, BLOCK_BYTES) for at in (0, BLOCK_BYTES)]
        file.close()
    except FileNotFoundError:
        raise NotAVdev(f"{path}: no VDEV here; is the disk mounted?") from None
    except OSError as error:
        raise VdevError(f"{path}: {error.strerror}") from error
    found = [header for slot in slots if (header := _unpack(slot, path)) is not None]
    if not found:
        raise NotAVdev(f"{path}: the VDEV header is damaged in both copies")
    return max(found, key=lambda header: header.open_count)


def count_open(disk: LockableDisk, path: Path, cluster_id: bytes) -> tuple[VdevHeader, bool]:
    """Read the header and make a higher open count durable.

    The flag is False when the file system refuses writes: then nothing was counted
    and the VDEV may only be read. Raises WrongCluster and what read_header() raises.
    """
    header = read_header(disk, path)
    if header.cluster_id != cluster_id:
        raise WrongCluster(
            f"{path}: VDEV of cluster {header.cluster_id.hex()}, not {cluster_id.hex()}"
        )
    counted = replace(header, open_count=header.open_count + 1)
    try:
        file = disk.open(path / HEADER_NAME)
        file.write(counted.open_count % 2 * BLOCK_BYTES, [_pack(counted)])
        file.sync()
        file.close()
    except OSError as error:
        if error.errno in READ_ONLY_ERRORS:
            return header, False
        raise VdevError(f"{path}: cannot count this open: {error.strerror}") from error
    return counted, True


def _pack(header: VdevHeader) -> bytes:
    fields = _FIXED.pack(
        MAGIC,
        VERSION,
        0,
        0,
        header.vdev_id,
        header.cluster_id,
        header.seed,
        header.open_count,
        header.capacity_bytes,
    )
    return (fields + _CHECKSUM.pack(xxh3_64_intdigest(fields))).ljust(BLOCK_BYTES, b"\0")


def _unpack(slot: bytes, path: Path) -> VdevHeader | None:
    if len(slot) < BLOCK_BYTES or slot[:8] != MAGIC:
        return None
    (digest,) = _CHECKSUM.unpack_from(slot, _FIXED.size)
    if digest != xxh3_64_intdigest(slot[: _FIXED.size]):
        return None
    _, version, _, _, *rest = _FIXED.unpack_from(slot)
    if version != VERSION:
        raise BadVersion(f"{path}: VDEV format {version}; this release reads {VERSION}")
    return VdevHeader(*rest)
