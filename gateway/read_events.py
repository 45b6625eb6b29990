"""What a chunk read (get.py) asks of its shell, and how it ends."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from replicast.frozen import frozen
from replicast.machine import Event
from replicast.transfer import BufferLike


class Outcome(Enum):
    """How a read fails."""

    UNAVAILABLE = "unavailable"
    DATA_LOST = "lost"


@frozen
class VerifyPayload(Event):
    """Hash `buffer` off the loop; then verified(transfer_id, ok)."""

    transfer_id: bytes
    buffer: BufferLike
    hash_algorithm: int
    chid: bytes


@frozen
class ChunkRead(Event):
    """Verified bytes. `holders`: who sent them, and others that said that they have them. `bad_vdevs` sent
    wrong ones; they were told to check their copies."""

    chid: bytes
    buffer: BufferLike
    vdev_index: int
    holders: tuple[int, ...]
    bad_vdevs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ChunkFailed(Event):
    """No verified bytes; `answers` says what each listed VDEV said last."""

    chid: bytes
    outcome: Outcome
    answers: tuple[tuple[int, str], ...]
