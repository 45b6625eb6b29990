"""What can be asked of an open VDEV without waiting for a flush; the same for every driver.

All of it may be called from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from replicast.frozen import frozen
from replicast.target.store import index
from replicast.target.store.engine import StoreEngine
from replicast.target.store.errors import RecordClass, VdevStatus
from replicast.target.store.index import ChunkInfo, EntryLocation
from replicast.target.store.views import Views
from replicast.units import PPM


@frozen
class VdevStat:
    """Figures for bids, metrics and status. total_bytes is the capacity in effect."""

    total_bytes: int
    used_bytes: int
    queue_bytes: int
    queue_count: int
    flush_ns: int  # moving average of write and sync
    flush_count: int
    record_count: int

    @property
    def free_bytes(self) -> int:
        """What is neither used nor promised to the queue."""
        return max(0, self.total_bytes - self.used_bytes - self.queue_bytes)

    @property
    def free_ppm(self) -> int:
        """Free millionths of the capacity."""
        return free_ppm(self.total_bytes, self.used_bytes, self.queue_bytes)


def free_ppm(total_bytes: int, used_bytes: int, queue_bytes: int) -> int:
    """What is neither used nor promised to the queue, in millionths of all."""
    free_bytes = total_bytes - used_bytes - queue_bytes
    return free_bytes * PPM // total_bytes if free_bytes > 0 else 0


class VdevFacts(Views):
    """Identity, state, chunks, rows and views of one VDEV."""

    def __init__(self, engine: StoreEngine) -> None:
        super().__init__(engine.kv)
        self._engine = engine
        self._core = engine.core
        # Asked several times for each message about a chunk, so in one call. Is the chunk durable here?
        self.has: Callable[[bytes], bool] = partial(index.has_chunk, engine.kv)
        # Would a submission of this class and size pass the gates now?
        self.fits: Callable[[RecordClass, int], bool] = engine.core.fits

    @property
    def vdev_id(self) -> bytes:
        """Made by format, 16 bytes."""
        return self._engine.header.vdev_id

    @property
    def open_count(self) -> int:
        """How often it was opened; durable."""
        return self._engine.header.open_count

    @property
    def counted(self) -> bool:
        """Whether this open was: False when its disk took no writes, then it may only be read."""
        return self._engine.counted

    @property
    def path(self) -> Path:
        """Its directory."""
        return self._engine.path

    @property
    def status(self) -> VdevStatus:
        """What it can still do."""
        return self._core.status

    @property
    def writable(self) -> bool:
        """Does it take submissions?"""
        return self._core.writable

    @property
    def reads_refused(self) -> int:
        """How many reads of chunks and entries failed for the disk since the open."""
        return self._engine.reads_refused

    @property
    def damage(self) -> str:
        """What acknowledged data is known to be lost, in words; empty when none."""
        return (self._engine.kv.get(index.DAMAGE) or b"").decode()

    def clear_damage(self) -> None:
        """To be called once the cluster knows of the damage and no row counts on this VDEV."""
        self._engine.clear_damage()

    def chunk(self, chid: bytes) -> ChunkInfo | None:
        """Size, algorithm and place of a durable chunk."""
        return index.chunk_info(self._engine.kv, chid)

    def hold_until(self, chid: bytes) -> int:
        """End of its newest hold in cluster time, 0 without."""
        return index.hold_until(self._engine.kv, chid)

    def iterate_chunks(self, after: bytes = b"", limit: int = 1000) -> list[ChunkInfo]:
        """Chunks with a chid above `after`, by full hash."""
        return index.chunks_after(self._engine.kv, after, limit)

    def read_chunk(self, chid: bytes, *, direct: bool = False) -> bytes:
        """Exactly the stored bytes, unverified; blocks. Raises ReadError kinds."""
        return self._engine.find_and_read(chid, direct=direct)

    def read_cached(self, chid: bytes, size_max: int) -> Any | None:
        """read_chunk() of a chunk that is not larger, if nothing blocks, to be handed to the kernel only
        (File.map_cached); None: ask for it as for any other."""
        return self._engine.find_cached(chid, size_max)

    def row_log(self, row: int, from_index: int = 0, limit: int = 1 << 30) -> list[EntryLocation]:
        """Durable entries of a row's log from an index on, in order of index."""
        return index.row_log(self._engine.kv, row, from_index, limit)

    def row_entry(self, row: int, entry_index: int) -> EntryLocation | None:
        """One durable entry."""
        return index.row_entry(self._engine.kv, row, entry_index)

    def read_entry(self, location: EntryLocation) -> bytes:
        """Its body, checked; blocks for a page-cached read. Raises ReadError kinds."""
        return self._engine.read_entry(location)

    def row_base(self, row: int) -> bytes | None:
        """The base of the row's newest durable ROW_CUT."""
        return index.row_base(self._engine.kv, row)

    def rows(self) -> Iterable[int]:
        """Rows that have entries or a base, ascending."""
        return index.rows(self._engine.kv)
