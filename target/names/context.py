"""What rows know of the world around them: tables, lease, clock offset, buckets, failed VDEVs.

What a row's leader may do with that at some instant stands in fence.py.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Protocol

from replicast.flexhash.names import bucket_seed, rows_of_bucket
from replicast.flexhash.table import Table, VdevState
from replicast.machine import NodeId
from replicast.metrics import Counters
from replicast.target.names.limits import NameLimits
from replicast.target.names.undecided import AllRows
from replicast.wire.reasons import Reason


class Lease(Protocol):
    """This target's lease (flexhash/lease.py)."""

    @property
    def floor(self) -> int: ...
    def valid(self, now_ns: int) -> bool: ...


class Bucket(Protocol):
    """A bucket's record (BucketState, Versioning in flexhash/commands.py)."""

    @property
    def incarnation(self) -> int: ...
    @property
    def spread(self) -> int: ...
    @property
    def state(self) -> int: ...
    @property
    def versioning(self) -> int: ...


Buckets = Mapping[tuple[str, str], Bucket]


class RowContext:
    """Shared by all rows of a target; the service keeps it up to date. `up` and `nodes` say of the
    VDEVs of the adopted table which are UP and whose they are: rows ask many times for each write."""

    def __init__(
        self,
        node_id: NodeId,
        segment_id: int,
        lease: Lease,
        buckets: Buckets,
        limits: NameLimits,
        counters: Counters,
    ) -> None:
        self.node_id, self.segment_id = node_id, segment_id
        self.lease, self.buckets, self.limits, self.counters = lease, buckets, limits, counters
        self.settings_version = 0  # of `buckets`
        self.table: Table | None = None
        self.prepared: Table | None = None
        self.up: frozenset[int] = frozenset()
        self.nodes: dict[int, NodeId] = {}
        self.open_counts: dict[int, int] = {}  # our VDEVs that are in use
        self.undecided = AllRows()
        self.clock_error_ns = 0
        self._wall_offset_ns = 0
        self._wanted: dict[int, tuple[int, ...]] = {}  # of the adopted table
        self._required: dict[int, tuple[int, ...]] = {}  # of that and the prepared one
        self.tables_seen = 0  # adopted and prepared: while it stays, required() answers the same
        self._add_wait: dict[int, tuple[int, int]] = {}

    def new_settings(self, version: int, begun: Container[int]) -> list[int]:
        """`buckets` are those of this version now. Returns the rows of new buckets that are led here, but
        for those whose leadership has `begun`: to begin takes a question to each replica, which the
        first requests need not wait for. What was there before the first settings that this target
        knew has its rows led when they hold something, like any."""
        known, self.settings_version = self.settings_version, version
        if not known or self.table is None:
            return []
        rows: list[int] = []
        for (tenant, name), bucket in self.buckets.items():
            if bucket.incarnation > known:  # it is the version that made the bucket
                seed = bucket_seed(tenant, name, bucket.incarnation)
                rows += rows_of_bucket(seed, bucket.spread, self.table.policy.row_count)
        led = set(self.table.rows_led_by(self.node_id)) if rows else ()
        return [row for row in rows if row in led and row not in begun]

    def set_wall(self, now_ns: int, wall_ns: int) -> None:
        """Tell the time of day; between two calls it runs with now_ns."""
        self._wall_offset_ns = wall_ns - now_ns

    def wall_ns(self, now_ns: int) -> int:
        """Time of day, ns since the Unix epoch."""
        return now_ns + self._wall_offset_ns

    @property
    def clock_error_ns(self) -> int:
        """Our wall clock minus the cluster's. `clock_agrees`: is that near enough to lead rows?"""
        return self._clock_error_ns

    @clock_error_ns.setter
    def clock_error_ns(self, error_ns: int) -> None:
        self._clock_error_ns = error_ns
        self.clock_agrees = abs(error_ns) <= self.limits.max_skew_ns

    def refusal(self, row: int, generation: int, now_ns: int) -> Reason | None:
        """Why a request of this generation is not answered here; None: it may be."""
        table = self.table
        assert table is not None
        if row >= table.policy.row_count:
            return Reason.BAD_REQUEST
        if generation < table.names_since(row):
            return Reason.STALE_GENERATION
        leader = table.row_leader(row)
        if leader is None:
            return Reason.ROW_UNAVAILABLE
        if self.nodes.get(leader) != self.node_id:
            return Reason.NOT_LEADER
        return None if self.lease.valid(now_ns) else Reason.NO_LEASE

    def name_replicas(self, row: int) -> tuple[int, ...]:
        """The in-sync set of the adopted table."""
        assert self.table is not None
        return self.table.name_replicas(row)

    def required(self, row: int) -> tuple[int, ...]:
        """Who must have an entry before it is committed: also those of a table that we have
        acknowledged and that may become active any moment."""
        found = self._required.get(row)
        if found is None:
            found = replicas = self.name_replicas(row)
            if self.prepared is not None:
                coming = self.prepared.name_replicas(row)
                found += tuple(v for v in coming if v not in replicas)
            self._required[row] = found
        return found

    def is_up(self, vdev_index: int) -> bool:
        """As the adopted table says."""
        return vdev_index in self.up

    def open_count(self, vdev_index: int) -> int:
        """Life of a VDEV as the adopted table knows it."""
        assert self.table is not None
        vdev = self.table.vdevs.get(vdev_index)
        return 0 if vdev is None else vdev.open_count

    def is_gone(self, vdev_index: int) -> bool:
        """Unknown or out for good: nothing can add it to a row any more."""
        assert self.table is not None
        vdev = self.table.vdevs.get(vdev_index)
        return vdev is None or vdev.state == VdevState.OUT

    def up_count(self, vdevs: Iterable[int]) -> int:
        """How many of them are up."""
        return sum(self.is_up(v) for v in vdevs)

    def adopt(self, table: Table) -> None:
        """Use this table from now on."""
        self.table = table
        self.up = frozenset(v for v, each in table.vdevs.items() if each.state == VdevState.UP)
        self.nodes = {v: each.target for v, each in table.vdevs.items()}
        self._wanted.clear()
        older = self.prepared is not None and self.prepared.generation <= table.generation
        self.prepare(None if older else self.prepared)

    def prepare(self, table: Table | None) -> None:
        """A table that is about to be acknowledged; None: there is none any more."""
        self.prepared = table
        self._required.clear()
        self.tables_seen += 1

    def wanted(self, row: int) -> tuple[int, ...]:
        """Who should be in sync: the candidates, and when too few are up, other members of
        the row that are, on hosts of their own."""
        found = self._wanted.get(row)
        if found is None:
            found = self._wanted[row] = self._make_wanted(row)
        return found

    def _make_wanted(self, row: int) -> tuple[int, ...]:
        assert self.table is not None
        wanted = list(self.table.name_candidates(row))
        held = [v for v in self.name_replicas(row) if v not in wanted]
        if self.up_count(wanted + held) >= self.table.policy.min_copies:
            return tuple(wanted)
        hosts = {self.table.host_of(v) for v in wanted if self.is_up(v)}
        for v in self.table.members(row):
            if v not in wanted and self.is_up(v) and self.table.host_of(v) not in hosts:
                wanted.append(v)
                hosts.add(self.table.host_of(v))
        return tuple(wanted)

    def node_of(self, vdev_index: int) -> NodeId | None:
        """The target that owns a VDEV."""
        return self.nodes.get(vdev_index)

    def note_removal(self, vdev_index: int, now_ns: int) -> None:
        """A replica was asked to be removed: the next addition waits, twice as long each time."""
        wait_ns, until_ns = self._add_wait.get(vdev_index, (0, 0))
        if now_ns >= until_ns:
            limits = self.limits
            wait_ns = min(max(2 * wait_ns, limits.add_wait_ns), limits.add_wait_max_ns)
            self._add_wait[vdev_index] = (wait_ns, now_ns + wait_ns)

    def may_add(self, vdev_index: int, now_ns: int) -> bool:
        """A replica that keeps failing is not added again at once."""
        return now_ns >= self._add_wait.get(vdev_index, (0, 0))[1]
