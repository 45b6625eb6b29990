"""What a target reports when it joins: itself, and each VDEV that it has opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from replicast.flexhash.entries import TargetEntry
from replicast.flexhash.inputs import target_info
from replicast.wire import control_messages as cm
from replicast.wire.schema import Message


@dataclass(frozen=True, slots=True)
class VdevOpen:
    """One opened VDEV: `opener` is the session of this start, `damaged` when its row logs lost records,
    `counted` unless its disk took no writes."""

    vdev_id: bytes
    weight: int
    open_count: int
    opener: int
    damaged: bool = False
    counted: bool = True


def join_commands(entry: TargetEntry, opens: Sequence[VdevOpen]) -> list[Message]:
    """To be run in this order."""
    commands: list[Message] = [cm.TargetJoin(target=target_info(entry, len(opens)))]
    commands += [
        cm.VdevJoin(
            vdev_id=o.vdev_id,
            target=entry.node_id,
            weight=o.weight,
            open_count=o.open_count,
            opener=o.opener,
            damaged=o.damaged,
            uncounted=not o.counted,
        )
        for o in opens
    ]
    return commands
