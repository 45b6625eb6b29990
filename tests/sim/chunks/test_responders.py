"""One target, asked by hand: what it answers, grants, stores and keeps quiet about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from replicast.hashing import content_hash
from replicast.machine import Group, Incoming
from replicast.target.get import ReadChunk
from replicast.target.put import StoreChunk, StoreHold
from replicast.target.verify import VerifyChunk
from replicast.units import KIB, MS
from replicast.wire.chunk_messages import (
    NO_MULTICAST,
    VERIFY_ERROR,
    VERIFY_MISSING,
    ChunkQuery,
    ChunkSend,
    ChunkVerify,
    PutAccept,
    PutAccepted,
    PutPropose,
    Refused,
)
from replicast.wire.reasons import Reason

from .world import ALGORITHM, GATEWAY, Cluster

ATTEMPT, TRANSFER = b"a" * 16, b"t" * 16
NODE = 1
OTHER_GROUP = Group("negotiating", 1)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(credit_bytes=64 * KIB)


@pytest.fixture
def data(cluster: Cluster) -> bytes:
    return cluster.data(200 * KIB)


def ask(cluster: Cluster, message: Any, group: Group | None = None) -> list[Any]:
    """What target NODE answers at once."""
    core = cluster.targets[NODE].core
    generation = cluster.table.generation
    core.receive(Incoming(message, GATEWAY, ATTEMPT, generation, None, group), cluster.now)
    return replies(cluster)


def replies(cluster: Cluster) -> list[Any]:
    return [out.message for out in cluster.targets[NODE].core.take_outgoing()]


def accept(cluster: Cluster, data: bytes, **more: Any) -> PutAccept:
    """PUT_ACCEPT of `data` for one VDEV of the target."""
    chid = content_hash(ALGORITHM, data)
    row = cluster.table.row_of_chunk(chid)
    mine = [v for v in cluster.table.members(row) if v in cluster.targets[NODE].vdevs]
    fields: dict[str, Any] = {
        "row": row,
        "chid": chid,
        "hash_algorithm": ALGORITHM,
        "size_bytes": len(data),
        "winners": tuple(mine[:1]),
        "holders": (),
        "transfer_id": TRANSFER,
        "datagram_bytes": 1024,
        "rendezvous": NO_MULTICAST,
        "authenticated": False,
    }
    return PutAccept(**(fields | more))


def test_put_accept__asked_again_grants_what_was_granted(cluster: Cluster, data: bytes) -> None:
    (first,) = ask(cluster, accept(cluster, data))
    (again,) = ask(cluster, accept(cluster, data))
    assert isinstance(first, PutAccepted) and first.credit_bytes == 64 * KIB
    assert again == first


def test_put_accept__impossible_datagrams_are_a_bad_request(cluster: Cluster, data: bytes) -> None:
    (refused,) = ask(cluster, accept(cluster, data, datagram_bytes=7))
    assert isinstance(refused, Refused) and refused.reason == Reason.BAD_REQUEST


def test_payload__with_a_hole_does_not_hold_up_the_next(cluster: Cluster) -> None:
    core, buffers = cluster.targets[NODE].core, cluster.targets[NODE].buffers
    first, second = cluster.data(60 * KIB), cluster.data(60 * KIB)
    ask(cluster, accept(cluster, first))
    cluster.now += MS  # another operation, or it would be the first one repeated
    incoming = accept(cluster, second, transfer_id=b"u" * 16)
    core.receive(
        Incoming(incoming, GATEWAY, b"b" * 16, cluster.table.generation, None, None), cluster.now
    )
    (waits,) = replies(cluster)
    assert waits.credit_bytes == 0
    buffers.place(TRANSFER, 1024, first[1024:])
    cluster.now = core.deadline_ns()
    core.expire(cluster.now)
    cluster.flush_target(cluster.targets[NODE])
    granted = core._credit.granted(b"u" * 16)
    assert granted == 60 * KIB and core._credit.granted(TRANSFER) == 1024


def test_payload__that_arrives_after_the_lease_is_not_stored(cluster: Cluster, data: bytes) -> None:
    target = cluster.targets[NODE]
    ask(cluster, accept(cluster, data))
    target.lease.until_ns = cluster.now
    target.buffers.place(TRANSFER, 0, data)
    target.core.transfer_completed(TRANSFER, cluster.now)
    (refused,) = replies(cluster)
    assert isinstance(refused, Refused) and refused.reason == Reason.NO_LEASE
    assert not [e for e in target.core.take_events() if isinstance(e, StoreChunk)]


def test_hold__of_a_chunk_that_was_set_aside_meanwhile_is_refused(
    cluster: Cluster, data: bytes
) -> None:
    target = cluster.targets[NODE]
    message = accept(cluster, data)
    (v,) = message.winners
    target.vdevs[v].durable[message.chid] = data
    assert ask(cluster, replace(message, winners=(), holders=(v,))) == []
    (hold,) = [e for e in target.core.take_events() if isinstance(e, StoreHold)]
    target.vdevs[v].durable.clear()
    target.core.stored(hold.token, v, None, cluster.now + MS)
    (refused,) = replies(cluster)
    assert isinstance(refused, Refused) and refused.reason == Reason.NOT_FOUND_HERE


@pytest.mark.parametrize("datagram_bytes", [0, 100, 1001, 65535])
def test_chunk_send__impossible_datagrams_are_a_bad_request(
    cluster: Cluster, data: bytes, datagram_bytes: int
) -> None:
    target = cluster.targets[NODE]
    chid = content_hash(ALGORITHM, data)
    v = next(iter(target.vdevs))
    target.vdevs[v].durable[chid] = data
    message = ChunkSend(
        chid=chid,
        vdev_index=v,
        transfer_id=TRANSFER,
        datagram_bytes=datagram_bytes,
        credit_bytes=len(data),
        authenticated=False,
    )
    (refused,) = ask(cluster, message)
    assert isinstance(refused, Refused) and refused.reason == Reason.BAD_REQUEST
    assert not [e for e in target.core.take_events() if isinstance(e, ReadChunk)]


def test_malformed__is_answered_on_unicast_only(cluster: Cluster, data: bytes) -> None:
    right = accept(cluster, data)
    wrong_row = (right.row + 1) % cluster.policy.row_count
    propose = PutPropose(
        row=wrong_row,
        chid=right.chid,
        hash_algorithm=ALGORITHM,
        size_bytes=len(data),
        copies=3,
        excluded=(),
    )
    for message in (propose, ChunkQuery(row=wrong_row, chid=right.chid)):
        assert ask(cluster, message, OTHER_GROUP) == [], "every target hears the group"
        (refused,) = ask(cluster, message)
        assert isinstance(refused, Refused) and refused.reason == Reason.BAD_REQUEST


@pytest.mark.parametrize("held", [True, False])
def test_verify__proves_no_miss_once_the_lease_has_ended(cluster: Cluster, held: bool) -> None:
    """The chunk may have come back meanwhile under somebody else's lease (C6)."""
    target = cluster.targets[NODE]
    chid = content_hash(ALGORITHM, b"never stored")
    message = ChunkVerify(chid=chid, hash_algorithm=ALGORITHM, vdev_index=min(target.vdevs))
    assert ask(cluster, message) == []
    (event,) = [e for e in target.core.take_events() if isinstance(e, VerifyChunk)]
    if not held:
        target.lease.until_ns = cluster.now
    target.core.verified(event.token, VERIFY_MISSING, "", cluster.now)
    (answer,) = replies(cluster)
    assert answer.result == (VERIFY_MISSING if held else VERIFY_ERROR)
