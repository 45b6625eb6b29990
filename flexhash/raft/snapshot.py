"""Snapshots: the state machine's bytes up to one entry, on disk and on the way to a follower.

Takes the place of pysyncobj's Serializer (same six methods). The file is in place, durably,
before the journal is trimmed to it; and a snapshot received from the leader is in place before
the journal is replaced by it: a crash in between finds a snapshot newer than the journal, which
Journal.adopt() settles by the Raft rule. A snapshot that the journal already contains is not
installed: that would throw away acknowledged entries behind it.

Pieces on the wire carry number, offset and total size; a gap spoils the transfer, the follower
answers that it lacks the entry, and the leader begins anew.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pysyncobj.config import SERIALIZER_STATE

from replicast.buggify import buggified
from replicast.disk import Disk
from replicast.flexhash.raft import codec
from replicast.flexhash.raft.journal import Entry, Journal
from replicast.flexhash.raft.sealed import Damaged, read_sealed, write_sealed

SNAPSHOT = "raft.snapshot"
SNAPSHOT_MAGIC = b"RCRAFTS1"
PIECE_BYTES = 256 << 10
STATE_BYTES_MAX = 64 << 20
PIECE = struct.Struct("<QQQ")  # index of the last entry, offset, total size

Snapshot = tuple[Entry, Entry, bytes]  # last entry, the one before it, state


class Snapshots:
    """The current snapshot of one node."""

    def __init__(
        self,
        disk: Disk,
        directory: Path,
        journal: Journal,
        take: Callable[[], bytes],
        restore: Callable[[bytes], None],
    ) -> None:
        self._disk = disk
        self._path = directory / SNAPSHOT
        self._journal = journal
        self._take = take
        self._restore = restore
        self._finished: int | None = None
        self._sending: dict[str, tuple[Snapshot, int]] = {}
        self._receiving = bytearray()
        self._receiving_index = 0
        self.current: Snapshot | None = None
        self.restored_index = 0  # last entry of the state that was handed to restore()

    def open(self) -> None:
        """Read the file, if there is one, and trim the journal to it; raises Damaged."""
        try:
            value = read_sealed(self._disk, self._path, SNAPSHOT_MAGIC)
        except FileNotFoundError:
            if self._journal.entries and self._journal.entries[0][1] != 1:
                raise Damaged(f"{self._path}: missing, and the journal starts behind it") from None
            return
        last, previous, state = value
        if self._journal.entries and self._journal.entries[0][1] > last[1]:
            raise Damaged(f"{self._path}: older than the journal's first entry")
        self.current = (last, previous, state)
        self._journal.adopt(previous, last)

    def _store(self, snapshot: Snapshot) -> None:
        write_sealed(self._disk, self._path, SNAPSHOT_MAGIC, snapshot)
        self.current = snapshot
        self._sending.clear()

    # -- pysyncobj's serializer (its names) ---------------------------------------------

    def checkSerializing(self) -> tuple[int, int | None]:
        """SUCCESS once after serialize(): pysyncobj trims the journal then."""
        if self._finished is None:
            return SERIALIZER_STATE.NOT_SERIALIZING, None
        finished, self._finished = self._finished, None
        return SERIALIZER_STATE.SUCCESS, finished

    def serialize(self, data: Any, id: int) -> None:
        """Take and store a snapshot; `data` = (pysyncobj's own, last entry, previous, nodes)."""
        _, last, previous, _ = data
        self._store((last, previous, self._take()))
        self._finished = id

    def deserialize(self) -> tuple[None, Entry, Entry, tuple[()]]:
        """Hand the state to the state machine; pysyncobj sets its journal to the entries."""
        assert self.current is not None
        last, previous, state = self.current
        self._restore(state)
        self.restored_index = last[1]
        return None, last, previous, ()

    def getTransmissionData(self, transmissionID: Any) -> tuple[bytes, bool, bool] | None:
        """The next piece for this follower: (bytes, is first, is last)."""
        started = self._sending.get(transmissionID.id)
        if started is None:
            if self.current is None:
                return None
            started = (self.current, 0)
        snapshot, at = started
        state, index = _pack(snapshot), snapshot[0][1]
        end = min(at + buggified("raft/piece-small", PIECE_BYTES, 1024), len(state))
        if end == len(state):
            self._sending.pop(transmissionID.id, None)
        else:
            self._sending[transmissionID.id] = (snapshot, end)
        return PIECE.pack(index, at, len(state)) + state[at:end], at == 0, end == len(state)

    def setTransmissionData(self, data: tuple[bytes, bool, bool] | None) -> bool:
        """Take a piece; True when a snapshot is complete, stored and to be loaded."""
        if data is None or len(data[0]) < PIECE.size:
            return False
        index, at, total = PIECE.unpack_from(data[0])
        if at == 0:
            self._receiving.clear()
            self._receiving_index = index
        fits = at == len(self._receiving) and index == self._receiving_index
        if not fits or total > STATE_BYTES_MAX:
            self._receiving.clear()
            self._receiving_index = 0
            return False
        self._receiving += data[0][PIECE.size :]
        return len(self._receiving) == total and self._install()

    def cancelTransmisstion(self, id: Any) -> None:
        """The follower is gone; begin anew when it returns. (pysyncobj's spelling)"""
        self._sending.pop(id.id, None)

    def _install(self) -> bool:
        snapshot = _unpack(bytes(self._receiving))
        self._receiving.clear()
        if snapshot is None or self._journal.entry(snapshot[0][1]) == snapshot[0]:
            return False
        if snapshot[0][1] <= self._journal.commit_index:
            return False
        self._store(snapshot)
        return True


def _pack(snapshot: Snapshot) -> bytes:
    return codec.dumps(snapshot)


def _unpack(raw: bytes) -> Snapshot | None:
    try:
        value = codec.loads(raw)
    except codec.CodecError:
        return None
    if not (type(value) is tuple and len(value) == 3 and type(value[2]) is bytes):
        return None
    last, previous, state = value
    if not (is_entry(last) and is_entry(previous) and last[1] == previous[1] + 1):
        return None
    return last, previous, state


def is_entry(value: Any) -> bool:
    """Whether a decoded value is a journal entry: (command, index, term)."""
    return (
        type(value) is tuple
        and len(value) == 3
        and type(value[0]) is bytes
        and type(value[1]) is int
        and type(value[2]) is int
        and value[1] > 0
        and value[2] >= 0
    )
