"""Paths that take shorter datagrams than the gateway's interface, known late or early."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from replicast.gateway.copies import PutDone
from replicast.gateway.read_events import ChunkRead
from replicast.transfer import SendPayload
from replicast.transfer_header import datagram_length
from replicast.units import MS, SECOND

from .world import GATEWAY, Cluster

NARROW_BYTES = 512
LEARNED_NS = 50 * MS


class NarrowCluster(Cluster):
    """Longer datagrams between the gateway and `narrow` are lost; the gateway knows a while later."""

    def __init__(self, narrow: tuple[int, ...], learned_ns: int, **more: Any) -> None:
        self.narrow, self.learned_ns = narrow, learned_ns
        self.too_long: list[int] = []  # when
        super().__init__(**more)

    def new_gateway(self) -> None:
        super().new_gateway()
        self.context.path_bytes = self.path_bytes
        self.knows_ns = self.now + self.learned_ns

    def path_bytes(self, nodes: Iterable[int], most_bytes: int) -> int:
        known = self.now >= self.knows_ns and any(node in self.narrow for node in nodes)
        return min(most_bytes, NARROW_BYTES) if known else most_bytes

    def _send_datagram(
        self, sender: int, e: SendPayload, index: int, nodes: tuple[int, ...]
    ) -> None:
        if datagram_length(index, e.size_bytes, e.datagram_bytes) > NARROW_BYTES:
            reached = () if sender in self.narrow else self.narrow
            blocked = nodes if sender in self.narrow else tuple(n for n in nodes if n in reached)
            self.too_long += [self.now] * len(blocked)
            nodes = tuple(node for node in nodes if node not in blocked)
        super()._send_datagram(sender, e, index, nodes)


SOME, ALL = (2,), (1, 2, 3, 4)


@pytest.mark.parametrize("transport", ["unicast", "multicast"])
@pytest.mark.parametrize("narrow", [SOME, ALL])
@pytest.mark.parametrize("size", [3000, 30_000])
def test_put_and_get__through_paths_that_turn_out_narrow(
    size: int, narrow: tuple[int, ...], transport: str
) -> None:
    cluster = NarrowCluster(narrow, LEARNED_NS, transport=transport)
    began, data = cluster.now, cluster.data(size)
    done = cluster.result(cluster.put(data))
    assert isinstance(done, PutDone) and done.copies == 3
    assert cluster.now - began < SECOND  # no straggler was waited for
    cluster.new_gateway()
    read = cluster.result(cluster.get(data))
    assert isinstance(read, ChunkRead) and bytes(read.buffer) == data


@pytest.mark.parametrize("size", [3000, 30_000])
def test_put_and_get__a_known_narrow_path_costs_nothing(size: int) -> None:
    cluster = NarrowCluster(ALL, 0)
    data = cluster.data(size)
    assert cluster.result(cluster.put(data)).copies == 3
    assert bytes(cluster.result(cluster.get(data)).buffer) == data
    assert not cluster.too_long


def test_put__only_payloads_that_go_there_have_short_datagrams() -> None:
    cluster = NarrowCluster(SOME, 0, hosts=6)
    nodes: dict[bytes, set[int]] = {}
    used: dict[bytes, int] = {}
    send = cluster._send_payload

    def watch(sender: int, e: SendPayload, sent: Callable[[], None]) -> None:
        assert sender == GATEWAY and isinstance(e.to, tuple)
        nodes.setdefault(e.transfer_id, set()).update(e.to)
        used[e.transfer_id] = e.datagram_bytes
        send(sender, e, sent)

    cluster._send_payload = watch  # type: ignore[method-assign]
    for _ in range(16):
        cluster.result(cluster.put(cluster.data(20_000)))
    for transfer_id, reached in nodes.items():
        assert used[transfer_id] == (NARROW_BYTES if 2 in reached else 1024)
    assert set(used.values()) == {NARROW_BYTES, 1024}
