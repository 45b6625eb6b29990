"""What the sockets of one process got and sent: the definition; native/_simwire.pyx is its twin.

Payload goes into the process's own Reassembly, everything else is queued for take(), which has a
bound. `readable` hears once of what take() has not fetched yet.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from replicast.machine import Address
from replicast.sim.network_pure import Deliver, Network
from replicast.transfer_header import index_runs, is_payload, plain_head
from replicast.transport.net import FeedCode, Reassembly
from replicast.transport.net_pure import COUNTERS, Control
from replicast.transport.reassembly import check_shape

CONTROL_COUNT_MAX, CONTROL_BYTES_MAX = 8192, 16 << 20


class Inbox:
    """Of a NetThread. `addresses` are its sockets' by tag, `jobs` the sizes of what is sent."""

    def __init__(
        self,
        network: Network,
        buffers: Reassembly,
        number: int,
        readable: Callable[[int], None],
        alive: Callable[[], bool],
    ) -> None:
        self.reassembly = buffers
        self.addresses: dict[int, Address] = {}
        self.jobs: dict[int, int] = {}
        self._network, self._number = network, number
        self._readable, self._alive = readable, alive
        self._controls: list[Control] = []
        self._control_bytes = 0
        self._done: list[int] = []
        self._notified = self._stopped = False
        self._counters = dict.fromkeys(COUNTERS, 0)

    def is_open(self) -> bool:
        """Whether its process lives and it was not stopped."""
        return not self._stopped and self._alive()

    def shut(self) -> None:
        """Nothing comes or goes any more."""
        self._stopped = True

    def fileno(self) -> int:
        """The number that `readable` is told."""
        return self._number

    def stats(self) -> dict[str, int]:
        """As NetThread's."""
        return dict(self._counters)

    # -- in ---------------------------------------------------------------------------

    def port(self, tag: int) -> Deliver:
        """What the network gives the datagrams for a socket to."""

        def deliver(datagram: bytes, source: Address) -> None:
            self._deliver(tag, datagram, source)

        return deliver

    def take(self) -> tuple[list[Control], list[bytes], list[int]]:
        """As NetThread's."""
        self._notified = False
        controls, self._controls = self._controls, []
        self._control_bytes = 0
        done, self._done = self._done, []
        for job in done:
            del self.jobs[job]
        return controls, self.reassembly.take_completed(), done

    def _deliver(self, tag: int, datagram: bytes, source: Address) -> None:
        if not self.is_open():
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

    # -- out --------------------------------------------------------------------------

    def send_control(self, datagrams: list[Control]) -> int:
        """As NetThread's."""
        if not self.is_open():
            return 0
        for tag, payload, address in datagrams:
            self._send(tag, payload, address)
        self._counters["sent_control"] += len(datagrams)
        return len(datagrams)

    def send_payload(
        self,
        tag: int,
        transfer_id: bytes,
        buffer: bytes | bytearray | memoryview,
        ranges: list[tuple[int, int]],
        datagram_bytes: int,
        sender: int,
        addresses: list[Address],
    ) -> int:
        """The plain datagrams of a job, in the order of a NetThread; when the last has left."""
        view = memoryview(buffer).cast("B")
        size_bytes, left_ns = len(view), 0
        check_shape(transfer_id, size_bytes, datagram_bytes)
        for index in indexes(ranges, size_bytes, datagram_bytes):
            head = plain_head(transfer_id, index, size_bytes, datagram_bytes, sender)
            start = index * datagram_bytes
            datagram = b"".join((head, view[start : start + datagram_bytes]))
            for address in addresses:
                self._counters["sent_payload"] += 1
                left_ns = self._send(tag, datagram, address)
        return left_ns

    def finish(self, job_id: int) -> None:
        """A job was sent."""
        if self.is_open():
            self._done.append(job_id)
            self._notify()

    def _send(self, tag: int, datagram: bytes, address: Address) -> int:
        self._counters["sent_bytes"] += len(datagram)
        return self._network.send(self.addresses[tag], address, datagram)


def indexes(ranges: list[tuple[int, int]], size_bytes: int, datagram_bytes: int) -> Iterator[int]:
    """Of the datagrams that cover byte ranges of a chunk; ValueError for a range outside."""
    runs = index_runs(ranges, size_bytes, datagram_bytes)
    return itertools.chain.from_iterable(range(*run) for run in runs)
