"""What an initiator remembers of each VDEV and target, from every reply it got.

Owned by one gateway process, fed by the cores in put.py, small_put.py and
get.py. Nothing here decides; select.py and the cores do.

Limits: one entry per VDEV and target of the current table (`keep`). Measurements fade,
so that a VDEV that was slow or failed once is tried again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

from replicast.buggify import buggify
from replicast.ewma import Ewma
from replicast.machine import NodeId
from replicast.units import KIB, MIB, MS, SECOND
from replicast.wire.reasons import Reason

EXCESS_HALF_LIFE_NS = 1 * SECOND
EXCESS_NS_MAX = 1 * SECOND
SUSPECT_NS = 2 * SECOND
HEARD_NS = 1 * SECOND  # how long the way that an answer took is believed
RESEND_MIN_NS, RESEND_FIRST_NS = 5 * MS, 25 * MS
FULL_NS = 10 * SECOND
SLOW_NS = 100 * MS
SLOW_READ_NS = 20 * MS
CREDIT_START_BYTES = 1 * MIB
CREDIT_MIN_BYTES = 128 * KIB
CREDIT_MAX_BYTES = 4 * MIB
STORED_AGAIN_NS, STORED_AGAIN_NS_MAX = 25 * MS, 100 * MS
STORED_TIMES = 3


class VdevMemory:
    """One VDEV as seen from here."""

    __slots__ = (
        "bid_ns",
        "excess_ns",
        "failed_ns",
        "full_ns",
        "heard_ns",
        "read_ns",
        "small_ns",
    )

    def __init__(self) -> None:
        self.heard_ns: tuple[int, int] | None = None  # how soon it answered last, and when
        self.bid_ns = Ewma()  # proposal or query to its answer
        # Later than promised, compared with the others of its put.
        self.excess_ns = Ewma(0, EXCESS_HALF_LIFE_NS)
        self.small_ns = Ewma()  # CHUNK_PUT to stored
        self.read_ns = Ewma()  # CHUNK_SEND to the last byte, or until it was late
        self.failed_ns: int | None = None  # silence, or a refusal that speaks of trouble
        self.full_ns: int | None = None


class Stats:
    """All VDEVs and targets of the table. `vdevs`: a memory is made on first use."""

    def __init__(self) -> None:
        self.vdevs: defaultdict[int, VdevMemory] = defaultdict(VdevMemory)
        self._credit: dict[NodeId, SmallCredit] = {}
        self._stored_ns = Ewma()  # PUT_ACCEPT to CHUNK_STORED, of all together

    def credit(self, node: NodeId) -> SmallCredit:
        """The small-put window of a target."""
        credit = self._credit.get(node)
        if credit is None:
            credit = self._credit[node] = SmallCredit()
        return credit

    def keep(self, vdevs: Collection[int], nodes: Collection[NodeId]) -> None:
        """A new table: forget whoever is not in it."""
        for gone in [v for v in self.vdevs if v not in vdevs]:
            del self.vdevs[gone]
        self._credit = {n: c for n, c in self._credit.items() if n in nodes}

    def refused(self, vdev_index: int, reason: Reason, now_ns: int) -> None:
        """A typed refusal that spoke of this VDEV."""
        memory = self.vdevs[vdev_index]
        if reason == Reason.NO_SPACE:
            memory.full_ns = now_ns
        elif reason in (Reason.FAULTED, Reason.NO_LEASE):
            memory.failed_ns = now_ns

    def silent(self, vdev_index: int, now_ns: int) -> None:
        """It should have answered by now."""
        self.vdevs[vdev_index].failed_ns = now_ns

    def answered(self, vdevs: Iterable[int], elapsed_ns: int, now_ns: int) -> None:
        """Bids or answers of these came `elapsed_ns` after their request."""
        for v in vdevs:
            memory = self.vdevs[v]
            memory.bid_ns.add(elapsed_ns, now_ns)
            memory.failed_ns = None

    def heard(self, vdev_index: int, elapsed_ns: int, now_ns: int) -> None:
        """An answer came `elapsed_ns` after its request was sent for the first time."""
        self.vdevs[vdev_index].heard_ns = (elapsed_ns, now_ns)

    def stored(self, vdev_index: int, excess_ns: int, now_ns: int) -> None:
        """It stored a chunk `excess_ns` later than promised, the others of its put considered.

        Who is late gets fewer of the puts that would show it to be well again, and all that were
        under way in one bad moment are late. So the memory of it is bounded and short: what lasts
        shows in the bids, which are measured where the chunk is stored.
        """
        self.vdevs[vdev_index].excess_ns.add(min(excess_ns, EXCESS_NS_MAX), now_ns)

    def took_to_store(self, elapsed_ns: int, now_ns: int) -> None:
        """A CHUNK_STORED came that long after the first PUT_ACCEPT that asked for it."""
        self._stored_ns.add(min(elapsed_ns, STORED_AGAIN_NS_MAX), now_ns)

    def stored_again_ns(self, now_ns: int) -> int:
        """How long to wait for a CHUNK_STORED before its PUT_ACCEPT is sent again: longer than it usually
        takes here, or everybody would be asked again while targets have much to do, which is more."""
        usual_ns = self._stored_ns.get(now_ns)
        return min(STORED_AGAIN_NS_MAX, max(STORED_AGAIN_NS, STORED_TIMES * usual_ns))

    def suspect(self, vdev_index: int, now_ns: int) -> bool:
        """Did it fail or stay silent a moment ago? Then nobody waits for it."""
        failed_ns = self.vdevs[vdev_index].failed_ns
        failed = failed_ns is not None and now_ns < failed_ns + SUSPECT_NS
        return failed or buggify("gateway/suspect")

    def full(self, vdev_index: int, now_ns: int) -> bool:
        """Did it refuse for lack of space a moment ago?"""
        full_ns = self.vdevs[vdev_index].full_ns
        return full_ns is not None and now_ns < full_ns + FULL_NS

    def slow(self, vdev_index: int, group: Collection[int], now_ns: int) -> bool:
        """Far slower than its group at small chunks. Deliberately a coarse test: each VDEV
        passed over is one that later finds no earlier copy."""
        times_ns = [self.vdevs[v].small_ns.get(now_ns) for v in group]
        return _far_above(self.vdevs[vdev_index].small_ns.get(now_ns), times_ns, SLOW_NS)

    def read(self, vdev_index: int, elapsed_ns: int, now_ns: int) -> None:
        """It sent a chunk within `elapsed_ns`, or was late by then."""
        self.vdevs[vdev_index].read_ns.add(elapsed_ns, now_ns)

    def sound(self, group: Collection[int], now_ns: int) -> list[int]:
        """Those of whom a chunk can be asked without knowing more: not suspect, and not far slower than
        others of the group at sending what they hold."""
        sound, times_ns, slowest_ns = [], {}, 0
        for v in group:
            memory = self.vdevs[v]
            times_ns[v] = read_ns = memory.read_ns.get(now_ns)
            if read_ns > slowest_ns:
                slowest_ns = read_ns
            if memory.failed_ns is None or now_ns >= memory.failed_ns + SUSPECT_NS:
                sound.append(v)
        if slowest_ns >= SLOW_READ_NS:  # seldom
            known_ns = times_ns.values()
            sound = [v for v in sound if not _far_above(times_ns[v], known_ns, SLOW_READ_NS)]
        if sound and buggify("gateway/unsound"):
            sound.pop()
        return sound

    def round_trip_ns(self, vdev_index: int, now_ns: int) -> int | None:
        """What the way to its target and back took lately; None: it is not known."""
        heard = self.vdevs[vdev_index].heard_ns
        return heard[0] if heard is not None and now_ns < heard[1] + HEARD_NS else None

    def bid_wait_ns(self, vdevs: Collection[int], now_ns: int) -> int:
        """Four times the slowest usual answer of these; 0 when nothing is known."""
        return 4 * max([self.vdevs[v].bid_ns.get(now_ns) for v in vdevs], default=0)


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


def resend_ns(wait_ns: int) -> int:
    """When a question is sent again for the first time to those for whom that is bid_wait_ns()."""
    return min(RESEND_FIRST_NS, max(RESEND_MIN_NS, wait_ns or RESEND_FIRST_NS))


def _far_above(own_ns: int, group_ns: Iterable[int], least_ns: int) -> bool:
    """More than five times the group's median, as far as it is known, and not small anyway."""
    if own_ns < least_ns:
        return False
    known = sorted(ns for ns in group_ns if ns > 0)
    return own_ns > 5 * known[(len(known) - 1) // 2]
