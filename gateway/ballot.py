"""The bids of one attempt: who was asked, who answered what, who should win.

Part of PutChunk (gateway/put.py). Knows nothing about time except through the
memory in stats.py.
"""

from __future__ import annotations

from collections.abc import Collection

from replicast.buggify import buggified
from replicast.flexhash.table import Table, VdevState
from replicast.frozen import frozen
from replicast.gateway.context import ChunkContext
from replicast.gateway.copies import LASTING, Copies, reason_of
from replicast.gateway.select import Offer, Weights, choose, rank
from replicast.machine import NodeId
from replicast.units import MS
from replicast.wire.chunk_messages import ALREADY_STORED, OFFER, REFUSED_BID, VdevBid
from replicast.wire.reasons import Reason


@frozen
class Plan:
    """Whom to accept: holders have the chunk, winners get it."""

    holders: tuple[int, ...]
    winners: tuple[int, ...]
    hosts: tuple[str, ...]  # with those that have a counted copy


HELD_WINDOWS = 3


class Ballot:
    """One proposal's answers. VDEVs speak only through the target that owns them."""

    def __init__(
        self, context: ChunkContext, table: Table, row: int, excluded: Collection[int]
    ) -> None:
        self._context, self._table = context, table
        self.asked = [
            v
            for v in table.members(row)
            if v not in excluded and table.vdevs[v].state == VdevState.UP
        ]
        self.nodes: dict[NodeId, tuple[int, ...]] = {}
        for v in self.asked:
            node = table.target_of(v).node_id
            self.nodes[node] = (*self.nodes.get(node, ()), v)
        self.answered: dict[NodeId, None] = {}
        self._silent = dict.fromkeys(self.nodes)  # those of them who have not
        self.bids: dict[int, VdevBid] = {}
        self.refused: dict[int, Reason] = {}
        self._held_hosts: set[str] | None = None  # of the bids as they are

    def add(self, node: NodeId, bids: tuple[VdevBid, ...]) -> None:
        """A BID; what a target says about others' VDEVs is ignored."""
        for bid in bids:
            if bid.vdev_index not in self.nodes.get(node, ()):
                continue
            if bid.kind == REFUSED_BID:
                self.refuse(bid.vdev_index, reason_of(bid.reason))
            else:
                self.bids[bid.vdev_index] = bid
                self.refused.pop(bid.vdev_index, None)
        self.heard(node)
        self._held_hosts = None

    def heard(self, node: NodeId) -> None:
        """An answer of this target, whatever it says."""
        self.answered[node] = None
        self._silent.pop(node, None)

    def refuse(self, vdev_index: int, reason: Reason) -> None:
        """This VDEV will not take it in this attempt."""
        self.forget(vdev_index)
        self.refused[vdev_index] = reason

    def forget(self, vdev_index: int) -> None:
        """Its bid counts no more."""
        self.bids.pop(vdev_index, None)
        self._held_hosts = None

    def owner(self, vdev_index: int) -> NodeId:
        """The target that speaks for a VDEV."""
        return self._table.target_of(vdev_index).node_id

    def window_ns(self, usual_ns: int) -> int:
        """How long the last bidders are worth waiting for; their answers usually take less than
        `usual_ns`."""
        settings = self._context.settings
        # Nothing known yet: the longest, so that a fresh gateway meets earlier copies.
        high_ns = settings.bid_window_max_ms * MS
        window_ns = min(high_ns, max(settings.bid_window_min_ms * MS, usual_ns or high_ns))
        return buggified("gateway/window-none", window_ns, 0)

    def held_hosts(self) -> set[str]:
        """Hosts where the chunk is stored already."""
        if self._held_hosts is None:
            held = [v for v, bid in self.bids.items() if bid.kind == ALREADY_STORED]
            self._held_hosts = {self._table.host_of(v) for v in held}
        return self._held_hosts

    @property
    def held_window_ns(self) -> int:
        """The wait once somebody has the chunk: another who has it and is late costs less than
        sending it once more."""
        return HELD_WINDOWS * self._context.settings.bid_window_max_ms * MS

    def mark_silent(self, now_ns: int) -> None:
        """Who has not answered by now is not waited for in the next puts."""
        for node in self.silent_nodes():
            for v in self.nodes[node]:
                self._context.stats.silent(v, now_ns)

    def bidders(self) -> list[NodeId]:
        """Targets with a bid that counts."""
        return [n for n, vdevs in self.nodes.items() if any(v in self.bids for v in vdevs)]

    def silent_nodes(self) -> tuple[NodeId, ...]:
        """Targets that have not answered."""
        return tuple(self._silent)

    def all_in(self, now_ns: int) -> bool:
        """Has everybody answered from whom an answer can be expected?"""
        suspect = self._context.stats.suspect
        return all(all(suspect(v, now_ns) for v in self.nodes[node]) for node in self._silent)

    def reachable_hosts(self, now_ns: int, *, trust_silent: bool) -> set[str]:
        """Hosts that may still take a copy; without trust only those of silent members that
        were not silent lately."""
        hosts = set()
        for node, vdevs in self.nodes.items():
            for v in vdevs:
                lasting = self.refused.get(v) in LASTING
                silent = node not in self.answered
                if not lasting and (
                    trust_silent or not silent or not self._context.stats.suspect(v, now_ns)
                ):
                    hosts.add(self._table.host_of(v))
        return hosts

    def plan(
        self, chid: bytes, copies: Copies, count: int, now_ns: int, skip: Collection[int] = ()
    ) -> Plan:
        """The best way from the counted copies to `count` hosts with what is on the table.

        `skip`: VDEVs under way; their hosts are taken but not counted here."""
        hosts = dict.fromkeys((*copies.hosts, *(self._table.host_of(v) for v in skip)))
        if len(hosts) >= count:
            return Plan((), (), tuple(hosts))  # nearly always, once a chunk is under way
        free = {v: b for v, b in self.bids.items() if v not in skip and v not in copies.vdevs}
        have = rank(chid, self._offers(free, ALREADY_STORED, now_ns), self._weights)
        holders = []
        for offer in have:
            if offer.host not in hosts and len(hosts) < count:
                hosts[offer.host] = None
                holders.append(offer.vdev_index)
        zones = [self._table.target_of(v).zone for v in (*copies.vdevs, *skip, *holders)]
        winners = choose(
            chid,
            self._offers(free, OFFER, now_ns),
            max(0, count - len(hosts)),
            self._weights,
            hosts_taken=hosts,
            zones_taken=zones,
        )
        hosts.update(dict.fromkeys(o.host for o in winners))
        return Plan(tuple(holders), tuple(o.vdev_index for o in winners), tuple(hosts))

    @property
    def _weights(self) -> Weights:
        return self._context.settings.weights

    def _offers(self, bids: dict[int, VdevBid], kind: int, now_ns: int) -> list[Offer]:
        stats = self._context.stats
        return [
            self._offer(b, stats.vdev(v).excess_ns.get(now_ns))
            for v, b in bids.items()
            if b.kind == kind
        ]

    def _offer(self, bid: VdevBid, excess_ns: int) -> Offer:
        target = self._table.target_of(bid.vdev_index)
        return Offer(
            bid.vdev_index,
            target.host,
            target.zone,
            bid.start_ns,
            bid.duration_ns,
            bid.free_ppm,
            excess_ns,
        )
