"""ZeroMQ as CurveHub sees it, on the simulated network: contexts, sockets, the handshake.

The product's own CurveHub, servers and clients run on top, gatekeeper included: a client's key is
asked for at the gate before a connection exists. What is kept of ZeroMQ: frames of a connection
arrive in order and once; without a connection (or with a full queue) a send is refused; a
connection breaks when its process dies or nothing got through for a while, what was under way is
lost, and the client connects again by itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import zmq
from zmq.utils import z85

from replicast.machine import Address
from replicast.sim.network import Network
from replicast.sim.pipe import End, Link, Pipe, SimFrame
from replicast.sim.watch import Watch
from replicast.sim.world import World
from replicast.units import MS

RECONNECT_NS = 50 * MS


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


class SimZmqSocket(End):
    """ROUTER, DEALER or the REP of the gate."""

    def __init__(self, context: SimContext, kind: int) -> None:
        super().__init__(kind, context.descriptor(), context.readable)
        self.context = context
        self.options: dict[int, Any] = {}
        self._connections: dict[bytes, Connection] = {}  # of a server, by peer
        self._client: Client | None = None
        self._address: Address = ("", 0)

    # -- what CurveHub calls, besides what an End has --------------------------------

    def setsockopt(self, option: int, value: Any) -> None:
        self.options[option] = value

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

    def answer(self, parts: list[bytes]) -> None:
        """The gate's."""
        verdict = self.context.verdicts.pop(parts[1])
        verdict(parts[2] == b"200")

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

    def admit(self, connection: Connection) -> None:
        """A client has proved its key."""
        self._connections[connection.peer] = connection
        self.ways[connection.peer] = connection.to_client

    def forget(self, connection: Connection) -> None:
        """A connection ended."""
        self._connections.pop(connection.peer, None)
        self.ways.pop(connection.peer, None)


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
                self.socket.way = self.connection.to_server
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
        self.connection = self.socket.way = None
        self._later()


class Connection(Link):
    """Two queues and the two ends they lead to."""

    def __init__(self, exchange: Exchange, client: Client, server: SimZmqSocket, user: str) -> None:
        super().__init__(server, client.socket)
        self.peer = next(exchange.numbers).to_bytes(5, "big")
        self._client, self._server = client, server
        here, there = client.socket.context.host, server.context.host
        front = SimFrame(self.peer)
        self.to_server = Pipe(exchange, self, here, there, server, front, user)
        self.to_client = Pipe(exchange, self, there, here, client.socket)
        server.admit(self)

    def end(self) -> None:
        """Both queues are lost."""
        if not self.ended:
            self.ended = True
            self._server.forget(self)
            self._client.lost()


def _address(endpoint: str) -> Address:
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    return host, int(port)
