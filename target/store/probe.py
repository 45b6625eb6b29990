"""The probe block: proves that writes still become durable, and how far the log was complete.

The last flush of a log has no later one behind it that would prove it: were it damaged, it would
look like a torn tail, which nobody was told of. An idle VDEV's probe says that it was whole.
"""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

from xxhash import xxh3_64_intdigest

from replicast.disk import Disk
from replicast.target.store.format import PROBE_NAME
from replicast.target.store.segment import BLOCK_BYTES, Identity

_PROBE = struct.Struct("<8sQQ")  # magic, open count, number of the next flush
_CHECKSUM = struct.Struct("<Q")
PROBE_MAGIC = b"RCPROBE1"
PROBE_SALT = 0x50524F4245000000


def pack_probe(identity: Identity, flush_number: int) -> bytes:
    """All flushes before `flush_number` are durable."""
    fields = _PROBE.pack(PROBE_MAGIC, identity.open_count, flush_number)
    return (fields + _CHECKSUM.pack(_digest(fields, identity))).ljust(BLOCK_BYTES, b"\0")


def proven_flushes(disk: Disk, path: Path, identity: Identity) -> int:
    """The number before which all flushes were durable; 0 when no probe says anything."""
    with contextlib.suppress(OSError):
        file = disk.open(path / PROBE_NAME)
        block = file.read_device(0, BLOCK_BYTES)
        file.close()
        if len(block) == BLOCK_BYTES and block[:8] == PROBE_MAGIC:
            fields = block[: _PROBE.size]
            (digest,) = _CHECKSUM.unpack_from(block, _PROBE.size)
            if digest == _digest(fields, identity):
                return int(_PROBE.unpack(fields)[2])
    return 0


def _digest(fields: bytes, identity: Identity) -> int:
    return xxh3_64_intdigest(fields, identity.seed ^ PROBE_SALT)
