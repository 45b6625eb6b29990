"""ZeroMQ as CurveHub sees it, on the simulated network: contexts, sockets, the handshake.

The product's own CurveHub, servers and clients run on top, gatekeeper included: a client's key is
asked for at the gate before a connection exists. What is kept of ZeroMQ: frames of a connection
arrive in order and once; without a connection (or with a full queue) a send is refused; a
connection breaks when its process dies or nothing got through for a while, what was under way is
lost, and the client connects again by itself.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from typing import Any

import zmq
from zmq.utils import z85

from replicast.curve import EVENTS, POLLIN
from replicast.machine import Address
from replicast.sim.network import RETRY_NS, SILENCE_NS, Network
from replicast.sim.watch import Watch
from replicast.sim.world import World
from replicast.units import MS

RECONNECT_NS = 50 * MS
FRAMES_MAX = 1000


class SimFrame:
    """A message part; the last one knows whose key its connection has proved."""

    __slots__ = ("_user", "bytes")

    def __init__(self, data: bytes, user: str = "") -> None:
        self.bytes = data
        self._user = user

    def get(self, name: str) -> str:
        return self._user


class Exchange:
    """All listening servers of the world, by address."""

    def __init__(self, world: World, network: Network, watch: Watch | None = None) -> None:
        self.world, self.network, self.watch = world, network, watch
        self.servers: dict[Address, SimZmqSocket] = {}
        self.numbers = itertools.count(1)


class SimContext:
    """The zmq.Context of one process."""

    def __init__(
        self,
        exchange: Exchange,
        host: str,
        descriptor: Callable[[], int],
        readable: Callable[[int], None],
        alive: Callable[[], bool],
    ) -> None:
        self.exchange, self.host = exchange, host
        self.descriptor, self.readable, self.alive = descriptor, readable, alive
        self.gate: SimZmqSocket | None = None
        self.sockets: list[SimZmqSocket] = []
        self.verdicts: dict[bytes, Callable[[bool], None]] = {}

    def socket(self, kind: int) -> SimZmqSocket:
        made = SimZmqSocket(self, kind)
        self.sockets.append(made)
        return made

    def destroy(self, linger: int = 0) -> None:
        """Sockets are closed one by one."""
        self.vanish()

    def vanish(self) -> None:
        """The process died: its sockets close, and who waited to be let in hears of that."""
        for each in list(self.sockets):
            each.close()
        waiting, self.verdicts = list(self.verdicts.values()), {}
        for verdict in waiting:
            verdict(False)

    def ask_gate(self, domain: bytes, key: bytes, verdict: Callable[[bool], None]) -> None:
        """RFC 27/ZAP, as libzmq asks it."""
        assert self.gate is not None
        request = next(self.exchange.numbers).to_bytes(8, "big")
        self.verdicts[request] = verdict
        parts = [b"1.0", request, domain, b"", b"", b"CURVE", z85.decode(key)]
        self.gate.arrive([SimFrame(part) for part in parts])


class SimZmqSocket:
    """ROUTER, DEALER or the REP of the gate."""

    def __init__(self, context: SimContext, kind: int) -> None:
        self.context, self.kind = context, kind
        self.options: dict[int, Any] = {}
        self.fd = context.descriptor()
        self.closed = False
        self._inbox: deque[list[SimFrame]] = deque()
        self._connections: dict[bytes, Connection] = {}  # of a server, by peer
        self._client: Client | None = None
        self._address: Address = ("", 0)

    # -- what CurveHub calls ----------------------------------------------------------

    def setsockopt(self, option: int, value: Any) -> None:
        self.options[option] = value

    def getsockopt(self, option: int) -> Any:
        if option == EVENTS:
            return POLLIN if self._inbox else 0
        assert option == zmq.FD
        return self.fd

    def getsockopt_string(self, option: int) -> str:
        assert option == zmq.LAST_ENDPOINT
        return f"tcp://{self._address[0]}:{self._address[1]}"

    def bind(self, endpoint: str) -> None:
        if endpoint.startswith("inproc://"):
            self.context.gate = self
            return
        self._address = _address(endpoint)
        servers = self.context.exchange.servers
        if self._address in servers:
            raise zmq.ZMQError(98, "address in use")
        servers[self._address] = self

    def connect(self, endpoint: str) -> None:
        self._client = Client(self, _address(endpoint))

    def send_multipart(self, parts: list[bytes], flags: int = 0) -> None:
        if self.kind == zmq.REP:
            verdict = self.context.verdicts.pop(parts[1])
            verdict(parts[2] == b"200")
            return
        if self.kind == zmq.ROUTER:
            peer, frame = parts
            connection = self._connections.get(peer)
            sent = connection is not None and connection.to_client.send(frame)
        else:
            assert self._client is not None
            [frame] = parts
            live = self._client.connection
            sent = live is not None and live.to_server.send(frame)
        if not sent:
            raise zmq.Again()

    def recv_multipart(self, flags: int = 0, copy: bool = True) -> list[SimFrame]:
        return self._inbox.popleft()

    def close(self, linger: int = 0) -> None:
        if self.closed:
            return
        self.closed = True
        self.context.sockets.remove(self)
        if self.context.exchange.servers.get(self._address) is self:
            del self.context.exchange.servers[self._address]
        for connection in list(self._connections.values()):
            connection.end()
        if self._client is not None and self._client.connection is not None:
            self._client.connection.end()

    # -- the world --------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Open, in a living process."""
        return not self.closed and self.context.alive()

    def arrive(self, parts: list[SimFrame]) -> None:
        """Something to receive."""
        self._inbox.append(parts)
        self.context.readable(self.fd)

    def admit(self, connection: Connection) -> None:
        """A client has proved its key."""
        self._connections[connection.peer] = connection

    def forget(self, connection: Connection) -> None:
        """A connection ended."""
        self._connections.pop(connection.peer, None)


class Client:
    """A DEALER's end: connects, and connects again."""

    def __init__(self, socket: SimZmqSocket, address: Address) -> None:
        self.socket, self.address = socket, address
        self.connection: Connection | None = None
        self._exchange = socket.context.exchange
        self._later()

    def _later(self) -> None:
        rng = self._exchange.world.rng
        self._exchange.world.after(RECONNECT_NS + rng.randrange(RECONNECT_NS), self._connect)

    def _connect(self) -> None:
        if not self.socket.alive:
            return
        server = self._exchange.servers.get(self.address)
        source, target = self.socket.context.host, self.address[0]
        delay_ns = self._exchange.network.connection_delay(source, target, 200)
        if server is None or not server.alive or delay_ns is None:
            self._later()
            return
        key: bytes = self.socket.options[zmq.CURVE_PUBLICKEY]

        def verdict(allowed: bool) -> None:
            if allowed and server.alive and self.socket.alive:
                self.connection = Connection(self._exchange, self, server, key.decode("ascii"))
            else:
                self._later()

        def ask() -> None:
            if server.alive and self.socket.alive:
                server.context.ask_gate(server.options[zmq.ZAP_DOMAIN], key, verdict)
            else:
                self._later()

        self._exchange.world.after(3 * delay_ns, ask)  # the CURVE handshake's round trips

    def lost(self) -> None:
        """The connection ended."""
        self.connection = None
        self._later()


class Connection:
    """Two queues and the two ends they lead to."""

    def __init__(self, exchange: Exchange, client: Client, server: SimZmqSocket, user: str) -> None:
        self.peer = next(exchange.numbers).to_bytes(5, "big")
        self._client, self._server = client, server
        here, there = client.socket.context.host, server.context.host
        self.to_server = Pipe(exchange, self, here, there, self._at_server)
        self.to_client = Pipe(exchange, self, there, here, self._at_client)
        self._user, self._peer_frame = user, SimFrame(self.peer)
        self.ended = False
        server.admit(self)

    def _at_server(self, frame: bytes) -> None:
        self._server.arrive([self._peer_frame, SimFrame(frame, self._user)])

    def _at_client(self, frame: bytes) -> None:
        self._client.socket.arrive([SimFrame(frame)])

    def check(self) -> bool:
        """Whether both ends still live; ends the connection otherwise."""
        if self._server.closed or self._client.socket.closed:  # as all are of a dead process
            self.end()
        return not self.ended

    def end(self) -> None:
        """Both queues are lost."""
        if not self.ended:
            self.ended = True
            self._server.forget(self)
            self._client.lost()


class Pipe:
    """One direction of a connection: a bounded queue of messages, which are one frame each, and
    one delivery at a time."""

    def __init__(
        self,
        exchange: Exchange,
        connection: Connection,
        source: str,
        target: str,
        deliver: Callable[[bytes], None],
    ) -> None:
        self._world, self._network = exchange.world, exchange.network
        self._connection, self._deliver = connection, deliver
        self._source, self._target = source, target
        self._what = f"on {source}'s channel"
        self._watch = exchange.watch
        self._queue: deque[bytes] = deque()
        self._free_ns = self._held_ns = 0
        self._stuck_ns: int | None = None
        self._moving = False

    def send(self, frame: bytes) -> bool:
        """Queue a message; False when there is no room or no connection."""
        if self._connection.ended or len(self._queue) >= FRAMES_MAX:
            return False
        self._queue.append(frame)
        if self._watch is not None:
            self._watch.sent(self._source, self._target, frame)
        if not self._moving:
            self._move()
        return True

    def _move(self) -> None:
        if self._moving or not self._queue:
            return
        now_ns, frame = self._world.time_ns, self._queue[0]
        delay_ns = self._network.connection_delay(self._source, self._target, len(frame))
        self._moving = True
        if delay_ns is None:
            self._stuck_ns = now_ns if self._stuck_ns is None else self._stuck_ns
            self._world.after(RETRY_NS, self._again)
            return
        self._stuck_ns = None
        self._free_ns = max(self._free_ns + 1, now_ns + delay_ns)
        self._world.at(self._free_ns, self._arrive)

    def _again(self) -> None:
        self._moving = False
        if not self._connection.check():
            return
        if self._stuck_ns is not None and self._world.time_ns - self._stuck_ns > SILENCE_NS:
            self._connection.end()
        else:
            self._move()

    def _arrive(self) -> None:
        self._moving = False
        if self._connection.check() and self._queue:
            frame, now_ns = self._queue.popleft(), self._world.time_ns
            held_ns = self._network.weather(self._source, self._target).held_ns
            if held_ns or self._held_ns > now_ns:
                self._held_ns = max(self._held_ns + 1, now_ns + held_ns)
                self._world.at(self._held_ns, lambda: self._hand_over_late(frame))
            else:
                self._hand_over(frame)
            if self._queue:
                self._move()

    def _hand_over_late(self, frame: bytes) -> None:
        if self._connection.check():
            self._hand_over(frame)

    def _hand_over(self, frame: bytes) -> None:
        self._world.trace.add(self._world.time_ns, self._target, self._what, frame)
        if self._watch is not None:
            self._watch.arrived(self._source, self._target, frame)
        self._deliver(frame)


def _address(endpoint: str) -> Address:
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    return host, int(port)
