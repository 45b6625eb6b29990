"""Whom a follower asks for the bytes of a table: the nearest target first. No I/O, no clock.

    sources = Sources(Place(host, zone, addresses), rng)
    sources.learn(targets)              those that there are; at every table adopted
    source = sources.choose(tried, voters, now_ns)      None: ask a voter
    sources.pass_over(node_id, now_ns)  it was silent, or gave something else

Order: targets on the same host, then those in the same zone, then the others; among equals by a
number that each process draws for itself, so that many which start at once turn to different ones. Voters
that are not on the same host are left out: they have enough to do, and are asked when nobody else
has the table. Which table it has to be is known from the voters, by its digest, so nobody here has
to be trusted.
"""

from __future__ import annotations

import random
from collections.abc import Container, Iterable
from enum import IntEnum
from typing import Protocol

from replicast.flexhash.entries import VdevState
from replicast.flexhash.table import Table
from replicast.frozen import frozen
from replicast.machine import Address, NodeId
from replicast.units import SECOND

PASSED_OVER_NS = 60 * SECOND
SERVING = (VdevState.UP, VdevState.DRAINING)


class Nearness(IntEnum):
    """How far away a target is; less is nearer."""

    HOST = 0
    ZONE = 1
    OTHER = 2


class Neighbour(Protocol):
    """A target as tables and formation documents list it."""

    @property
    def node_id(self) -> NodeId: ...
    @property
    def host(self) -> str: ...
    @property
    def zone(self) -> str: ...
    @property
    def control(self) -> Address: ...
    @property
    def public_key(self) -> str: ...


@frozen
class Place:
    """Where a follower runs: labels as in the formation document (empty: unknown), own addresses."""

    host: str = ""
    zone: str = ""
    addresses: tuple[str, ...] = ()

    def nearness(self, other: Neighbour) -> Nearness:
        """Of a target."""
        if other.control[0] in self.addresses or (self.host and other.host == self.host):
            return Nearness.HOST
        return Nearness.ZONE if self.zone and other.zone == self.zone else Nearness.OTHER


@frozen
class Source:
    """A target that may be asked, and how to reach it."""

    node_id: NodeId
    control: Address
    public_key: str
    nearness: Nearness


class Sources:
    """One per follower."""

    def __init__(self, place: Place, rng: random.Random) -> None:
        self._place, self._rng = place, rng
        self._sources: dict[NodeId, Source] = {}
        self._draws: dict[NodeId, float] = {}
        self._passed_over_ns: dict[NodeId, int] = {}  # until when

    def learn(self, targets: Iterable[Neighbour]) -> None:
        """These can be asked from now on, and no others."""
        self._sources = {
            each.node_id: Source(
                each.node_id, each.control, each.public_key, self._place.nearness(each)
            )
            for each in targets
        }
        self._draws = {n: self._draws.get(n) or self._rng.random() for n in self._sources}
        self._passed_over_ns = {
            n: until_ns for n, until_ns in self._passed_over_ns.items() if n in self._sources
        }

    def choose(
        self, tried: Container[NodeId], voters: Container[NodeId], now_ns: int
    ) -> Source | None:
        """The nearest that was not `tried` and is not passed over."""

        def may(source: Source) -> bool:
            node_id = source.node_id
            if node_id in tried or now_ns < self._passed_over_ns.get(node_id, now_ns):
                return False
            return source.nearness == Nearness.HOST or node_id not in voters

        able = (source for source in self._sources.values() if may(source))
        return min(able, key=lambda s: (s.nearness, self._draws[s.node_id]), default=None)

    def pass_over(self, node_id: NodeId, now_ns: int) -> None:
        """It was silent or gave something else: leave it alone for PASSED_OVER_NS."""
        if node_id in self._sources:
            self._passed_over_ns[node_id] = now_ns + PASSED_OVER_NS


def serving(table: Table) -> list[Neighbour]:
    """The targets of a table that are expected to answer: some VDEV of theirs serves."""
    up = {vdev.target for vdev in table.vdevs.values() if vdev.state in SERVING}
    return [entry for node_id, entry in table.targets.items() if node_id in up]
