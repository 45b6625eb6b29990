"""Where clients get their tables from: the target beside them, another one, the voters at last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from replicast.embed import Cluster
from replicast.flexhash import shelf
from replicast.flexhash.shelf import TableShelf
from replicast.flexhash.table import Table
from replicast.metrics import Counters
from replicast.sim.cluster import Shape, SimCluster, Unit
from replicast.sim.reconfigure import healthy
from replicast.sim.run import one_world
from replicast.sim.world import World
from replicast.units import SECOND
from replicast.wire import control_messages as cm

HOSTS = Shape(targets=4, vdevs=1, rows=16, clients=3, beside=True)


@pytest.fixture(autouse=True)
def world() -> Iterator[None]:
    with one_world():
        yield


async def idle(client: Cluster) -> None:
    pass


def formed(shape: Shape, seed: int = 1) -> SimCluster:
    cluster = SimCluster(World(seed), shape)
    cluster.start()
    assert cluster.world.run_until(60 * SECOND, lambda: healthy(cluster))
    return cluster


def counters(unit: Unit) -> Counters:
    assert unit.opened is not None
    return unit.opened.counters


def open_clients(cluster: SimCluster, units: list[Unit], within_ns: int) -> None:
    """Programs that connect at the same moment, and end."""
    for unit in units:
        cluster.run_client(unit, idle)
    world = cluster.world
    opened = world.run_until(
        world.time_ns + within_ns, lambda: all(unit.opened is not None for unit in units)
    )
    assert opened and world.failures == []


def spare(cluster: SimCluster) -> Unit:
    """The target that does not vote."""
    return next(u for u in cluster.targets if u.member.node_id not in cluster.formation.voters)


def test_client__gets_its_table_from_the_target_on_its_host() -> None:
    cluster = formed(HOSTS)
    open_clients(cluster, cluster.clients, 2 * SECOND)
    assert cluster.clients[0].member.host == spare(cluster).member.host
    for unit in cluster.clients:  # beside voters, too
        assert counters(unit).get("tables_fetched", "host") == 1
        assert counters(unit).total("tables_fetched") == 1


def test_client__on_a_host_of_its_own_asks_a_target_before_the_voters() -> None:
    cluster = formed(replace(HOSTS, beside=False))
    open_clients(cluster, cluster.clients, 2 * SECOND)
    for unit in cluster.clients:
        assert counters(unit).get("tables_fetched", "target") == 1
        assert counters(unit).total("tables_fetched") == 1


def test_client__waits_once_for_a_target_that_is_gone() -> None:
    cluster = formed(HOSTS)
    cluster.kill_target(spare(cluster))
    unit = cluster.clients[0]
    open_clients(cluster, [unit], 3 * SECOND)
    assert counters(unit).get("table_sources_failed", "silent") == 1
    assert counters(unit).get("tables_fetched", "voter") == 1


def test_client__takes_no_wrong_table_from_a_target(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = formed(HOSTS)
    stale = next(iter(spare(cluster).daemon._port.shelf.tables.values()))  # type: ignore[union-attr]
    policy = replace(stale.policy, min_copies=1)

    def lie(self: TableShelf, generation: int, now_ns: int) -> cm.TableData | cm.ControlRefused:
        other = Table(generation, policy, stale.targets, stale.vdevs, stale.rows)
        honest = TableShelf()
        honest.put(other)
        return reply(honest, generation, now_ns)

    reply = TableShelf.reply
    monkeypatch.setattr(TableShelf, "reply", lie)
    unit = cluster.clients[0]
    open_clients(cluster, [unit], 2 * SECOND)
    assert counters(unit).get("table_sources_failed", "wrong") == 1
    assert counters(unit).get("tables_fetched", "voter") == 1


def test_many_clients_at_once__do_not_wait_for_one_target(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = formed(replace(HOSTS, clients=64, beside=False))
    shelf_of_it = spare(cluster).daemon._port.shelf  # type: ignore[union-attr]
    answer = shelf_of_it.reply(max(shelf_of_it.tables), 0)
    assert isinstance(answer, cm.TableData)
    monkeypatch.setattr(shelf, "GIVEN_BYTES_MAX", 10 * len(answer.data))
    open_clients(cluster, cluster.clients, 2 * SECOND)
    got = [
        {source: counters(unit).get("tables_fetched", source) for source in ("target", "voter")}
        for unit in cluster.clients
    ]
    refused = sum(counters(u).get("table_sources_failed", "refused") for u in cluster.clients)
    assert all(sum(each.values()) == 1 for each in got)
    assert sum(each["target"] for each in got) == 64 - refused >= 10
    assert refused >= 40
