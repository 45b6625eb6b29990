"""Row messages of whole clusters: over UDP when that works, over CURVE when it does not, and back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from replicast.embed import Cluster
from replicast.sim.cluster import Shape, SimCluster, Unit
from replicast.sim.run import one_world
from replicast.sim.world import World
from replicast.units import MS, SECOND
from replicast.wire.header import PAIR

BUCKET = "bucket"
PUT_NS_MAX = 2 * SECOND  # virtual: far above what a lost message costs, far below a time-out


class Bench:
    """A cluster of four with one client that puts small objects; counts what pairs say by (from, to)."""

    def __init__(self) -> None:
        self.cluster = SimCluster(World(1), Shape(targets=4, clients=1, rows=4))
        self.world = self.cluster.world
        self.said: Counter[tuple[str, str]] = Counter()
        self.dropped: Callable[[str, str], bool] = lambda source, to: False
        self.done_ns: list[int] = []
        self.wanted = 0
        self.cluster.start()
        self.world.run_until(5 * SECOND)
        for unit in self.cluster.targets:
            self.tap(unit)
        self.cluster.run_client(self.cluster.clients[0], self._work)

    def tap(self, unit: Unit) -> None:
        """Look at what comes to the socket of a target, after each start of it."""
        ports, address = self.cluster.wires.network.ports, unit.member.udp
        deliver = ports[address]

        def look(datagram: bytes, source: tuple[str, int]) -> None:
            if datagram[6] & PAIR and datagram[:4] == b"RCu1":
                if self.dropped(source[0], address[0]):
                    return
                self.said[source[0], address[0]] += 1
            deliver(datagram, source)

        ports[address] = look

    async def _work(self, client: Cluster) -> None:
        await client.create_bucket(BUCKET)
        while True:
            while len(self.done_ns) >= self.wanted:
                await asyncio.sleep(0.01)
            began_ns = self.world.time_ns
            await client.put(BUCKET, f"{len(self.done_ns)}", bytes(100))
            self.done_ns.append(self.world.time_ns - began_ns)

    def put(self, count: int) -> list[int]:
        """So many more puts, one after the other; what each took."""
        self.said.clear()
        before = len(self.done_ns)
        self.wanted = before + count
        limit_ns = self.world.time_ns + count * PUT_NS_MAX
        assert self.world.run_until(limit_ns, lambda: len(self.done_ns) == self.wanted)
        return self.done_ns[before:]

    def between(self, one: str, other: str) -> tuple[int, int]:
        return self.said[one, other], self.said[other, one]


def host(unit: Unit) -> str:
    return unit.member.udp[0]


def over_udp(bench: Bench, puts: int) -> bool:
    """Nearly all of it: an entry to each of two replicas and their answers, for every put."""
    bench.put(puts)
    return sum(bench.said.values()) > 0.9 * 4 * puts


@pytest.fixture
def bench() -> object:
    with one_world():
        bench = Bench()
        yield bench
        assert bench.world.failures == []
        bench.cluster.end()


def test_calm__over_udp(bench: Bench) -> None:
    bench.put(40)
    assert over_udp(bench, 40)
    slowest_ns = max(bench.put(40))
    assert slowest_ns < 25 * MS


@pytest.mark.parametrize("both_ways", [False, True])
def test_cut_for_datagrams_alone__goes_on_over_curve_and_comes_back(
    bench: Bench, both_ways: bool
) -> None:
    bench.put(40)
    t1, t2 = (host(unit) for unit in bench.cluster.targets[:2])
    bench.dropped = lambda source, to: (
        (source, to) == (t1, t2) or (both_ways and (source, to) == (t2, t1))
    )
    took_ns = bench.put(200)
    assert bench.between(t1, t2)[0] == 0
    assert sorted(took_ns)[len(took_ns) // 2] < 10 * MS, "most do not wait for what is lost"
    bench.dropped = lambda source, to: False
    bench.world.run_until(bench.world.time_ns + 11 * SECOND)  # the longest rest
    assert over_udp(bench, 60)
    assert min(bench.between(t1, t2)) > 0


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_restart__keys_are_told_anew_both_ways(bench: Bench, number: int) -> None:
    bench.put(40)
    unit = bench.cluster.targets[number - 1]
    bench.cluster.crash_target(unit)
    bench.put(10)
    bench.cluster.start_target(unit)
    bench.world.run_until(bench.world.time_ns + 20 * SECOND)
    bench.tap(unit)
    bench.put(40)
    bench.world.run_until(bench.world.time_ns + 11 * SECOND)  # the longest rest
    assert over_udp(bench, 60)
    assert any(host(unit) in pair for pair in bench.said)
