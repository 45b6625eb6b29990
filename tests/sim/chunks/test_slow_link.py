"""Gets over a slow line: nothing is sent into it twice, and nobody is late because it is slow."""

from __future__ import annotations

from typing import Any

import pytest

from replicast.gateway.read_events import ChunkRead
from replicast.transfer import SendPayload
from replicast.transport.net import Reassembly
from replicast.units import KIB, MIB, MS, SECOND

from .link import Link
from .world import GATEWAY, Cluster

DELAY_NS = 20 * MS
BYTES_PER_SECOND = 2_000_000


class SlowCluster(Cluster):
    """The gateway has just started; chunks are there; its line can be slow from now on."""

    def __init__(self, count: int, size: int, **more: Any) -> None:
        super().__init__(datagram_bytes=1408, **more)
        self.chunks = [self.data(size) for _ in range(count)]
        self.places = [self.result(self.put(data)).vdevs for data in self.chunks]
        self.new_gateway()
        self.buffers = self.context.buffers = Reassembly(64 * MIB, 256)
        self.context.credit.total_bytes = 4 * MIB
        self.payload_bytes = 0  # that targets have sent

    def slow(self, bytes_per_second: int, *, both: bool = True, **more: int) -> Link:
        """The line towards the gateway."""
        link = self.links_in[GATEWAY] = Link(bytes_per_second, **{"delay_ns": DELAY_NS} | more)
        if both:
            self.links_out[GATEWAY] = Link(bytes_per_second, **{"delay_ns": DELAY_NS} | more)
        return link

    def _send_payload(self, sender: int, e: SendPayload, sent: Any) -> None:
        if sender != GATEWAY:
            self.payload_bytes += e.payload_bytes
        super()._send_payload(sender, e, sent)

    def read_all(self, *, hinted: bool) -> float:
        """All chunks at a time; seconds until the last one is there."""
        began_ns = self.now
        reads = [
            self.get(data, hints=vdevs if hinted else ())
            for data, vdevs in zip(self.chunks, self.places, strict=True)
        ]
        self.run(lambda: all(read in self.results for read in reads))
        assert all(isinstance(self.results[read], ChunkRead) for read in reads)
        return (self.now - began_ns) / SECOND


@pytest.mark.parametrize("hinted", [True, False])
@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize(("count", "size"), [(1, MIB), (8, 100_000), (8, 400_000)])
def test_get__what_a_slow_line_carries_is_sent_once(
    count: int, size: int, both: bool, hinted: bool
) -> None:
    cluster = SlowCluster(count, size)
    cluster.slow(BYTES_PER_SECOND, both=both)
    took = cluster.read_all(hinted=hinted)
    assert cluster.payload_bytes <= 1.3 * count * size
    assert took < 1.3 * count * size / BYTES_PER_SECOND + 0.1


@pytest.mark.parametrize("delay_ns", [0, 50 * MS])
def test_get__eight_objects_share_a_slow_line(delay_ns: int) -> None:
    cluster = SlowCluster(8, MIB)
    cluster.slow(BYTES_PER_SECOND, delay_ns=delay_ns)
    took = cluster.read_all(hinted=False)
    assert cluster.payload_bytes <= 1.3 * 8 * MIB
    assert took < 1.3 * 8 * MIB / BYTES_PER_SECOND


@pytest.mark.parametrize("hinted", [True, False])
def test_get__a_line_that_was_fast_a_moment_ago(hinted: bool) -> None:
    cluster = SlowCluster(5, 400_000)
    cluster.read_all(hinted=hinted)
    cluster.payload_bytes = 0
    cluster.slow(BYTES_PER_SECOND)
    took = cluster.read_all(hinted=hinted)
    assert cluster.payload_bytes <= 1.3 * 5 * 400_000
    assert took < 1.3 * 5 * 400_000 / BYTES_PER_SECOND + 0.1


@pytest.mark.parametrize(("count", "size"), [(1, MIB), (8, 100_000)])
def test_get__a_short_queue_before_the_line_carries_nothing_twice(count: int, size: int) -> None:
    cluster = SlowCluster(count, size)
    link = cluster.slow(BYTES_PER_SECOND, queue_bytes_max=512 * KIB)
    took = cluster.read_all(hinted=False)
    assert link.carried_bytes <= 1.3 * count * size
    assert took < 2 * count * size / BYTES_PER_SECOND


def test_get__a_reader_that_takes_long_is_not_forgotten() -> None:
    cluster = SlowCluster(1, MIB)
    cluster.slow(250_000)
    assert cluster.read_all(hinted=True) > 4
    asked = [name for _, name, _ in cluster.trace]
    assert "Refused" not in asked and cluster.payload_bytes == MIB


def test_get__the_first_source_is_cut_off_when_the_second_sends() -> None:
    cluster = SlowCluster(1, MIB)
    slow = cluster.places[0][0]
    cluster.vdevs[slow].delay_ns = 300 * MS
    cluster.places = [(slow,)]
    cluster.slow(BYTES_PER_SECOND)
    took = cluster.read_all(hinted=True)
    assert cluster.counters.get("chunks_read", "second_source") == 1
    assert cluster.payload_bytes <= 1.3 * MIB
    assert took < MIB / BYTES_PER_SECOND + 0.5


def test_get__a_dead_source_is_late_although_others_send() -> None:
    cluster = SlowCluster(9, MIB)
    dead = cluster.table.target_of(cluster.places[0][0]).node_id
    cluster.places = [
        vdevs[:1]
        if n == 0
        else tuple(v for v in vdevs if cluster.table.target_of(v).node_id != dead)
        for n, vdevs in enumerate(cluster.places)
    ]
    cluster.targets[dead].crash()
    assert cluster.read_all(hinted=True) < 0.3
