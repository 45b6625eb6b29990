"""UdpShell: the network of one daemon, between its asyncio loop and its cores.

    NetThread -- datagrams --> Endpoint core -- messages --> on_incoming
              -- transfers complete -----------------------> on_completed
              -- payload jobs that have left --------------> on_sent
              -- that was all of one wake-up --------------> on_delivered
    send(Outgoing), send_payload(SendPayload) <-- the daemon; then flush(), but in callbacks

Owns the unicast socket, the thread, the memberships and the endpoint's timer; it
knows no protocol. Without a multicast plan a message to a Group goes by unicast to
the nodes that `fan_out` names. A callback that raises is logged and counted, so
that one bad message cannot stop the others of its batch.
Limits: the NetThread's; payload jobs that do not fit wait here in order, and their
number is bounded by the cores (two per receiver of an open transfer).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from replicast.addresses import is_ipv6
from replicast.auth.endpoint import Endpoint
from replicast.auth.gate_pure import TYPE_AT
from replicast.auth.keyring import KeyRing
from replicast.auth.voice_pure import Datagram
from replicast.machine import Address, Group, Incoming, NodeId, Outgoing
from replicast.metrics import Counters
from replicast.transfer import SendPayload
from replicast.transfer_header import (
    is_payload,
    parse_header,
    plain_head,
    sealed_by,
    sealed_datagrams,
)
from replicast.transport.memberships import Memberships
from replicast.transport.multicast import MulticastPlan
from replicast.transport.net import FeedCode, NetThread
from replicast.transport.net_pure import Control
from replicast.transport.paths import PathMtu, PathWatch
from replicast.transport.sockets import (
    MTU_LOOPBACK,
    control_bytes_for_mtu,
    datagram_bytes_for_mtu,
    receive_buffer_bytes,
)
from replicast.wake_timer import WakeTimer
from replicast.wire.session_messages import SESSION_TYPES
from replicast.witness import Witness

LOG = logging.getLogger(__name__)
UNICAST_TAG = 0
NO_TRANSFER = bytes(16)  # of a probe


class UdpShell:
    """Drives one endpoint. All methods are called from the loop's thread."""

    def __init__(
        self,
        net: NetThread,
        endpoint: Endpoint,
        unicast: socket.socket,
        keys: KeyRing,
        counters: Counters,
        *,
        now_ns: Callable[[], int],
        on_incoming: Callable[[Incoming, int], None],
        on_completed: Callable[[list[bytes], int], None],
        on_sent: Callable[[SendPayload, int], None],
        on_delivered: Callable[[int], None],
        fan_out: Callable[[Outgoing], Iterable[NodeId]],
        plan: MulticastPlan | None = None,
        memberships: Memberships | None = None,
        witness: Witness | None = None,
        path_mtu: PathMtu | None = None,
        mtu_bytes: int = MTU_LOOPBACK,
    ) -> None:
        """`unicast` comes from open_unicast() and is closed here; `mtu_bytes` of its interface.

        `path_mtu` None: all paths are as wide.
        """
        self.endpoint, self.net, self.plan, self.memberships = endpoint, net, plan, memberships
        self._socket, self._keys, self._counters = unicast, keys, counters
        self._now_ns, self._fan_out = now_ns, fan_out
        self._on_incoming, self._on_completed = on_incoming, on_completed
        self._on_sent, self._on_delivered, self._witness = on_sent, on_delivered, witness
        self._jobs: dict[int, SendPayload] = {}
        self._waiting: deque[SendPayload] = deque()
        self._ended: list[SendPayload] = []
        self._next_job = 0
        self._counted: dict[str, int] = {}
        self._timer = WakeTimer(now_ns, self._expire)
        self._narrow: Mapping[Address, int] = {}
        self._too_long = 0
        self._paths: PathWatch | None = None
        if path_mtu is not None:
            self._paths = PathWatch(mtu_bytes, path_mtu, self._probe, self._on_paths)
            self._path_timer = WakeTimer(now_ns, self._expire_paths)
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """Serve the sockets from the running loop."""
        self.net.add_socket(self._socket.fileno(), UNICAST_TAG)
        self.net.start()
        self._loop.add_reader(self.net.fileno(), self._on_readable)

    @property
    def receive_bytes(self) -> int:
        """What may be under way to this node at once: what the kernel granted its socket."""
        return receive_buffer_bytes(self._socket)

    def close(self) -> None:
        """Stop the thread and close all sockets; nothing is delivered afterwards."""
        self._loop.remove_reader(self.net.fileno())
        self._timer.cancel()
        if self._paths is not None:
            self._path_timer.cancel()
        if self.memberships is not None:
            self.memberships.close()
        self.net.stop()
        self._socket.close()

    def set_keys(self, keys: KeyRing) -> None:
        """Key rotation."""
        self._keys = keys
        self.endpoint.set_keys(keys)

    # -- out ----------------------------------------------------------------------------
    def send(self, outgoing: Outgoing, now_ns: int) -> None:
        """Queue one message; it leaves with flush()."""
        if self._witness is not None:
            self._witness.said(outgoing)
        if type(outgoing.to) is Group and self.plan is None:
            self.endpoint.send_many(outgoing, self._fan_out(outgoing), now_ns)
        else:
            self.endpoint.send(outgoing, now_ns)

    def flush(self) -> None:
        """Hand all queued messages to the kernel."""
        queued = self.endpoint.take_datagrams()
        if queued:
            if self._paths is not None:
                self._note_peers(self._paths, queued)
            resolve = self._resolve
            self.net.send_control(
                [
                    (UNICAST_TAG, payload, to if type(to) is tuple else resolve(to))
                    for to, payload in queued
                ]
            )

    def send_payload(self, event: SendPayload) -> None:
        """Execute a core's event; on_sent follows when the last datagram has left."""
        self._waiting.append(event)
        self._submit_waiting()

    def _resolve(self, to: Address | Group) -> Address:
        if not isinstance(to, Group):
            return to
        if self.plan is None:
            raise ValueError(f"{to} has no address without a multicast plan")
        return self.plan.address(to)

    def _addresses(self, event: SendPayload) -> list[Address]:
        if isinstance(event.to, Group):
            return [self._resolve(event.to)]
        known = [self.endpoint.address_of(node) for node in event.to]
        return [address for address in known if address is not None]

    def _submit_waiting(self) -> None:
        while self._waiting:
            event = self._waiting.popleft()
            try:
                taken = self._submit(event)
            except ValueError:
                # A job that makes no sense must not stand in the way of those behind it.
                LOG.exception("a payload that cannot be sent")
                self._drop("unsendable")
                self._end(event)
                continue
            if not taken:
                self._waiting.appendleft(event)
                return

    def _submit(self, event: SendPayload) -> bool:
        """False: the thread has enough queued; again when a job has left. Raises ValueError."""
        addresses = self._addresses(event)
        if event.authenticated:
            self._send_sealed(event, addresses)
        if event.authenticated or not addresses:
            self._end(event)
            return True
        self._next_job += 1
        node_id = self.endpoint.node_id
        shape = (list(event.ranges), event.datagram_bytes, event.size_bytes, addresses)
        job = (self._next_job, UNICAST_TAG, event.transfer_id, node_id, event.buffer)
        if not self.net.submit_payload(*job, *shape):
            return False
        self._jobs[self._next_job] = event
        return True

    def _send_sealed(self, event: SendPayload, addresses: list[Address]) -> None:
        made = sealed_datagrams(
            self._keys,
            event.transfer_id,
            self.endpoint.node_id,
            event.buffer,
            list(event.ranges),
            event.datagram_bytes,
        )
        self.net.send_control([(UNICAST_TAG, d, to) for d in made for to in addresses])

    def _end(self, event: SendPayload) -> None:
        """Report it soon, not from inside the caller's call."""
        if not self._ended:
            self._loop.call_soon(self._report_ended)
        self._ended.append(event)

    def _report_ended(self) -> None:
        ended, self._ended = self._ended, []
        now_ns = self._now_ns()
        self._report(ended, now_ns)
        self._guard(self._on_delivered, now_ns)
        self.flush()

    def _report(self, events: list[SendPayload], now_ns: int) -> None:
        for event in events:
            self._guard(self._on_sent, event, now_ns)

    # -- in -----------------------------------------------------------------------------
    def _on_readable(self) -> None:
        controls, completed, sent = self.net.take()
        now_ns = self._now_ns()
        if controls:
            self._receive(controls, now_ns)
        completed += self.net.reassembly.take_completed()
        if completed:
            self._guard(self._on_completed, completed, now_ns)
        if sent and self._paths is not None and self.net.send_too_long != self._too_long:
            self._too_long = self.net.send_too_long
            self._paths.too_long(now_ns)
            self._expire_paths(now_ns)
        if sent:
            self._report([self._jobs.pop(job) for job in sent], now_ns)
        if self._waiting:
            self._submit_waiting()
        self._guard(self._on_delivered, now_ns)
        self.flush()
        if self.endpoint.due_moved:  # the usual datagram moves no deadline, nor does what leaves
            self._timer.arm(self.endpoint.deadline_ns())

    def _receive(self, controls: list[Control], now_ns: int) -> None:
        receive, on_incoming = self.endpoint.receive, self._on_incoming
        for tag, datagram, source in controls:
            if is_payload(datagram):
                self._place_sealed(datagram)
                continue
            group = None
            if tag != UNICAST_TAG:
                group = self.memberships.group_of(tag) if self.memberships is not None else None
                if group is None:
                    self._drop("left_group")
                    continue
            incoming = receive(datagram, source, group, now_ns)
            if incoming is None:
                continue
            if self._witness is not None:
                self._witness.heard(incoming)
            try:  # as _guard() does, without a call for each
                on_incoming(incoming, now_ns)
            except Exception:
                LOG.exception("a handler failed")
                self._drop("handler_failed")

    def _place_sealed(self, datagram: bytes) -> None:
        """A payload datagram with a MAC: the thread checked its shape, the key is checked here."""
        header = parse_header(datagram)
        if header is None or not sealed_by(self._keys, header, datagram):
            self._drop("payload_mac")
            return
        offset = header.index * header.datagram_bytes
        try:
            self.net.reassembly.place(header.transfer_id, offset, memoryview(datagram)[64:])
        except (KeyError, ValueError):
            self._drop("payload_unknown_transfer")  # closed since the thread looked

    def _drop(self, reason: str) -> None:
        self._counters.count("datagrams_dropped", reason)

    def _guard(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            callback(*arguments)
        except Exception:
            LOG.exception("a handler failed")
            self._drop("handler_failed")

    # -- paths --------------------------------------------------------------------------
    def payload_bytes(self, nodes: Iterable[NodeId], most_bytes: int) -> int:
        """Payload in a datagram that can be sent to all these nodes, at most `most_bytes`."""
        if not self._narrow:
            return most_bytes
        known = [address for node in nodes if (address := self.endpoint.address_of(node))]
        return min([most_bytes, *(self._narrow[a] for a in known if a in self._narrow)])

    def _note_peers(self, paths: PathWatch, queued: Iterable[Datagram]) -> None:
        now_ns = self._now_ns()
        for to, datagram in queued:
            # Who has to prove itself is no peer yet: the address may be that of somebody else, who
            # would get a probe for each old datagram that a stranger sends in his name.
            if not isinstance(to, Group) and datagram[TYPE_AT] not in SESSION_TYPES:
                paths.talked(to, now_ns)
        self._path_timer.arm(paths.deadline_ns())

    def _probe(self, to: Address) -> None:
        """As long as anything that is ever sent; its receiver knows no such transfer."""
        assert self._paths is not None
        size_bytes = datagram_bytes_for_mtu(self._paths.mtu_bytes, is_ipv6(to[0]))
        head = plain_head(NO_TRANSFER, 0, size_bytes, size_bytes, self.endpoint.node_id)
        self.net.send_control([(UNICAST_TAG, head + bytes(size_bytes), to)])

    def _on_paths(self, narrow: Mapping[Address, int]) -> None:
        LOG.info("paths narrower than the interface: %s", narrow or "none")
        self._narrow = {a: datagram_bytes_for_mtu(mtu, is_ipv6(a[0])) for a, mtu in narrow.items()}
        self.endpoint.set_narrow(
            {a: control_bytes_for_mtu(mtu, is_ipv6(a[0])) for a, mtu in narrow.items()}
        )

    def _expire_paths(self, now_ns: int) -> None:
        assert self._paths is not None
        self._paths.expire(now_ns)
        self._path_timer.arm(self._paths.deadline_ns())

    # -- time and counts ----------------------------------------------------------------
    def _expire(self, now_ns: int) -> None:
        self.endpoint.expire(now_ns)
        self.flush()
        self._timer.arm(self.endpoint.deadline_ns())

    def count_stats(self) -> None:
        """Bring the thread's counters into the metrics; called before they are rendered."""
        net = self.net.stats()
        payload = self.net.reassembly.stats()
        for kind in ("control", "payload"):
            self._count_new("datagrams_received", kind, net[f"received_{kind}"])
            self._count_new("datagrams_sent", kind, net[f"sent_{kind}"])
        for reason in ("queue_full", "truncated", "unsent"):
            self._count_new("datagrams_dropped", reason, net[f"dropped_{reason}"])
        self._counters.gauge("payload_transfers", value=payload["transfers"])
        self._counters.gauge("payload_buffer_bytes", value=payload["in_use_bytes"])
        if self._paths is not None:
            self._counters.gauge("path_mtu_bytes", "interface", value=self._paths.mtu_bytes)
            self._counters.gauge("path_mtu_bytes", "least", value=self._paths.least_bytes)
        for direction, allowed in (("sent", "segmenting"), ("received", "joining")):
            self._count_new("datagrams_joined", direction, net[f"{direction}_joined"])
            self._counters.gauge("udp_offload", direction, value=net[allowed])
        self._count_new("datagrams_unsendable", "too_long", net["send_too_long"])
        self._count_new("datagrams_unsendable", "refused", net["send_errors"])
        for code in FeedCode:
            if code >= FeedCode.SHORT:
                name = code.name.lower()
                self._count_new("datagrams_dropped", f"payload_{name}", payload[name])

    def _count_new(self, metric: str, label: str, total: int) -> None:
        key = f"{metric} {label}"
        new = total - self._counted.get(key, 0)
        if new:
            self._counters.count(metric, label, by=new)
            self._counted[key] = total
