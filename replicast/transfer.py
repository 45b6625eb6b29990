"""Moving one chunk's payload: what sender and receiver of a put and of a get have in common.

    sender                                  receiver
      | <-- credit (PUT_ACCEPTED, CHUNK_SEND) |
      | -- PAYLOAD x n, within the credit --> |   placed by the network thread, not here
      | <-- PAYLOAD_GAPS (credit, missing) -- |   on a timer, when nothing moves
      | -- PAYLOAD, the missing only -------> |

`Sender` decides which bytes go to whom and when; the shell executes its
SendPayload events and reports each with sent(). `Receiver` looks at the
reassembly's progress on a timer. Both are parts of the cores in gateway/ and target/, driven by them.

Invariants: a receiver is never sent a new byte beyond its credit, rounded up
to a whole datagram; a resend waits until the earlier jobs for that receiver have
left, and a report that misses all of a long job is believed the second time, so
that one written before the bytes arrived causes no second copy. A resend of which
less than half came (twice, where that may be chance) is followed by one of what did come: what a link cannot carry is
not sent into it again and again.
Limits: one resend job and one job of new bytes per receiver at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from replicast.arrivals import Arrivals
from replicast.credit import CreditPool
from replicast.frozen import frozen
from replicast.machine import Destination, Event, Group, NodeId
from replicast.transport.result import Section
from replicast.units import KIB, MS
from replicast.wire.chunk_messages import RANGES_MAX, ByteRange, PayloadGaps

Ranges = tuple[tuple[int, int], ...]
BufferLike = Any  # whatever supports the buffer protocol; Python 3.11 has no public type for it

GAP_WAIT_NS = 20 * MS
GAP_WAIT_MAX_NS = 320 * MS
HOLE_WAIT_PART = 4  # of the wait, when only holes are missing
TICK_NS = 5 * MS
SPOKEN_NS = 500 * MS  # the sender of a slow payload hears that often that it is still wanted
UNREAD_NS_MAX = 250 * MS
LONG_JOB_DATAGRAMS = 8
ALL_LOST_WAITS = 8  # so much longer is waited before all of a long payload is believed lost
SLACK = 2  # times what bytes before ours take at the best pace seen
ROUND_TRIP_NS_MAX = 100 * MS  # a measured one: a disk may have been part of it
RESEND_DATAGRAMS_MIN = 2  # that much is sent again even when nothing came of the last resend
JUDGED_DATAGRAMS_MIN = 4  # what became of fewer may be chance
# Datagrams of up to 64 KiB leave as one packet (GSO), which a virtual network carries, and loses, whole. Where
# most of the payload has come, that a resend of no more than some of these is lost may be chance once.
CHANCE_BYTES_MAX = 4 * 64 * KIB


@frozen
class SendPayload(Event):
    """Send these byte ranges of `buffer` as payload datagrams; then report sent(transfer_id,
    token) to the core. `to`: nodes by unicast, interleaved, or one rendezvous group."""

    transfer_id: bytes
    token: int
    buffer: BufferLike
    ranges: Ranges
    to: tuple[NodeId, ...] | Group
    datagram_bytes: int
    size_bytes: int
    authenticated: bool
    resend: bool

    @property
    def payload_bytes(self) -> int:
        """Bytes that leave this host for it, headers not counted."""
        copies = 1 if isinstance(self.to, Group) else len(self.to)
        return copies * _length(self.ranges)


class PayloadBuffers(Protocol):
    """replicast.transport.reassembly.Reassembly, or its native twin."""

    def open(
        self,
        transfer_id: bytes,
        size_bytes: int,
        datagram_bytes: int,
        authenticated: bool = False,
        hashed: bool = False,
        section: Section | None = None,
    ) -> None: ...
    def place(self, transfer_id: bytes, offset: int, data: bytes) -> Any: ...
    def progress(self, transfer_id: bytes) -> tuple[int, int]: ...
    def gaps(self, transfer_id: bytes, limit: int) -> list[tuple[int, int]]: ...
    def unread(self) -> bool: ...
    def digest(self, transfer_id: bytes) -> bytes | None: ...
    def take(self, transfer_id: bytes) -> Any: ...
    def close(self, transfer_id: bytes) -> Any: ...


class _Peer:
    """What one receiver may get and has been sent."""

    __slots__ = ("cursor", "doubted", "jobs", "limit", "resend_from", "resent", "unheard", "window")

    def __init__(self, cursor: int, limit: int) -> None:
        self.cursor = cursor  # bytes before it were handed out once
        self.limit = limit  # bytes before it may be
        self.jobs = 0  # SendPayload events that sent() has not confirmed
        self.unheard = (0, 0)  # the last long run of new bytes, until a report spoke of it
        self.resent = (0, 0)  # of the last resend: how many bytes, and how many had come by then
        self.doubted = False  # most of the last resend was lost
        self.window: int | None = None  # bytes of one resend; None: all that is missing
        self.resend_from = 0  # where the last resend ended: the next goes on there


class Sender:
    """One payload on its way to one or several receivers."""

    def __init__(
        self,
        transfer_id: bytes,
        buffer: BufferLike,
        size_bytes: int,
        datagram_bytes: int,
        *,
        authenticated: bool = False,
        skip_bytes: int = 0,
        out: list[SendPayload] | None = None,
    ) -> None:
        """`skip_bytes` travel in a control message. `out`: gets its events in place of take()."""
        self.transfer_id, self.buffer = transfer_id, buffer
        self.size_bytes, self.datagram_bytes = size_bytes, datagram_bytes
        self.authenticated = authenticated
        self._skip_bytes = skip_bytes
        self._peers: dict[NodeId, _Peer] = {}
        self._group: Group | None = None
        self._group_nodes: tuple[NodeId, ...] = ()
        self._jobs: dict[int, tuple[NodeId, ...]] = {}
        self._token = 0
        self._out: list[SendPayload] = [] if out is None else out

    def handed_out(self, node: NodeId) -> bool:
        """Has every byte been handed out for this receiver once?"""
        peer = self._peers.get(node)
        return peer is not None and peer.cursor >= self.size_bytes

    def add(self, node: NodeId, credit_bytes: int) -> None:
        """A receiver that is reached by unicast; twice is once."""
        if node not in self._peers:
            peer = self._admit(node, credit_bytes)
            start, end = peer.cursor, self._whole_datagrams(peer.limit)
            if start < end:
                self._move_cursor(peer, end)
                self._send(((start, end),), (node,), resend=False)

    def add_all(self, nodes: Sequence[NodeId], credit_bytes: int) -> None:
        """Several receivers with the same credit: one job for all of them."""
        for node in nodes:
            if node not in self._peers:
                self._admit(node, credit_bytes)
        self._pump(nodes)

    def multicast(self, group: Group, credits: dict[NodeId, int]) -> None:
        """These receivers are reached by one group; their gaps are still mended by unicast."""
        for node, credit_bytes in credits.items():
            self._admit(node, credit_bytes)
        self._group, self._group_nodes = group, tuple(credits)
        self._pump_group()

    def remove(self, node: NodeId) -> None:
        """This receiver is done, or given up: nobody waits for its credit any more."""
        if self._peers.pop(node, None) is not None and node in self._group_nodes:
            self._group_nodes = tuple(n for n in self._group_nodes if n != node)
            self._pump_group()

    def gaps(self, node: NodeId, message: PayloadGaps) -> None:
        """A receiver's report: new credit, and what it misses of what was sent."""
        peer = self._peers.get(node)
        if peer is None:
            return
        limit = min(self.size_bytes, message.received_bytes + message.credit_bytes)
        peer.limit = max(peer.limit, limit)
        missing = self._missing(peer, message.ranges)
        if missing and not peer.jobs and not self._premature(peer, missing):
            self._send(self._portion(peer, missing, message.received_bytes), (node,), resend=True)
        self._pump((node,))

    def sent(self, token: int) -> None:
        """The shell has handed all datagrams of this event to the network."""
        for node in self._jobs.pop(token, ()):
            if node in self._peers:
                self._peers[node].jobs -= 1

    def take(self) -> list[SendPayload]:
        """Events for the shell, in order."""
        taken, self._out = self._out, []
        return taken

    @property
    def idle(self) -> bool:
        """Nothing is queued at the shell."""
        return not self._jobs

    def nodes(self) -> tuple[NodeId, ...]:
        """Receivers that are not done."""
        return tuple(self._peers)

    # -- inside ---------------------------------------------------------------------

    def _admit(self, node: NodeId, credit_bytes: int) -> _Peer:
        limit = min(self.size_bytes, self._skip_bytes + credit_bytes)
        peer = self._peers[node] = _Peer(self._skip_bytes, limit)
        return peer

    def _premature(self, peer: _Peer, missing: Ranges) -> bool:
        """Does it miss all of the last job? Then it was probably written before the bytes came;
        when they are lost indeed the next report says so again."""
        (start, end), peer.unheard = peer.unheard, (0, 0)
        return start < end and any(a <= start and end <= b for a, b in missing)

    def _missing(self, peer: _Peer, ranges: Sequence[ByteRange]) -> Ranges:
        """The part of a report below the cursor; nonsense from a peer falls out here.

        No datagram is named twice, so a report costs one copy of the payload at most.
        """
        found: list[tuple[int, int]] = []
        covered = 0  # bytes before it are in `found` already, or were passed over
        for r in ranges:
            start, end = max(r.start, covered), min(r.end, peer.cursor)
            if start < end:
                found.append((start, end))
                covered = self._whole_datagrams(end)
        return tuple(found)

    def _portion(self, peer: _Peer, missing: Ranges, received_bytes: int) -> Ranges:
        """The part of what is missing to send again now.

        All of it, while resends come through. Where most of the last one was lost, a queue on the
        way is full: only as much goes out as came, and behind what was sent last, which may still
        lie in that queue. Twice as much each time that most of it came.
        """
        resent_bytes, came_bytes = peer.resent[0], max(0, received_bytes - peer.resent[1])
        if came_bytes * 2 >= resent_bytes:
            peer.window = None if peer.window is None else max(peer.window, 2 * resent_bytes)
            peer.doubted = False
        elif resent_bytes >= JUDGED_DATAGRAMS_MIN * self.datagram_bytes:
            little = resent_bytes <= CHANCE_BYTES_MAX and 4 * received_bytes >= 3 * peer.cursor
            if peer.doubted or not little:
                peer.window = max(came_bytes, RESEND_DATAGRAMS_MIN * self.datagram_bytes)
            peer.doubted = True
        chosen = missing
        if peer.window is not None and peer.window < _length(missing):
            chosen = self._behind(missing, peer.resend_from, peer.window)
        peer.resent, peer.resend_from = (_length(chosen), received_bytes), chosen[-1][1]
        return chosen

    def _behind(self, missing: Ranges, start: int, limit_bytes: int) -> Ranges:
        """So many of these bytes from `start` on; from the first one when there are none."""
        found: list[tuple[int, int]] = []
        if missing[-1][1] <= start:
            start = 0
        for low, high in missing:
            low = max(low, start)
            high = min(high, self._whole_datagrams(low + limit_bytes - _length(found)))
            if low < high:
                found.append((low, high))
            if _length(found) >= limit_bytes:
                break
        return tuple(found)

    def _pump(self, nodes: Sequence[NodeId]) -> None:
        """Hand out what these receivers may have now; for the others nothing has changed."""
        self._pump_group()
        same: dict[tuple[int, int], list[NodeId]] = {}
        for node in nodes:
            peer = self._peers[node]
            end = self._whole_datagrams(peer.limit)
            if node not in self._group_nodes and peer.cursor < end:
                same.setdefault((peer.cursor, end), []).append(node)
                self._move_cursor(peer, end)
        for (start, end), nodes in same.items():
            self._send(((start, end),), tuple(nodes), resend=False)

    def _pump_group(self) -> None:
        if not self._group_nodes:
            return
        peers = [self._peers[node] for node in self._group_nodes]
        start = min(peer.cursor for peer in peers)
        end = self._whole_datagrams(min(peer.limit for peer in peers))
        if start < end and self._group is not None:
            for peer in peers:
                self._move_cursor(peer, end)
            self._send(((start, end),), self._group, resend=False)

    def _move_cursor(self, peer: _Peer, end: int) -> None:
        if end - peer.cursor >= LONG_JOB_DATAGRAMS * self.datagram_bytes:
            peer.unheard = (peer.cursor, end)
        peer.cursor = end

    def _whole_datagrams(self, end: int) -> int:
        whole = -(-end // self.datagram_bytes) * self.datagram_bytes
        return whole if whole < self.size_bytes else self.size_bytes

    def _send(self, ranges: Ranges, to: tuple[NodeId, ...] | Group, *, resend: bool) -> None:
        self._token += 1
        nodes = self._group_nodes if isinstance(to, Group) else to
        self._jobs[self._token] = nodes
        for node in nodes:
            self._peers[node].jobs += 1
        event = SendPayload(
            self.transfer_id,
            self._token,
            self.buffer,
            ranges,
            to,
            self.datagram_bytes,
            self.size_bytes,
            self.authenticated,
            resend,
        )
        self._out.append(event)


class Receiver:
    """Watches one open transfer: reports gaps when nothing moves, slides a partial credit.

    Bytes that were on their way to this socket before those of this transfer were asked for come
    before them, if the line is slow: while they arrive, nothing is missing yet.
    """

    def __init__(
        self,
        buffers: PayloadBuffers,
        transfer_id: bytes,
        sender: Destination,
        credit_bytes: int,
        now_ns: int,
        *,
        pool: CreditPool | None = None,
        round_trip_ns: int | None = 0,
        long: bool = False,
    ) -> None:
        """`pool`: of all transfers to this socket; None: they do not matter, nor does how long the
        way is. `round_trip_ns` to the sender; None: not known, the first answer tells. `long`: of
        so many datagrams that all of them do not get lost."""
        self.transfer_id, self.sender = transfer_id, sender
        self.received_bytes = 0
        self.moved_ns = now_ns  # when bytes were last seen to have arrived
        self.progress_ns = now_ns  # or bytes that had to come first
        self.round_trip_ns = round_trip_ns or 0
        self._measures = round_trip_ns is None  # the first answer, which a disk may delay
        self._buffers, self._pool = buffers, pool
        self._credit_bytes = credit_bytes
        self._granted_at_bytes = 0
        self._size_bytes = buffers.progress(transfer_id)[1]
        self._long = long
        self._asked_end = self._size_bytes  # where what was asked for last ends
        self.next_ns = _tick_after(now_ns)  # when check() is due
        self._reported_ns = now_ns
        self._wait_ns = max(GAP_WAIT_NS, 2 * self.round_trip_ns)
        self._in_vain = False  # nothing has come since the last report
        self._answered = True
        self._ask(now_ns)

    def deadline_ns(self) -> int:
        """When check() is due."""
        return self.next_ns

    def grant(self, credit_bytes: int, now_ns: int) -> PayloadGaps:
        """New credit; the report that tells the sender."""
        self._credit_bytes = credit_bytes
        self._look(now_ns)
        self._begin_wait()
        self._answered = True  # what was asked for before had to wait for the credit
        self._ask(now_ns)
        self.next_ns = _tick_after(now_ns)
        return self._report((), now_ns)

    def check(self, now_ns: int) -> PayloadGaps | None:
        """A report when one is due: bytes were lost or stopped coming, or half the credit is used."""
        if now_ns < self.next_ns:
            return None
        self.next_ns = _tick_after(now_ns)
        moved = self._look(now_ns)
        if moved:
            self._begin_wait()
            used = self.received_bytes - self._granted_at_bytes
            if self._slides() and used * 2 >= self._credit_bytes:
                return self._report((), now_ns)
        missing = tuple(self._buffers.gaps(self.transfer_id, RANGES_MAX))
        lost = moved and self._has_end(missing)
        until_ns = self._quiet_since_ns + self._quiet_ns(missing)
        if not lost and now_ns < until_ns:
            if not self._credit_bytes:  # nothing can come before grant(): a tick would see nothing
                self.next_ns = _tick_after(until_ns - 1)
            return self._report((), now_ns) if now_ns >= self._reported_ns + SPOKEN_NS else None
        if self._buffers.unread() and now_ns < self.moved_ns + UNREAD_NS_MAX:
            return None  # what seems to be missing may lie in the socket of a busy host
        if self._in_vain:
            self._wait_ns = min(max(GAP_WAIT_MAX_NS, self._wait_ns), self._wait_ns * 2)
            if self._pool is None or not self._credit_bytes:
                # Nothing can come; or it is a put, which a slow uplink would have to send again.
                self.next_ns = (now_ns + self._quiet_ns(missing)) // TICK_NS * TICK_NS
        if self._long and not self.received_bytes and self._wait_ns < ALL_LOST_WAITS * GAP_WAIT_NS:
            missing = ()  # they are late
        self._ask(now_ns)
        self._in_vain = True
        self._asked_end = missing[-1][1] if missing else self._asked_end
        return self._report(missing, now_ns)

    def complete(self, now_ns: int) -> None:
        """The last byte is there."""
        if self._pool is not None:
            self._pool.arrivals.add(self._size_bytes - self.received_bytes, now_ns)

    def _ask(self, now_ns: int) -> None:
        """Something is asked for now, which comes behind all that is under way."""
        self._asked_ns = self._quiet_since_ns = now_ns  # quiet since: bytes came, or were asked for
        if self._answered:
            self._first_asked_ns, self._answered = now_ns, False
        pool = self._pool
        self._waits_for_others = pool is not None
        if pool is not None:
            pool.arrivals.add(0, now_ns)
            self._before_bytes = pool.before(self.transfer_id)
            self._due_at_bytes = pool.arrivals.arrived_bytes + self._before_bytes

    def _begin_wait(self) -> None:
        self._wait_ns = max(GAP_WAIT_NS, 2 * self.round_trip_ns)
        self._in_vain = False

    def _has_end(self, missing: Ranges) -> bool:
        """The end of what was asked for last is here: what lies before it was lost or overtaken."""
        return len(missing) < RANGES_MAX and bool(missing) and missing[-1][1] < self._asked_end

    def _quiet_ns(self, missing: Ranges) -> int:
        """How long nothing may come before it is reported missing. When the end of the payload is
        here, its sender is not just late."""
        only_holes = len(missing) < RANGES_MAX and bool(missing)
        if not only_holes or missing[-1][1] >= self._size_bytes:
            return self._wait_ns
        return max(self._wait_ns // HOLE_WAIT_PART, self.round_trip_ns)

    def _slides(self) -> bool:
        return 0 < self._credit_bytes < self._size_bytes - self._granted_at_bytes

    def _look(self, now_ns: int) -> bool:
        received, _ = self._buffers.progress(self.transfer_id)
        new_bytes = received - self.received_bytes
        if self._pool is not None:
            self._pool.arrivals.add(new_bytes, now_ns)
        if new_bytes > 0:
            self.received_bytes, self.moved_ns, self._quiet_since_ns = received, now_ns, now_ns
            self.progress_ns = now_ns
            self._measure(now_ns)
            self._waits_for_others = False
        elif self._waits_for_others and self._pool is not None:
            self._look_at_others(self._pool.arrivals, now_ns)
        return new_bytes > 0

    def _look_at_others(self, arrivals: Arrivals, now_ns: int) -> None:
        """What was under way before moves: ours is behind it, until as much has come, or could."""
        if arrivals.arrived_bytes >= self._due_at_bytes:
            self._waits_for_others = False
            return
        takes_ns = arrivals.takes_ns(self._before_bytes, now_ns)
        late = takes_ns is not None and now_ns >= self._asked_ns + SLACK * takes_ns
        if not late and arrivals.moved_ns > self._quiet_since_ns:
            self._quiet_since_ns = self.progress_ns = arrivals.moved_ns

    def _measure(self, now_ns: int) -> None:
        """How soon something came when it was asked for: believed at once when less, slowly when
        more. Of what was asked for again nobody knows which time is answered: the middle."""
        if not self._answered and self._measures:
            again_ns = self._asked_ns - self._first_asked_ns
            took_ns = now_ns - self._asked_ns + (again_ns // 2 if again_ns else -TICK_NS)
            took_ns = min(max(0, took_ns), ROUND_TRIP_NS_MAX)
            known_ns = self.round_trip_ns or took_ns
            self.round_trip_ns = min(took_ns, known_ns + max(0, took_ns - known_ns) // 4)
        self._answered, self._measures = True, self._pool is not None

    def _report(self, ranges: Ranges, now_ns: int) -> PayloadGaps:
        self._reported_ns = now_ns
        self._granted_at_bytes = self.received_bytes
        return PayloadGaps(
            transfer_id=self.transfer_id,
            received_bytes=self.received_bytes,
            credit_bytes=self._credit_bytes,
            ranges=tuple(ByteRange(start=start, end=end) for start, end in ranges),
        )


def _length(ranges: Sequence[tuple[int, int]]) -> int:
    length = 0
    for start, end in ranges:
        length += end - start
    return length


def _tick_after(now_ns: int) -> int:
    """The next time at which transfers are looked at, all at once: one wake-up for any number."""
    return (now_ns // TICK_NS + 1) * TICK_NS
