"""Networks of namespaces: on a bridge, behind routers, or joined by a relay process.

    gw1 (10.89.0.2 or fd89::2) ----\
    t1 (10.89.0.11 or fd89::11) ----+-- bridge, MTU 1500, in a namespace of its own; or relay.py
    t2 ... t4 ---------------------/

The bridge sends multicast to all, or snoops, as most switches do: to who has joined the group.

In a RoutedNetwork the gateway is two routers away, and the link between these may be narrower:

    gw1 (10.89.1.2 or fd89:1::2) -- far == link_mtu == near -- bridge -- t1 ... t4

Namespaces carry the pid of who made them in their names; they are gone after `close`.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from replicast.addresses import is_ipv6

MTU = 1500
NETWORKS = {"ipv4": "10.89.0.", "ipv6": "fd89::"}
FAR_NETWORKS = {"ipv4": "10.89.1.", "ipv6": "fd89:1::"}
LINKS = {"ipv4": "10.89.2.", "ipv6": "fd89:2::"}
# The last part of their addresses, in either family.
ROUTER, FIRST_GATEWAY, FIRST_TARGET = 1, 2, 11
RELAY = Path(__file__).with_name("relay.py")
INTERFACE_SEGMENTS = 65_535  # gso_max_segs of an interface that nobody has set
SNOOPING_AFTER = "10"  # hundredths of a second since a bridge first asked
TAP_QUEUE_FRAMES = 10_000  # what a machine that is busy elsewhere makes the relay read late


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
        return self._counted(namespace, "tx", "bytes")

    def received_bytes(self, namespace: str) -> int:
        """What came to eth0 there so far, wanted or not."""
        return self._counted(namespace, "rx", "bytes")

    def sent_packets(self, namespace: str) -> int:
        """sent_bytes() in packets, as they were handed to the interface."""
        return self._counted(namespace, "tx", "packets")

    def _counted(self, namespace: str, way: str, what: str) -> int:
        (link,) = json.loads(ip("-n", namespace, "-s", "-j", "link", "show", "dev", "eth0"))
        return int(link["stats64"][way][what])

    def close(self) -> None:
        """Delete all namespaces."""
        for full in self.namespaces.values():
            ip("netns", "del", full)
        self.namespaces.clear()


class Network(Namespaces):
    """Namespaces on one bridge. `joined`: interfaces take several datagrams at once. `snooping`: IPv4
    multicast goes to who has joined the group; the bridge asks, too, who has (a querier)."""

    def __init__(self, joined: bool = False, mtu: int = MTU, snooping: bool = False) -> None:
        super().__init__()
        self._joined, self._mtu, self._snooping = joined, str(mtu), snooping

    def open(self, members: Mapping[str, str]) -> None:
        """Make the bridge and a namespace for each member, at its address."""
        bridge = self.add("bridge")
        ip("-n", bridge, "link", "add", "name", "bridge0", "mtu", self._mtu, "type", "bridge")
        ip("-n", bridge, "link", "set", "bridge0", "up")
        for name, address in members.items():
            self._host(bridge, name, address)
        if self._snooping:
            self._snoop(bridge)

    def _snoop(self, bridge: str) -> None:
        """Once the bridge is up: one that was told before sends to all nevertheless."""
        ports = ("link", "set", "dev", "bridge0", "type", "bridge")
        asking = ("mcast_igmp_version", "3", "mcast_query_response_interval", SNOOPING_AFTER)
        ip("-n", bridge, *ports, *asking)
        ip("-n", bridge, *ports, "mcast_querier", "1")

    def _host(self, bridge: str, name: str, address: str) -> None:
        full = self.add(name)
        peer = ("peer", "name", "eth0", "netns", full, "mtu", self._mtu)
        ip("-n", bridge, "link", "add", "name", name, "mtu", self._mtu, "type", "veth", *peer)
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
    """Namespaces joined by a relay process; several threads may ask things of it."""

    _relay: subprocess.Popen[str] | None = None

    def __init__(self) -> None:
        super().__init__()
        self._asking = threading.Lock()

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
        with self._asking:
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
