"""The operator of a simulated cluster: whatever fails for a disk is restarted, each time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from replicast.sim.upkeep import Upkeep


class Process:
    def __init__(self) -> None:
        self.running, self.terminations = True, 0

    def terminate(self) -> None:
        self.running = False
        self.terminations += 1


def unit() -> Any:
    """A target whose voter can fail; its disks are sound."""
    node = SimpleNamespace(failed=False, is_leader=False)
    return SimpleNamespace(
        member=SimpleNamespace(name="t1", host="h1"),
        process=Process(),
        daemon=SimpleNamespace(
            _voter=SimpleNamespace(raft=SimpleNamespace(node=node)),
            _vdevs=SimpleNamespace(by_id={}),
        ),
        disks=[],
        drives=[],
    )


def test_a_voter_that_fails_again_after_somebody_else_started_it() -> None:
    target = unit()
    world = SimpleNamespace(after=lambda delay_ns, work: None)
    upkeep = Upkeep(SimpleNamespace(world=world, targets=[target]))  # type: ignore[arg-type]
    upkeep.started(target)
    for failures in (1, 2, 3):
        target.daemon._voter.raft.node.failed = True
        upkeep._watch()
        assert target.process.terminations == failures
        target.process.running, target.daemon._voter.raft.node.failed = True, False
        upkeep.started(target)  # not by the operator
        upkeep._watch()
        assert target.process.terminations == failures


def test_a_vdev_that_was_left_out__is_a_reason_to_restart_its_target() -> None:
    target = unit()
    world = SimpleNamespace(after=lambda delay_ns, work: None)
    upkeep = Upkeep(SimpleNamespace(world=world, targets=[target]))  # type: ignore[arg-type]
    upkeep.started(target)
    target.drives = [SimpleNamespace(stuck=True)]
    upkeep._watch()
    assert target.process.terminations == 0  # not yet: it would not open
    target.drives[0].stuck = False
    upkeep._watch()
    assert target.process.terminations == 1
