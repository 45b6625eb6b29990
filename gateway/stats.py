"""What an initiator remembers of each VDEV and target, from every reply it got.

Owned by one gateway process, fed by the cores in put.py, small_put.py and
get.py. Nothing here decides; select.py and the cores do.

Limits: one entry per VDEV and target of the current table (`keep`). Measurements fade,
so that a VDEV that was slow or failed once is tried again.
"""

from __future__ import annotations

from collections.abc import Collection

from replicast.buggify import buggify
from replicast.machine import NodeId
from replicast.units import KIB, MIB, MS, SECOND
from replicast.wire.reasons import Reason

HALF_LIFE_NS = 10 * SECOND
EXCESS_HALF_LIFE_NS = 1 * SECOND
EXCESS_NS_MAX = 1 * SECOND
SUSPECT_NS = 2 * SECOND
FULL_NS = 10 * SECOND
SLOW_NS = 100 * MS
CREDIT_START_BYTES = 1 * MIB
CREDIT_MIN_BYTES = 128 * KIB
CREDIT_MAX_BYTES = 4 * MIB


class Ewma:
    """Moving average (weight 1/8) in integer ns that halves every `half_life_ns` without news."""

    __slots__ = ("_at_ns", "_half_life_ns", "_value_ns")

    def __init__(self, start_ns: int = -1, half_life_ns: int = HALF_LIFE_NS) -> None:
        """`start_ns` -1: the first measurement counts fully."""
        self._value_ns = start_ns
        self._half_life_ns = half_life_ns
        self._at_ns = 0

    def add(self, value_ns: int, now_ns: int) -> None:
        """One more measurement."""
        old_ns = self.get(now_ns)
        self._value_ns = value_ns if self._value_ns < 0 else (old_ns * 7 + value_ns) // 8
        self._at_ns = now_ns

    def get(self, now_ns: int) -> int:
        """The faded average; 0 before the first measurement."""
        if self._value_ns <= 0:
            return 0
        return self._value_ns >> min(63, max(0, now_ns - self._at_ns) // self._half_life_ns)


class VdevMemory:
    """One VDEV as seen from here."""

    __slots__ = ("bid_ns", "excess_ns", "failed_ns", "free_ppm", "full_ns", "small_ns")

    def __init__(self) -> None:
        self.bid_ns = Ewma()  # proposal or query to its answer
        # Later than promised, compared with the others of its put.
        self.excess_ns = Ewma(0, EXCESS_HALF_LIFE_NS)
        self.small_ns = Ewma()  # CHUNK_PUT to stored
        self.failed_ns: int | None = None  # silence, or a refusal that speaks of trouble
        self.full_ns: int | None = None
        self.free_ppm: int | None = None


class Stats:
    """All VDEVs and targets of the table."""

    def __init__(self) -> None:
        self._vdevs: dict[int, VdevMemory] = {}
        self._credit: dict[NodeId, SmallCredit] = {}

    def vdev(self, vdev_index: int) -> VdevMemory:
        """Its memory, made on first use."""
        memory = self._vdevs.get(vdev_index)
        if memory is None:
            memory = self._vdevs[vdev_index] = VdevMemory()
        return memory

    def credit(self, node: NodeId) -> SmallCredit:
        """The small-put window of a target."""
        credit = self._credit.get(node)
        if credit is None:
            credit = self._credit[node] = SmallCredit()
        return credit

    def keep(self, vdevs: Collection[int], nodes: Collection[NodeId]) -> None:
        """A new table: forget whoever is not in it."""
        self._vdevs = {v: m for v, m in self._vdevs.items() if v in vdevs}
        self._credit = {n: c for n, c in self._credit.items() if n in nodes}

    def refused(self, vdev_index: int, reason: Reason, now_ns: int) -> None:
        """A typed refusal that spoke of this VDEV."""
        memory = self.vdev(vdev_index)
        if reason == Reason.NO_SPACE:
            memory.full_ns = now_ns
        elif reason in (Reason.FAULTED, Reason.NO_LEASE):
            memory.failed_ns = now_ns

    def silent(self, vdev_index: int, now_ns: int) -> None:
        """It should have answered by now."""
        self.vdev(vdev_index).failed_ns = now_ns

    def answered(self, vdev_index: int, elapsed_ns: int, now_ns: int) -> None:
        """A bid or an answer came `elapsed_ns` after its request."""
        memory = self.vdev(vdev_index)
        memory.bid_ns.add(elapsed_ns, now_ns)
        memory.failed_ns = None

    def stored(self, vdev_index: int, excess_ns: int, now_ns: int) -> None:
        """It stored a chunk `excess_ns` later than promised, the others of its put considered.

        Who is late gets fewer of the puts that would show it to be well again, and all that were
        under way in one bad moment are late. So the memory of it is bounded and short: what lasts
        shows in the bids, which are measured where the chunk is stored.
        """
        self.vdev(vdev_index).excess_ns.add(min(excess_ns, EXCESS_NS_MAX), now_ns)

    def suspect(self, vdev_index: int, now_ns: int) -> bool:
        """Did it fail or stay silent a moment ago? Then nobody waits for it."""
        failed_ns = self.vdev(vdev_index).failed_ns
        failed = failed_ns is not None and now_ns < failed_ns + SUSPECT_NS
        return failed or buggify("gateway/suspect")

    def full(self, vdev_index: int, now_ns: int) -> bool:
        """Did it refuse for lack of space a moment ago?"""
        full_ns = self.vdev(vdev_index).full_ns
        return full_ns is not None and now_ns < full_ns + FULL_NS

    def slow(self, vdev_index: int, group: Collection[int], now_ns: int) -> bool:
        """Far slower than its group at small chunks. Deliberately a coarse test: each VDEV
        passed over is one that later finds no earlier copy."""
        own_ns = self.vdev(vdev_index).small_ns.get(now_ns)
        if own_ns < SLOW_NS:
            return False
        known = sorted(ns for v in group if (ns := self.vdev(v).small_ns.get(now_ns)) > 0)
        return own_ns > 5 * known[(len(known) - 1) // 2]

    def bid_wait_ns(self, vdevs: Collection[int], now_ns: int) -> int:
        """Four times the slowest usual answer of these; 0 when nothing is known."""
        return max((4 * self.vdev(v).bid_ns.get(now_ns) for v in vdevs), default=0)


class SmallCredit:
    """Bytes of small puts that may be under way to one target: one burst, halved on loss."""

    __slots__ = ("_used_bytes", "window_bytes")

    def __init__(self) -> None:
        self.window_bytes = CREDIT_START_BYTES
        self._used_bytes = 0

    def take(self, size_bytes: int) -> bool:
        """Spend credit; False when the window is used up. One put is always let through."""
        full = self._used_bytes + size_bytes > self.window_bytes or buggify("gateway/no-credit")
        if self._used_bytes and full:
            return False
        self._used_bytes += size_bytes
        return True

    def cancel(self, size_bytes: int) -> None:
        """Taken, and nothing was learned: not used, refused, or the put has ended."""
        self._used_bytes = max(0, self._used_bytes - size_bytes)

    def give_back(self, size_bytes: int, *, lost: bool) -> None:
        """The put ended at this target: stored, or (lost) no answer came in time."""
        self.cancel(size_bytes)
        if lost:
            self.window_bytes = max(CREDIT_MIN_BYTES, self.window_bytes // 2)
        else:
            self.window_bytes = min(CREDIT_MAX_BYTES, self.window_bytes + size_bytes // 8)
