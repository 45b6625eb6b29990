"""The files of a voter that begins with a state: what a voter epoch after the first starts from.

    raft.start      that state, as it is told to those who begin later
    raft.snapshot   the same as a snapshot of two empty entries, so that logs go on behind it
    raft.journal    empty
    raft.vote       last: with it the voter of this epoch exists

A crash before the last one leaves what is written anew the next time: nothing was sent yet. A
voter never exists without the state: two that do could elect each other and begin from nothing.
"""

from __future__ import annotations

from pathlib import Path

from replicast.disk import Disk
from replicast.flexhash.raft.journal import VOTE, Entry, Journal, Voter
from replicast.flexhash.raft.sealed import Damaged, read_sealed, write_sealed
from replicast.flexhash.raft.snapshot import SNAPSHOT, SNAPSHOT_MAGIC
from replicast.flexhash.raft.transport import NO_OP

START, START_MAGIC = "raft.start", b"RCRAFTI1"
PREVIOUS: Entry = (bytes([NO_OP]), 1, 0)
LAST: Entry = (bytes([NO_OP]), 2, 0)


def begin(disk: Disk, directory: Path, voter: Voter, state: bytes, salt: int) -> None:
    """Make a voter's files, durably; one that exists is left as it is."""
    disk.make_directory(directory)
    if VOTE in disk.list(directory):
        return
    write_sealed(disk, directory / START, START_MAGIC, state)
    write_sealed(disk, directory / SNAPSHOT, SNAPSHOT_MAGIC, (LAST, PREVIOUS, state))
    Journal.create(disk, directory, voter, salt)._destroy()


def read_start(disk: Disk, directory: Path) -> bytes:
    """The state that the voter began with; raises Damaged."""
    try:
        state = read_sealed(disk, directory / START, START_MAGIC)
    except FileNotFoundError:
        raise Damaged(f"{directory / START}: missing") from None
    if type(state) is not bytes:
        raise Damaged(f"{directory / START}: no state")
    return state
