"""One PUT_ACCEPT and what follows it: the winners of a wave and their payload.

Part of PutChunk. The first wave of an attempt has all winners; a winner that drops
out is replaced by a wave of its own, always by unicast, with its own transfer id.
"""

from __future__ import annotations

from dataclasses import dataclass

from replicast.buggify import buggified
from replicast.gateway.ballot import Ballot
from replicast.gateway.context import ChunkContext, ChunkSettings
from replicast.machine import Group, NodeId
from replicast.transfer import BufferLike, Sender, SendPayload
from replicast.units import MS, SECOND
from replicast.wire.chunk_messages import NO_MULTICAST, PayloadGaps, PutAccept, PutAccepted

PROMISE_NS_MAX = 10 * SECOND
ACCEPT_SILENCE_NS = 1 * SECOND


@dataclass(slots=True, eq=False)
class Winner:
    """One VDEV that was asked to store (or, `holder`, to hold) the chunk."""

    vdev_index: int
    node: NodeId
    host: str
    holder: bool
    promised_ns: int
    accepted_ns: int  # when we accepted its bid
    deadline_ns: int
    moved_ns: int  # when a report has last shown that bytes arrive
    received_bytes: int = 0
    heard: bool = False  # PUT_ACCEPTED or PAYLOAD_GAPS came
    late: bool = False  # replaced, still welcome


class Wave:
    """The transfer of one PUT_ACCEPT."""

    def __init__(
        self,
        accept: PutAccept,
        buffer: BufferLike,
        ballot: Ballot,
        settings: ChunkSettings,
        now_ns: int,
        payload: list[SendPayload],
    ) -> None:
        """`payload`: where goes what is to be sent."""
        self.accept = accept
        self.sender = Sender(
            accept.transfer_id,
            buffer,
            accept.size_bytes,
            accept.datagram_bytes,
            authenticated=accept.authenticated,
            out=payload,
        )
        self._straggler_ns = buggified("gateway/straggler-early", settings.straggler_ms * MS, 0)
        self.winners = [
            _winner(ballot, v, v in accept.holders, self._straggler_ns, now_ns)
            for v in (*accept.holders, *accept.winners)
        ]
        # Nobody is late before it: late_ns() only puts a winner's own deadline off.
        self.punctual_until_ns = min(winner.deadline_ns for winner in self.winners)
        self.unicast_from_ns = now_ns + settings.rendezvous_wait_ms * MS
        self._first_excess_ns: int | None = None
        self._rendezvous: Group | None = None
        if accept.rendezvous != NO_MULTICAST:
            self._rendezvous = Group("rendezvous", accept.rendezvous)
        self._waiting: dict[NodeId, int] = {}  # accepted, credit; waits for the others

    def live(self) -> list[Winner]:
        """Winners whose word is awaited."""
        return [w for w in self.winners if not w.late]

    def payload_nodes(self) -> set[NodeId]:
        """Targets that get the payload."""
        return {w.node for w in self.winners if not w.holder}

    def drop(self, winner: Winner) -> None:
        """Stored, refused or hopeless: its target gets no more of this payload from us."""
        self.winners.remove(winner)
        for other in self.winners:
            if other.node == winner.node and not other.holder:
                return
        self.sender.remove(winner.node)
        if self._waiting:
            self._waiting.pop(winner.node, None)
            self._start_if_complete()

    def excess_ns(self, winner: Winner, now_ns: int) -> int | None:
        """It stored now: how much later than promised, beyond the first one of this wave.

        What delays all of them (this host, its link) says nothing about one. None: there is
        nobody to compare with.
        """
        if winner.holder or len(self.accept.winners) < 2:
            return None
        late_ns = now_ns - winner.accepted_ns - winner.promised_ns
        if self._first_excess_ns is None:
            self._first_excess_ns = late_ns
        return max(0, late_ns - self._first_excess_ns)

    def accepted(self, node: NodeId, message: PutAccepted) -> None:
        """A target opened the transfer: send, or wait until all have joined the rendezvous."""
        takes = False
        for winner in self.winners:
            if winner.node == node:
                winner.heard = True
                takes = takes or not winner.holder
        if not message.vdevs or not takes:
            return
        if self._rendezvous is None:
            self.sender.add(node, message.credit_bytes)
            return
        if node in self.sender.nodes():
            return
        self._waiting[node] = message.credit_bytes
        if not message.joined:
            self.go_unicast()
        else:
            self._start_if_complete()

    def late_ns(self, winner: Winner, first_stored_ns: int | None) -> int:
        """When it is to be replaced.

        Not while its bytes go on arriving and it has half of them, or nobody has stored the chunk,
        so that it is the link of this host that takes long: another one in its place would have
        to begin anew.
        """
        ahead = 2 * winner.received_bytes >= self.accept.size_bytes
        if ahead or first_stored_ns is None:
            return max(winner.deadline_ns, winner.moved_ns + self._straggler_ns)
        return max(winner.deadline_ns, first_stored_ns + self._straggler_ns)

    def gaps(self, node: NodeId, message: PayloadGaps, now_ns: int) -> None:
        """A receiver's report."""
        for winner in self.winners:
            if winner.node == node:
                winner.heard = True
                if message.received_bytes > winner.received_bytes:
                    winner.received_bytes, winner.moved_ns = message.received_bytes, now_ns
        if node in self._waiting:
            self._waiting[node] = max(self._waiting[node], message.credit_bytes)
        elif node not in self.sender.nodes() and node in self.payload_nodes():
            self.sender.add(node, 0)  # its PUT_ACCEPTED was lost: the report says as much
            self._start_if_complete()
        self.sender.gaps(node, message)

    def go_unicast(self) -> None:
        """Somebody is not reached by the rendezvous group: unicast for all that wait."""
        _, waiting = self._take_waiting()
        for node, credit_bytes in waiting.items():
            self.sender.add(node, credit_bytes)

    def go_without_late(self) -> None:
        """The group for those that have joined, unicast for the others when they accept."""
        if len(self._waiting) < 2:
            self.go_unicast()
            return
        group, waiting = self._take_waiting()
        if group is not None:
            self.sender.multicast(group, waiting)

    def _take_waiting(self) -> tuple[Group | None, dict[NodeId, int]]:
        taken = self._rendezvous, self._waiting
        self._rendezvous, self._waiting = None, {}
        return taken

    @property
    def waits_for_rendezvous(self) -> bool:
        """Is payload held back for winners that have not joined yet?"""
        return self._rendezvous is not None and bool(self._waiting)

    def _start_if_complete(self) -> None:
        if not self.waits_for_rendezvous:
            return
        reached = {*self._waiting, *self.sender.nodes()}
        if reached >= self.payload_nodes():
            self.go_without_late()


def _winner(
    ballot: Ballot, vdev_index: int, holder: bool, straggler_ns: int, now_ns: int
) -> Winner:
    bid = ballot.bids[vdev_index]
    promised_ns = min(bid.start_ns + bid.duration_ns, PROMISE_NS_MAX)
    deadline_ns = now_ns + straggler_ns + 2 * promised_ns
    owner = ballot.owner(vdev_index)
    node, host = owner.node_id, owner.host
    return Winner(vdev_index, node, host, holder, promised_ns, now_ns, deadline_ns, now_ns)


class Waves:
    """All waves of one attempt, oldest first. `first_stored_ns`: of the put, in any attempt.
    `payload`: to be sent now; its owner empties it."""

    def __init__(self, first_stored_ns: int | None = None) -> None:
        self._waves: list[Wave] = []
        self.first_stored_ns = first_stored_ns
        self.payload: list[SendPayload] = []

    def __len__(self) -> int:
        """How many there are."""
        return len(self._waves)

    def add(self, wave: Wave) -> None:
        """One more PUT_ACCEPT has been sent."""
        self._waves.append(wave)

    def live(self) -> list[tuple[Wave, Winner]]:
        """Winners whose word is awaited, and their waves."""
        return [(wave, w) for wave in self._waves for w in wave.winners if not w.late]

    def hosts(self) -> set[str]:
        """Of those whose word is awaited."""
        hosts = set()
        for wave in self._waves:
            for winner in wave.winners:
                if not winner.late:
                    hosts.add(winner.host)
        return hosts

    def standing(self) -> tuple[list[int], list[int]]:
        """VDEVs whose word is awaited, and those that were replaced and have not spoken since."""
        live: list[int] = []
        late: list[int] = []
        for wave in self._waves:
            for winner in wave.winners:
                (late if winner.late else live).append(winner.vdev_index)
        return live, late

    def find(self, node: NodeId, vdev_index: int) -> tuple[Wave, Winner] | None:
        """The newest wave with this VDEV of this target among its winners."""
        for wave in reversed(self._waves):
            for winner in wave.winners:
                if winner.vdev_index == vdev_index and winner.node == node:
                    return wave, winner
        return None

    def accepted(self, node: NodeId, message: PutAccepted) -> None:
        """PUT_ACCEPTED: for the newest wave that this target is in."""
        for wave in reversed(self._waves):
            for winner in wave.winners:
                if winner.node == node:
                    wave.accepted(node, message)
                    return

    def gaps(self, node: NodeId, message: PayloadGaps, now_ns: int) -> None:
        """PAYLOAD_GAPS."""
        for wave in self._waves:
            if wave.accept.transfer_id == message.transfer_id:
                wave.gaps(node, message, now_ns)

    def sent(self, transfer_id: bytes, token: int) -> None:
        """The shell executed a SendPayload."""
        for wave in self._waves:
            if wave.accept.transfer_id == transfer_id:
                wave.sender.sent(token)

    def unanswered(self, before_ns: int) -> list[tuple[PutAccept, NodeId]]:
        """What to repeat to whom, once for each target of a wave: who has not accepted, and who
        has and was asked before `before_ns`, but whose last word is missing."""
        silent = [(e, w) for e, w in self.live() if not w.heard or w.accepted_ns <= before_ns]
        return list(dict.fromkeys([(wave.accept, winner.node) for wave, winner in silent]))

    def too_long(self, context: ChunkContext) -> bool:
        """Do some of the datagrams under way not fit the path to a winner?"""
        return any(
            wave.accept.datagram_bytes > context.datagram_bytes(wave.payload_nodes())
            for wave in self._waves
        )

    def transfers(self, *, whole_too: bool) -> list[tuple[bytes, NodeId]]:
        """Transfer ids and targets that may still have them open; those to whom all bytes have
        been handed out only with `whole_too`."""
        return sorted(
            [
                (wave.accept.transfer_id, node)
                for wave in self._waves
                if wave.winners
                for node in wave.payload_nodes()
                if whole_too or not wave.sender.handed_out(node)
            ]
        )

    def expire(self, now_ns: int) -> list[int]:
        """Start without those that have not joined; the VDEVs that are late from now on."""
        late = []
        for wave in self._waves:
            if wave.waits_for_rendezvous and now_ns >= wave.unicast_from_ns:
                wave.go_without_late()
            for winner in wave.live():
                unheard = not winner.heard and now_ns >= winner.accepted_ns + ACCEPT_SILENCE_NS
                if unheard or now_ns >= wave.late_ns(winner, self.first_stored_ns):
                    winner.late = True
                    late.append(winner.vdev_index)
        return late

    def deadline_ns(self, before_ns: int) -> int:
        """When expire() has something to do, PUT_ACCEPT's own silence apart; at the latest `before_ns`.
        Asked after every message, and mostly nothing is due before the next repetition."""
        due_ns = before_ns
        for wave in self._waves:
            if wave.waits_for_rendezvous and wave.unicast_from_ns < due_ns:
                due_ns = wave.unicast_from_ns
            if wave.punctual_until_ns < before_ns:
                for winner in wave.live():
                    due_ns = min(due_ns, wave.late_ns(winner, self.first_stored_ns))
        return due_ns
