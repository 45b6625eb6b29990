"""Which disks a run may damage, so that the contract can still be kept: the fairness of its faults.

An acknowledgement counts copies on at least `min_copies` (two) hosts, and C2 promises its survival
while one of these is good. So whatever destroys synced data (flipped bits, bits flipped on the way
of a read that make the product give a copy up, disks that come back empty) may hit the drives of
ONE host in a run: repair comes only at its end, and every acknowledgement counted another host too.
Everything else that disks do wrong takes nothing that was synced, and is fair on any of them.
"""

from __future__ import annotations

from replicast.sim.world import World


class Unfair(Exception):
    """A fault would take more than the contract promises to survive."""


class Damage:
    """What was destroyed in a run, and where."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.host: str | None = None
        self.count = 0

    def claim(self, host: str, what: str) -> None:
        """Synced data of `host` is about to be destroyed; raises Unfair for a second host."""
        if not self.may_hit(host):
            raise Unfair(f"{what} on {host}: {self.host} has lost data already")
        self.host = host
        self.count += 1
        self._world.note(host, "damage", kind=what)

    def may_hit(self, host: str) -> bool:
        """Would claim() be fair?"""
        return self.host in (None, host)

    def hit(self, host: str) -> bool:
        """May data of this host be missing or wrong until repair ran?"""
        return host == self.host
