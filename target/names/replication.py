"""What the leader of a row sends its replicas, and who gets what: questions, entries, installs.

A follower whose log is known to agree with ours up to some entry gets what follows it; one of which
nothing is known is asked; one whose log ends before ours begins (base.py) is installed.
Limits: bytes on the way per replica and per peer; one piece of an install per replica.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from replicast.buggify import buggified
from replicast.target.names import base as bases
from replicast.target.names.context import RowContext
from replicast.target.names.follower import Follower
from replicast.target.names.give import Giver
from replicast.target.names.heal import Healer
from replicast.target.names.log import LogEntry
from replicast.target.names.outbox import Outbox
from replicast.target.names.position import Position
from replicast.target.names.replica import RowReplica, Tenure
from replicast.units import KIB
from replicast.wire.row_messages import AppendItem, EntryList, InstallItem, QueryItem

AGAIN_BYTES_MAX = 64 * KIB


class PeerWindows:
    """Bytes sent to each peer process and not acknowledged, all rows together."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes: dict[int, int] = {}

    def room(self, node_id: int) -> bool:
        """May more be sent?"""
        return self._bytes.get(node_id, 0) < self._bytes_max

    def add(self, node_id: int, size: int) -> None:
        """Sent (positive) or acknowledged (negative)."""
        self._bytes[node_id] = self._bytes.get(node_id, 0) + size


class Replication:
    """Of one leadership; `tenure` is the one that it leads by."""

    def __init__(
        self,
        replica: RowReplica,
        context: RowContext,
        outbox: Outbox,
        windows: PeerWindows,
        healer: Healer,
        followers: Mapping[int, Follower],
    ) -> None:
        self.tenure: Tenure = (0, 0)
        self._replica, self._context, self._outbox = replica, context, outbox
        self._windows, self._healer, self._followers = windows, healer, followers
        self._giver = Giver(context.limits, healer)

    def between(self, follower: Follower) -> dict[str, Any]:
        """The fields that every item of a leader starts with."""
        epoch, tenure = self.tenure
        return {
            "row": self._replica.row,
            "leader": self._replica.vdev_index,
            "replica": follower.vdev_index,
            "epoch": epoch,
            "tenure": tenure,
        }

    def release(self, follower: Follower, freed_bytes: int) -> None:
        """So much of what it was sent is not on its way any more."""
        if freed_bytes:
            self._windows.add(follower.node_id, -freed_bytes)

    def step(self, now_ns: int) -> None:
        """Send each what is due."""
        for follower in self._followers.values():
            if follower.vdev_index not in self._context.up:
                if follower.waiting_since_ns is not None:
                    follower.waiting_since_ns = now_ns  # silence counts from its return
            elif follower.installing:
                self._give(follower, now_ns)
            elif not follower.matched:
                self.query(follower, now_ns)
            elif follower.flight and self._stuck(follower, now_ns):
                self.release(follower, follower.lost(now_ns, now_ns))
                self.query(follower, now_ns)
            else:
                if follower.flight and follower.silent(now_ns):
                    self._send_again(follower)
                self._push(follower, now_ns)

    def _send_again(self, follower: Follower) -> None:
        """The oldest entries on the way: who has them answers at once, who has not takes them."""
        previous = self._replica.log.position_at(follower.acknowledged_index)
        found = self._replica.entries_after(follower.acknowledged_index, AGAIN_BYTES_MAX)
        entries = tuple(e.wire() for e in found if e.position.index <= follower.sent_index)
        if previous is not None and entries:
            self._outbox.item(
                follower.node_id, self._append_item(follower, previous, entries), again=True
            )

    def _append_item(
        self, follower: Follower, previous: Position, entries: EntryList
    ) -> AppendItem:
        return AppendItem(
            **self.between(follower),
            open_count=follower.open_count,
            committed_index=self._replica.committed_index,
            previous=previous,
            entries=entries,
        )

    def _stuck(self, follower: Follower, now_ns: int) -> bool:
        return now_ns - follower.flight_since_ns >= self._context.limits.resend_ns

    def query(self, follower: Follower, now_ns: int) -> None:
        """Ask where it stands, when that is due."""
        if follower.query_due_ns is None or now_ns < follower.query_due_ns:
            return
        follower.query_due_ns = now_ns + self._context.limits.resend_ns
        self._outbox.item(follower.node_id, QueryItem(**self.between(follower)))

    def _push(self, follower: Follower, now_ns: int) -> None:
        committed = self._replica.committed_index
        notice = follower.committed_index < committed and now_ns >= follower.notice_due_ns
        if follower.sent_index >= self._replica.log.last.index and (not notice or follower.flight):
            return  # it has everything, and need not be told so: nearly always
        if follower.sent_index < self._replica.log.base.index:
            self.release(follower, follower.lost(now_ns, now_ns))
            follower.install(0, now_ns)
            return
        previous = self._replica.log.position_at(follower.sent_index)
        if previous is None:
            self._healer.want(self._replica, follower.sent_index, None)
            return
        entries = self._take_unsent(follower, now_ns)
        if not entries and not (notice and not follower.flight):
            return
        again = not entries and follower.noticed_index == committed
        if not entries:
            follower.notice_due_ns = now_ns + self._context.limits.resend_ns
            follower.noticed_index = committed
        item = self._append_item(follower, previous, tuple(entry.wire() for entry in entries))
        self._outbox.item(follower.node_id, item, again=again)

    def _take_unsent(self, follower: Follower, now_ns: int) -> list[LogEntry]:
        limits = self._context.limits
        window_bytes = buggified("names/window-small", limits.replica_bytes_max, 1)
        room = window_bytes - follower.flight_bytes
        if room <= 0 or not self._windows.room(follower.node_id):
            return []
        if follower.sent_index >= self._replica.log.last.index:
            return []
        found = self._replica.entries_after(follower.sent_index, room)
        if not found:
            self._healer.want(self._replica, follower.sent_index + 1, None)
        for entry in found:
            self._windows.add(follower.node_id, follower.sent(entry, now_ns))
        return found

    # -- installs ----------------------------------------------------------------

    def holds(self, index: int, now_ns: int) -> bool:
        """Is there a follower, and not a dead one, to whom a cut at `index` would be a set-back?"""
        idle_ns = self._context.limits.install_idle_ns
        return any(
            not (f.matched and f.acknowledged_index >= index)
            and now_ns - f.progress_ns < idle_ns
            and self._context.is_up(f.vdev_index)
            for f in self._followers.values()
        )

    def _give(self, follower: Follower, now_ns: int) -> None:
        if follower.flight:
            if now_ns - follower.flight_since_ns >= self._context.limits.silence_ns:
                self.release(follower, follower.lost(now_ns, now_ns))
            return
        if now_ns < follower.piece_due_ns or not self._windows.room(follower.node_id):
            return
        replica, (epoch, tenure) = self._replica, self.tenure
        piece = self._giver.piece(replica, follower.install_index)
        if piece is None:
            follower.piece_due_ns = now_ns + self._context.limits.resend_ns
            return
        entries, done = piece
        size_bytes = sum(len(entry.data) + 64 for entry in entries) + 64
        follower.flight.append((replica.log.base.index, size_bytes))
        follower.flight_bytes, follower.flight_since_ns = size_bytes, now_ns
        self._windows.add(follower.node_id, size_bytes)
        item = InstallItem(
            row=replica.row,
            giver=replica.vdev_index,
            taker=follower.vdev_index,
            epoch=epoch,
            tenure=tenure,
            open_count=follower.open_count,
            base=bases.to_wire(replica.log.base),
            after_index=follower.install_index,
            done=done,
            entries=entries,
        )
        self._outbox.item(follower.node_id, item)
