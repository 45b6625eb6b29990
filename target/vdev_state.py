"""The state of each VDEV in one word: what `replicast status` and the metric vdev_state say.

    ok
    slow        flush after flush takes long: works, and wants to be replaced
    failing     its disk refused a read within the last FAILING_NS: other copies are read instead
    full        past the gate for payload: takes names and deletes, and payload when it has room
    read_only   its file system refuses writes; reads go on
    faulted     a write or sync failed, or the folder is gone: a restart with a sound disk mends it
    damaged     it lost something acknowledged

Limits: one entry for each open VDEV.
"""

from __future__ import annotations

from replicast.metrics import Counters
from replicast.target.store.errors import RecordClass, VdevStatus
from replicast.target.store.vdev import Vdev
from replicast.target.vdevs import Vdevs
from replicast.units import MIB, SECOND

CHUNK_BYTES = MIB  # a VDEV without room for this is full
FAILING_NS = 60 * SECOND
FULL = "full"
STATES = ("ok", "slow", "failing", FULL, "read_only", "faulted", "damaged")
TAKES_PAYLOAD = ("ok", "slow")  # unless it is full; what is worse is said first


def is_full(vdev: Vdev) -> bool:
    """Is there no room for another chunk?"""
    return not vdev.fits(RecordClass.PAYLOAD, CHUNK_BYTES)


class VdevStates:
    """All open VDEVs of one target."""

    def __init__(self, vdevs: Vdevs, counters: Counters) -> None:
        self._vdevs, self._counters = vdevs, counters
        self._refused: dict[bytes, tuple[int, int]] = {}  # reads so far, and when it grew last

    def tick(self, now_ns: int) -> None:
        """Notice which disks have refused reads since the last tick."""
        for vdev_id, vdev in self._vdevs.by_id.items():
            before, _ = self._refused.get(vdev_id, (0, 0))
            refused = vdev.reads_refused
            if refused > before:
                self._refused[vdev_id] = refused, now_ns
                self._counters.count("vdev_read_errors", vdev_id.hex(), by=refused - before)

    def word(self, vdev: Vdev, now_ns: int) -> str:
        """Without regard to its room: TargetStatus says that beside it."""
        if vdev.damage:
            return "damaged"
        if vdev.status is not VdevStatus.OK:
            return vdev.status.name.lower()
        refused = self._refused.get(vdev.vdev_id)
        if refused is not None and now_ns - refused[1] < FAILING_NS:
            return "failing"
        return "slow" if vdev.slow else "ok"

    def show(self, vdev: Vdev, now_ns: int) -> None:
        """Set its gauge."""
        word = self.word(vdev, now_ns)
        if word in TAKES_PAYLOAD and is_full(vdev):
            word = FULL
        for state in STATES:
            on = int(state == word)
            self._counters.gauge("vdev_state", vdev.vdev_id.hex(), state, value=on)
