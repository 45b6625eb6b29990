"""Makes the UDP side of a daemon or client: sockets, network thread, endpoint, shell.

One function for targets and initiators alike, so that both choose datagram sizes,
buffers and multicast groups by the same rules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from replicast.addresses import is_ipv6
from replicast.auth.endpoint import Endpoint
from replicast.auth.keyring import KeyRing
from replicast.auth.session import make_session
from replicast.machine import Address, Incoming, NodeId
from replicast.metrics import Counters
from replicast.runtime import SYSTEM, Runtime
from replicast.transfer import SendPayload
from replicast.transport.memberships import Memberships
from replicast.transport.multicast import MulticastPlan
from replicast.transport.net import Reassembly
from replicast.transport.shell import UdpShell
from replicast.transport.sockets import (
    control_bytes_for_mtu,
    datagram_bytes_for_mtu,
)

TRANSFERS_MAX = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class UdpPlan:
    """What a node's UDP side is to be. `plan` None: unicast only; `hears_groups`: a target."""

    node_id: NodeId
    bind: Address
    boot_number: int
    keys: KeyRing
    buffer_bytes: int
    plan: MulticastPlan | None = None
    hears_groups: bool = False
    on_left: Callable[[int], None] = lambda number: None


@dataclass(frozen=True, slots=True, kw_only=True)
class UdpCallbacks:
    """Where the shell delivers."""

    on_incoming: Callable[[Incoming, int], None]
    on_completed: Callable[[list[bytes], int], None]
    on_sent: Callable[[SendPayload, int], None]
    on_delivered: Callable[[int], None]


def payload_bytes(bind: Address, runtime: Runtime = SYSTEM) -> int:
    """Payload bytes in a datagram that never fragments on the interface of `bind`."""
    return datagram_bytes_for_mtu(runtime.interface_mtu(bind[0]), is_ipv6(bind[0]))


def make_buffers(buffer_bytes: int) -> Reassembly:
    """The memory that payloads arrive in; its budget bounds what is in flight."""
    return Reassembly(buffer_bytes, TRANSFERS_MAX)


def open_udp(
    plan: UdpPlan,
    buffers: Reassembly,
    callbacks: UdpCallbacks,
    counters: Counters,
    runtime: Runtime = SYSTEM,
) -> UdpShell:
    """Bind everything; the caller starts the shell. Raises PortTaken or OSError."""
    rng = runtime.secret_rng()
    mtu = runtime.interface_mtu(plan.bind[0])
    endpoint = Endpoint(
        plan.node_id,
        make_session(plan.boot_number, rng.getrandbits(32)),
        plan.keys,
        rng,
        counters,
        control_bytes_for_mtu(mtu, is_ipv6(plan.bind[0])),
    )
    net = runtime.net(buffers)
    unicast = runtime.open_unicast(*plan.bind)
    memberships = None
    if plan.plan is not None and plan.hears_groups:
        memberships = Memberships(
            net,
            plan.plan,
            plan.bind[0],
            on_left=plan.on_left,
            open_group=runtime.open_group,
        )
    return UdpShell(
        net,
        endpoint,
        unicast,
        plan.keys,
        counters,
        now_ns=runtime.now_ns,
        on_incoming=callbacks.on_incoming,
        on_completed=callbacks.on_completed,
        on_sent=callbacks.on_sent,
        on_delivered=callbacks.on_delivered,
        fan_out=lambda outgoing: (),
        plan=plan.plan,
        memberships=memberships,
        witness=runtime.witness,
        path_mtu=runtime.path_mtu(plan.bind[0]),
        mtu_bytes=mtu,
    )
