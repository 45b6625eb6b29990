"""A cluster whose members live in network namespaces of their own (networks.py).

Formed by the very functions of `replicast up`, started with `nsenter`, which leaves them their
mounts. Commands run outside: the gateway's API socket is a path, and paths know no namespaces.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from networks import FAR_NETWORKS, FIRST_GATEWAY, FIRST_TARGET, NETWORKS, ip

from replicast.addresses import address_text
from replicast.cli.layout import GATEWAY_MODULE, MODULES, socket_path
from replicast.cli.members import METRICS_OFFSET, VdevPlan, make_gateway, make_target, target_joiner
from replicast.errors import ReplicastError
from replicast.formation import Parameters, toml_pairs
from replicast.gateway.api_client import connect_api
from replicast.joining import Joiner, form_here
from replicast.keys import Role

PORTS = [7000 + offset for offset in range(METRICS_OFFSET + 1)]
SERVING_SECONDS = 60
SETTLE_SECONDS = 120
STOP_SECONDS = 20
COMMAND_SECONDS = 280
POLL_SECONDS = 0.1


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
        module = MODULES["target"] if kind == "target" else self.gateway_module
        config = self.data / name / f"{kind}.toml"
        command = [sys.executable, "-m", module, "--config", str(config)]
        paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        environ = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
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
        return self._run((), "gw1", arguments, stdin, seconds)

    def administer(self, *arguments: str) -> bytes:
        """A command that talks to the voters, as an administrator where gw1 is."""
        inside = ("ip", "netns", "exec", self.gateway)
        return self._run(inside, "admin", arguments, None, COMMAND_SECONDS)

    def _run(
        self,
        inside: Sequence[str],
        member: str,
        arguments: Sequence[str | Path],
        stdin: Any,
        seconds: float,
    ) -> bytes:
        cli = (sys.executable, "-m", "replicast.cli", "--cluster", self.data / member)
        done = subprocess.run(
            [*map(str, (*inside, *cli, *arguments))],
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

    def metric(self, name: str, member: str = "gw1", **labels: str) -> float:
        """A sample of a member's /metrics."""
        url = f"http://{address_text((self.addresses[member], PORTS[-1]))}/metrics"
        read = f"import urllib.request as r; print(r.urlopen({url!r}).read().decode())"
        text = ip("netns", "exec", self.network.namespaces[member], sys.executable, "-c", read)
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
    members[data / "admin"] = (Role.ADMIN, Joiner(name="admin", host="gateway1"))
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
