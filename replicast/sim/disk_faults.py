"""What disks do wrong, as fault kinds of tests (faults.py): they refuse, fill up, hang, rot and vanish.

Kinds without `journal_` hit a VDEV's drive. Those with it hit the disk of the Raft journal, the
adopted tables and the boot number; it has no rot: a voter refuses a damaged journal for good, and
nothing replaces voters yet. What destroys synced data asks sim/damage.py first and stays on one host.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from replicast.memory_disk import MemoryDisk
from replicast.sim.ailing import CHANGES, READS, SYNCS, WRITES, Ailing, Illness, ailing
from replicast.sim.cluster import Unit
from replicast.target.store.format import HEADER_NAME
from replicast.target.store.memory import PATH
from replicast.target.store.segment import BLOCK_BYTES, FLUSH_MAGIC

if TYPE_CHECKING:
    from replicast.sim.faults import Faults, Harm

SHARES = (0.02, 0.3, 1.0)  # of the operations that fail
READ_FLIP_SHARES = (0.005, 0.05)
FLIPS_MAX = 8
LOOKS_MAX = 50
NEWEST_FLUSHES = 8
META_SHARE, META_BYTES = 0.5, 600

Infect = Callable[["Faults", Ailing], Illness]
Choose = Callable[["Faults"], MemoryDisk]


def _failing(operations: tuple[str, ...], number: int) -> Infect:
    def infect(faults: Faults, disk: Ailing) -> Illness:
        return disk.fail(operations, number, faults._rng.choice(SHARES))

    return infect


def _read_only(faults: Faults, disk: Ailing) -> Illness:
    return disk.fail(CHANGES, errno.EROFS, 1.0)


INFECTIONS: dict[str, Infect] = {
    "write_error": _failing(WRITES, errno.EIO),
    "read_error": _failing(READS, errno.EIO),
    "sync_error": _failing(SYNCS, errno.EIO),  # what it was to write is never written
    "read_only": _read_only,
    "full_disk": lambda faults, disk: disk.fill(),
}


def _drive(faults: Faults) -> MemoryDisk:
    return faults._rng.choice(faults._target().drives).disk


def _journal(faults: Faults) -> MemoryDisk:
    return faults._target().process.disk


def _ill(name: str, infect: Infect, choose: Choose) -> Harm:
    def harm(faults: Faults, most_ns: int) -> None:
        illness = infect(faults, ailing(choose(faults), faults._rng))
        faults._world.note("world", name)
        faults._lasting(most_ns, illness.cure)

    return harm


def stuck_disk(faults: Faults, most_ns: int) -> None:
    """A drive answers nothing any more, until it does or its process is killed."""
    drive = faults._rng.choice(faults._target().drives)
    drive.stick()
    faults._world.note("world", "stuck_disk")
    faults._lasting(most_ns, drive.unstick)


def journal_stuck_disk(faults: Faults, most_ns: int) -> None:
    """The journal's fdatasync hangs; it is called in the daemon's loop, which stands still with it."""
    process = faults._target().process
    process.pause()
    faults._lasting(most_ns, process.resume)


def crash(faults: Faults, most_ns: int) -> None:
    """As kill -9: the process is gone, the page cache is not."""
    unit = faults._target()
    if unit.process.running:
        faults._cluster.crash_target(unit)
        faults._lasting(most_ns, lambda: faults.revive(unit))


# -- what destroys synced data ------------------------------------------------------------


def _victim(faults: Faults) -> Unit:
    """The host that has lost data already, or any."""
    targets = faults._cluster.targets
    host = faults._cluster.damage.host
    return next((u for u in targets if u.member.host == host), None) or faults._rng.choice(targets)


def bit_rot(faults: Faults, most_ns: int) -> None:
    """Bits of chunks, name records, headers of flushes and segments, and of the VDEV's header flip."""
    unit = _victim(faults)
    disk = faults._rng.choice(unit.drives).disk
    faults._cluster.damage.claim(unit.member.host, "bit_rot")
    for _ in range(faults._rng.randint(1, FLIPS_MAX)):
        path, offset = _written_byte(faults, disk)
        disk.flip_bit(path, offset, faults._rng.randrange(8))


def header_rot(faults: Faults, most_ns: int) -> None:
    """A VDEV's header is unreadable, in one of its two places or in both."""
    unit = _victim(faults)
    disk = faults._rng.choice(unit.drives).disk
    faults._cluster.damage.claim(unit.member.host, "header_rot")
    for block in faults._rng.choice([(0,), (1,), (0, 1)]):
        disk.flip_bit(PATH / HEADER_NAME, block * BLOCK_BYTES + faults._rng.randrange(64))


def _written_byte(faults: Faults, disk: MemoryDisk) -> tuple[Path, int]:
    """In a file: often at the head of a flush, where its record headers and row entries stand,
    else anywhere; rather not where it was allocated and never written."""
    files = {path: data for path, data in disk.files().items() if data}
    path = faults._rng.choice(list(files))
    for _ in range(LOOKS_MAX):
        path = faults._rng.choice(list(files))
        flushes = [found.start() for found in re.finditer(FLUSH_MAGIC, files[path])]
        if flushes and faults._rng.random() < META_SHARE:
            within = faults._rng.randrange(META_BYTES)
            return path, min(faults._rng.choice(flushes) + within, len(files[path]) - 1)
        offset = faults._rng.randrange(len(files[path].rstrip(b"\0")) or 1)
        if files[path][offset]:
            return path, offset
    return path, 0


def rot_near_the_end(faults: Faults, disk: MemoryDisk) -> None:
    """One of the newest flushes of a drive is unreadable. The very last may be torn, as power was
    lost; the one before it is whole, and proves that what stood in front of it was."""
    flushes = [
        (path, found.start())
        for path, data in sorted(disk.files().items())
        for found in re.finditer(FLUSH_MAGIC, data)
    ]
    if len(flushes) > 2:
        path, offset = faults._rng.choice(flushes[:-2][-NEWEST_FLUSHES:])
        disk.flip_bit(path, offset + faults._rng.randrange(len(FLUSH_MAGIC)), 0)


def read_flips(faults: Faults, most_ns: int) -> None:
    """Some reads find a bit flipped that is right on the disk."""
    unit = _victim(faults)
    faults._cluster.damage.claim(unit.member.host, "read_flips")
    disk = ailing(faults._rng.choice(unit.drives).disk, faults._rng)
    illness = disk.flip(faults._rng.choice(READ_FLIP_SHARES))
    faults._lasting(most_ns, illness.cure)


def lost_index(faults: Faults, most_ns: int) -> None:
    """A host loses power and the index of a drive; the log has all that was in it."""
    unit = faults._target()
    if unit.process.running:
        faults._cluster.kill_target(unit)
        faults._rng.choice(unit.drives).lose_index()
        faults._lasting(most_ns, lambda: faults.revive(unit))


def empty_disk(faults: Faults, most_ns: int) -> None:
    """A host comes back with one new drive, or with all drives new: an operator replaced them."""
    unit = _victim(faults)
    if unit.process.running:
        faults._cluster.damage.claim(unit.member.host, "empty_disk")
        faults._cluster.kill_target(unit)
        replaced = faults._rng.choice([unit.drives, [faults._rng.choice(unit.drives)]])
        for drive in replaced:
            faults._cluster.upkeep.replace(drive)
        faults._lasting(most_ns, lambda: faults.revive(unit))


DISK_KINDS: dict[str, Harm] = {
    **{name: _ill(name, infect, _drive) for name, infect in INFECTIONS.items()},
    **{f"journal_{n}": _ill(f"journal_{n}", infect, _journal) for n, infect in INFECTIONS.items()},
    "stuck_disk": stuck_disk,
    "journal_stuck_disk": journal_stuck_disk,
    "crash": crash,
    "bit_rot": bit_rot,
    "header_rot": header_rot,
    "read_flips": read_flips,
    "lost_index": lost_index,
    "empty_disk": empty_disk,
}
