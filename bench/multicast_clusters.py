"""Clusters of bench/multicast_pairs.py: they write no chunks, and the initiator has a process of its own.

`on_loopback` is what `replicast up` makes. `in_namespaces` has a network namespace for each target and one
for the initiator, each with a veth pair to a bridge that snoops, as switches do; nothing is between them but these, and a batch of
datagrams that leaves in one piece (UDP_SEGMENT) crosses them in one, as it reaches the driver of a real
network card.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multicast_client import Client, Load
from partial_daemon import without
from s3_endpoints import process_seconds

from replicast.cli.layout import CLIENT, LOCAL_FILE, load_local
from replicast.cli.up import UpRequest, bring_down, bring_up
from replicast.formation import Parameters

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "netns"))

from namespaces import form, running
from networks import Network

TINY = bool(os.environ.get("REPLICAST_BENCH_TINY"))
TARGETS, VDEVS = (3, 1) if TINY else (4, 2)
COPIES = 3
GATEWAY = "gw1"


@dataclass(frozen=True, slots=True)
class Running:
    """A cluster and its initiator."""

    client: Client
    target_pids: list[int]

    def server_seconds(self) -> float:
        """CPU time of the targets so far."""
        return sum(map(process_seconds, self.target_pids))


@contextmanager
def on_loopback(data: Path, transport: str, load: Load) -> Iterator[Running]:
    """In the folder `data`, which is gone afterwards."""
    request = UpRequest(targets=TARGETS, vdevs=VDEVS, copies=COPIES, transport=transport)
    try:
        with without("disk"):
            bring_up(data, request, lambda _: None)
        found = [daemon.pid() for daemon in load_local(data).of_kind("target", data)]
        with closing(Client(data / CLIENT, load)) as client:
            yield Running(client, [pid for pid in found if pid is not None])
    finally:
        if (data / LOCAL_FILE).exists():
            bring_down(data, lambda _: None)
        shutil.rmtree(data, ignore_errors=True)


def in_namespaces(mtu_bytes: int, rate: str) -> Callable[[Path, str, Load], Any]:
    """As on_loopback, with interfaces of that MTU, and of that rate where one is given."""

    @contextmanager
    def cluster(data: Path, transport: str, load: Load) -> Iterator[Running]:
        parameters = Parameters(transport=transport, copies=COPIES)
        data.mkdir()
        try:
            addresses = form(data, TARGETS, VDEVS, parameters)
            network = Network(joined=True, mtu=mtu_bytes, snooping=True)
            with without("disk"), running(data, addresses, network) as made:
                for name in made.addresses if rate else ():
                    made.network.slow(name, rate)
                # The initiator is there in the gateway's place, and with its keys.
                gateway = made.processes.pop(GATEWAY)
                gateway.terminate()
                gateway.wait()
                targets = list(made.processes.values())
                inside = ("nsenter", f"--net=/run/netns/{made.gateway}")
                with closing(Client(data / GATEWAY, load, inside)) as client:
                    yield Running(client, [target.pid for target in targets])
                for target in targets:
                    target.kill()  # they would hand over what goes now
        finally:
            shutil.rmtree(data, ignore_errors=True)

    return cluster
