"""Power that is lost while a flight is out: whatever of it the disk has by then, what was acknowledged
before is there, and of the flight itself only what is whole.

The disk after the loss is a copy of the folder, with some blocks of the flight in it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from replicast.disks import RealDisk
from replicast.target.store.errors import Outcome, VdevStatus
from replicast.target.store.segment import BLOCK_BYTES, segment_name
from replicast.target.store.vdev import Vdev

from .flight_bench import CLUSTER, Bench, held, path, proved

__all__ = ["held", "path"]

BEFORE, LARGE, SMALL = proved(300_000, 1), proved(500_000, 2), proved(9000, 3)
WRITTEN: dict[str, Callable[[int], bool]] = {
    "nothing": lambda _: False,
    "its begin": lambda block: block == 0,
    "all but its begin": lambda block: block > 0,
    "every second block": lambda block: block % 2 == 0,
    "all but the end": lambda block: block < 60,
    "all": lambda _: True,
}


def fly(bench: Bench) -> None:
    assert bench.take_off()
    bench.writer.let_go()
    bench.await_flight()


def power_loss(bench: Bench, written: Callable[[int], bool]) -> Path:
    """The folder as the next start finds it."""
    assert bench.vdev.flight is not None
    plan, _ = bench.vdev.flight
    data = b"".join(plan.pieces)
    copy = bench.path.with_name("after")
    shutil.copytree(bench.path, copy)
    with (copy / "log" / segment_name(plan.position.incarnation)).open("r+b") as file:
        for start in range(0, len(data), BLOCK_BYTES):
            if written(start // BLOCK_BYTES):
                file.seek(plan.position.offset + start)
                file.write(data[start : start + BLOCK_BYTES])
    return copy


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN.keys())
@pytest.mark.parametrize("checkpointed", [False, True])
def test_power_loss__during_a_flight_keeps_what_was_acknowledged(
    held: Bench, written: Callable[[int], bool], checkpointed: bool
) -> None:
    held.append("chunk", BEFORE)
    held.append("row")
    fly(held)
    assert held.told == {"chunk": Outcome.STORED, "row": Outcome.STORED}
    for chunk in (LARGE, SMALL):
        held.append(chunk.chid, chunk)
    held.append("lost")
    assert held.take_off()
    if checkpointed:  # its position is behind what landed, not behind what is out
        assert held.vdev._engine.checkpoint()
    where = power_loss(held, written)
    whole = written is WRITTEN["all"]
    for _ in range(2):  # the second time nothing new is found out
        vdev = Vdev.open(RealDisk(), where, CLUSTER)
        assert vdev.status is VdevStatus.OK and not vdev.damage
        assert {entry.index for entry in vdev.row_log(7, 0)} >= {1, 2}
        assert vdev.read_chunk(BEFORE.chid, direct=True) == BEFORE.payload
        for chunk in (LARGE, SMALL):
            assert not whole or vdev.has(chunk.chid)
            if vdev.has(chunk.chid):
                assert vdev.read_chunk(chunk.chid, direct=True) == chunk.payload
        vdev.close()
