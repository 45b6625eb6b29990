"""A cluster whose members live in network namespaces of their own, joined by a bridge.

    gateway (10.89.0.2 or fd89::2) --\
    t1 (10.89.0.11 or fd89::11) ------+-- bridge, MTU 1500, in a namespace of its own
    t2 ... t4 -----------------------/

With `link_mtu` the gateway is two routers away, and the link between these is narrower:

    gateway (10.89.1.2 or fd89:1::2) -- far == link_mtu == near -- bridge -- t1 ... t4

Formed by the very functions of `replicast up`, started with `ip netns exec`. Commands run outside:
the gateway's API socket is a path, and paths know no namespaces. Namespaces carry the test's pid
in their names; they and the processes are gone at the end, whatever happened.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from replicast.addresses import address_text, is_ipv6
from replicast.cli.members import METRICS_OFFSET, VdevPlan, make_gateway, make_target, target_joiner
from replicast.errors import ReplicastError
from replicast.formation import Parameters, toml_pairs
from replicast.gateway.api_client import connect_api
from replicast.joining import Joiner, form_here
from replicast.keys import Role

MTU = 1500
NETWORKS = {"ipv4": "10.89.0.", "ipv6": "fd89::"}
FAR_NETWORKS = {"ipv4": "10.89.1.", "ipv6": "fd89:1::"}
LINKS = {"ipv4": "10.89.2.", "ipv6": "fd89:2::"}
# The last part of their addresses, in either family.
ROUTER, GATEWAY, FIRST_TARGET = 1, 2, 11
PORTS = [7000 + offset for offset in range(METRICS_OFFSET + 1)]
SERVING_SECONDS = 60
STOP_SECONDS = 20
COMMAND_SECONDS = 280
POLL_SECONDS = 0.1


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, check=False, text=True)
    assert done.returncode == 0, (arguments, done.stderr)
    return done.stdout


def _address(namespace: str, address: str, device: str = "eth0") -> None:
    # No duplicate address detection: the daemons bind at once.
    prefix = ("/64", "nodad") if is_ipv6(address) else ("/24",)
    _ip("-n", namespace, "address", "add", address + prefix[0], "dev", device, *prefix[1:])


class Network:
    """Namespaces on one bridge. `joined`: interfaces take several datagrams at once."""

    def __init__(self, family: str, joined: bool = False) -> None:
        self._family, self._joined = family, joined
        # What a run that was killed has left behind must not be in the way of a later one.
        self._prefix = f"rc{os.getpid()}x{secrets.token_hex(3)}"
        self._names: list[str] = []
        self._near = ""  # the router on the bridge

    def open(self) -> None:
        """Make the bridge."""
        self._bridge = self._namespace("bridge")
        _ip("-n", self._bridge, "link", "add", "name", "bridge0", "mtu", str(MTU), "type", "bridge")
        _ip("-n", self._bridge, "link", "set", "bridge0", "up")

    def _namespace(self, name: str) -> str:
        full = f"{self._prefix}{name}"
        _ip("netns", "add", full)
        self._names.append(full)
        return full

    def host(self, name: str, last: int) -> str:
        """A namespace with one interface, eth0, on the bridge; returns its name."""
        address = f"{NETWORKS[self._family]}{last}"
        full = self._namespace(name)
        peer = ("peer", "name", "eth0", "netns", full, "mtu", str(MTU))
        _ip("-n", self._bridge, "link", "add", "name", name, "mtu", str(MTU), "type", "veth", *peer)
        _ip("-n", self._bridge, "link", "set", name, "master", "bridge0", "up")
        _address(full, address)
        if not self._joined:
            # What the interface counts is then what a wire would carry: one packet a datagram.
            _ip("-n", full, "link", "set", "eth0", "gso_max_segs", "1")
        _ip("-n", full, "link", "set", "lo", "up")
        _ip("-n", full, "link", "set", "eth0", "up")
        if self._near:
            _ip("-n", full, "route", "add", "default", "via", f"{NETWORKS[self._family]}{ROUTER}")
        return full

    def far_host(self, name: str, link_mtu: int) -> str:
        """The same two routers away; to be called before the hosts on the bridge are made."""
        near, far = self.host("near", ROUTER), self._namespace("far")
        full = self._namespace(name)
        self._near = near
        link = ("link", "add", "link0", "type", "veth", "peer", "name", "link0", "netns", far)
        _ip("-n", near, *link)
        link = ("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", full)
        _ip("-n", far, *link)
        home, link_net = FAR_NETWORKS[self._family], LINKS[self._family]
        for namespace, address, device in (
            (near, f"{link_net}1", "link0"),
            (far, f"{link_net}2", "link0"),
            (far, f"{home}{ROUTER}", "eth0"),
            (full, f"{home}{GATEWAY}", "eth0"),
        ):
            _address(namespace, address, device)
            _ip("-n", namespace, "link", "set", "lo", "up")
            _ip("-n", namespace, "link", "set", device, "up")
        self.set_link_mtu(link_mtu)
        for namespace, gateway in (
            (near, f"{link_net}2"),
            (far, f"{link_net}1"),
            (full, f"{home}{ROUTER}"),
        ):
            _ip("-n", namespace, "route", "add", "default", "via", gateway)
        for namespace in (near, far):
            for switch in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
                _ip("netns", "exec", namespace, "sh", "-c", f"echo 1 > /proc/sys/net/{switch}")
        return full

    def set_link_mtu(self, mtu: int) -> None:
        """Of the link between the routers."""
        for namespace in (self._near, f"{self._prefix}far"):
            _ip("-n", namespace, "link", "set", "link0", "mtu", str(mtu))

    def sent_bytes(self, namespace: str) -> int:
        """What eth0 there has sent so far."""
        return self._sent(namespace, "bytes")

    def sent_packets(self, namespace: str) -> int:
        """The same in packets, as they were handed to the interface."""
        return self._sent(namespace, "packets")

    def _sent(self, namespace: str, what: str) -> int:
        (link,) = json.loads(_ip("-n", namespace, "-s", "-j", "link", "show", "dev", "eth0"))
        return int(link["stats64"]["tx"][what])

    def close(self) -> None:
        """Delete all namespaces."""
        while self._names:
            _ip("netns", "del", self._names.pop())


@dataclass
class Cluster:
    """The running cluster."""

    data: Path
    network: Network
    gateway: str  # its namespace
    gateway_address: str
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, module: str, namespace: str) -> None:
        """Start a daemon in a namespace."""
        kind = "gateway" if name.startswith("gw") else "target"
        command = [sys.executable, "-m", module, "--config", f"{self.data / name / kind}.toml"]
        environ = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
        with open(self.data / name / "log.jsonl", "ab") as log:
            self.processes[name] = subprocess.Popen(
                ["ip", "netns", "exec", namespace, *command], stdout=log, stderr=log, env=environ
            )

    def run(self, *arguments: str | Path, stdin: Any = None) -> bytes:
        """The command line through the gateway; its standard output."""
        command = [sys.executable, "-m", "replicast.cli", "--cluster", self.data / "gw1"]
        done = subprocess.run(
            [*map(str, command), *map(str, arguments)],
            stdin=stdin,
            capture_output=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert done.returncode == 0, (arguments, done.stdout, done.stderr, self.words())
        return done.stdout

    def sent_bytes(self) -> int:
        """By the gateway's interface."""
        return self.network.sent_bytes(self.gateway)

    def counter(self, name: str) -> float:
        """Of the gateway, as /metrics shows it now, without labels; 0 before the first one."""
        return self.metric(f"{name}_total")

    def metric(self, name: str, **labels: str) -> float:
        """A sample of the gateway's /metrics."""
        url = f"http://{address_text((self.gateway_address, PORTS[-1]))}/metrics"
        read = f"import urllib.request as r; print(r.urlopen({url!r}).read().decode())"
        text = _ip("netns", "exec", self.gateway, sys.executable, "-c", read)
        pairs = ",".join(f'{key}="{value}"' for key, value in labels.items())
        wanted = re.escape(f"replicast_{name}" + (f"{{{pairs}}}" if pairs else ""))
        found = re.search(rf"^{wanted} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def words(self) -> dict[str, str]:
        """The last of each log."""
        return {n: (self.data / n / "log.jsonl").read_text()[-500:] for n in self.processes}

    def stop(self) -> None:
        """SIGTERM, then SIGKILL."""
        for process in self.processes.values():
            process.terminate()
        end = time.monotonic() + STOP_SECONDS
        for process in self.processes.values():
            try:
                process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def _wait_serving(cluster: Cluster, targets: int) -> None:
    end, report = time.monotonic() + SERVING_SECONDS, None
    while time.monotonic() < end:
        ended = [name for name, p in cluster.processes.items() if p.poll() is not None]
        assert not ended, (ended, cluster.words())
        try:
            async with connect_api(cluster.data / "gw1" / "api.sock") as api:
                report = await api.one("status")
        except (ReplicastError, OSError):
            await asyncio.sleep(POLL_SECONDS)
            continue
        up = [each for each in report["targets"] if each["up"] and each["lease"]]
        led = report["rows"]["without_leader"] == 0 and report["raft"]["quorum"]
        if len(up) == targets and led:
            return
        await asyncio.sleep(POLL_SECONDS)
    raise AssertionError((report, cluster.words()))


def _form(
    data: Path, network: str, gateway: str, targets: int, vdevs: int, parameters: Parameters
) -> None:
    members: dict[Path, tuple[Role, Joiner]] = {}
    for n in range(1, targets + 1):
        place = f"{network}{FIRST_TARGET - 1 + n}"
        joiner = target_joiner(f"t{n}", f"host{n}", "default", vdevs, place, PORTS)
        members[data / joiner.name] = (Role.TARGET, joiner)
    members[data / "gw1"] = (Role.GATEWAY, Joiner(name="gw1", host="gateway"))
    formation = asyncio.run(form_here(data / "founder", members, parameters))
    for n in range(1, targets + 1):
        plans = [VdevPlan(data / f"t{n}" / f"v{i + 1}") for i in range(vdevs)]
        make_target(data / f"t{n}", formation.cluster_id, plans)
    make_gateway(data / "gw1", (gateway, PORTS[-1]))


@pytest.fixture
def make_cluster(
    require: Callable[[str], None], tmp_path: Path
) -> Iterator[Callable[..., Cluster]]:
    """make_cluster("multicast") starts one; at most one a test.

    `gateway`: its settings, `gateway_module`: what is run as gateway.
    """
    require("netns")
    made: list[Cluster] = []
    networks: list[Network] = []

    def make(
        transport: str,
        targets: int = 4,
        vdevs: int = 2,
        gateway: Mapping[str, Any] | None = None,
        family: str = "ipv4",
        joined: bool = False,
        link_mtu: int = 0,
        gateway_module: str = "replicast.gateway.daemon",
    ) -> Cluster:
        network = Network(family, joined)
        networks.append(network)
        network.open()
        addresses = NETWORKS[family]
        at = f"{FAR_NETWORKS[family] if link_mtu else addresses}{GATEWAY}"
        _form(tmp_path, addresses, at, targets, vdevs, Parameters(transport=transport))
        with open(tmp_path / "gw1" / "gateway.toml", "a") as settings:
            settings.write("\n".join([*toml_pairs(gateway or {}), ""]))
        near = network.far_host("gw", link_mtu) if link_mtu else network.host("gw", GATEWAY)
        cluster = Cluster(tmp_path, network, near, at)
        made.append(cluster)
        for n in range(1, targets + 1):
            namespace = network.host(f"t{n}", FIRST_TARGET - 1 + n)
            cluster.start(f"t{n}", "replicast.target.daemon", namespace)
        cluster.start("gw1", gateway_module, cluster.gateway)
        asyncio.run(_wait_serving(cluster, targets))
        return cluster

    yield make
    for cluster in made:
        cluster.stop()
        for vdev in cluster.data.glob("*/v*"):
            shutil.rmtree(vdev, ignore_errors=True)
    for network in networks:
        network.close()
