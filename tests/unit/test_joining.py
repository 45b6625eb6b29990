"""replicast/joining.py: a cluster formed over CURVE on loopback, and its files."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from replicast.formation import FormationError, Parameters, load_cluster_file, load_formation
from replicast.joining import Founder, Joiner, JoinError, form_here, init_cluster, join_cluster
from replicast.keys import Role, load_cluster_keys, load_key_pair
from replicast.tokens import format_token, make_token

LOOPBACK = ("127.0.0.1", 0)


def run(test: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test

    asyncio.run(bounded())


def joiner(n: int, name: str | None = None) -> Joiner:
    endpoints = ("udp", "peer", "control", "raft", "metrics")
    addresses = {what: ("127.0.0.1", 2000 + 10 * n + i) for i, what in enumerate(endpoints)}
    return Joiner(name=name or f"t{n}", host=f"h{n}", vdev_count=2, addresses=addresses)


def begin(path: Path, targets: int, gateways: int = 0) -> None:
    expected = {Role.TARGET: targets, Role.GATEWAY: gateways}
    init_cluster(path, address=LOOPBACK, expected=expected, parameters=Parameters())


def test_join_cluster__two_targets_and_a_gateway(tmp_path: Path) -> None:
    async def test() -> None:
        begin(tmp_path / "founder", 2, 1)
        founder = Founder(tmp_path / "founder")
        tokens = founder.make_tokens(Role.TARGET, 2) + founder.make_tokens(Role.GATEWAY, 1)
        running = asyncio.create_task(founder.run())
        joiners = [joiner(0), joiner(1), Joiner(name="gw", host="h0")]
        paths = [tmp_path / j.name for j in joiners]
        formations = await asyncio.gather(
            *(join_cluster(t, p, j) for t, p, j in zip(tokens, paths, joiners, strict=True))
        )
        assert await running == formations[0] == formations[1] == formations[2]
        for path in paths:
            assert load_formation(path) == formations[0]
            me = formations[0].member(load_cluster_file(path).node_id)
            assert load_key_pair(path / "node.key").public == me.public_key
            assert load_cluster_keys(path / "cluster.key").current == 1
            modes = {p.name: p.stat().st_mode & 0o777 for p in path.iterdir()}
            assert modes["node.key"] == modes["cluster.key"] == 0o600
        with pytest.raises(FormationError, match="joined a cluster already"):
            await join_cluster(tokens[0], paths[0], joiners[0])

    run(test())


def test_join_cluster__a_token_misused(tmp_path: Path) -> None:
    async def test() -> None:
        begin(tmp_path / "founder", 3)
        founder = Founder(tmp_path / "founder")
        token = founder.make_tokens(Role.TARGET, 1)[0]
        running = asyncio.create_task(founder.run())
        first = asyncio.create_task(join_cluster(token, tmp_path / "a", joiner(0)))
        while not founder.core.state.members:
            await asyncio.sleep(0.01)
        with pytest.raises(JoinError, match="used by another"):
            await join_cluster(token, tmp_path / "b", joiner(1))
        key = load_key_pair(tmp_path / "founder" / "founder.key").public
        forged = format_token(make_token(Role.TARGET, founder.address, key))
        with pytest.raises(JoinError, match="no such token") as caught:
            await join_cluster(forged, tmp_path / "b", joiner(1))
        assert caught.value.reason == "unknown_token"
        founder.form()
        await first
        await running

    run(test())


def test_founder__stopped_and_started_again(tmp_path: Path) -> None:
    async def test() -> None:
        begin(tmp_path / "founder", 2)
        with pytest.raises(FormationError, match="already"):
            begin(tmp_path / "founder", 2)
        founder = Founder(tmp_path / "founder")
        tokens = founder.make_tokens(Role.TARGET, 2)
        running = asyncio.create_task(founder.run())
        first = asyncio.create_task(join_cluster(tokens[0], tmp_path / "a", joiner(0)))
        while not founder.core.state.members:
            await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        again = Founder(tmp_path / "founder")
        assert again.address == founder.address
        running = asyncio.create_task(again.run())
        second = await join_cluster(tokens[1], tmp_path / "b", joiner(1))
        assert await first == second == await running

    run(test())


def test_form_here__and_again_after_an_interruption(tmp_path: Path) -> None:
    async def test() -> None:
        members = {tmp_path / f"t{n}": (Role.TARGET, joiner(n)) for n in range(3)}
        members[tmp_path / "gw"] = (Role.GATEWAY, Joiner(name="gw", host="h0"))
        members[tmp_path / "admin"] = (Role.ADMIN, Joiner(name="admin", host="h0"))
        parameters = Parameters(transport="multicast", copies=2)
        formation = await form_here(tmp_path / "founder", members, parameters)
        assert formation.parameters == parameters and len(formation.members) == 5
        assert await form_here(tmp_path / "founder", members, parameters) == formation
        (tmp_path / "t1" / "formation.toml").unlink()
        assert await form_here(tmp_path / "founder", members, parameters) == formation
        assert load_formation(tmp_path / "t1") == formation

    run(test())
