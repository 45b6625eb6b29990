"""replicast/transport/paths.py: which peers are behind a narrow path, without any network."""

from __future__ import annotations

import errno
from collections.abc import Mapping

from replicast.machine import Address
from replicast.transport.paths import (
    FIRST_LOOK_NS,
    LOOK_NS,
    PEERS_MAX,
    PROBE_AGAIN_MAX_NS,
    PathWatch,
)
from replicast.units import SECOND

NEAR, FAR = ("10.0.0.1", 7000), ("10.9.0.1", 7000)


class Paths:
    """What the kernel would say, and what the watch has done."""

    def __init__(self) -> None:
        self.mtu: dict[Address, int] = {}
        self.probed: list[Address] = []
        self.learned: list[Mapping[Address, int]] = []
        self.watch = PathWatch(1500, self.ask, self.probed.append, self.learned.append)

    def ask(self, address: Address) -> int:
        if self.mtu.get(address) == 0:
            raise OSError(errno.ENETUNREACH, "no route")
        return self.mtu.get(address, 1500)

    def look(self) -> int:
        """Expire when it is due; when that was."""
        due_ns = self.watch.deadline_ns()
        assert due_ns is not None
        self.watch.expire(due_ns - 1)
        self.watch.expire(due_ns)
        return due_ns


def test_first_contact__probe_then_look() -> None:
    paths = Paths()
    paths.watch.talked(NEAR, 0)
    paths.watch.talked(FAR, 0)
    assert paths.probed == [NEAR, FAR] and paths.learned == []
    paths.mtu[FAR] = 1280
    assert paths.look() == FIRST_LOOK_NS
    assert paths.learned == [{FAR: 1280}] and paths.watch.least_bytes == 1280


def test_first_contact__an_answer_that_takes_long_is_not_missed() -> None:
    paths = Paths()
    paths.watch.talked(FAR, 0)
    paths.look()
    paths.mtu[FAR] = 1400
    assert paths.look() == FIRST_LOOK_NS + LOOK_NS
    assert paths.learned == [{FAR: 1400}]


def test_silence__nobody_is_looked_at() -> None:
    paths = Paths()
    paths.watch.talked(FAR, 0)
    while paths.watch.deadline_ns() is not None:
        paths.look()
    assert len(paths.probed) == 2
    paths.watch.expire(100 * SECOND)
    assert len(paths.probed) == 2


def test_traffic__probes_become_rare_and_a_path_may_widen_again() -> None:
    paths = Paths()
    paths.mtu[FAR] = 1280
    now_ns, end_ns = 0, 1000 * SECOND
    while now_ns < end_ns:
        paths.watch.talked(FAR, now_ns)
        now_ns = paths.look()
    few = end_ns // PROBE_AGAIN_MAX_NS
    assert few < len(paths.probed) < few + 10
    assert paths.learned == [{FAR: 1280}]
    del paths.mtu[FAR]
    paths.watch.talked(FAR, now_ns)
    paths.look()
    assert paths.learned[-1] == {} and paths.watch.least_bytes == 1500


def test_too_long__is_looked_into_at_once() -> None:
    paths = Paths()
    paths.watch.talked(FAR, 0)
    while paths.watch.deadline_ns() is not None:
        looked_ns = paths.look()
    paths.mtu[FAR] = 1280
    paths.watch.too_long(looked_ns + 1)
    paths.watch.too_long(looked_ns + 2)
    assert paths.look() == looked_ns + FIRST_LOOK_NS  # not with every datagram
    paths.watch.too_long(looked_ns + SECOND)
    assert paths.look() == looked_ns + SECOND
    assert paths.learned == [{FAR: 1280}]


def test_look__without_a_route_what_was_known_stays() -> None:
    paths = Paths()
    paths.mtu[FAR] = 1280
    paths.watch.talked(FAR, 0)
    paths.look()
    paths.mtu[FAR] = 0
    paths.look()
    assert paths.learned == [{FAR: 1280}] and paths.watch.least_bytes == 1280


def test_peers__bounded() -> None:
    paths = Paths()
    for number in range(3 * PEERS_MAX):
        address = (f"10.0.{number >> 8}.{number & 255}", 7000)
        paths.mtu[address] = 1280
        paths.watch.talked(address, 0)
        if number % 100 == 0:
            paths.look()
    paths.look()
    assert all(len(each) <= PEERS_MAX for each in paths.learned)
    assert len(paths.watch._probes) <= PEERS_MAX
    for port in range(2 * PEERS_MAX):
        paths.watch.talked(("10.0.0.1", port), 0)
    assert len(paths.watch._active) <= PEERS_MAX
