"""flexhash/service.py and client.py: three voters, four targets and a gateway on loopback."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from replicast.cli.ports import free_ports
from replicast.curve import CurveHub
from replicast.disks import RealDisk
from replicast.errors import Unavailable
from replicast.flexhash.client import TableClient
from replicast.flexhash.commands import BucketState, Code
from replicast.flexhash.control_port import ControlPort
from replicast.flexhash.entries import TargetEntry
from replicast.flexhash.follow_tables import TargetFetch
from replicast.flexhash.join import VdevOpen
from replicast.flexhash.lease import LeaseHolder
from replicast.flexhash.raft.node import RaftNode, RaftSettings
from replicast.flexhash.raft.shell import RaftShell, VoterAddress
from replicast.flexhash.service import ControlService
from replicast.flexhash.shelf import TableShelf
from replicast.flexhash.sources import Place, Sources
from replicast.flexhash.state import STOPPING
from replicast.flexhash.table import Table
from replicast.flexhash.tables import TableFiles
from replicast.flexhash.voters import VoterEntry, voter_set
from replicast.keys import AllowList, Identity, Role, make_key_pair
from replicast.metrics import Counters
from replicast.wire import control_messages as cm
from replicast.wire.bucket_messages import BucketCreate, BucketDeleteBegin
from replicast.wire.frame import pack_frame, unpack_frame
from replicast.wire.user_messages import UsersGet

MS = 1_000_000
TARGETS = (1, 2, 3, 4)
VOTERS = (1, 2, 3)
GATEWAY, STRANGER = 9, 10
KEYS = {node: make_key_pair() for node in (*TARGETS, GATEWAY, STRANGER)}
CLUSTER = b"c" * 16
BUCKET = BucketCreate(
    tenant="default",
    bucket="b",
    spread=8,
    inline_max_bytes=16384,
    created_ns=1,
    settings_floor=0,
    owner="",
    versioning=1,
    location="",
)
INIT = cm.ClusterInit(
    cluster_id=CLUSTER,
    segment_id=1,
    recovery_epoch=0,
    expected_targets=4,
    policy=cm.PolicyInfo(row_count=64, group_size=8, copies=3, min_copies=2, algorithm=1),
)


def now_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def entry(node: int) -> TargetEntry:
    return TargetEntry(
        node_id=node,
        name=f"t{node}",
        host=f"h{node}",
        zone="",
        udp=("127.0.0.1", 1),
        peer=("127.0.0.1", 2),
        control=("127.0.0.1", 3),
        public_key=KEYS[node].public,
        metrics=("127.0.0.1", 4),
    )


class Cluster:
    """Everything in one event loop."""

    def __init__(self, path: Path, boot: int = 1) -> None:
        self.path, self.boot = path, boot
        ports = free_ports("127.0.0.1", 7, random.SystemRandom())
        addresses = [("127.0.0.1", port) for port in ports]
        self.raft = {f"t{n}": VoterAddress(n, addresses[n - 1], KEYS[n].public) for n in VOTERS}
        self.voters = voter_set(
            1, [VoterEntry(n, addresses[2 + n], KEYS[n].public) for n in VOTERS]
        )
        identities = {KEYS[n].public: Identity(n, Role.TARGET) for n in TARGETS}
        identities[KEYS[GATEWAY].public] = Identity(GATEWAY, Role.GATEWAY)
        self.bootstrap = AllowList(identities)
        self.hubs = {n: CurveHub() for n in KEYS}
        self.counters = {n: Counters() for n in KEYS}
        self.holders = {n: LeaseHolder(boot) for n in TARGETS}
        self.controls = dict(zip(TARGETS, addresses[3:], strict=True))
        self.ports = {n: self.make_port(n) for n in TARGETS}
        self.services = {n: self.make_service(n) for n in VOTERS}
        self.clients = {n: self.make_client(n) for n in TARGETS}
        self.shells: dict[int, RaftShell] = {}
        self.adopted: list[tuple[int, int]] = []
        self.gave_up: list[tuple[int, int]] = []

    def make_port(self, node: int) -> ControlPort:
        hub, bind, counters = self.hubs[node], self.controls[node], self.counters[node]
        return ControlPort(hub, KEYS[node], bind, self.bootstrap, counters, now_ns)

    def make_service(self, node: int) -> ControlService:
        return ControlService(
            node,
            self.ports[node],
            self.bootstrap,
            clock_ns=now_ns,
            wall_ns=time.time_ns,
            counters=self.counters[node],
            formation=INIT,
            tables=TableFiles(RealDisk(), self.path / f"tables{node}").load(),
            holder=self.holders[node],
            voter_epoch=1,
        )

    def make_client(self, node: int) -> TableClient:
        def adopted(table: Table) -> None:
            self.adopted.append((node, table.generation))
            if node in TARGETS:
                self.ports[node].shelf.put(table)

        def give_up(table: Table) -> None:
            self.gave_up.append((node, table.generation))

        target = node in TARGETS
        return TableClient(
            self.hubs[node],
            KEYS[node],
            node,
            self.voters,
            clock_ns=now_ns,
            wall_ns=time.time_ns,
            rng=random.Random(node + 100 * self.boot),
            counters=self.counters[node],
            lease=self.holders.get(node),
            files=TableFiles(RealDisk(), self.path / f"tables{node}") if target else None,
            give_up=give_up if target else None,
            on_table=adopted,
            near=None if target else self.near(node),
        )

    def near(self, node: int) -> TargetFetch:
        """For a gateway on the host of target 4, which does not vote."""
        rng, targets = random.Random(node), tuple(self.entry(n) for n in TARGETS)
        return TargetFetch(Sources(Place("h4"), rng), targets, rng, self.counters[node])

    def entry(self, node: int) -> TargetEntry:
        return replace(entry(node), control=self.controls[node])

    async def start(self) -> None:
        for node, service in self.services.items():
            settings = RaftSettings(
                name=f"t{node}",
                voters=[f"t{n}" for n in VOTERS],
                voter_epoch=1,
                cluster_id=CLUSTER,
                directory=self.path / f"raft{node}",
                new_voter=self.boot == 1,
                election_min_ns=150 * MS,
                election_max_ns=400 * MS,
                append_period_ns=30 * MS,
            )
            raft = RaftNode(
                settings,
                disk=RealDisk(),
                apply=service.state.apply,
                snapshot=service.state.snapshot,
                restore=service.state.restore,
                rng=random.Random(node + 100 * self.boot),
                now_ns=now_ns(),
            )
            shell = self.shells[node] = RaftShell(
                raft, self.hubs[node], KEYS[node], self.raft, now_ns, service.turn
            )
            shell.start()
            service.start(raft, shell.wake, {f"t{n}": n for n in VOTERS})
        for client in self.clients.values():
            await client.start()

    async def join(self) -> None:
        boot = self.boot
        opens = {n: [VdevOpen(bytes([n]) * 16, 10, boot, 77 + boot)] for n in TARGETS}
        await asyncio.gather(*(self.clients[n].join(self.entry(n), opens[n], 60) for n in TARGETS))

    async def stop(self) -> None:
        for client in self.clients.values():
            await client.stop()
        for service in self.services.values():
            await service.stop()
        for port in self.ports.values():
            port.close()
        for shell in self.shells.values():
            await shell.stop()
        for hub in self.hubs.values():
            hub.close()


async def until(reached: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not reached():
            await asyncio.sleep(0.01)


def run(path: Path, scenario: Callable[[Cluster], Awaitable[None]], boot: int = 1) -> None:
    async def main() -> None:
        cluster = Cluster(path, boot)
        await cluster.start()
        try:
            await cluster.join()
            await scenario(cluster)
        finally:
            await cluster.stop()

    asyncio.run(main())


def test_formation__all_targets_get_table_and_lease_and_gateways_buckets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(cluster: Cluster) -> None:
        await until(lambda: all(h.valid(now_ns()) for h in cluster.holders.values()))
        tables = [c.table for c in cluster.clients.values() if c.table is not None]
        assert len(tables) == 4 and len({table.digest for table in tables}) == 1
        # What was adopted is on disk, and was given up for before.
        stored = TableFiles(RealDisk(), cluster.path / "tables4").load()
        assert stored[-1].digest == tables[3].digest
        assert set(cluster.adopted) <= set(cluster.gave_up)

        gateway = cluster.clients[GATEWAY] = cluster.make_client(GATEWAY)
        await gateway.start()
        await gateway.wait_table(60)
        made = await gateway.command(BUCKET)
        assert (made.code, made.value) == (Code.OK, 1)
        await gateway.refetch_settings()
        assert gateway.buckets["default", "b"].state == BucketState.ACTIVE
        begin = await gateway.command(BucketDeleteBegin(tenant="default", bucket="b"))
        await until(lambda: gateway.settings_floor >= begin.value)
        # A gateway holds no lease, so the floor says nothing of what it has heard itself.
        await until(lambda: gateway.settings_version >= begin.value)
        states = [c.buckets["default", "b"].state for c in cluster.clients.values()]
        assert states == [BucketState.DELETING] * 5
        await until(lambda: gateway.source_age_ns(now_ns()) < 5_000_000_000)

        refused = await gateway.command(cm.RowsEmptied(vdev=1, seen=1, rows=(1,)))
        assert refused.code == Code.FORBIDDEN
        monkeypatch.setattr("replicast.flexhash.client.REFETCH_SECONDS", 0.2)
        with pytest.raises(Unavailable):
            await gateway.refetch(1 << 40)
        answers = await gateway.status(10)
        leaders = [a for a in answers if a is not None and a.leases]
        assert len(leaders) == 1 and len(leaders[0].leases) == 4

    run(tmp_path, scenario)


def test_returned_lease__the_target_is_down(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        await until(lambda: all(h.valid(now_ns()) for h in cluster.holders.values()))
        leaving = cluster.clients.pop(4)
        watcher = cluster.clients[1]
        assert watcher.table is not None
        index = next(i for i, v in watcher.table.vdevs.items() if v.target == 4)
        await leaving.stop()
        assert not cluster.holders[4].valid(now_ns())
        await until(lambda: watcher.table is not None and watcher.table.vdevs[index].state == 2)

    run(tmp_path, scenario)


def test_slow_commits__another_voter_leads_and_leases_run_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(cluster: Cluster) -> None:
        await until(lambda: all(h.valid(now_ns()) for h in cluster.holders.values()))

        def leaders() -> set[int]:
            return {node for node, shell in cluster.shells.items() if shell.node.is_leader}

        first = leaders()
        with monkeypatch.context() as slow:
            slow.setattr("replicast.flexhash.steward.SLOW_PROOF_NS", 0)
            await until(lambda: bool(leaders() - first))
        assert all(h.valid(now_ns()) for h in cluster.holders.values())

    run(tmp_path, scenario)


def test_stopping_target__serves_until_all_have_adopted_and_its_lease_finds_the_raft_leader(
    tmp_path: Path,
) -> None:
    async def scenario(cluster: Cluster) -> None:
        client, holder = cluster.clients[4], cluster.holders[4]
        await until(lambda: all(h.valid(now_ns()) for h in cluster.holders.values()))
        assert client.table is not None
        (index,) = client.table.vdevs_of(4)
        change = cm.VdevChange(index=index, open_count=cluster.boot, state=STOPPING)
        result = await client.command(cm.VdevStates(changes=(change,)))
        assert result.code == Code.OK

        def handed_over() -> bool:
            table = client.table
            assert table is not None and holder.valid(now_ns())
            told = table.vdevs[index].state == STOPPING
            return told and not table.rows_led_by(4) and holder.floor >= table.generation

        await client.until(handed_over, 60, "a table without rows led here")
        leads = next(n for n in VOTERS if cluster.shells[n].node.is_leader)
        client.core._leader = next(i for i, n in enumerate(VOTERS) if n != leads)  # it has changed
        await client.stop()
        granter = cluster.services[leads].core.steward.granter
        assert not granter.may_hold(4, now_ns())

    run(tmp_path, scenario)


def test_stranger__is_refused_at_the_handshake(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        stranger = cluster.clients[STRANGER] = cluster.make_client(STRANGER)
        await stranger.start()
        await until(
            lambda: (
                any(cluster.counters[n].total("curve_refused") for n in VOTERS)
                or any(cluster.hubs[n].counters.total("curve_refused") for n in VOTERS)
            )
        )
        assert stranger.table is None

    run(tmp_path, scenario)


def test_gateway__gets_its_table_from_the_target_beside_it_and_without_it_from_a_voter(
    tmp_path: Path,
) -> None:
    async def scenario(cluster: Cluster) -> None:
        await until(lambda: all(c.table is not None for c in cluster.clients.values()))
        counters, port = cluster.counters[GATEWAY], cluster.ports[4]

        def told(fetched: str, failed: str) -> tuple[float, float]:
            return (
                counters.get("tables_fetched", fetched),
                counters.get("table_sources_failed", failed),
            )

        async def gateways_until_one_is_served(source: str, failed: str = "") -> None:
            """On a slow machine an answer may be late, or the table a new one that 4 has not yet."""
            async with asyncio.timeout(60):
                served = False
                while not served:
                    before = told(source, failed)
                    gateway = cluster.make_client(GATEWAY)
                    await gateway.start()
                    await gateway.wait_table(60)
                    await gateway.stop()
                    after = told(source, failed)
                    served = after[0] > before[0] and (not failed or after[1] > before[1])

        await gateways_until_one_is_served("host")
        port.shelf, adopted = EmptyShelf(), port.shelf.tables.values()
        await gateways_until_one_is_served("voter", "refused")
        port.shelf = LyingShelf()
        for table in adopted:
            port.shelf.put(table)
        await gateways_until_one_is_served("voter", "wrong")
        port.close()
        await gateways_until_one_is_served("voter", "silent")

    run(tmp_path, scenario)


class EmptyShelf(TableShelf):
    """Has nothing, whatever is adopted meanwhile."""

    def put(self, table: Table) -> None:
        pass


class LyingShelf(TableShelf):
    """Hands out other tables than the voters announced."""

    def put(self, table: Table) -> None:
        policy = replace(table.policy, min_copies=1)
        super().put(Table(table.generation, policy, table.targets, table.vdevs, table.rows))


def test_target_without_a_vote__answers_no_other_question_and_no_stranger(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        counters = cluster.counters[4]
        control, key = cluster.controls[4], KEYS[4].public
        member = cluster.hubs[1].client("control", control, key, KEYS[1])
        stranger = cluster.hubs[STRANGER].client("control", control, key, KEYS[STRANGER])
        ask = pack_frame(cm.TableGet(generation=1 << 40), b"q" * 16)
        refused, _, _ = unpack_frame(await member.request(ask, timeout_seconds=60))
        assert isinstance(refused, cm.ControlRefused)
        assert counters.get("control_refused", "table") == 1
        for message in (cm.StatusGet(detail=True), UsersGet(after=0, current=False)):
            assert member.send(pack_frame(message))
        assert member.send(b"junk")
        await until(lambda: counters.get("control_refused", "truncated") == 1)
        assert counters.get("control_refused", "no_vote") == 2
        refusals = cluster.hubs[4].counters
        await until(lambda: refusals.get("curve_refused", "control", "handshake") > 0)
        assert not stranger.send(ask)

    run(tmp_path, scenario)


def test_restart__state_and_tables_survive(tmp_path: Path) -> None:
    generations: list[int] = []

    async def scenario(cluster: Cluster) -> None:
        await until(lambda: all(h.valid(now_ns()) for h in cluster.holders.values()))
        gateway = cluster.clients[GATEWAY] = cluster.make_client(GATEWAY)
        await gateway.start()
        await gateway.command(BUCKET)
        await gateway.refetch_settings()
        assert gateway.buckets["default", "b"].incarnation == 1
        table = await gateway.wait_table()
        assert all(len(table.name_replicas(row)) == 3 for row in range(64))
        generations.append(table.generation)

    run(tmp_path, scenario)
    run(tmp_path, scenario, boot=2)
    assert generations[1] > generations[0]
