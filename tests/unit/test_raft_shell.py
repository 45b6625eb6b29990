"""flexhash/raft/shell.py: three voters on loopback with real files and CURVE."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from replicast.cli.ports import free_ports
from replicast.curve import CurveHub
from replicast.disks import ForgetfulDisk, RealDisk
from replicast.flexhash.raft.node import Outcome, RaftNode, RaftSettings
from replicast.flexhash.raft.shell import RaftShell, VoterAddress
from replicast.keys import KeyPair, make_key_pair
from replicast.metrics import Counters
from replicast.sim.loop import SimLoop
from replicast.sim.turns import Clock
from replicast.sim.world import World

MS = 1_000_000
NAMES = ("a", "b", "c")
KEYS = {name: make_key_pair() for name in NAMES}


def now_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def voter_addresses() -> dict[str, VoterAddress]:
    """At ports that were free a moment ago, held by nobody."""
    ports = free_ports("127.0.0.1", len(NAMES), random.SystemRandom())
    return {
        name: VoterAddress(n, ("127.0.0.1", ports[n]), KEYS[name].public)
        for n, name in enumerate(NAMES)
    }


def make_shell(
    name: str, path: Path, hub: CurveHub, voters: dict[str, VoterAddress], key: KeyPair
) -> tuple[RaftShell, list[bytes]]:
    applied: list[bytes] = []

    def apply(command: bytes) -> bytes:
        applied.append(command)
        return command.upper()

    settings = RaftSettings(
        name=name,
        voters=NAMES,
        voter_epoch=1,
        cluster_id=bytes(16),
        directory=path / name,
        new_voter=True,
        election_min_ns=150 * MS,
        election_max_ns=400 * MS,
        append_period_ns=30 * MS,
    )
    node = RaftNode(
        settings,
        disk=RealDisk(),
        apply=apply,
        snapshot=lambda: b"",
        restore=lambda _: None,
        rng=random.Random(name),
        now_ns=now_ns(),
        counters=hub.counters,
    )
    return RaftShell(node, hub, key, voters, now_ns), applied


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


async def submit_until_applied(shells: list[RaftShell], command: bytes) -> bytes | None:
    while True:
        for shell in shells:
            result, outcome = await shell.submit(command)
            if outcome is Outcome.APPLIED:
                return result
        await asyncio.sleep(0.02)


def test_three_voters__elect_commit_and_shut_out_a_stranger(tmp_path: Path) -> None:
    async def test() -> None:
        voters = voter_addresses()
        hub, strange_hub = CurveHub(), CurveHub()
        stranger = make_key_pair()
        made = [make_shell(n, tmp_path, hub, voters, KEYS[n]) for n in NAMES[:2]]
        # The third voter's place is taken by a process with a key that nobody listed.
        third, third_applied = make_shell("c", tmp_path, strange_hub, voters, stranger)
        shells = [shell for shell, _ in made]
        try:
            for shell in (*shells, third):
                shell.start()
            assert await submit_until_applied(shells, b"one") == b"ONE"
            await until(lambda: all(b"one" in applied for _, applied in made))
            await until(lambda: hub.counters.get("curve_refused", "raft", "handshake") > 0)
            assert third_applied == [] and not third.node.is_leader
            assert hub.counters.total("raft_turn_failures") == 0
        finally:
            for shell in (*shells, third):
                await shell.stop()
            strange_hub.close()
            hub.close()

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test()

    asyncio.run(bounded())


def test_one_voter__power_loss_takes_nothing_that_was_answered(tmp_path: Path) -> None:
    def start(disk: ForgetfulDisk, new_voter: bool) -> tuple[RaftNode, list[bytes]]:
        applied: list[bytes] = []

        def apply(command: bytes) -> bytes:
            applied.append(command)
            return b""

        settings = RaftSettings(
            name="a",
            voters=["a"],
            voter_epoch=1,
            cluster_id=bytes(16),
            directory=tmp_path / "raft",
            new_voter=new_voter,
            compact_entries=12,
        )
        node = RaftNode(
            settings,
            disk=disk,
            apply=apply,
            snapshot=lambda: b" ".join(applied),
            restore=lambda state: applied.extend(state.split()),
            rng=random.Random(1),
            now_ns=0,
        )
        return node, applied

    answered: list[bytes] = []
    for round_number in range(6):
        disk = ForgetfulDisk()
        node, applied = start(disk, new_voter=round_number == 0)
        for tick in range(1, 200):
            node.tick(tick * 20 * MS)
            node.take_outgoing()
            if node.is_leader and tick % 4 == 0:
                command = b"%d.%d" % (round_number, tick)

                def answer(_: bytes | None, outcome: Outcome, command: bytes = command) -> None:
                    if outcome is Outcome.APPLIED:
                        answered.append(command)

                node.submit(command, answer, tick * 20 * MS)
        assert set(answered) <= set(applied) and len(applied) == len(set(applied))
        assert node.counters.get("raft_state", "leader") == 1
        disk.power_loss()
    assert len(answered) > 100


def test_wake__from_inside_a_turn_brings_another_one() -> None:
    turns = 0

    def after_turn(_now_ns: int) -> None:
        nonlocal turns
        turns += 1
        if turns < 3:  # as the control service does when it submits
            shell.wake()
        else:
            third.set()

    async def test() -> None:
        nonlocal shell, third
        third = asyncio.Event()
        hub = CurveHub()
        node: Any = SimpleNamespace(
            settings=SimpleNamespace(name="a"),
            tick=lambda now_ns: None,
            take_outgoing=list,
            deadline_ns=lambda: now_ns() + 1_000_000 * MS,
            close=lambda: None,
            counters=hub.counters,
        )
        shell = RaftShell(node, hub, KEYS["a"], voter_addresses(), now_ns, after_turn)
        shell.start()
        try:
            async with asyncio.timeout(20):
                await third.wait()
        finally:
            await shell.stop()
            hub.close()

    shell: RaftShell
    third: asyncio.Event
    asyncio.run(test())


def test_failing_turn__is_tried_again_and_not_at_once() -> None:
    world = World(1)
    clock = Clock(world, 0, 0, 0)
    loop = SimLoop(world, clock, "a", random.Random(1))  # type: ignore[abstract]
    ticks: list[int] = []

    def tick(at_ns: int) -> None:
        ticks.append(at_ns)
        raise ValueError("a bug")

    server = SimpleNamespace(hand_to=lambda take_all: None)
    hub: Any = SimpleNamespace(server=lambda *_, **more: server)
    node: Any = SimpleNamespace(
        settings=SimpleNamespace(name="a"),
        tick=tick,
        deadline_ns=lambda: 0,  # long due
        counters=Counters(),
    )
    voters = {"a": VoterAddress(0, ("127.0.0.1", 1), KEYS["a"].public)}

    def start() -> None:
        RaftShell(node, hub, KEYS["a"], voters, clock.now_ns).start()

    loop.call_soon(start)
    world.run_until(1000 * MS)
    assert ticks == [n * 50 * MS for n in range(21)]
    assert node.counters.total("raft_turn_failures") == 21
    assert world.failures == []
