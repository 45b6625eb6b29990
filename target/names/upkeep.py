"""What the logs of rows need without being asked: to be cut, and views made of what they have kept.

A log is cut when enough of it is of no use any more (RowReplica.cut): each replica cuts its own, as
far as results of operations are forgotten, which all in sync have long applied. The leader of a row
waits while somebody catches up. A view is made a batch at a time, one row in each wake-up.
What logs keep in memory is bounded over all rows (tails.py).

NameService drives it: look() at the replicas that something happened to, step() in each wake-up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from replicast.buggify import buggified
from replicast.target.names.context import RowContext
from replicast.target.names.heal import Healer
from replicast.target.names.leader import Leadership
from replicast.target.names.replica import RowReplica
from replicast.target.names.tails import Tails
from replicast.units import MS

STUCK_POLL_NS = 20 * MS


class Upkeep:
    """One per target; `touched` hears of replicas whose view is there again. With nothing in
    `rebuilding` and `given_up` there is nothing to step()."""

    def __init__(
        self,
        context: RowContext,
        healer: Healer,
        leaders: Mapping[int, Leadership],
        touched: Callable[[RowReplica], None],
    ) -> None:
        self._context, self._healer = context, healer
        self._leaders, self._touched = leaders, touched
        self._tails = Tails(context.limits.tails_bytes_max)
        self.rebuilding: dict[tuple[int, int], RowReplica] = {}
        self._stuck: dict[tuple[int, int], tuple[int, int]] = {}  # at which entry, since when
        self.given_up: dict[tuple[int, int], tuple[RowReplica, int]] = {}  # until when
        self._looked: dict[RowReplica, int] = {}  # at the log when so much was forgotten

    def opened(self, replica: RowReplica) -> None:
        """One that was not in memory before."""
        self._tails.used(replica)

    def look(self, replicas: Iterable[RowReplica], now_ns: int) -> None:
        """Something happened to these."""
        tails = self._tails
        for replica in replicas:
            if tails.counted(replica, 0) != replica.log.tail_cost_bytes:
                tails.used(replica)
            if replica.installed:
                replica.installed = False
                self._context.counters.count("row_installs")
            if replica.rebuilding:
                self.rebuilding[replica.row, replica.vdev_index] = replica
            elif replica.state.forgotten_index > self._looked.get(replica, 0):  # seldom
                self._look_at_log(replica, now_ns)

    def _look_at_log(self, replica: RowReplica, now_ns: int) -> None:
        """More of it is of no use any more: cut it, if it is enough by now."""
        limits = self._context.limits
        forgotten_index, looked_index = replica.state.forgotten_index, self._looked.get(replica, 0)
        least = buggified("names/log-short", limits.cut_entries_min, 4)
        if forgotten_index < looked_index + least:
            return
        lead = self._leaders.get(replica.row)
        leads = lead is not None and lead.replica is replica
        if lead is not None and leads and lead.replication.holds(forgotten_index, now_ns):
            return
        self._looked[replica] = forgotten_index
        if replica.cut(least, limits.cut_entries_max):
            self._context.counters.count("row_cuts")

    def forget(self, vdev_index: int) -> None:
        """The VDEV is gone."""
        self._tails.forget(vdev_index)
        for held in (self.rebuilding, self._stuck, self.given_up):
            for key in [key for key in held if key[1] == vdev_index]:
                del held[key]
        for replica in [each for each in self._looked if each.vdev_index == vdev_index]:
            del self._looked[replica]

    def deadline_ns(self, now_ns: int) -> int | None:
        """When to step again."""
        if len(self.rebuilding) > len(self._stuck):
            return now_ns + MS  # there is room for others in between
        waits = self.rebuilding or self.given_up
        return now_ns + STUCK_POLL_NS if waits else None

    def step(self, now_ns: int) -> None:
        """Go on with one view; and try again where none could be made, and nobody has helped."""
        for key, (replica, due_ns) in list(self.given_up.items()):
            if now_ns >= due_ns:
                del self.given_up[key]
                replica.read_again()
                self.look((replica,), now_ns)
        if not self.rebuilding:
            return
        key, replica = next(iter(self.rebuilding.items()))
        del self.rebuilding[key]
        batch = buggified("names/rebuild-one", self._context.limits.rebuild_batch, 1)
        unreadable = replica.rebuild(batch) if replica.rebuilding else None
        if unreadable is None:
            self._stuck.pop(key, None)
        else:
            self._ask_for(unreadable, key, replica, now_ns)
        if replica.rebuilding:
            self.rebuilding[key] = replica  # behind the others
        else:
            self._touched(replica)

    def _ask_for(self, index: int, key: tuple[int, int], replica: RowReplica, now_ns: int) -> None:
        """Others have it, if they have not cut it from their logs: then they are further than this
        one, and it gets all that they have kept."""
        at, since_ns = self._stuck.get(key, (0, 0))
        if at != index:
            since_ns = now_ns
        self._stuck[key] = index, since_ns
        if now_ns - since_ns < self._context.limits.silence_ns:
            self._healer.want(replica, index, None)
            return
        del self._stuck[key]
        replica.give_up()
        self.given_up[key] = replica, now_ns + self._context.limits.silence_ns
