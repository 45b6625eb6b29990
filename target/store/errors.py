"""How the store says no: one outcome per submission, one exception per reaction of the caller."""

from __future__ import annotations

from enum import IntEnum

from replicast.errors import ReplicastError


class VdevStatus(IntEnum):
    """What a VDEV can still do. FAULTED and READ_ONLY end only with a new open."""

    OK = 1
    READ_ONLY = 2  # reads go on; the file system refuses writes
    FAULTED = 3  # a write or sync failed: nothing further is written
    DAMAGED = 4  # works, but lost something acknowledged: in sync for no row


class Outcome(IntEnum):
    """What became of one submission; everything but STORED left no trace to rely on."""

    STORED = 1  # durable: fdatasync returned
    HASH_MISMATCH = 2
    NO_SPACE = 3
    BUSY = 4  # the queue is full; nothing was taken
    READ_ONLY = 5
    FAULTED = 6
    MISSING = 7  # a hold of a chunk that is not here (any more)


class RecordClass(IntEnum):
    """Which gate a submission has to pass as the VDEV fills."""

    PAYLOAD = 1  # chunks: to 90 %
    NAME = 2  # new names: to 95 %
    FREEING = 3  # what frees space, references, catch-up: to 98 %


class VdevError(ReplicastError):
    """The VDEV cannot be opened or used; the text names path and cause."""

    reason = "VDEV"


class NotAVdev(VdevError):
    """No VDEV header there: an unmounted disk or a wrong path. Never formatted silently."""


class VdevBusy(VdevError):
    """Another process has it open."""


class WrongCluster(VdevError):
    """It belongs to another cluster."""


class BadVersion(VdevError):
    """Written by another release; the text names what this one does not read."""


class ReadError(Exception):
    """A stored record could not be read."""


class ChunkMissing(ReadError):
    """Not stored here."""


class ChunkDamaged(ReadError):
    """The place where it should be does not hold it: set it aside, ask repair.

    `sequence` is that of the copy that was looked for.
    """

    def __init__(self, text: str, sequence: int = 0) -> None:
        super().__init__(text)
        self.sequence = sequence


class ReadFailed(ReadError):
    """The disk refused to read."""
