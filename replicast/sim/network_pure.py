"""The wire between simulated hosts: the definition; native/_simwire.pyx is its twin.

Datagrams may be lost, connections keep order.

Faults are set per pair of hosts and direction: cut, clogged (nothing moves until a time), lossy,
duplicating, slow. Datagrams overtake each other by the spread of their delays. Connections (CURVE
channels) lose nothing while they live; over a cut they wait, and break when nothing got through for
SILENCE_NS, as ZeroMQ's heartbeats make them. Every host has one way out of a given bandwidth.

Hosts are names of failure domains; an address belongs to a host by its IP.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from replicast.machine import Address
from replicast.sim.world import World
from replicast.units import MIB, MS, SECOND, US

SILENCE_NS = 4 * SECOND
RETRY_NS = 100 * MS
SENT_AGAIN_NS = 200 * MS  # what a loss costs a connection
HEADERS_BYTES = 46  # Ethernet, IP and UDP around a datagram


@dataclass(slots=True)
class Weather:
    """How a direction between two hosts behaves."""

    delay_ns_min: int = 30 * US
    delay_ns_max: int = 200 * US
    slow_ppm: int = 1_000  # of datagrams: delayed by up to slow_ns
    slow_ns: int = 10 * MS
    loss_ppm: int = 0
    duplicate_ppm: int = 0
    cut: bool = False
    groups_cut: bool = False  # of multicast alone: a switch that has forgotten who listens
    clogged_until_ns: int = 0
    held_ns: int = 0  # of connections: in a queue on the way, behind which a cut comes too late


Deliver = Callable[[bytes, Address], None]


class Network:
    """All links of the world. `ports` are the UDP sockets that listen, by address."""

    def __init__(self, world: World, bandwidth_bytes: int = 400 * MIB) -> None:
        self._world = world
        self._random = world.fork_rng().random
        self._bandwidth_bytes = bandwidth_bytes
        self.default = Weather()
        self._links: dict[tuple[str, str], Weather] = {}
        self._free_ns: dict[str, int] = {}  # when a host's way out is idle again
        self.ports: dict[Address, Deliver] = {}
        self.groups: dict[Address, dict[str, Deliver]] = {}  # multicast: by host of the member
        self.sent = self.lost = 0

    def weather(self, source: str, target: str) -> Weather:
        """The state of one direction."""
        return self._links.get((source, target), self.default)

    def change(self, source: str, target: str) -> Weather:
        """The state of one direction, to be changed."""
        return self._links.setdefault((source, target), replace(self.default))

    def calm(self) -> None:
        """All faults end."""
        self._links.clear()
        self.default = Weather()

    # -- datagrams --------------------------------------------------------------------

    def send(self, source: Address, target: Address, datagram: bytes) -> int:
        """Put a datagram on the wire; when it has left the host."""
        self.sent += 1
        left_ns = self._leave(source[0], len(datagram))
        members = self.groups.get(target)
        if members is None:
            self._carry(source, target[0], datagram, left_ns, lambda: self.ports.get(target))
        else:
            for host in list(members):
                # One copy on the wire, a fate of its own at each member.
                if self.weather(source[0], host).groups_cut:
                    self.lost += 1
                    continue
                self._carry(source, host, datagram, left_ns, lambda h=host: members.get(h))  # type: ignore[misc]
        return left_ns

    def _leave(self, host: str, size_bytes: int) -> int:
        now_ns = self._world.time_ns
        begins_ns = max(now_ns, self._free_ns.get(host, 0))
        takes_ns = (size_bytes + HEADERS_BYTES) * SECOND // self._bandwidth_bytes
        self._free_ns[host] = begins_ns + takes_ns
        return begins_ns + takes_ns

    def _carry(
        self,
        source: Address,
        host: str,
        datagram: bytes,
        left_ns: int,
        port: Callable[[], Deliver | None],
    ) -> None:
        weather = self.weather(source[0], host)
        copies = 1
        if weather.cut or (weather.loss_ppm and self._happens(weather.loss_ppm)):
            self.lost += 1
            return
        if weather.duplicate_ppm and self._happens(weather.duplicate_ppm):
            copies = 2
        for _ in range(copies):
            at_ns = max(left_ns, weather.clogged_until_ns) + self._delay(weather)

            def arrive() -> None:
                deliver = port()
                if deliver is not None and not self.weather(source[0], host).cut:
                    self._world.trace.add(
                        self._world.time_ns, host, f"from {source[0]}:{source[1]}", datagram
                    )
                    deliver(datagram, source)

            self._world.at(at_ns, arrive)

    def _happens(self, ppm: int) -> bool:
        return self._random() * 1_000_000 < ppm

    def _delay(self, weather: Weather) -> int:
        draw = self._random
        spread_ns = weather.delay_ns_max - weather.delay_ns_min
        delay_ns = weather.delay_ns_min + int(draw() * spread_ns)
        if draw() * 1_000_000 < weather.slow_ppm:
            delay_ns += int(draw() * weather.slow_ns)
        return delay_ns

    # -- connections ------------------------------------------------------------------

    def connection_delay(self, source: str, target: str, size_bytes: int) -> int | None:
        """How long the next bytes of a connection take; None while nothing gets through."""
        weather = self.weather(source, target)
        back = self.weather(target, source)
        now_ns = self._world.time_ns
        if weather.cut or back.cut:  # TCP needs both ways
            return None
        if max(weather.clogged_until_ns, back.clogged_until_ns) > now_ns:
            return None
        delay_ns = self._delay(weather)
        if weather.loss_ppm and self._happens(weather.loss_ppm):
            delay_ns += SENT_AGAIN_NS
        return self._leave(source, size_bytes) - now_ns + delay_ns
