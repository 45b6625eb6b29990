"""SmallPut at its deadline, without anybody to answer it."""

from __future__ import annotations

import random

import pytest

from replicast.credit import CreditPool
from replicast.flexhash.build import build
from replicast.flexhash.table import Policy, Table, TargetEntry, VdevEntry, VdevState
from replicast.gateway.context import ChunkContext, ChunkSettings
from replicast.gateway.copies import PutFailed
from replicast.gateway.job import PutJob
from replicast.gateway.small_put import SmallPut
from replicast.gateway.stats import CREDIT_START_BYTES
from replicast.hashing import HashAlgorithm, content_hash
from replicast.metrics import Counters
from replicast.transport.reassembly import Reassembly
from replicast.units import MIB, MS

DATA = b"x" * 1000
HOSTS = 3


def table() -> Table:
    place = ("127.0.0.1", 1)
    targets = [
        TargetEntry(n, f"t{n}", f"h{n}", "z", place, place, place, "", place)
        for n in range(1, HOSTS + 1)
    ]
    vdevs = [
        VdevEntry(n, n.to_bytes(16, "big"), n, 100, VdevState.UP, 1) for n in range(1, HOSTS + 1)
    ]
    return build(None, targets, vdevs, Policy(8, HOSTS, 3, 2), (), 1)


@pytest.mark.parametrize("credit", [True, False])
def test_deadline__between_two_steps_ends_the_put(credit: bool) -> None:
    buffers, counters = Reassembly(MIB, 16), Counters()
    context = ChunkContext(ChunkSettings(), buffers, counters, random.Random(1), CreditPool(MIB))
    if not credit:
        assert all(context.stats.credit(n).take(CREDIT_START_BYTES) for n in range(1, HOSTS + 1))
    chid = content_hash(HashAlgorithm.BLAKE3_256, DATA)
    job = PutJob(chid, int(HashAlgorithm.BLAKE3_256), DATA, len(DATA), b"o" * 12, 15 * MS)
    core = SmallPut(context, table(), job=job, now_ns=0)
    steps = 0
    while (due_ns := core.deadline_ns()) is not None:
        core.expire(due_ns)
        steps += 1
        assert steps < 100, "it asks to be called again at once, for ever"
    (failed,) = (event for event in core.take_events() if isinstance(event, PutFailed))
    assert failed.chid == chid
