"""What a replica gives to one that is installed: the entries that its log has kept, in pieces.

Limits: a piece has `piece_bytes_max`, or one entry, and PIECE_ENTRIES_MAX entries.
"""

from __future__ import annotations

from collections.abc import Iterator

from replicast.buggify import buggified
from replicast.target.names.heal import Healer
from replicast.target.names.limits import NameLimits
from replicast.target.names.log import LogEntry
from replicast.target.names.replica import RowReplica
from replicast.wire.row_messages import RowEntry

PIECE_ENTRIES_MAX = 1024

Piece = tuple[tuple[RowEntry, ...], bool]


class Giver:
    """One per target."""

    def __init__(self, limits: NameLimits, healer: Healer) -> None:
        self._limits, self._healer = limits, healer

    def piece(self, replica: RowReplica, after_index: int) -> Piece | None:
        """(entries behind an index, are these the last); None: not now."""
        log = replica.log
        if log.broken or replica.rebuilding or log.dropping:
            return None  # until a cut is durable the store has more than belongs to its base
        count = buggified("names/part-small", PIECE_ENTRIES_MAX, 1)
        entries: list[RowEntry] = []
        size_bytes = 0
        for index, entry in self._kept(replica, after_index):
            size_bytes += 0 if entry is None else len(entry.data) + 64
            full = len(entries) >= count or size_bytes > self._limits.piece_bytes_max
            if entry is None or (entries and full):
                if entry is None:
                    self._healer.want(replica, index, None)
                return (tuple(entries), False) if entries else None
            entries.append(entry.wire())
        return tuple(entries), True

    def _kept(self, replica: RowReplica, after_index: int) -> Iterator[tuple[int, LogEntry | None]]:
        """None: it cannot be read. One that can not and is of no use any more is left out: an entry
        behind the base, which the taker gets later, removes its version."""
        log = replica.log
        while kept := log.kept(after_index, PIECE_ENTRIES_MAX):
            for after_index in kept:
                entry = log.get(after_index)
                if entry is not None or not replica.state.is_of_no_use(after_index):
                    yield after_index, entry
