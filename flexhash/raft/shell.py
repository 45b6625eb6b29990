"""asyncio and CURVE around a RaftNode: reads frames, ticks, sends what the node gives out.

A turn is a tick of the node and a look by the owner. It is taken when the node needs it after
frames, when somebody wakes the shell, and when the node or the owner said that something is due.

One server socket for all peers, one client socket per peer; the sender of a frame is the voter
whose key the channel proved. fdatasync runs inside the loop: a few ms, in a control process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from replicast.curve import CurveClient, CurveHub, CurveServer, Received
from replicast.flexhash.raft.node import Outcome, RaftNode
from replicast.keys import AllowList, Identity, KeyPair, Role
from replicast.machine import Address, NodeId
from replicast.units import MS
from replicast.wake_timer import WakeTimer
from replicast.wire.raft_messages import PAYLOAD_BYTES_MAX

log = logging.getLogger(__name__)

ENVELOPE_BYTES_MAX = PAYLOAD_BYTES_MAX + 256
FAILED_NS = 50 * MS  # until a turn that failed is tried again


@dataclass(frozen=True, slots=True)
class VoterAddress:
    """Where a voter listens for Raft, and the key that proves it."""

    node_id: NodeId
    address: Address
    public_key: str


class RaftShell:
    """Runs a node. `voters` lists all voters by name, this one included.

    `after_turn(now_ns)` returns when its owner wants another turn at the latest, or None.
    """

    def __init__(
        self,
        node: RaftNode,
        hub: CurveHub,
        key_pair: KeyPair,
        voters: Mapping[str, VoterAddress],
        clock_ns: Callable[[], int],
        after_turn: Callable[[int], int | None] | None = None,
    ) -> None:
        self.node = node
        self._hub = hub
        self._clock_ns = clock_ns
        self._after_turn = after_turn
        self._key_pair = key_pair
        self._peers = {name: v for name, v in voters.items() if name != node.settings.name}
        self._names: dict[str, str] = {}  # by key
        self._allow = AllowList()
        self._let_in()
        self.server: CurveServer = hub.server(
            "raft",
            voters[node.settings.name].address,
            key_pair,
            self._allow,
            message_bytes_max=ENVELOPE_BYTES_MAX,
        )
        self._clients = {name: self._client(v) for name, v in self._peers.items()}
        self._timer = WakeTimer(clock_ns, self._turn)
        self._wanted_ns: int | None = None  # by the owner
        self._woken: asyncio.Handle | None = None
        self._loop = asyncio.get_running_loop()
        self._stopped = False

    def _let_in(self) -> None:
        peers = self._peers
        self._names = {v.public_key: name for name, v in peers.items()}
        self._allow.replace({v.public_key: Identity(v.node_id, Role.VOTER) for v in peers.values()})

    def _client(self, peer: VoterAddress) -> CurveClient:
        return self._hub.client(
            "raft",
            peer.address,
            peer.public_key,
            self._key_pair,
            message_bytes_max=ENVELOPE_BYTES_MAX,
        )

    def regroup(self, node: RaftNode, voters: Mapping[str, VoterAddress]) -> None:
        """Run another node, of another group; connections to those in both are kept."""
        self.node.close()
        before = self._peers
        self._peers = {name: v for name, v in voters.items() if name != node.settings.name}
        for name in before:
            if self._peers.get(name) != before[name]:
                self._clients.pop(name).close()
        for name, peer in self._peers.items():
            if name not in self._clients:
                self._clients[name] = self._client(peer)
        self._let_in()
        self.node = node
        self.wake()

    def start(self) -> None:
        """Read and tick from now on."""
        self.server.hand_to(self._read)
        self.wake()

    async def stop(self) -> None:
        """Close node and sockets; outstanding commands are UNKNOWN."""
        self._stopped = True
        self._timer.cancel()
        if self._woken is not None:
            self._woken.cancel()
        self.node.close()
        self.server.close()
        for client in self._clients.values():
            client.close()

    def wake(self) -> None:
        """Take a turn soon, after submits made at the node; from outside of the running loop, too."""
        if self._woken is None and not self._stopped:
            self._woken = self._loop.call_soon(self._wake)

    async def submit(
        self, command: bytes, *, timeout_ns: int | None = None
    ) -> tuple[bytes | None, Outcome]:
        """Submit and wait for the answer; see RaftNode."""
        future: asyncio.Future[tuple[bytes | None, Outcome]] = (
            asyncio.get_running_loop().create_future()
        )

        def answered(result: bytes | None, outcome: Outcome) -> None:
            if not future.done():
                future.set_result((result, outcome))

        limits = {} if timeout_ns is None else {"timeout_ns": timeout_ns}
        self.node.submit(command, answered, self._clock_ns(), **limits)
        self.wake()
        return await future

    def _read(self, some: list[Received]) -> None:
        now_ns = self._clock_ns()
        for received in some:
            self._receive(received, now_ns)
        self._turn(now_ns, self.node.needs_tick())

    def _receive(self, received: Received, now_ns: int) -> None:
        try:
            name = self._names.get(received.public_key)
            if name is not None:  # else read before the group changed
                self.node.receive(name, received.frame, now_ns)
        except Exception:  # the last resort of a shell, as in _turn()
            log.exception("a Raft message failed")
            self.node.counters.count("raft_turn_failures")

    def _wake(self) -> None:
        self._woken = None  # before the turn: what it submits goes out in another one
        self._turn(self._clock_ns())

    def _turn(self, now_ns: int, tick: bool = True) -> None:
        """Without a tick there are only answers to send."""
        try:
            if tick:
                self.node.tick(now_ns)
            for name, frame in self.node.take_outgoing():
                self._clients[name].send(frame)
            if tick and self._after_turn is not None:
                self._wanted_ns = self._after_turn(now_ns)
        except Exception:  # the last resort of a shell: the next turn may well succeed
            log.exception("a Raft turn failed")
            self.node.counters.count("raft_turn_failures")
            self._timer.arm(now_ns + FAILED_NS)  # what was due is due still: not again at once
            return
        self._timer.arm(self.node.deadline_ns(), self._wanted_ns)
