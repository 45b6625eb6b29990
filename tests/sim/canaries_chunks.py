"""Planted bugs in chunks, repair and manners: C1, C2, C5, bounds (canaries.py)."""

from __future__ import annotations

import pytest

from replicast.gateway.chunks import ChunkExchange
from replicast.gateway.context import Backoff
from replicast.gateway.copies import Copies
from replicast.gateway.walk import ChunkFinding, RepairFinding, Walk
from replicast.target.reserve import Reservations
from replicast.units import US


def copy_counted_that_is_not_there(patch: pytest.MonkeyPatch) -> None:
    """C1: a put counts one copy more than were stored."""
    place = Copies._place

    def count(self: Copies, vdev_index: int) -> None:
        place(self, vdev_index)
        if "nowhere" not in self.hosts:
            self.hosts += ("nowhere",)

    patch.setattr(Copies, "_place", count)


def repair_does_nothing(patch: pytest.MonkeyPatch) -> None:
    """C2: a chunk that is short of copies is reported as restored and left as it is."""

    async def restore(self: Walk, finding: ChunkFinding) -> RepairFinding:
        return RepairFinding(finding, "restored", finding.wanted)

    patch.setattr(Walk, "_restore", restore)


def bytes_not_verified(patch: pytest.MonkeyPatch) -> None:
    """C5: what arrives is given to the reader whatever its hash is."""
    verified = ChunkExchange.verified
    patch.setattr(
        ChunkExchange,
        "verified",
        lambda self, transfer_id, ok, now_ns: verified(self, transfer_id, True, now_ns),
    )


def reservations_never_released(patch: pytest.MonkeyPatch) -> None:
    """What a bid reserves stays reserved for good."""
    patch.setattr(Reservations, "release", lambda self, key: None)
    patch.setattr(Reservations, "expire", lambda self, now_ns: setattr(self, "due_ns", None))


def no_backoff(patch: pytest.MonkeyPatch) -> None:
    """Whoever is refused or not heard tries again at once, or as soon as a simulator has time for."""
    patch.setattr(Backoff, "take_ns", lambda self: 20 * US)
