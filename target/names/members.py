"""The replica set of a row, as its acting leader tends it: who leaves, who catches up, who joins.

A replica that is up and silent is removed, never below min_copies (removals.py: the down). A candidate that is not
in sync is brought up to date like a replica and then added. From the moment its addition is
submitted (JOINING) until the outcome is known, commits wait for it too; the outcome is
known from a table (that the set has changed, or the candidate was opened again), or when every
submission was refused.
"""

from __future__ import annotations

from replicast.buggify import buggified
from replicast.target.names.context import RowContext
from replicast.target.names.follower import Follower, Role
from replicast.target.names.outbox import Outbox
from replicast.target.names.replica import RowReplica
from replicast.units import MS

POLL_NS = 25 * MS


class Members:
    """The followers of one leadership. `unsettled`: the set is not what it should be; then there
    is something to tend() at `due_ns`."""

    def __init__(self, replica: RowReplica, context: RowContext, outbox: Outbox) -> None:
        self.followers: dict[int, Follower] = {}
        self.unsettled = True
        self.inherited_index = 0  # of the log when its leader had taken over
        self._replica, self._context, self._outbox = replica, context, outbox
        self.due_ns = 0
        self._waited_for: tuple[Follower, ...] | None = None
        self._waited_for_as_of = -1  # of the context's `tables_seen`; -1: followers have changed

    def reached(self) -> int | None:
        """The last entry that all have who must have it before it is committed. None: not all of them
        are followed yet, so nothing is."""
        if self._waited_for_as_of != self._context.tables_seen:
            self._waited_for_as_of = self._context.tables_seen
            self._waited_for = self._find_waited_for()
        if self._waited_for is None:
            return None
        log = self._replica.log
        reached = log.durable_index
        if log.last.index < reached:
            reached = log.last.index
        for follower in self._waited_for:
            if follower.acknowledged_index < reached:
                reached = follower.acknowledged_index
        return reached

    def _find_waited_for(self) -> tuple[Follower, ...] | None:
        found: list[Follower] = []
        required = self._required_others()
        for vdev in required:
            if vdev not in self.followers:
                return None
            found.append(self.followers[vdev])
        found += (
            f
            for f in self.followers.values()
            if f.role == Role.JOINING and f.vdev_index not in required
        )
        return tuple(found)

    def _required_others(self) -> list[int]:
        required = self._context.required(self._replica.row)
        return [vdev for vdev in required if vdev != self._replica.vdev_index]

    def follow_required(self, now_ns: int) -> None:
        """Begin to talk to those whom a table names that may become active any moment."""
        for vdev in self._required_others():
            if vdev not in self.followers:
                self.follow(vdev, Role.CATCHING_UP, now_ns)

    def follow(self, vdev: int, role: Role, now_ns: int) -> Follower | None:
        """Begin to talk to a VDEV; None when nobody owns it."""
        node_id = self._context.node_of(vdev)
        if node_id is None:
            return None
        self.followers[vdev] = Follower(vdev, node_id, role, now_ns)
        self._waited_for_as_of = -1
        return self.followers[vdev]

    def drop(self, follower: Follower) -> None:
        """It has no part in the row any more."""
        del self.followers[follower.vdev_index]
        self._waited_for_as_of = -1

    def on_table(self, now_ns: int) -> list[Follower]:
        """Take the roles from a new table; returns the followers that have no part any more."""
        assert self._context.table is not None
        row = self._replica.row
        replicas = self._context.name_replicas(row)
        settled = self._context.table.names_since(row)
        self.unsettled, self.due_ns, self._waited_for_as_of = True, now_ns, -1
        for vdev in replicas:
            if vdev == self._replica.vdev_index:
                continue
            follower = self.followers.get(vdev) or self.follow(vdev, Role.IN_SYNC, now_ns)
            if follower is not None:
                if follower.role == Role.JOINING:
                    self._context.counters.count("row_catchups")
                follower.role, follower.commands = Role.IN_SYNC, 0
        gone: list[Follower] = []
        for vdev, follower in self.followers.items():
            if vdev in replicas:
                continue
            # One that is open anew cannot be added in its former life any more, or the table that
            # says so would list it: then what became of an addition need not be known.
            void = settled > follower.command_seen
            void = void or self._context.open_count(vdev) > follower.command_life
            if follower.role == Role.JOINING and void:
                follower.role, follower.commands = Role.CATCHING_UP, 0
            if follower.role == Role.IN_SYNC or self._context.is_gone(vdev):
                gone.append(follower)
        return gone

    def refused(self, vdev_index: int, seen: int) -> None:
        """One submission of an addition was refused for certain; others may still be accepted.
        One from before the role was last settled by a table says nothing of those since."""
        follower = self.followers.get(vdev_index)
        if follower is None or follower.role != Role.JOINING or seen < follower.joining_seen:
            return
        follower.commands -= 1
        if follower.commands <= 0:
            follower.role, follower.commands = Role.CATCHING_UP, 0
            self._waited_for_as_of = -1

    def tend(self, now_ns: int) -> list[Follower]:
        """Do what is due at `due_ns`; returns followers to drop."""
        if now_ns - self.due_ns > self._context.limits.resend_ns:
            self._begin_to_wait_anew(now_ns)
        if self.unsettled:  # once it is not, only another table can change that
            self._look_for_missing(now_ns)
        # Whom nobody follows yet may not be added now: that ends in seconds (may_add). What is
        # submitted waits for a table, and thousands of rows may wait at once.
        self.due_ns = now_ns + (POLL_NS if self.unsettled and self._hurries() else 4 * POLL_NS)
        dropped: list[Follower] = []
        for follower in self.followers.values():
            if follower.role == Role.IN_SYNC:
                since_ns = follower.waiting_since_ns
                if since_ns is not None and since_ns < now_ns:
                    self._tend_replica(follower, since_ns, now_ns)
            elif not self._tend_candidate(follower, now_ns):
                dropped.append(follower)
        return dropped

    def _look_for_missing(self, now_ns: int) -> None:
        row = self._replica.row
        replicas = self._context.name_replicas(row)
        missing = [
            vdev
            for vdev in self._context.wanted(row)
            if vdev not in replicas and self._context.is_up(vdev)
        ]
        self.unsettled = bool(missing)
        for vdev in missing:
            if vdev not in self.followers and self._context.may_add(vdev, now_ns):
                self.follow(vdev, Role.CATCHING_UP, now_ns)

    def _hurries(self) -> bool:
        return any(f.role == Role.CATCHING_UP for f in self.followers.values())

    def _tend_replica(self, follower: Follower, since_ns: int, now_ns: int) -> None:
        assert self._context.table is not None
        vdev, policy = follower.vdev_index, self._context.table.policy
        copies = len(self._context.name_replicas(self._replica.row))
        if copies <= policy.min_copies or now_ns < follower.command_due_ns:
            return
        silence_ns = buggified("names/silence-short", self._context.limits.silence_ns, 500 * MS)
        # Those that are down are removed from all rows at once: removals.py.
        if now_ns - since_ns >= silence_ns and self._context.is_up(vdev):
            self._context.note_removal(vdev, now_ns)
            self._submit(follower, False, now_ns)

    def _begin_to_wait_anew(self, now_ns: int) -> None:
        """We were away (a pause, or nothing to do): what the others said meanwhile may lie unread,
        so our own lateness must not count as their silence."""
        for follower in self.followers.values():
            if follower.waiting_since_ns is not None:
                follower.waiting_since_ns = now_ns

    def _tend_candidate(self, follower: Follower, now_ns: int) -> bool:
        """False: nobody wants it any more."""
        vdev = follower.vdev_index
        if follower.role == Role.JOINING:
            if now_ns >= follower.command_due_ns:
                self._submit(follower, True, now_ns)
            return True
        row = self._replica.row
        if vdev not in self._context.wanted(row) or not self._context.is_up(vdev):
            return vdev in self._context.required(row)
        # As far as the slowest in sync. Our own undecided entries do not count: under load there
        # are always some, and from now on commits wait for them here too. Those of leaders before
        # us do: an answer may have been given for them, and whoever knew that may be gone.
        wanted_index = max(self._replica.committed_index, self.inherited_index)
        caught_up = follower.matched and follower.acknowledged_index >= wanted_index
        assert self._context.table is not None
        # What was refused by one table is refused again, until a newer one says more.
        again = self._context.table.generation > follower.command_seen
        again = again or now_ns >= follower.command_due_ns
        if caught_up and again and self._context.may_add(vdev, now_ns):
            follower.role, follower.joining_seen = Role.JOINING, self._context.table.generation
            self._waited_for_as_of = -1
            self._submit(follower, True, now_ns)
        return True

    def _submit(self, follower: Follower, add: bool, now_ns: int) -> None:
        assert self._context.table is not None
        follower.command_due_ns = now_ns + self._context.limits.command_retry_ns
        seen = self._context.table.generation
        if add:
            follower.command_seen, follower.command_life = seen, follower.open_count
            follower.commands += 1
        vdev, replica = follower.vdev_index, self._replica
        life = follower.open_count if add else self._context.open_count(vdev)
        key = (add, vdev, life, replica.vdev_index, replica.open_count, seen)
        self._outbox.change(key, replica.row)
