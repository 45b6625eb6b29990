"""The UDP side of a simulated process: sockets that are only names, and a NetThread without one.

SimNet does what replicast/transport/net_pure.py defines, on the simulated network: payload goes
into the process's own Reassembly, everything else is queued for take(). A datagram that arrives
at a paused process waits in its socket buffer, which has a size.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from replicast.machine import Address
from replicast.sim.network import Network
from replicast.sim.world import World
from replicast.transfer_header import header_for, index_runs, is_payload
from replicast.transport.net import FeedCode, Reassembly
from replicast.transport.net_pure import COUNTERS, Control, check_job

SOCKET_BYTES = 4 << 20
CONTROL_COUNT_MAX, CONTROL_BYTES_MAX = 8192, 16 << 20
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


class SimNet:
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
        self.reassembly = buffers
        self._world, self._network = world, network
        self._sockets, self._number = sockets, number
        self._readable, self._alive = readable, alive
        self._tags: dict[int, SimSocket] = {}
        self._controls: list[Control] = []
        self._control_bytes = 0
        self._done: list[int] = []
        self._jobs: dict[int, int] = {}
        self._notified = self._stopped = False
        self._counters = dict.fromkeys(COUNTERS, 0)

    # -- sockets and life -------------------------------------------------------------

    def add_socket(self, fd: int, tag: int) -> None:
        place = self._sockets[fd]
        self._tags[tag] = place

        def deliver(datagram: bytes, source: Address) -> None:
            self._deliver(tag, datagram, source)

        if place.group is None:
            self._network.ports[place.address] = deliver
        else:
            self._network.groups.setdefault(place.group, {})[place.address[0]] = deliver

    def remove_socket(self, tag: int) -> None:
        place = self._tags.pop(tag)
        if place.group is None:
            self._network.ports.pop(place.address, None)
        else:
            self._network.groups.get(place.group, {}).pop(place.address[0], None)

    def start(self) -> None:
        """Nothing to start."""

    def stop(self) -> None:
        self._stopped = True
        for tag in list(self._tags):
            self.remove_socket(tag)

    def fileno(self) -> int:
        return self._number

    # -- in ---------------------------------------------------------------------------

    def _deliver(self, tag: int, datagram: bytes, source: Address) -> None:
        if self._stopped or not self._alive():
            return
        self._counters["received_bytes"] += len(datagram)
        if not is_payload(datagram):
            self._counters["received_control"] += 1
            news = self._queue(tag, datagram, source)
        else:
            self._counters["received_payload"] += 1
            code = self.reassembly.feed(datagram)
            if code == FeedCode.DELIVER:
                news = self._queue(tag, datagram, source)
            else:
                news = code == FeedCode.COMPLETED
        if news:
            self._notify()

    def _queue(self, tag: int, datagram: bytes, source: Address) -> bool:
        full = len(self._controls) >= CONTROL_COUNT_MAX
        if full or self._control_bytes + len(datagram) > CONTROL_BYTES_MAX:
            self._counters["dropped_queue_full"] += 1
            return False
        self._controls.append((tag, datagram, source))
        self._control_bytes += len(datagram)
        return True

    def _notify(self) -> None:
        if not self._notified:
            self._notified = True
            self._counters["wake_ups"] += 1
            self._readable(self._number)

    def take(self) -> tuple[list[Control], list[bytes], list[int]]:
        self._notified = False
        controls, self._controls = self._controls, []
        self._control_bytes = 0
        done, self._done = self._done, []
        for job in done:
            del self._jobs[job]
        return controls, self.reassembly.take_completed(), done

    # -- out --------------------------------------------------------------------------

    def send_control(self, datagrams: list[Control]) -> int:
        if self._stopped or not self._alive():
            return 0
        for tag, payload, address in datagrams:
            self._send(tag, payload, address)
        self._counters["sent_control"] += len(datagrams)
        return len(datagrams)

    def _send(self, tag: int, datagram: bytes, address: Address) -> int:
        self._counters["sent_bytes"] += len(datagram)
        return self._network.send(self._tags[tag].address, address, datagram)

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
        if self._stopped or not self._alive():
            return False
        if len(self._jobs) >= JOBS_MAX or sum(self._jobs.values()) + size_bytes > JOB_BYTES_MAX:
            return False
        self._jobs[job_id] = size_bytes
        view = memoryview(buffer).cast("B")
        left_ns = self._world.time_ns
        runs = index_runs(ranges, size_bytes, datagram_bytes)
        for index in itertools.chain.from_iterable(range(*run) for run in runs):
            header = header_for(transfer_id, index, size_bytes, datagram_bytes, sender)
            start = index * datagram_bytes
            datagram = header.pack() + bytes(view[start : start + header.length])
            for address in addresses:
                left_ns = self._send(tag, datagram, address)
                self._counters["sent_payload"] += 1

        def left() -> None:
            if not self._stopped and self._alive():
                self._done.append(job_id)
                self._notify()

        self._world.at(left_ns, left)
        return True

    def stats(self) -> dict[str, int]:
        return dict(self._counters)
