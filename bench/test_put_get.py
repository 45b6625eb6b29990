"""Objects through a real cluster on loopback, by size, transport and how many at once.

Every object that is put is new and incompressible, made before the clock starts; every byte is compared
outside it. One client at once is latency: op/s of it is 1 / seconds. The initiator is embedded in this
process, "servers" are all daemons. 4 KiB is a small put: the object lies in its version.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from loopback_cluster import BUCKET, LoopbackCluster
from meter import TINY, Case, measure
from results import digest_of, size_text

from replicast.units import KIB, MIB

SIZES_BYTES = (4 * KIB, 64 * KIB, MIB)
CLIENTS = (1, 8)
OBJECTS = dict.fromkeys(SIZES_BYTES, 8) if TINY else {4 * KIB: 128, 64 * KIB: 64, MIB: 16}
Objects = dict[str, bytes]


class Bodies:
    """New objects, the same at every run: of this case and of no other, or the store would have them."""

    def __init__(self, case: str, size_bytes: int) -> None:
        self._case, self._size_bytes = case.replace(" ", "-"), size_bytes
        self._rng = random.Random(case)
        self._count = 0

    def take(self, count: int) -> Objects:
        """By name."""
        first, self._count = self._count, self._count + count
        names = [f"{self._case}/{number:06}" for number in range(first, self._count)]
        return {name: self._rng.randbytes(self._size_bytes) for name in names}


def put_all(cluster: LoopbackCluster, objects: Objects, clients: int) -> list[tuple[int, str]]:
    """Sizes and ETags, sorted."""

    async def put(name: str) -> tuple[int, str]:
        info = await cluster.client.put(BUCKET, name, objects[name])
        return info.size_bytes, info.etag

    return sorted(cluster.each(objects, put, clients))


def get_all(cluster: LoopbackCluster, names: Objects, clients: int) -> Objects:
    async def get(name: str) -> tuple[str, bytes]:
        return name, await cluster.client.read(BUCKET, name)

    return dict(cluster.each(names, get, clients))


def case_of(what: str, cluster: LoopbackCluster, size_bytes: int, clients: int) -> Case:
    name = f"{what} {size_text(size_bytes)} x{clients} {cluster.transport}"
    count = OBJECTS[size_bytes]
    moved = 0 if size_bytes == SIZES_BYTES[0] else count * size_bytes  # op/s of small ones
    return Case(name, operations=count, size_bytes=moved)


@pytest.mark.parametrize("clients", CLIENTS)
@pytest.mark.parametrize("size_bytes", SIZES_BYTES)
def test_put(benchmark: Any, cluster: LoopbackCluster, size_bytes: int, clients: int) -> None:
    what = "small put" if size_bytes == SIZES_BYTES[0] else "put"
    case = case_of(what, cluster, size_bytes, clients)
    bodies = Bodies(case.name, size_bytes)
    last: Objects = {}

    def setup() -> tuple[Objects]:
        nonlocal last
        last = bodies.take(case.operations)
        return (last,)

    measure(
        benchmark,
        case,
        lambda objects: put_all(cluster, objects, clients),
        setup=setup,
        server_seconds=cluster.server_seconds,
    )
    assert get_all(cluster, last, CLIENTS[-1]) == last


@pytest.mark.parametrize("clients", CLIENTS)
@pytest.mark.parametrize("size_bytes", SIZES_BYTES)
def test_get(benchmark: Any, cluster: LoopbackCluster, size_bytes: int, clients: int) -> None:
    case = case_of("get", cluster, size_bytes, clients)
    objects = Bodies(case.name, size_bytes).take(case.operations)
    put_all(cluster, objects, CLIENTS[-1])

    def check(found: Objects) -> None:
        assert found == objects

    measure(
        benchmark,
        case,
        lambda: get_all(cluster, objects, clients),
        after=check,
        digest=lambda found: digest_of(sorted(found.items())),
        server_seconds=cluster.server_seconds,
    )
