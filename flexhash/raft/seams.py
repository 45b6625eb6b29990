"""Where pysyncobj is cut open: every name that we replace or reach into, checked at import.

pysyncobj is pinned to one version because these are not all public. install() replaces, for
the whole process: pickle by codec.py; time, chance, journal and snapshot store by those of the
running node (clock.py); its wake-up pipe (leaks descriptors) and poller (no sockets) by nothing.
A pysyncobj that lacks one of the names is refused by name, before anything runs.
"""

from __future__ import annotations

import zlib
from typing import Any

import pysyncobj.journal
import pysyncobj.pickle
import pysyncobj.serializer
import pysyncobj.syncobj
from pysyncobj.node import Node
from pysyncobj.version import VERSION

from replicast.flexhash.raft import clock, codec
from replicast.flexhash.raft.journal import Journal
from replicast.flexhash.raft.snapshot import Snapshots

PINNED_VERSION = "0.3.17"
REPLACED = {
    pysyncobj.pickle: ("dumps", "loads", "dump", "load"),
    pysyncobj.journal: ("dumps", "loads"),
    pysyncobj.syncobj: (
        "monotonicTime",
        "random",
        "createJournal",
        "createPoller",
        "Serializer",
        "PIPE_NOTIFIER_ENABLED",
    ),
}
REACHED = ("_SyncObj__loadDumpFile", "_isLeader", "_getLeader", "_applyCommand")
ELECTION_DEADLINE = "_SyncObj__raftElectionDeadline"
APPEND_TIME = "_SyncObj__newAppendEntriesTime"
LEADER = "_SyncObj__raftLeader"
MATCHED = "_SyncObj__raftMatchIndex"
READ = (ELECTION_DEADLINE, APPEND_TIME, LEADER, MATCHED)  # attributes, set by the constructor
STOOD_IN_FOR = ((pysyncobj.journal.Journal, Journal), (pysyncobj.serializer.Serializer, Snapshots))


class SeamError(Exception):
    """The installed pysyncobj is not the one that this code was fitted to."""


class VoterNode(Node):  # type: ignore[misc]
    """A voter. pysyncobj keeps these in sets: a fixed hash makes their order repeatable."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._fixed = zlib.crc32(name.encode("utf-8"))  # asked some ten times a message

    def __hash__(self) -> int:
        return self._fixed

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, VoterNode) and self.id == other.id)


class _NoPoller:
    """RaftNode has no descriptors to poll."""

    def poll(self, timeout: float) -> None:
        """Nothing to wait for."""


def check() -> None:
    """Raise SeamError unless every seam is where it should be."""
    if VERSION != PINNED_VERSION:
        raise SeamError(f"pysyncobj {VERSION} is installed; replicast needs {PINNED_VERSION}")
    for module, names in REPLACED.items():
        for name in names:
            if not hasattr(module, name):
                raise SeamError(f"{module.__name__} has no {name}")
    for name in REACHED:
        if not hasattr(pysyncobj.syncobj.SyncObj, name):
            raise SeamError(f"SyncObj has no {name}")
    for name in READ:
        if name not in pysyncobj.syncobj.SyncObj.__init__.__code__.co_names:
            raise SeamError(f"SyncObj sets no {name}")
    for theirs, ours in STOOD_IN_FOR:
        for name in vars(theirs):
            if not hasattr(ours, name) and f"_{theirs.__name__}__" not in name:
                raise SeamError(f"our {ours.__name__} has no {name}")


def _journal(_file: Any = None) -> Journal:
    return clock.CURRENT.get().journal


def _snapshots(*_settings: Any) -> Snapshots:
    return clock.CURRENT.get().snapshots


def install() -> None:
    """Put our parts in place; harmless when repeated."""
    check()
    for name in ("dumps", "loads", "dump", "load"):
        setattr(pysyncobj.pickle, name, getattr(codec, name))
    pysyncobj.journal.dumps = codec.dumps
    pysyncobj.journal.loads = codec.loads
    pysyncobj.syncobj.monotonicTime = clock.monotonic_seconds
    pysyncobj.syncobj.random = clock.Chance
    pysyncobj.syncobj.createJournal = _journal
    pysyncobj.syncobj.createPoller = lambda _kind: _NoPoller()
    pysyncobj.syncobj.Serializer = _snapshots
    pysyncobj.syncobj.PIPE_NOTIFIER_ENABLED = False


install()
