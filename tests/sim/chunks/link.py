"""A slow line to one node: what is sent to it waits in a queue of bounded length."""

from __future__ import annotations

from dataclasses import dataclass, field

from replicast.units import SECOND

HEADERS_BYTES = 42 + 64  # Ethernet, IP and UDP, and the header of a payload datagram


@dataclass
class Link:
    """One direction. Counts what it carried and what found the queue full."""

    bytes_per_second: int
    delay_ns: int = 0
    queue_bytes_max: int = 1 << 40
    carried_bytes: int = 0
    dropped_bytes: int = 0
    _free_ns: int = field(default=0)

    def carry(self, size_bytes: int, now_ns: int) -> int | None:
        """How long after now it arrives at the other end; None: never."""
        begins_ns = max(now_ns, self._free_ns)
        queued_bytes = (begins_ns - now_ns) * self.bytes_per_second // SECOND
        if queued_bytes + size_bytes > self.queue_bytes_max:
            self.dropped_bytes += size_bytes
            return None
        self.carried_bytes += size_bytes
        self._free_ns = begins_ns + (size_bytes + HEADERS_BYTES) * SECOND // self.bytes_per_second
        return self._free_ns - now_ns + self.delay_ns
