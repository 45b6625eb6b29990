"""What the leader of a row sends its replicas, and who gets what: questions, entries, installs.

A follower whose log is known to agree with ours up to some entry gets what follows it; one of which
nothing is known is asked; one whose log ends before ours begins (base.py) is installed.
Limits: bytes on the way per replica and per peer; one piece of an install per replica.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from replicast.buggify import buggified
from replicast.target.names import base as bases
from replicast.target.names.context import RowContext
from replicast.target.names.follower import ENTRY_EXTRA_BYTES, Follower
from replicast.target.names.give import Giver
from replicast.target.names.heal import Healer
from replicast.target.names.log import LogEntry
from replicast.target.names.outbox import Outbox
from replicast.target.names.replica import RowReplica, Tenure
from replicast.units import KIB
from replicast.wire.row_messages import AppendItem, InstallItem, QueryItem, RowPosition

AGAIN_BYTES_MAX = 64 * KIB


class Batch:
    """Entries in a row, as they are sent; `previous` is the one before them. `complete`: they were not
    cut short by `room_bytes`, so whoever has more room gets no others."""

    __slots__ = ("after_index", "complete", "entries", "found", "previous", "size_bytes")

    def __init__(
        self, after_index: int, previous: RowPosition, found: list[LogEntry], room_bytes: int
    ) -> None:
        self.after_index, self.previous, self.found = after_index, previous, found
        entries, size_bytes = [], 0
        for entry in found:
            entries.append(entry.wire())
            size_bytes += len(entry.data) + ENTRY_EXTRA_BYTES
        self.entries, self.size_bytes = tuple(entries), size_bytes
        self.complete = size_bytes < room_bytes


class PeerWindows:
    """Bytes sent to each peer process and not acknowledged, all rows together."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes: defaultdict[int, int] = defaultdict(int)  # by peer


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
        self._windows.bytes[follower.node_id] -= freed_bytes

    def step(self, now_ns: int) -> None:
        """Send each what is due; nearly always nothing, or to all the same."""
        last_index, committed_index = self._replica.log.last.index, self._replica.committed_index
        batch: Batch | None = None
        for follower in self._followers.values():
            if follower.vdev_index not in self._context.up:
                if follower.waiting_since_ns is not None:
                    follower.waiting_since_ns = now_ns  # silence counts from its return
                continue
            if not follower.matched:
                if follower.installing:
                    self._give(follower, now_ns)
                else:
                    self.query(follower, now_ns)
                continue
            if follower.flight:
                if now_ns - follower.flight_since_ns >= self._context.limits.resend_ns:  # stuck
                    follower.repeats += 1
                    self.release(follower, follower.lost(now_ns, now_ns))
                    self.query(follower, now_ns)
                    continue
                if follower.silent(now_ns):
                    self._send_again(follower)
                notice = False
            else:
                untold = follower.committed_index < committed_index
                notice = untold and now_ns >= follower.notice_due_ns
            if notice or follower.sent_index < last_index:
                batch = self._push(follower, notice, batch, now_ns)

    def _send_again(self, follower: Follower) -> None:
        """The oldest entries on the way: who has them answers at once, who has not takes them. Once the
        way that they went, which may just be slow, as where too much is to be done: another one
        costs more."""
        after_index = follower.acknowledged_index
        previous = self._replica.log.position_at(after_index)
        found = self._replica.entries_after(after_index, AGAIN_BYTES_MAX)
        sent = [entry for entry in found if entry.position.index <= follower.sent_index]
        if previous is not None and sent:
            item = self._append_item(follower, Batch(after_index, previous, sent, 0))
            self._outbox.item(follower.node_id, item, again=follower.repeats > 1)

    def _append_item(self, follower: Follower, batch: Batch) -> AppendItem:
        epoch, tenure = self.tenure
        return AppendItem(
            row=self._replica.row,
            leader=self._replica.vdev_index,
            replica=follower.vdev_index,
            epoch=epoch,
            tenure=tenure,
            open_count=follower.open_count,
            committed_index=self._replica.committed_index,
            previous=batch.previous,
            entries=batch.entries,
        )

    def query(self, follower: Follower, now_ns: int) -> None:
        """Ask where it stands, when that is due."""
        if follower.query_due_ns is None or now_ns < follower.query_due_ns:
            return
        follower.query_due_ns = now_ns + self._context.limits.resend_ns
        self._outbox.item(follower.node_id, QueryItem(**self.between(follower)))

    def _push(
        self, follower: Follower, notice: bool, last: Batch | None, now_ns: int
    ) -> Batch | None:
        """Send the entries that it was not sent, if there are any and there is room for them; if not,
        and with `notice`, how far the row is committed. Returns what was sent; `last` is what was
        sent in this step before."""
        replica, windows, node_id = self._replica, self._windows, follower.node_id
        after_index, log, room = follower.sent_index, replica.log, 0
        if after_index < log.base.index:
            self.release(follower, follower.lost(now_ns, now_ns))
            follower.install(0, now_ns)
            return last
        has_all = after_index >= log.last.index
        if not has_all and windows.bytes[node_id] < windows.bytes_max:
            window_bytes = self._context.limits.replica_bytes_max
            window_bytes = buggified("names/window-small", window_bytes, 1)
            room = window_bytes - follower.flight_bytes
        batch = last
        if (
            batch is None
            or batch.after_index != after_index
            or not (has_all or (batch.complete and batch.size_bytes < room))
        ):
            batch = self._behind(after_index, room)
        if batch is None or not (batch.entries or notice):
            return last
        again = follower.repeats > 1  # the usual way may be of no use
        if batch.entries:
            windows.bytes[node_id] += follower.sent(batch.found, now_ns)
        else:
            again = follower.noticed_index == replica.committed_index
            follower.notice_due_ns = now_ns + self._context.limits.resend_ns
            follower.noticed_index = replica.committed_index
        self._outbox.item(node_id, self._append_item(follower, batch), again=again)
        return batch

    def _behind(self, after_index: int, room_bytes: int) -> Batch | None:
        """What the log has there, as much as there is room for. None: it cannot be read."""
        replica = self._replica
        previous = replica.log.position_at(after_index)
        if previous is None:
            self._healer.want(replica, after_index, None)
            return None
        found = replica.entries_after(after_index, room_bytes) if room_bytes > 0 else []
        if room_bytes > 0 and not found:
            self._healer.want(replica, after_index + 1, None)
        return Batch(after_index, previous, found, room_bytes)

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
        windows = self._windows
        full = windows.bytes[follower.node_id] >= windows.bytes_max
        if full or now_ns < follower.piece_due_ns:
            return
        replica, (epoch, tenure) = self._replica, self.tenure
        piece = self._giver.piece(replica, follower.install_index)
        if piece is None:
            follower.piece_due_ns = now_ns + self._context.limits.resend_ns
            return
        entries, done = piece
        size_bytes = (
            sum(len(entry.data) + ENTRY_EXTRA_BYTES for entry in entries) + ENTRY_EXTRA_BYTES
        )
        follower.flight.append((replica.log.base.index, size_bytes))
        follower.flight_bytes, follower.flight_since_ns = size_bytes, now_ns
        windows.bytes[follower.node_id] += size_bytes
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
