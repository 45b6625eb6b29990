"""An initiator whose table is old: one refusal, one refetch, success; other rows do not care.

A target restarts with one VDEV more while initiators are kept from hearing of it: rows get other
members and leaders. Then each of them puts a chunk, or does a named operation, first in a row
that did not change and then in one that did.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import tomllib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial

import pytest

import replicast
from replicast.cli.processes import stop_all, wait_ready
from replicast.disks import RealDisk
from replicast.flexhash.names import bucket_seed, nhid, row_of_name
from replicast.flexhash.table import Table, VdevState
from replicast.formation import load_formation, toml_pairs
from replicast.gateway import names
from replicast.gateway.answer_times import AnswerTimes
from replicast.hashing import HashAlgorithm, content_hash
from replicast.target.store.format import format_vdev
from replicast.units import SECOND
from replicast.wire import control_messages as cm

KIB = 1024
TENANT = "default"
# 64 rows each, nearly all together: of 4096 only some 50 to 120 do not change, fewer on a busy machine.
BUCKETS = [f"stale-{n}" for n in range(192)]
NAMES_EACH = 500
SETTLE_SECONDS, POLL_SECONDS = 120, 0.1
SIZES = {"negotiated": 128 * KIB, "immediate": 32 * KIB}


class Held:
    """A client that hears of no newer table until it asks for one itself."""

    def __init__(self, client: replicast.Cluster) -> None:
        self._opened, self._holding = client._opened, True
        self.client, self.initiator = client, client._opened.initiator
        table_client = self._opened.client
        self._receive, self._refetch = table_client.core.receive, table_client.refetch
        table_client.core.receive = self._receive_held
        table_client.refetch = self._refetch_and_release
        self.refetches = 0

    def _receive_held(self, voter, message, operation_id, now_ns):
        if self._holding and isinstance(message, cm.Notice):
            message = replace(message, active=0, prepared=0)
        self._receive(voter, message, operation_id, now_ns)

    async def _refetch_and_release(self, at_least_generation):
        self._holding = False
        self.refetches += 1
        return await self._refetch(at_least_generation)

    @property
    def stale(self) -> float:
        """Refusals because of its table; others (BUSY) are no matter of this test."""
        return self._opened.counters.get("refusals", "stale_generation")


def _add_vdev(cluster, name: str) -> None:
    """Restart a target with one VDEV more."""
    daemon, folder = cluster.daemons()[name], cluster.data / name
    assert stop_all([daemon]) == []
    cluster_id = load_formation(folder).cluster_id
    format_vdev(RealDisk(), folder / "v3", cluster_id, None, random.SystemRandom())
    values = tomllib.loads((folder / "target.toml").read_text())
    values["vdevs"] += ",v3"
    (folder / "target.toml").write_text("\n".join(toml_pairs(values)) + "\n")
    daemon.start()
    wait_ready([daemon], SETTLE_SECONDS)


def _settled(table: Table, vdevs: int) -> bool:
    """Is every VDEV up and every row where it wants to be?"""
    up = all(entry.state == VdevState.UP for entry in table.vdevs.values())
    rows = range(table.policy.row_count)
    return (
        up
        and len(table.vdevs) == vdevs
        and all(set(table.name_replicas(r)) == set(table.name_candidates(r)) for r in rows)
    )


async def _wait_settled(client: replicast.Cluster, vdevs: int) -> Table:
    end = time.monotonic() + SETTLE_SECONDS
    while not _settled(client._opened.initiator.table, vdevs):
        assert time.monotonic() < end, "the rows do not come to rest"
        await asyncio.sleep(POLL_SECONDS)
    return client._opened.initiator.table


def _chunks(table: Table, size_bytes: int) -> Iterator[tuple[bytes, int]]:
    rng = random.Random(size_bytes)
    while True:
        data = rng.randbytes(size_bytes)
        yield data, table.row_of_chunk(content_hash(HashAlgorithm.BLAKE3_256, data))


def _names(client: replicast.Cluster) -> Iterator[tuple[str, str, int]]:
    rows = client._opened.initiator.table.policy.row_count
    for bucket in BUCKETS:
        record = client._opened.client.buckets[TENANT, bucket]
        seed = bucket_seed(TENANT, bucket, record.incarnation)
        for name in map(str, range(NAMES_EACH)):
            yield bucket, name, row_of_name(seed, nhid(TENANT, bucket, name), record.spread, rows)


async def _put_chunk(held: Held, table: Table, size_bytes: int, changed: bool) -> None:
    old = held.initiator.table.generation
    wanted = (d for d, r in _chunks(table, size_bytes) if (table.members_since(r) > old) == changed)
    placed = await held.initiator.put_chunk(next(wanted))
    assert placed.copies >= 2  # a late third is repaired, which is not tested here


async def _put_name(held: Held, table: Table, changed: bool) -> None:
    old = held.initiator.table.generation
    wanted = (
        (b, n) for b, n, row in _names(held.client) if (table.names_since(row) > old) == changed
    )
    bucket, name = next(wanted)
    await held.client.put(bucket, name, b"inline")


async def _refused_once(held: Held, put: Callable[[bool], Awaitable[None]]) -> None:
    """Nothing in a row that did not change; one refusal and one refetch in one that did."""
    old = held.initiator.table.generation
    await put(False)
    assert held.initiator.table.generation == old and held.refetches == 0
    assert held.stale == 0, "another row's change is nobody's business"
    await put(True)
    assert (held.stale, held.refetches) == (1, 1)
    assert held.initiator.table.generation > old


@pytest.mark.parametrize("transport", ["unicast", "multicast"])
def test_old_table__one_refusal_one_refetch(make_cluster, transport, monkeypatch):
    # An operation that hears nothing for long also asks for a table: not what is tested here.
    monkeypatch.setattr(AnswerTimes, "resend_ns", lambda *_: 10 * SECOND)
    monkeypatch.setattr(names, "RESEND_MAX_NS", 10 * SECOND)
    cluster = make_cluster(transport=transport)

    async def scenario() -> None:
        async with contextlib.AsyncExitStack() as stack:

            async def connect() -> replicast.Cluster:
                return await stack.enter_async_context(await replicast.connect(cluster.data))

            free = await connect()
            await asyncio.gather(*(free.create_bucket(bucket) for bucket in BUCKETS))
            await _wait_settled(free, 8)
            held = {what: Held(await connect()) for what in (*SIZES, "name")}
            await asyncio.to_thread(_add_vdev, cluster, "t4")
            table = await _wait_settled(free, 9)
            for path, size_bytes in SIZES.items():
                await _refused_once(held[path], partial(_put_chunk, held[path], table, size_bytes))
            await _refused_once(held["name"], partial(_put_name, held["name"], table))

    asyncio.run(scenario())
