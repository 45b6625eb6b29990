"""A cluster whose members live in network namespaces of their own, joined by a bridge or a relay.

    gateway (10.89.0.2 or fd89::2) --\
    t1 (10.89.0.11 or fd89::11) ------+-- bridge, MTU 1500, in a namespace of its own; or relay.py
    t2 ... t4 -----------------------/

In a RoutedNetwork the gateway is two routers away, and the link between these may be narrower:

    gateway (10.89.1.2 or fd89:1::2) -- far == link_mtu == near -- bridge -- t1 ... t4

Formed by the very functions of `replicast up`, started with `nsenter`, which leaves them their
mounts. Commands run outside: the gateway's API socket is a path, and paths know no namespaces.
Namespaces carry the pid of who made them in their names; they and the processes are gone after
`stop` and `close`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from replicast.addresses import address_text, is_ipv6
from replicast.cli.layout import socket_path
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
ROUTER, FIRST_GATEWAY, FIRST_TARGET = 1, 2, 11
PORTS = [7000 + offset for offset in range(METRICS_OFFSET + 1)]
SERVING_SECONDS = 60
SETTLE_SECONDS = 120
STOP_SECONDS = 20
COMMAND_SECONDS = 280
POLL_SECONDS = 0.1
RELAY = Path(__file__).with_name("relay.py")
TAP_QUEUE_FRAMES = 10_000  # what a machine that is busy elsewhere makes the relay read late
INTERFACE_SEGMENTS = 65_535  # gso_max_segs of an interface that nobody has set
GATEWAY_MODULE = "replicast.gateway.daemon"


def ip(*arguments: str) -> str:
    """What `ip` says; it must succeed."""
    done = subprocess.run(["ip", *arguments], capture_output=True, check=False, text=True)
    assert done.returncode == 0, (arguments, done.stderr)
    return done.stdout


def tc(verb: str, namespace: str, device: str, *arguments: str) -> None:
    """Change the queue in front of a device."""
    done = subprocess.run(
        ["tc", "-n", namespace, "qdisc", verb, "dev", device, *arguments],
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, (arguments, done.stderr)


def nft(namespace: str, script: str) -> None:
    """Give the packet filter of a namespace a script."""
    command = ["ip", "netns", "exec", namespace, "nft", "-f", "-"]
    done = subprocess.run(command, input=script, capture_output=True, check=False, text=True)
    assert done.returncode == 0, (script, done.stderr)


def nft_packets(namespace: str, table: str) -> list[int]:
    """What the counters in the rules of a table show."""
    said = ip("netns", "exec", namespace, "nft", "-j", "list", "table", *table.split())
    rules = [each["rule"]["expr"] for each in json.loads(said)["nftables"] if "rule" in each]
    return [each["counter"]["packets"] for rule in rules for each in rule if "counter" in each]


class Namespaces:
    """Some, by the names of members; `namespaces` has their full ones."""

    def __init__(self) -> None:
        # What a run that was killed has left behind must not be in the way of a later one.
        self._prefix = f"rc{os.getpid()}x{secrets.token_hex(3)}"
        self.namespaces: dict[str, str] = {}

    def add(self, name: str) -> str:
        """Make one; returns its full name."""
        full = f"{self._prefix}{name}"
        ip("netns", "add", full)
        self.namespaces[name] = full
        return full

    def sent_bytes(self, namespace: str) -> int:
        """What eth0 there has sent so far."""
        return self._sent(namespace, "bytes")

    def sent_packets(self, namespace: str) -> int:
        """The same in packets, as they were handed to the interface."""
        return self._sent(namespace, "packets")

    def _sent(self, namespace: str, what: str) -> int:
        (link,) = json.loads(ip("-n", namespace, "-s", "-j", "link", "show", "dev", "eth0"))
        return int(link["stats64"]["tx"][what])

    def close(self) -> None:
        """Delete all namespaces."""
        for full in self.namespaces.values():
            ip("netns", "del", full)
        self.namespaces.clear()


class Network(Namespaces):
    """Namespaces on one bridge. `joined`: interfaces take several datagrams at once."""

    def __init__(self, joined: bool = False) -> None:
        super().__init__()
        self._joined = joined

    def open(self, members: Mapping[str, str]) -> None:
        """Make the bridge and a namespace for each member, at its address."""
        bridge = self.add("bridge")
        ip("-n", bridge, "link", "add", "name", "bridge0", "mtu", str(MTU), "type", "bridge")
        ip("-n", bridge, "link", "set", "bridge0", "up")
        for name, address in members.items():
            self._host(bridge, name, address)

    def _host(self, bridge: str, name: str, address: str) -> None:
        full = self.add(name)
        peer = ("peer", "name", "eth0", "netns", full, "mtu", str(MTU))
        ip("-n", bridge, "link", "add", "name", name, "mtu", str(MTU), "type", "veth", *peer)
        ip("-n", bridge, "link", "set", name, "master", "bridge0", "up")
        self._switch_on(name, address)

    def _switch_on(self, name: str, address: str) -> None:
        configure(self.namespaces[name], address)
        if not self._joined:
            # What the interface counts is then what a wire would carry: one packet a datagram.
            self.segment(name, 1)

    def slow(self, name: str, rate: str) -> None:
        """What the member sends and is sent waits in a queue for its turn at this rate."""
        for where in self._both_ends(name):
            tc("add", *where, "root", "tbf", "rate", rate, "burst", "32k", "latency", "400ms")

    def not_slow(self, name: str) -> None:
        """As before."""
        for where in self._both_ends(name):
            tc("del", *where, "root")

    def _both_ends(self, name: str) -> tuple[tuple[str, str], ...]:
        return (self.namespaces[name], "eth0"), (self.namespaces["bridge"], name)

    def segment(self, name: str, segments: int) -> None:
        """How many datagrams may cross the member's interface in one piece."""
        ip("-n", self.namespaces[name], "link", "set", "eth0", "gso_max_segs", str(segments))


class RoutedNetwork(Network):
    """The same with gw1 two routers, near and far, away from the bridge."""

    def __init__(self, link_mtu: int, joined: bool = False) -> None:
        super().__init__(joined)
        self._link_mtu = link_mtu

    def open(self, members: Mapping[str, str]) -> None:
        """As there; what is between the bridge and gw1 as well."""
        family = "ipv6" if is_ipv6(members["gw1"]) else "ipv4"
        router = f"{NETWORKS[family]}{ROUTER}"
        targets = {name: address for name, address in members.items() if name != "gw1"}
        super().open(targets | {"near": router})
        for name in targets:
            self._route(name, router)
        near, far, gateway = self.namespaces["near"], self.add("far"), self.add("gw1")
        for here, device, there in ((near, "link0", far), (far, "eth0", gateway)):
            peer = ("peer", "name", device, "netns", there)
            ip("-n", here, "link", "add", device, "type", "veth", *peer)
        home, link = f"{FAR_NETWORKS[family]}{ROUTER}", LINKS[family]
        configure(near, f"{link}1", "link0")
        configure(far, f"{link}2", "link0")
        configure(far, home)
        self._switch_on("gw1", members["gw1"])
        self.set_link_mtu(self._link_mtu)
        for name, via in (("near", f"{link}2"), ("far", f"{link}1"), ("gw1", home)):
            self._route(name, via)
        for namespace in (near, far):
            for switch in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
                ip("netns", "exec", namespace, "sh", "-c", f"echo 1 > /proc/sys/net/{switch}")

    def _route(self, name: str, via: str) -> None:
        ip("-n", self.namespaces[name], "route", "add", "default", "via", via)

    def set_link_mtu(self, mtu: int) -> None:
        """Of the link between the routers."""
        for name in ("near", "far"):
            ip("-n", self.namespaces[name], "link", "set", "link0", "mtu", str(mtu))


class Cut:
    """What a member sends (`mute`), or what it should hear (`deaf`), is lost on its way."""

    def __init__(self, network: Network, member: str, kind: str) -> None:
        bridge, own = (network.namespaces[name] for name in ("bridge", member))
        self._namespace, self._device = (bridge, member) if kind == "mute" else (own, "eth0")
        self._table = f"netdev cut_{member}"  # several members share the bridge's namespace

    def make(self) -> None:
        """From now on."""
        nft(
            self._namespace,
            f"""table {self._table} {{
                chain ingress {{
                    type filter hook ingress device {self._device} priority 0;
                    counter drop
                }}
            }}
            """,
        )

    def heal(self) -> None:
        """There must have been something to drop."""
        assert sum(nft_packets(self._namespace, self._table)) > 0
        self.remove()

    def remove(self) -> None:
        """Whether it dropped anything or not."""
        nft(self._namespace, f"delete table {self._table}\n")


class RelayedNetwork(Namespaces):
    """Namespaces joined by a relay process."""

    _relay: subprocess.Popen[str] | None = None

    def open(self, members: Mapping[str, str]) -> None:
        """Make a namespace for each member, at its address, and start the relay."""
        for name in members:
            self.add(name)
        ports = [f"{name}={full}" for name, full in self.namespaces.items()]
        self._relay = subprocess.Popen(
            [sys.executable, str(RELAY), "--seed", "1", *ports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()
        for name, address in members.items():
            full = self.namespaces[name]
            ip("-n", full, "link", "set", "eth0", "txqueuelen", str(TAP_QUEUE_FRAMES))
            ip("-n", full, "link", "set", "eth0", "mtu", str(MTU))
            configure(full, address)

    def spoil(self, ports: Sequence[str], line: str, **faults: float) -> None:
        """What happens on these lines from now on; relay.Faults has the words."""
        self._ask({"ports": list(ports), "line": line, **faults})

    def counts(self) -> dict[str, dict[str, dict[str, int]]]:
        """By port, line and word of relay.Counts."""
        return self._ask({})

    def total(self, line: str) -> dict[str, int]:
        """Of that line of all ports."""
        found = [port[line] for port in self.counts().values()]
        return {word: sum(counts[word] for counts in found) for word in found[0]}

    def _ask(self, what: dict[str, Any]) -> dict[str, Any]:
        assert self._relay is not None and self._relay.stdin is not None
        self._relay.stdin.write(json.dumps(what) + "\n")
        self._relay.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._relay is not None and self._relay.stdout is not None
        return dict(json.loads(self._relay.stdout.readline()))

    def close(self) -> None:
        """End the relay, then as all do."""
        if self._relay is not None:
            self._relay.communicate()
        super().close()


def configure(namespace: str, address: str, device: str = "eth0") -> None:
    """Give a device its address and switch it on."""
    # No duplicate address detection: the daemons bind at once.
    prefix, *options = ("/64", "nodad") if is_ipv6(address) else ("/24",)
    ip("-n", namespace, "address", "add", address + prefix, "dev", device, *options)
    ip("-n", namespace, "link", "set", "lo", "up")
    ip("-n", namespace, "link", "set", device, "up")


@dataclass
class Cluster:
    """The running cluster: daemons by name."""

    data: Path
    network: Any  # Network, RoutedNetwork or RelayedNetwork
    addresses: Mapping[str, str]
    gateway_module: str = GATEWAY_MODULE
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def gateway(self) -> str:
        """The namespace of gw1."""
        return str(self.network.namespaces["gw1"])

    @property
    def targets(self) -> list[str]:
        """Names of all that there are."""
        return [name for name in self.network.namespaces if name.startswith("t")]

    @property
    def gateways(self) -> list[str]:
        """Names of all that there are."""
        return [name for name in self.network.namespaces if name.startswith("gw")]

    def socket(self, gateway: str = "gw1") -> Path:
        """The API socket of a gateway."""
        return socket_path(self.data / gateway)

    def start(self, name: str) -> None:
        """Start a daemon in its namespace."""
        kind = "gateway" if name.startswith("gw") else "target"
        module = self.gateway_module if kind == "gateway" else "replicast.target.daemon"
        config = self.data / name / f"{kind}.toml"
        command = [sys.executable, "-m", module, "--config", str(config)]
        environ = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
        namespace = self.network.namespaces[name]
        with open(self.data / name / "log.jsonl", "ab") as log:
            self.processes[name] = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{namespace}", *command],
                stdout=log,
                stderr=log,
                env=environ,
            )

    def run(
        self, *arguments: str | Path, stdin: Any = None, seconds: float = COMMAND_SECONDS
    ) -> bytes:
        """The command line through gw1; its standard output."""
        command = [sys.executable, "-m", "replicast.cli", "--cluster", self.data / "gw1"]
        done = subprocess.run(
            [*map(str, command), *map(str, arguments)],
            stdin=stdin,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, (arguments, done.stdout, done.stderr, self.words())
        return done.stdout

    async def wait_status(
        self, wanted: Callable[[dict[str, Any]], Any], seconds: float = SETTLE_SECONDS
    ) -> dict[str, Any]:
        """The first report of gw1 that `wanted` accepts."""
        end, report = time.monotonic() + seconds, dict[str, Any]()
        while time.monotonic() < end:
            ended = [name for name, p in self.processes.items() if p.poll() is not None]
            assert not ended, (ended, self.words())
            try:
                async with connect_api(self.socket()) as api:
                    report = await api.one("status")
            except (ReplicastError, OSError):
                await asyncio.sleep(POLL_SECONDS)
                continue
            if wanted(report):
                return report
            await asyncio.sleep(POLL_SECONDS)
        raise AssertionError((report, self.words()))

    async def wait_serving(self) -> None:
        """Until all targets are up and every row is led."""

        def serves(report: dict[str, Any]) -> bool:
            up = [each for each in report["targets"] if each["up"] and each["lease"]]
            led = report["rows"]["without_leader"] == 0 and report["raft"]["quorum"]
            return len(up) == len(self.targets) and led

        await self.wait_status(serves, SERVING_SECONDS)

    def counter(self, name: str) -> float:
        """Of gw1, as /metrics shows it now, without labels; 0 before the first one."""
        return self.metric(f"{name}_total")

    def metric(self, name: str, **labels: str) -> float:
        """A sample of gw1's /metrics."""
        url = f"http://{address_text((self.addresses['gw1'], PORTS[-1]))}/metrics"
        read = f"import urllib.request as r; print(r.urlopen({url!r}).read().decode())"
        text = ip("netns", "exec", self.gateway, sys.executable, "-c", read)
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


def form(
    data: Path,
    targets: int,
    vdevs: int,
    parameters: Parameters,
    gateways: int = 1,
    settings: Mapping[str, Any] | None = None,
    family: str = "ipv4",
    far: bool = False,
) -> dict[str, str]:
    """Make keys, folders and settings of all members; `settings` are the gateways'.

    `far`: the gateways are beyond the routers. Returns the members' addresses.
    """
    gateway_network = (FAR_NETWORKS if far else NETWORKS)[family]
    members: dict[Path, tuple[Role, Joiner]] = {}
    addresses: dict[str, str] = {}
    for n in range(1, targets + 1):
        place = addresses[f"t{n}"] = f"{NETWORKS[family]}{FIRST_TARGET - 1 + n}"
        joiner = target_joiner(f"t{n}", f"host{n}", "default", vdevs, place, PORTS)
        members[data / joiner.name] = (Role.TARGET, joiner)
    for n in range(1, gateways + 1):
        addresses[f"gw{n}"] = f"{gateway_network}{FIRST_GATEWAY - 1 + n}"
        members[data / f"gw{n}"] = (Role.GATEWAY, Joiner(name=f"gw{n}", host=f"gateway{n}"))
    formation = asyncio.run(form_here(data / "founder", members, parameters))
    for n in range(1, targets + 1):
        plans = [VdevPlan(data / f"t{n}" / f"v{i + 1}") for i in range(vdevs)]
        make_target(data / f"t{n}", formation.cluster_id, plans)
    for n in range(1, gateways + 1):
        make_gateway(data / f"gw{n}", (addresses[f"gw{n}"], PORTS[-1]))
        with open(data / f"gw{n}" / "gateway.toml", "a") as file:
            file.write("\n".join([*toml_pairs(settings or {}), ""]))
    return addresses


@contextmanager
def running(
    data: Path,
    addresses: Mapping[str, str],
    network: Any,
    gateway_module: str = GATEWAY_MODULE,
) -> Iterator[Cluster]:
    """A cluster that was formed, in a network of that kind; serves when entered.

    `gateway_module`: what is run as gateway.
    """
    cluster = Cluster(data, network, addresses, gateway_module)
    try:
        network.open(addresses)
        for name in addresses:
            cluster.start(name)
        asyncio.run(cluster.wait_serving())
        yield cluster
    finally:
        cluster.stop()
        network.close()
