"""What must hold of every history: one order explains all of it, and replicas converge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from replicast.target.names.state import META
from replicast.wire.name_messages import (
    DELETE_MARKER,
    IF_ABSENT,
    IF_VERSION,
    NO_VERSION,
    Condition,
    VersionId,
)
from replicast.wire.reasons import Reason
from replicast.wire.schema import Message

from .control import ROWS, ControlPlane


@dataclass
class Operation:
    """One client operation as the checker sees it; `found` is the answer to "versions"."""

    kind: str
    name: str
    operation_id: bytes
    message: Message
    start_ns: int
    end_ns: int | None = None
    version: VersionId | None = None
    reason: int = 0
    condition: Condition | None = None
    found: tuple[Any, ...] = ()


def check_name(history: list[Operation], order: list[Any]) -> None:
    """`order`: summaries of all versions, oldest first: the one order that must explain all."""
    place = {s.operation_id: i for i, s in enumerate(order)}
    assert len(place) == len(order), "an operation took effect twice"
    for o in history:
        if o.kind in ("put", "delete"):
            check_write(o, place.get(o.operation_id), order)
    check_real_time(history, place, order)


def check_write(o: Operation, at: int | None, order: list[Any]) -> None:
    """An acknowledged write is there, a refused one is not, a condition held."""
    if o.reason:
        assert at is None, "refused and yet done"
    elif o.end_ns is not None:
        assert at is not None, f"acknowledged {o.kind} of {o.name} is lost"
        assert order[at].version == o.version
    if at is None or o.condition is None:
        return
    before = order[at - 1] if at else None
    if o.condition.kind == IF_VERSION:
        held = before.version if before else NO_VERSION
        assert held == o.condition.version, "condition did not hold"
    if o.condition.kind == IF_ABSENT:
        assert before is None or before.kind == DELETE_MARKER, "overwrote what existed"


def check_real_time(history: list[Operation], place: dict[bytes, int], order: list[Any]) -> None:
    """What finished before something began is seen by it; nothing is seen before it began."""
    by_version = {s.version: i for i, s in enumerate(order)}
    begun = {place[o.operation_id]: o.start_ns for o in history if o.operation_id in place}
    seen: list[tuple[int, int, int, Operation]] = []
    for o in history:
        at = place.get(o.operation_id)
        if o.kind == "get" and o.end_ns is not None:
            at = by_version[o.version] if o.version is not None else gone_at(o, order)
        if at is not None and o.end_ns is not None:
            seen.append((o.start_ns, o.end_ns, at, o))
            assert at < 0 or begun[at] <= o.end_ns, "saw what had not begun"
    for start_ns, _, at, o in seen:
        for _, end_ns, other, p in seen:
            assert end_ns >= start_ns or at >= other, f"{o.kind} missed a finished {p.kind}"


def gone_at(o: Operation, order: list[Any]) -> int | None:
    """NotFound is explained by the absence before the first version, when nothing was deleted."""
    deleted = any(s.kind == DELETE_MARKER for s in order)
    return None if o.reason != Reason.NO_SUCH_NAME or deleted else -1


def check(world: Any, names: list[str]) -> None:
    for name in names:
        order = list(reversed(world.versions(name)))
        assert [s.version for s in order] == sorted(
            (s.version for s in order), key=lambda v: (v.time_ns, v.segment_id)
        )
        check_name([o for o in world.operations if o.name == name], order)


def views(world: ControlPlane, row: int) -> list[dict[bytes, bytes]]:
    head = row.to_bytes(4, "big")
    replicas = world.table.name_replicas(row)
    return [
        {
            k: v
            for k, v in world.nodes[r].store.values.items()
            if k.startswith(head) and not k.startswith(head + META + b"D")  # each cuts its own log
        }
        for r in replicas
    ]


def converged(world: ControlPlane) -> bool:
    full = all(len(world.table.name_replicas(r)) == 3 for r in range(ROWS))
    return full and all(views(world, r).count(views(world, r)[0]) == 3 for r in range(ROWS))
