"""Chunk requests to a target that runs without one of its VDEVs: FAULTED, and never silence.

So the initiator goes on to other VDEVs at once, as with a VDEV that failed while its target ran.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from replicast.machine import Group, Incoming
from replicast.metrics import Counters
from replicast.target.admission import Admission
from replicast.target.get import SendResponder
from replicast.wire.chunk_messages import ChunkQuery, Refused
from replicast.wire.reasons import Reason

ME, OTHER = 9, 8
CHID = b"h" * 32
GROUP = Group("negotiating", 1)
LEFT_OUT, OPEN, OTHERS = 4, 5, 6


def admission(*members: int) -> Admission:
    """Of a target with VDEV 5 open and without VDEV 4; all rows have these members."""
    owners = {LEFT_OUT: ME, OPEN: ME, OTHERS: OTHER}
    view: Any = SimpleNamespace(size_of=lambda chid: 0, proves_misses=lambda: True)
    table: Any = SimpleNamespace(
        generation=3,
        vdevs={v: SimpleNamespace(target=node) for v, node in owners.items()},
        members=lambda row: members,
        draining=lambda row: (),
        members_since=lambda row: 2,
        row_of_chunk=lambda chid: 1,
    )
    lease: Any = SimpleNamespace(valid=lambda now_ns: True)
    return Admission(ME, table, lease, {OPEN: view}, Counters())


def store(
    core: Admission, group: Group | None, generation: int = 3
) -> tuple[tuple[int, ...], list[Reason]]:
    """Which VDEVs may store, and what was refused."""
    message: Any = None
    incoming = Incoming(message, 7, b"o" * 16, generation, ("127.0.0.1", 9), group)
    return core.members_for_store(incoming, 1, CHID, 1, 1000, 0), refusals(core)


def refusals(core: Admission) -> list[Reason]:
    messages = [outgoing.message for outgoing in core.take_outgoing()]
    return [Reason(m.reason) for m in messages if isinstance(m, Refused)]


@pytest.mark.parametrize("group", [None, GROUP])
def test_store__in_a_row_of_the_missing_one_is_refused(group: Group | None) -> None:
    assert store(admission(LEFT_OUT, OTHERS), group) == ((), [Reason.FAULTED])
    assert store(admission(LEFT_OUT), group, generation=1) == ((), [Reason.STALE_GENERATION])


@pytest.mark.parametrize("group", [None, GROUP])
def test_store__in_a_row_of_both_goes_to_the_open_one(group: Group | None) -> None:
    assert store(admission(LEFT_OUT, OPEN, OTHERS), group) == ((OPEN,), [])


def test_store__in_a_row_of_others_is_answered_on_unicast_only() -> None:
    assert store(admission(OTHERS), None) == ((), [Reason.NOT_MEMBER])
    assert store(admission(OTHERS), GROUP) == ((), [])


@pytest.mark.parametrize(
    ("members", "group", "wanted"),
    [
        ((LEFT_OUT, OTHERS), None, [Reason.FAULTED]),
        ((LEFT_OUT, OTHERS), GROUP, [Reason.FAULTED]),
        ((OTHERS,), None, [Reason.NOT_MEMBER]),
        ((OTHERS,), GROUP, []),
    ],
)
def test_query__proves_nothing_of_the_missing_one(
    members: tuple[int, ...], group: Group | None, wanted: list[Reason]
) -> None:
    core = admission(*members)
    query = ChunkQuery(row=1, chid=CHID)
    SendResponder(core).receive(Incoming(query, 7, b"o" * 16, 3, ("127.0.0.1", 9), group), 0)
    assert refusals(core) == wanted


def test_mine__follows_the_table_and_the_vdevs_that_get_an_index() -> None:
    core = admission(LEFT_OUT, OPEN, OTHERS)
    assert core.mine(1) == (OPEN,)
    views: Any = core.vdevs
    views[LEFT_OUT] = views[OPEN]
    assert core.mine(1) == (LEFT_OUT, OPEN)
    core.adopt(admission(OPEN, OTHERS).table)
    assert core.mine(1) == (OPEN,)
