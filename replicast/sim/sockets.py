"""The UDP side of a simulated process: sockets that are only names, and a NetThread without one.

SimNet does what replicast/transport/net_pure.py defines, on the simulated network. A datagram
that arrives at a paused process waits in its inbox, which has a size.
"""

from __future__ import annotations

from collections.abc import Callable

from replicast.machine import Address
from replicast.sim.network import Inbox, Network
from replicast.sim.world import World
from replicast.transport.net import Reassembly
from replicast.transport.net_pure import check_job

SOCKET_BYTES = 4 << 20
JOBS_MAX, JOB_BYTES_MAX = 1024, 256 << 20


class SimSocket:
    """A bound address; `fileno` is its number in this process."""

    def __init__(self, number: int, address: Address, group: Address | None) -> None:
        self.address, self.group = address, group
        self._number = number

    def fileno(self) -> int:
        return self._number

    def getsockopt(self, level: int, option: int) -> int:
        """Only the receive buffer is ever asked for; the kernel counts double."""
        return 2 * SOCKET_BYTES

    def getsockname(self) -> Address:
        return self.address

    def close(self) -> None:
        """SimNet lets go of it."""


class SimNet(Inbox):
    """See the module header; `readable` tells the process's loop."""

    def __init__(
        self,
        world: World,
        network: Network,
        buffers: Reassembly,
        sockets: dict[int, SimSocket],
        number: int,
        readable: Callable[[int], None],
        alive: Callable[[], bool],
    ) -> None:
        super().__init__(network, buffers, number, readable, alive)
        self._world, self._wire, self._sockets = world, network, sockets
        self._tags: dict[int, SimSocket] = {}

    # -- sockets and life -------------------------------------------------------------

    def add_socket(self, fd: int, tag: int) -> None:
        place = self._sockets[fd]
        self._tags[tag], self.addresses[tag] = place, place.address
        if place.group is None:
            self._wire.ports[place.address] = self.port(tag)
        else:
            members = self._wire.groups.setdefault(place.group, {})
            members[place.address[0]] = self.port(tag)

    def remove_socket(self, tag: int) -> None:
        place = self._tags.pop(tag)
        del self.addresses[tag]
        if place.group is None:
            self._wire.ports.pop(place.address, None)
        else:
            self._wire.groups.get(place.group, {}).pop(place.address[0], None)

    def start(self) -> None:
        """Nothing to start."""

    def stop(self) -> None:
        self.shut()
        for tag in list(self._tags):
            self.remove_socket(tag)

    # -- out --------------------------------------------------------------------------

    def submit_payload(
        self,
        job_id: int,
        tag: int,
        transfer_id: bytes,
        sender: int,
        buffer: bytes | bytearray | memoryview,
        ranges: list[tuple[int, int]],
        datagram_bytes: int,
        size_bytes: int,
        addresses: list[Address],
    ) -> bool:
        check_job(transfer_id, buffer, datagram_bytes, size_bytes, addresses, sender)
        if not self.is_open():
            return False
        if len(self.jobs) >= JOBS_MAX or sum(self.jobs.values()) + size_bytes > JOB_BYTES_MAX:
            return False
        self.jobs[job_id] = size_bytes
        left_ns = self.send_payload(
            tag, transfer_id, buffer, ranges, datagram_bytes, sender, addresses
        )
        self._world.at(left_ns, lambda: self.finish(job_id))
        return True
