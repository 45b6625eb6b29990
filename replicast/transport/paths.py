"""Which peers lie behind a path narrower than our interface, and how much narrower.

The kernel learns a path's MTU when a router answers a datagram that was too long (ICMP), and
tells it to a connected socket. A node that only asks for data would never send such a
datagram, so each peer gets a probe of full length: a payload datagram of a transfer that does
not exist, which its receiver drops. One is sent at first contact and again after 1, 2, 4, ...
then every 8 s of traffic: routers limit their answers, the kernel forgets them after minutes, and a
node that only reads has no other way to hear that a path has become narrower.

    talked(address) with every datagram -> probes, deadline_ns() -> expire() -> learned(...)

No socket and no clock: `path_mtu` and `probe` do what the shell can. Only peers that were
talked to since the last look are looked at. Limits: PEERS_MAX peers are remembered, and looked at at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from replicast.machine import Address
from replicast.units import MS, SECOND

FIRST_LOOK_NS, LOOK_NS = 50 * MS, 1 * SECOND
PROBE_AGAIN_FIRST_NS, PROBE_AGAIN_MAX_NS = 1 * SECOND, 8 * SECOND
PEERS_MAX = 4096

PathMtu = Callable[[Address], int]


class PathWatch:
    """The paths of one socket. `mtu_bytes`: of its interface; `path_mtu` may raise OSError."""

    def __init__(
        self,
        mtu_bytes: int,
        path_mtu: PathMtu,
        probe: Callable[[Address], None],
        learned: Callable[[Mapping[Address, int]], None],
    ) -> None:
        """`learned` hears all narrow paths (address -> MTU) whenever they have changed."""
        self.mtu_bytes = mtu_bytes
        self._path_mtu, self._probe, self._learned = path_mtu, probe, learned
        self._active: dict[Address, None] = {}  # talked to since the last look
        self._probes: dict[Address, tuple[int, int]] = {}  # when the next one goes, and the wait
        self._narrow: dict[Address, int] = {}
        self._look_ns: int | None = None
        self._looked_ns = 0

    @property
    def least_bytes(self) -> int:
        """MTU of the narrowest path that is known."""
        return min((self.mtu_bytes, *self._narrow.values()))

    def talked(self, address: Address, now_ns: int) -> None:
        """A datagram goes to this peer."""
        if address in self._active or len(self._active) >= PEERS_MAX:
            return
        self._active[address] = None
        look_ns = now_ns + LOOK_NS
        if address not in self._probes:
            if len(self._probes) >= PEERS_MAX:
                self._probes.clear()  # they are probed anew when they are talked to again
            self._probes[address] = now_ns + PROBE_AGAIN_FIRST_NS, PROBE_AGAIN_FIRST_NS
            self._probe(address)
            look_ns = now_ns + FIRST_LOOK_NS
        self._look_ns = look_ns if self._look_ns is None else min(self._look_ns, look_ns)

    def too_long(self, now_ns: int) -> None:
        """The kernel has refused a datagram as too long: it knows what we do not."""
        self._active = dict.fromkeys(self._probes)
        look_ns = max(now_ns, self._looked_ns + FIRST_LOOK_NS)
        self._look_ns = look_ns if self._look_ns is None else min(self._look_ns, look_ns)

    def deadline_ns(self) -> int | None:
        """When to call expire(); None: nobody is talked to."""
        return self._look_ns

    def expire(self, now_ns: int) -> None:
        """Look at the paths in use, and probe those whose time has come."""
        if self._look_ns is None or now_ns < self._look_ns:
            return
        active, self._active, self._look_ns = self._active, {}, None
        self._looked_ns = now_ns
        before = dict(self._narrow)
        for address in active:
            self._look(address)
            next_ns, wait_ns = self._probes.get(address, (0, 0))
            if next_ns and now_ns >= next_ns:
                wait_ns = min(2 * wait_ns, PROBE_AGAIN_MAX_NS)
                self._probes[address] = now_ns + wait_ns, wait_ns
                self._probe(address)
            if wait_ns == PROBE_AGAIN_FIRST_NS:
                # The first answer may have come too late for this look.
                self._active[address], self._look_ns = None, now_ns + LOOK_NS
        if self._narrow != before:
            self._learned(dict(self._narrow))

    def _look(self, address: Address) -> None:
        try:
            mtu_bytes = self._path_mtu(address)
        except OSError:
            return  # no route now: what was known stays
        self._narrow.pop(address, None)
        if mtu_bytes < self.mtu_bytes:
            if len(self._narrow) >= PEERS_MAX:
                self._narrow.pop(next(iter(self._narrow)))
            self._narrow[address] = mtu_bytes
