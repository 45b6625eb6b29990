"""What a row's leader knows of one other replica: where it stands and what is on the way.

`matched` means that the last status told an entry that both logs share; until then only
questions are sent. `acknowledged_index` counts for commits: durable there, same history.
`installing` means that it gets what our log has kept, the piece behind `install_index` next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import IntEnum

from replicast.target.names.log import LogEntry
from replicast.target.names.position import Position
from replicast.units import MS

ENTRY_EXTRA_BYTES = 64  # of one on its way, besides its data
PIECE_AGAIN_NS = 50 * MS  # after one that was not taken
AGAIN_NS, AGAIN_ACKNOWLEDGE_TIMES = 25 * MS, 3  # before entries are taken for lost, at least


class Role(IntEnum):
    """Why the leader talks to a replica."""

    IN_SYNC = 1  # counted in every commit
    CATCHING_UP = 2  # a candidate that is being brought up to date
    JOINING = 3  # its addition is submitted and undecided: waited for, not counted as a copy


class Follower:
    """One replica of one row, seen by the leader."""

    __slots__ = (
        "_acknowledge_ns",
        "_again_after_ns",
        "acknowledged_index",
        "command_due_ns",
        "command_life",
        "command_seen",
        "commands",
        "committed_index",
        "compared",
        "flight",
        "flight_bytes",
        "flight_since_ns",
        "heard",
        "install_index",
        "installing",
        "joining_seen",
        "last",
        "matched",
        "node_id",
        "notice_due_ns",
        "noticed_index",
        "open_count",
        "piece_due_ns",
        "progress_ns",
        "query_due_ns",
        "repeats",
        "role",
        "sent_index",
        "vdev_index",
        "waiting_since_ns",
        "wanted_index",
    )

    def __init__(self, vdev_index: int, node_id: int, role: Role, now_ns: int) -> None:
        self.vdev_index, self.node_id, self.role = vdev_index, node_id, role
        self.open_count = 0
        self.matched = self.heard = False
        self.compared = False  # has matched since our take-over, whatever was lost on the way since
        self.acknowledged_index = self.sent_index = 0
        self.committed_index = 0  # what it says it knows
        self.notice_due_ns = 0  # when to tell it more, without entries
        self.noticed_index = 0  # what it was told so
        self.last = Position(0, 0, 0)
        self.flight: deque[tuple[int, int]] = deque()  # (index, bytes) sent, not acknowledged
        self.flight_bytes = 0
        self.flight_since_ns = now_ns  # its oldest part was sent, or something acknowledged
        self._acknowledge_ns = 0  # what that took lately
        self._again_after_ns = AGAIN_NS
        self.repeats = 0  # how often in a row what is on the way was said again, or taken for lost
        self.query_due_ns: int | None = now_ns
        self.installing = False
        self.install_index = 0
        self.piece_due_ns = 0
        self.progress_ns = now_ns  # when it last had more than before
        self.command_due_ns = 0
        self.commands = 0  # additions submitted and not refused, since `joining_seen`
        self.joining_seen = 0  # generation under which it became JOINING
        self.command_seen = 0  # generation that the last addition was submitted under
        self.command_life = 0  # open count that it named
        # Nothing has come since, though something is wanted of it: an answer, or that it
        # acknowledges `wanted_index`. Answers alone are not enough: its disk may be full.
        self.waiting_since_ns: int | None = now_ns
        self.wanted_index = 0

    def sent(self, entries: Sequence[LogEntry], now_ns: int) -> int:
        """Note entries on their way; returns the bytes that they occupy until acknowledged."""
        if not self.flight:
            self.flight_since_ns = now_ns
        size_bytes = 0
        for entry in entries:
            size = len(entry.data) + ENTRY_EXTRA_BYTES
            self.flight.append((entry.position.index, size))
            size_bytes += size
        self.flight_bytes += size_bytes
        self.sent_index = entries[-1].position.index
        if self.sent_index > self.wanted_index:
            self.wanted_index = self.sent_index
        if self.waiting_since_ns is None:
            self.waiting_since_ns = now_ns
        return size_bytes

    def acknowledge(self, index: int, now_ns: int) -> int:
        """Everything up to `index` is durable there; returns the bytes that this frees."""
        if index > self.acknowledged_index:
            self.acknowledged_index = index
            if self.flight:
                took_ns = now_ns - self.flight_since_ns
                self._acknowledge_ns = (7 * self._acknowledge_ns + took_ns) // 8
            self._again_after_ns = max(AGAIN_NS, AGAIN_ACKNOWLEDGE_TIMES * self._acknowledge_ns)
            self.repeats = 0
            self.waiting_since_ns = self.flight_since_ns = self.progress_ns = now_ns
        freed = 0
        while self.flight and self.flight[0][0] <= index:
            freed += self.flight.popleft()[1]
        self.flight_bytes -= freed
        if self.matched and not self.flight and self.acknowledged_index >= self.wanted_index:
            self.waiting_since_ns = None
        return freed

    def silent(self, now_ns: int) -> bool:
        """Has what is on the way gone unanswered for longer than usual? Said ever more rarely: entries
        or answer may be lost, but its disk may be slow as well."""
        if now_ns - self.flight_since_ns < self._again_after_ns:
            return False
        self._again_after_ns *= 2
        self.repeats += 1
        return True

    def lost(self, query_at_ns: int, now_ns: int) -> int:
        """What is on the way may be lost: ask where it stands. Returns the bytes freed."""
        freed = self.land()
        self.matched = self.installing = False
        self.query_due_ns = query_at_ns
        if self.waiting_since_ns is None:
            self.waiting_since_ns = now_ns
        return freed

    def land(self) -> int:
        """Nothing is on the way any more. Returns the bytes freed."""
        freed, self.flight_bytes = self.flight_bytes, 0
        self.flight.clear()
        return freed

    def match(self, index: int, now_ns: int) -> int:
        """Both logs are known to be the same up to `index`: go on from there. What it
        acknowledged before may have been in an earlier life, and rolled back since.
        Returns the bytes freed."""
        if self.installing:
            self.committed_index = min(self.committed_index, index)  # it may have known more before
        self.matched, self.compared, self.installing = True, True, False
        self.query_due_ns = None
        if index > self.acknowledged_index:
            self.waiting_since_ns = now_ns
        self.acknowledged_index = self.sent_index = index
        return self.acknowledge(index, now_ns)

    def install(self, index: int, now_ns: int) -> None:
        """It has no use for entries: give it the piece behind `index`."""
        further = not self.installing or index > self.install_index
        if further:
            self.progress_ns = now_ns
        self.matched, self.installing = False, True
        self.install_index, self.query_due_ns = index, None
        self.piece_due_ns = now_ns if further else now_ns + PIECE_AGAIN_NS

    def start_over(self) -> None:
        """Its leader takes over anew: nothing was said, and nothing is wanted but an answer."""
        self.heard = self.compared = False
        self.wanted_index = 0
