"""flexhash/raft/seams.py: the contract with the pinned pysyncobj."""

from __future__ import annotations

import gc
import os
import random
from pathlib import Path

import pysyncobj.journal
import pysyncobj.pickle
import pysyncobj.syncobj
import pytest

from replicast.disks import RealDisk
from replicast.flexhash.raft import clock, codec, seams
from replicast.flexhash.raft.node import RaftNode, RaftSettings


def test_check__every_seam_is_there() -> None:
    seams.check()
    seams.install()


@pytest.mark.parametrize("name", ["monotonicTime", "Serializer", "createJournal"])
def test_check__a_missing_seam_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(pysyncobj.syncobj, name)
    with pytest.raises(seams.SeamError, match=name):
        seams.check()


def test_check__a_missing_attribute_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seams, "READ", ("_SyncObj__gone",))
    with pytest.raises(seams.SeamError, match="_SyncObj__gone"):
        seams.check()


def test_check__another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seams, "VERSION", "0.3.18")
    with pytest.raises(seams.SeamError, match=r"0\.3\.18"):
        seams.check()


def test_no_pickle_is_left() -> None:
    for name in ("dumps", "loads", "dump", "load"):
        assert getattr(pysyncobj.pickle, name) is getattr(codec, name)
    assert pysyncobj.syncobj.pickle is pysyncobj.pickle
    assert pysyncobj.journal.loads is codec.loads


def test_nodes__open_no_descriptor_but_their_journal(tmp_path: Path) -> None:
    def make(n: int) -> RaftNode:
        settings = RaftSettings(
            name="a",
            voters=["a", "b", "c"],
            voter_epoch=1,
            cluster_id=bytes(16),
            directory=tmp_path / str(n),
            new_voter=True,
        )
        return RaftNode(
            settings,
            disk=RealDisk(),
            apply=bytes,
            snapshot=bytes,
            restore=lambda _: None,
            rng=random.Random(n),
            now_ns=n,
        )

    nodes = [make(0)]
    gc.collect()  # what other tests left behind must not vanish while this one counts
    before = len(os.listdir("/proc/self/fd"))
    nodes += [make(n) for n in range(1, 6)]
    for node in nodes:
        node.tick(10)
    assert len(os.listdir("/proc/self/fd")) == before + 5
    for node in nodes:
        node.close()


def test_time__is_nobodys_outside_of_a_node() -> None:
    clock.CURRENT.surroundings = None
    with pytest.raises(RuntimeError, match="outside"):
        clock.monotonic_seconds()
