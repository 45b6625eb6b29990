"""The bids of one attempt: who was asked, who answered what, who should win.

Part of PutChunk (gateway/put.py). Knows nothing about time except through the
memory in stats.py.
"""

from __future__ import annotations

from collections.abc import Collection

from replicast.buggify import buggified
from replicast.flexhash.entries import TargetEntry
from replicast.flexhash.table import Table, VdevState
from replicast.frozen import frozen
from replicast.gateway.context import ChunkContext
from replicast.gateway.copies import LASTING, Copies, reason_of
from replicast.gateway.select import Offer, choose, rank
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
        vdevs, up = table.vdevs, VdevState.UP
        self.asked = [v for v in table.members(row) if vdevs[v].state == up and v not in excluded]
        self.nodes: dict[NodeId, tuple[int, ...]] = {}
        for v in self.asked:
            node = vdevs[v].target
            self.nodes[node] = (*self.nodes[node], v) if node in self.nodes else (v,)
        self.answered: dict[NodeId, None] = {}
        self._silent = dict.fromkeys(self.nodes)  # those of them who have not
        self.bids: dict[int, VdevBid] = {}
        self.refused: dict[int, Reason] = {}
        self.held: dict[int, None] = {}  # those whose bid says that they have it

    def add(self, node: NodeId, bids: tuple[VdevBid, ...]) -> tuple[int, ...]:
        """A BID; what a target says about others' VDEVs is ignored. Returns its own."""
        owned = self.nodes.get(node, ())
        for bid in bids:
            v = bid.vdev_index
            if v not in owned:
                continue
            if bid.kind == REFUSED_BID:
                self.refuse(v, reason_of(bid.reason))
                continue
            self.bids[v] = bid
            if self.refused:
                self.refused.pop(v, None)
            if bid.kind == ALREADY_STORED:
                self.held[v] = None
            elif self.held:
                self.held.pop(v, None)
        self.heard(node)
        return owned

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
        self.held.pop(vdev_index, None)

    def owner(self, vdev_index: int) -> TargetEntry:
        """The target that speaks for a VDEV."""
        return self._table.target_of(vdev_index)

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
        return {self._table.host_of(v) for v in self.held} if self.held else set()

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
        vdevs = self._table.vdevs
        return list(dict.fromkeys([vdevs[v].target for v in self.bids]))

    def silent_nodes(self) -> tuple[NodeId, ...]:
        """Targets that have not answered."""
        return tuple(self._silent)

    def all_in(self, now_ns: int) -> bool:
        """Has everybody answered from whom an answer can be expected?"""
        suspect = self._context.stats.suspect
        for node in self._silent:
            for v in self.nodes[node]:
                if not suspect(v, now_ns):
                    return False
        return True

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
        hosts = dict.fromkeys(copies.hosts)
        for v in skip:
            hosts[self._table.host_of(v)] = None
        if len(hosts) >= count:
            return Plan((), (), tuple(hosts))
        weights = self._context.settings.weights
        taken = {*skip, *copies.vdevs}
        holders = []
        if self.held:
            for offer in rank(chid, self._offers(ALREADY_STORED, taken, now_ns), weights):
                if offer.host not in hosts and len(hosts) < count:
                    hosts[offer.host] = None
                    holders.append(offer.vdev_index)
        zones = [self._table.target_of(v).zone for v in (*copies.vdevs, *skip, *holders)]
        winners = choose(
            chid,
            self._offers(OFFER, taken, now_ns),
            max(0, count - len(hosts)),
            weights,
            hosts_taken=hosts,
            zones_taken=zones,
        )
        for offer in winners:
            hosts[offer.host] = None
        return Plan(tuple(holders), tuple([o.vdev_index for o in winners]), tuple(hosts))

    def _offers(self, kind: int, taken: Collection[int], now_ns: int) -> list[Offer]:
        """Of this kind, but of no VDEV that is `taken`."""
        vdevs, targets = self._table.vdevs, self._table.targets
        memories = self._context.stats.vdevs
        return [
            Offer(
                v,
                (owner := targets[vdevs[v].target]).host,
                owner.zone,
                bid.start_ns,
                bid.duration_ns,
                bid.free_ppm,
                memories[v].excess_ns.get(now_ns),
            )
            for v, bid in self.bids.items()
            if bid.kind == kind and v not in taken
        ]
