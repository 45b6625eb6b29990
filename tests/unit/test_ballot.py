"""Ballot: whom to accept, given what is stored and who is at it."""

from __future__ import annotations

from types import SimpleNamespace

from replicast.gateway.ballot import Ballot, Plan
from replicast.gateway.context import ChunkSettings
from replicast.gateway.copies import Copies
from replicast.gateway.stats import Stats
from replicast.wire.chunk_messages import ALREADY_STORED, OFFER, STORED, VdevBid

from .small_tables import table

CHID = bytes(32)


def ballot(kinds: dict[int, int]) -> tuple[Ballot, Copies]:
    """Bids of VDEVs that are alike but for their kind; each is a host of its own."""
    made = table(1)
    context = SimpleNamespace(stats=Stats(), settings=ChunkSettings())
    asked = Ballot(context, made, 0, ())  # type: ignore[arg-type]
    for vdev_index, kind in kinds.items():
        bid = VdevBid(
            vdev_index=vdev_index,
            kind=kind,
            reason=0,
            start_ns=0,
            duration_ns=1,
            free_ppm=500_000,
            credit_bytes=1,
        )
        asked.add(made.target_of(vdev_index).node_id, (bid,))
    return asked, Copies(made)


def test_plan__holders_first_then_offers_up_to_the_count() -> None:
    asked, copies = ballot({1: OFFER, 2: ALREADY_STORED, 3: OFFER})
    plan = asked.plan(CHID, copies, 2, 0)
    assert plan.holders == (2,) and len(plan.winners) == 1 and len(plan.hosts) == 2
    assert set(asked.plan(CHID, copies, 3, 0).winners) == {1, 3}


def test_plan__nobody_when_enough_is_stored_or_under_way() -> None:
    asked, copies = ballot({1: OFFER, 2: ALREADY_STORED, 3: OFFER})
    copies.add(1, STORED)
    assert asked.plan(CHID, copies, 2, 0, skip=(3,)) == Plan((), (), ("h1", "h3"))
    assert asked.plan(CHID, copies, 1, 0) == Plan((), (), ("h1",))
    assert asked.plan(CHID, copies, 3, 0, skip=(3,)) == Plan((2,), (), ("h1", "h3", "h2"))
