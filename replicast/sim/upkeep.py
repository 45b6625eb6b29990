"""The people and the service manager of a simulated cluster: who restarts, replaces and retires.

    a daemon that refused to start, or ended, for a disk       started again after RESTART_NS (systemd)
    a VDEV that is FAULTED, READ_ONLY or was left out, a       the target is restarted when the disk
    voter whose journal failed                                 is sound again
    a VDEV whose header is gone                                formatted anew, as `up` and `join` do;
                                                               its old id is given up (VdevStates OUT)
    a target that does not run, in peace                       started

They look every WATCH_NS. A disk's illness is over when sim/ailing.py says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicast.daemon import START_ERRORS
from replicast.flexhash.commands import encode_command
from replicast.flexhash.state import OUT
from replicast.memory_disk import MemoryDisk
from replicast.sim.ailing import Ailing
from replicast.sim.vdev import Drive
from replicast.target.store.errors import NotAVdev, VdevError, VdevStatus
from replicast.target.store.format import read_header
from replicast.target.store.memory import PATH
from replicast.target.store.vdev import Vdev
from replicast.units import SECOND
from replicast.wire.control_messages import VdevChange, VdevStates

if TYPE_CHECKING:
    from replicast.sim.cluster import SimCluster, Unit

RESTART_NS = 1 * SECOND
WATCH_NS = 2 * SECOND
FAILED = (VdevStatus.FAULTED, VdevStatus.READ_ONLY)


class Upkeep:
    """See the module header."""

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster, self._world = cluster, cluster.world
        self._restarting: dict[str, bool] = {}
        self._given_up: list[bytes] = []  # VDEV ids that never come back
        self._errors: dict[str, int] = {}  # of a target's disks when it was last started
        self.peace = False

    def start(self) -> None:
        """Watch from now on."""
        self._world.after(WATCH_NS, self._watch)

    def started(self, unit: Unit) -> None:
        """A target was started, by whomever."""
        self._errors[unit.member.name] = _errors(unit)
        self._restarting.pop(unit.member.name, None)  # or its next failure would be overlooked

    def refused(self, unit: Unit, error: BaseException) -> bool:
        """A daemon ended with `error`: may it, because of its disks? Then it is started again."""
        if not isinstance(error, START_ERRORS):
            return False
        harmed = self._cluster.damage.hit(unit.member.host)
        failed = _errors(unit) > self._errors[unit.member.name] or _ill(unit)
        if not (harmed or failed):
            return False
        self._world.note(unit.member.name, "refused", why=str(error))
        self._world.after(RESTART_NS, lambda: self._again(unit))
        return True

    def replace(self, drive: Drive) -> None:
        """An empty drive in this one's place; its process does not run."""
        self._world.note("operator", "replace", vdev_id=drive.vdev_id.hex())
        self._given_up.append(drive.vdev_id)
        drive.format(self._cluster.formation.cluster_id)

    def _again(self, unit: Unit) -> None:
        if unit.process.running:
            return
        for drive in unit.drives:
            if not _is_ill(drive.disk) and _headless(drive):
                self._cluster.damage.claim(unit.member.host, "replaced")
                self.replace(drive)
        self._cluster.start_target(unit)

    def _watch(self) -> None:
        for unit in self._cluster.targets:
            self._look_at(unit)
        self._retire()
        self._world.after(WATCH_NS, self._watch)

    def _look_at(self, unit: Unit) -> None:
        name = unit.member.name
        if not unit.process.running:
            if self.peace or name in self._restarting:
                self._again(unit)
        elif not _ill(unit) and _has_failed(unit) and name not in self._restarting:
            self._restarting[name] = True
            unit.process.terminate()

    def _retire(self) -> None:
        """Give up the VDEVs whose disks are gone; the command of an administrator's key."""
        for unit in self._cluster.targets:
            daemon = unit.daemon
            if not (unit.process.running and self._given_up and daemon is not None):
                continue
            voter = getattr(daemon, "_voter", None)
            raft, control = (voter.raft, voter.control) if voter is not None else (None, None)
            if raft is None or control is None or not raft.node.is_leader:
                continue
            state = control.state
            known = [state.vdevs[state.index_of[i]] for i in self._given_up if i in state.index_of]
            changes = [
                VdevChange(index=v.index, open_count=v.open_count, state=OUT)
                for v in known
                if v.state != OUT
            ]
            if changes:
                self._world.note("operator", "give_up", vdevs=[c.index for c in changes])
                command = encode_command(VdevStates(changes=tuple(changes)))
                now_ns = unit.process.clock.now_ns()
                raft.node.submit(command, lambda result, outcome: None, now_ns)
                raft.wake()


def _errors(unit: Unit) -> int:
    return sum(d.fault.count for d in unit.disks if isinstance(d.fault, Ailing))


def _is_ill(disk: MemoryDisk) -> bool:
    return isinstance(disk.fault, Ailing) and disk.fault.ill


def _ill(unit: Unit) -> bool:
    return any(_is_ill(disk) for disk in unit.disks) or any(d.stuck for d in unit.drives)


def _has_failed(unit: Unit) -> bool:
    """What only a restart mends."""
    daemon = unit.daemon
    voter = getattr(daemon, "_voter", None)
    if voter is not None and voter.raft is not None and voter.raft.node.failed:
        return True
    if not hasattr(daemon, "_vdevs"):
        return False
    vdevs: list[Vdev] = list(daemon._vdevs.by_id.values())  # type: ignore[union-attr]
    return len(vdevs) < len(unit.drives) or any(vdev.status in FAILED for vdev in vdevs)


def _headless(drive: Drive) -> bool:
    try:
        read_header(drive.disk, PATH)
    except NotAVdev:
        return True
    except VdevError:
        return False
    return False


def cure(unit: Unit) -> None:
    """All disks of a target work again."""
    for disk in unit.disks:
        if isinstance(disk.fault, Ailing):
            disk.fault.cure_all()
    for drive in unit.drives:
        drive.unstick()
