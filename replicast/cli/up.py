"""`replicast up` and `down`: a cluster on this host, formed as several hosts would form one.

    plan (local.toml) -> form (tokens and all) -> format VDEVs, write settings -> start what
    does not run -> wait until it serves -> client's cluster.toml

Every step looks first whether it was done, so an interrupted or repeated `up` goes on where
it stopped; local.toml fixes the plan, ports included, for the life of the folder. Nothing
here changes a formed cluster.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Set
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from replicast.addresses import address_text
from replicast.cli.cert_command import CERTIFICATE_FILE, KEY_FILE, write_self_signed
from replicast.cli.extensions import require_native
from replicast.cli.find import find_cluster
from replicast.cli.layout import (
    ADMIN,
    CLIENT,
    FOUNDER,
    LOCAL_FILE,
    LOCK_FILE,
    Local,
    LocalDaemon,
    link_user_file,
    load_local,
    locked,
    names_of,
    save_local,
    socket_path,
)
from replicast.cli.members import (
    METRICS_OFFSET,
    PORTS_PER_MEMBER,
    S3_OFFSET,
    VdevPlan,
    add_api_socket,
    check_capacity,
    check_copies,
    endpoint_ports,
    make_gateway,
    make_target,
    target_joiner,
)
from replicast.cli.port_registry import reserving
from replicast.cli.ports import check_host, check_multicast, free_ports, require_free
from replicast.cli.processes import Daemon, stop_all, wait_ready
from replicast.cli.s3_access import s3_access
from replicast.errors import InvalidRequest, ReplicastError, Unavailable
from replicast.formation import (
    CLUSTER_FILE,
    ENDPOINTS,
    Formation,
    Parameters,
    format_cluster_file,
    load_cluster_file,
)
from replicast.gateway.api_client import connect_api
from replicast.joining import Joiner, form_here
from replicast.keys import Role
from replicast.native import IMPLEMENTATION

READY_SECONDS = 60.0
SERVING_SECONDS = 30.0
SERVING_STATES = ("up", "slow", "failing", "full", "draining", "out")
POLL_SECONDS = 0.1
PORT_MAX = 65_535
GATEWAY_HOST = "localhost"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpRequest:
    """What the cluster shall be; None: as it is, or the default for a new one."""

    targets: int | None = None
    vdevs: int | None = None
    gateways: int | None = None
    transport: str | None = None
    host: str | None = None
    capacity: str | None = None
    copies: int | None = None
    min_copies: int | None = None
    port_base: int | None = None
    tls: bool | None = None


DEFAULTS: dict[str, Any] = {
    "targets": 4,
    "vdevs": 2,
    "gateways": 1,
    "transport": "unicast",
    "host": "127.0.0.1",
    "capacity": "",
    "copies": 3,
    "min_copies": 2,
    "port_base": 0,
    "tls": False,
}


def bring_up(data: Path, request: UpRequest, say: Say, *, user_file: Path | None = None) -> Local:
    """Make, start or leave running the cluster in `data`; returns when it serves."""
    require_native()
    _check_before(data, request)
    with locked(data):
        with reserving(data) as reserved:
            local = _planned(data, request, say, reserved)
        formation = _form(data, local.plan, say)
        _make_members(data, local.plan, formation, say)
        _write_client_file(data, local, formation)
        _start(data, local, say)
        _wait_serving(data, local, say)
        if local.plan:
            endpoint = (local.plan["host"], local.plan["s3_ports"][0])
            trusted = CERTIFICATE_FILE if local.plan.get("tls") else ""
            say(asyncio.run(s3_access(data, endpoint, trusted)))
        if user_file is not None and not link_user_file(data / CLUSTER_FILE, user_file):
            say(f"{user_file} is another cluster's: use --cluster {data} or REPLICAST_CLUSTER")
        return local


def bring_down(data: Path, say: Say) -> None:
    """Stop all daemons of `data`; gateways first, so that no target waits for their work."""
    load_local(data)  # a folder without a cluster is not even made
    with locked(data):
        with reserving(data):  # stopped, it keeps its ports
            local = load_local(data)
        running = [daemon for daemon in local.all(data) if daemon.pid() is not None]
        if not running:
            say("nothing runs")
            return
        say(f"stopping {names_of(running)}")
        killed = stop_all(local.of_kind("gateway", data), at_once=True)
        killed += stop_all(local.of_kind("target", data), at_once=True)
        if killed:
            say(f"did not stop in time and had to be killed: {', '.join(killed)}")
        say(f"stopped; the data stays in {data}")


# -- plan -------------------------------------------------------------------------------


def _check_before(data: Path, request: UpRequest) -> None:
    """What is wrong with a request is said before anything is made or touched."""
    if (data / LOCAL_FILE).exists():
        return
    if data.exists():
        _require_empty(data)
    _check_plan(_asked(request))


def _require_empty(data: Path) -> None:
    others = sorted(path.name for path in data.iterdir() if path.name != LOCK_FILE)
    if others:
        raise InvalidRequest(f"{data} is not empty ({others[0]}) and holds no cluster")


def _asked(request: UpRequest) -> dict[str, Any]:
    asked = {f.name: getattr(request, f.name) for f in fields(UpRequest)}
    return DEFAULTS | {key: value for key, value in asked.items() if value is not None}


def _planned(data: Path, request: UpRequest, say: Say, reserved: Set[int]) -> Local:
    if (data / LOCAL_FILE).exists():
        local = load_local(data)
        _check_same(data, local.plan, request)
        return local
    _require_empty(data)
    plan = _asked(request)
    plan |= _choose_ports(plan, reserved)
    local = Local(tuple(_daemons(plan)), plan)
    save_local(data, local)
    say(
        f"a new cluster in {data}: {plan['targets']} targets x {plan['vdevs']} VDEVs, "
        f"gateways: {plan['gateways']}, {plan['transport']}, {IMPLEMENTATION}"
    )
    return local


def _check_same(data: Path, plan: Mapping[str, Any], request: UpRequest) -> None:
    if not plan:
        return  # a host that joined: there is nothing to ask for
    for key, value in asdict(request).items():
        made = plan.get(key, DEFAULTS[key])  # a folder may be older than the option
        if value is not None and value != made:
            option = "--" + key.replace("_", "-")
            raise InvalidRequest(
                f"{data} was made with {option} {made}, which cannot be changed to {value}"
            )


def _check_plan(plan: Mapping[str, Any]) -> None:
    check_capacity(plan["capacity"])
    check_host(plan["host"])
    if plan["transport"] == "multicast":
        check_multicast(plan["host"])
    check_copies(plan["copies"], plan["min_copies"], plan["targets"])
    for key, most in (("targets", 256), ("vdevs", 64), ("gateways", 16)):
        if not 1 <= plan[key] <= most:
            raise InvalidRequest(f"--{key}: 1 to {most}")
    last = plan["port_base"] + PORTS_PER_MEMBER * (plan["targets"] + plan["gateways"])
    if plan["port_base"] and not 1024 <= plan["port_base"] <= last <= PORT_MAX:
        raise InvalidRequest(f"--port-base: 1024 to {PORT_MAX - last + plan['port_base']}")


def _choose_ports(plan: Mapping[str, Any], reserved: Set[int]) -> dict[str, list[int]]:
    """target_ports (one after the other in the order of ENDPOINTS), gateway_ports (metrics),
    s3_ports (of the gateways); drawn ones are none of `reserved`."""
    targets, gateways, base = plan["targets"], plan["gateways"], plan["port_base"]
    if not base:
        count = targets * len(ENDPOINTS)
        ports = free_ports(plan["host"], count + 2 * gateways, random.SystemRandom(), reserved)
        theirs, s3 = ports[count : count + gateways], ports[count + gateways :]
        return {"target_ports": ports[:count], "gateway_ports": theirs, "s3_ports": s3}
    bases = [base + PORTS_PER_MEMBER * i for i in range(targets + gateways)]
    mine = [port for each in bases[:targets] for port in endpoint_ports(each)]
    theirs = [each + METRICS_OFFSET for each in bases[targets:]]
    s3 = [each + S3_OFFSET for each in bases[targets:]]
    require_free(plan["host"], mine + theirs + s3, "choose another --port-base")
    return {"target_ports": mine, "gateway_ports": theirs, "s3_ports": s3}


def _ports_of(plan: Mapping[str, Any], number: int) -> list[int]:
    count = len(ENDPOINTS)
    ports: list[int] = plan["target_ports"][number * count : (number + 1) * count]
    return ports


def _daemons(plan: Mapping[str, Any]) -> list[LocalDaemon]:
    host = plan["host"]
    targets = {f"t{n + 1}": _ports_of(plan, n)[METRICS_OFFSET] for n in range(plan["targets"])}
    gateways = {f"gw{n}": port for n, port in enumerate(plan["gateway_ports"], 1)}
    return [
        *(
            LocalDaemon(name, "target", address_text((host, port)), name)
            for name, port in targets.items()
        ),
        *(
            LocalDaemon(name, "gateway", address_text((host, port)), name)
            for name, port in gateways.items()
        ),
    ]


# -- form -------------------------------------------------------------------------------


def _form(data: Path, plan: Mapping[str, Any], say: Say) -> Formation | None:
    if not plan:
        return None
    members: dict[Path, tuple[Role, Joiner]] = {}
    for n in range(plan["targets"]):
        joiner = target_joiner(
            f"t{n + 1}", f"host{n + 1}", "default", plan["vdevs"], plan["host"], _ports_of(plan, n)
        )
        members[data / joiner.name] = (Role.TARGET, joiner)
    for n in range(plan["gateways"]):
        name = f"gw{n + 1}"
        members[data / name] = (Role.GATEWAY, Joiner(name=name, host=GATEWAY_HOST))
    # Programs that embed the initiator, and the operator, are members too: membership is
    # closed once the cluster is formed.
    members[data / CLIENT] = (Role.GATEWAY, Joiner(name=CLIENT, host=GATEWAY_HOST))
    members[data / ADMIN] = (Role.ADMIN, Joiner(name=ADMIN, host=GATEWAY_HOST))
    new = not (data / CLIENT / CLUSTER_FILE).exists()
    if new:
        say(f"making keys; {len(members)} members join, each with a token of its own")
    parameters = Parameters(
        transport=plan["transport"], copies=plan["copies"], min_copies=plan["min_copies"]
    )
    formation = asyncio.run(form_here(data / FOUNDER, members, parameters, plan["host"]))
    if new:
        voters = ", ".join(voter.name for voter in formation.voter_members())
        say(f"formed cluster {formation.cluster_id.hex()}; Raft voters: {voters}")
    return formation


def _make_members(
    data: Path, plan: Mapping[str, Any], formation: Formation | None, say: Say
) -> None:
    if formation is None:
        return
    made = 0
    for n in range(1, plan["targets"] + 1):
        directory = data / f"t{n}"
        vdevs = [VdevPlan(directory / f"v{i + 1}", plan["capacity"]) for i in range(plan["vdevs"])]
        made += len(vdevs) if make_target(directory, formation.cluster_id, vdevs) else 0
    certificate = _certificate(data, plan) if plan.get("tls") else None
    ports = zip(plan["gateway_ports"], plan["s3_ports"], strict=True)
    for n, (metrics, s3) in enumerate(ports, 1):
        make_gateway(data / f"gw{n}", (plan["host"], metrics), (plan["host"], s3), certificate)
    if made:
        say(f"formatted {made} VDEVs")


def _certificate(data: Path, plan: Mapping[str, Any]) -> tuple[Path, Path]:
    """One for all gateways; the operator's own, once it is there."""
    if not (data / CERTIFICATE_FILE).exists():
        write_self_signed(data, tuple(dict.fromkeys((plan["host"], GATEWAY_HOST))), replace=True)
    return data / CERTIFICATE_FILE, data / KEY_FILE


def _write_client_file(data: Path, local: Local, formation: Formation | None) -> None:
    gateways = local.of_kind("gateway", data)
    if formation is None or not gateways or (data / CLUSTER_FILE).exists():
        return
    me = load_cluster_file(data / CLIENT).node_id
    draft = data / (CLUSTER_FILE + ".draft")
    draft.write_text(format_cluster_file(formation, me, keys_in=Path(CLIENT)), encoding="utf-8")
    add_api_socket(draft, socket_path(gateways[0].folder))
    draft.replace(data / CLUSTER_FILE)


# -- start ------------------------------------------------------------------------------


def _start(data: Path, local: Local, say: Say) -> None:
    daemons = local.all(data)
    stopped = [daemon for daemon in daemons if daemon.pid() is None]
    running = [daemon for daemon in daemons if daemon not in stopped]
    if running:
        say(f"{names_of(running)} run already" if len(running) > 1 else f"{running[0].name} runs")
    if not stopped:
        return
    _require_ports(data, local, stopped)
    say(f"starting {names_of(stopped)}")
    for daemon in stopped:
        daemon.start()


def _require_ports(data: Path, local: Local, stopped: list[Daemon]) -> None:
    plan = local.plan
    if not plan:
        return
    ports: dict[str, list[int]] = {f"t{n + 1}": _ports_of(plan, n) for n in range(plan["targets"])}
    of_gateways = zip(plan["gateway_ports"], plan["s3_ports"], strict=True)
    ports |= {f"gw{n}": list(both) for n, both in enumerate(of_gateways, 1)}
    advice = f"the ports of {data} are fixed: stop that process first"
    for daemon in stopped:
        require_free(plan["host"], ports[daemon.name], advice)


def _wait_serving(data: Path, local: Local, say: Say) -> None:
    began = time.monotonic()
    wait_ready(local.all(data), READY_SECONDS)
    gateways = local.of_kind("gateway", data)
    if not gateways:
        return
    targets = local.plan.get("targets", 0)
    problems = asyncio.run(_serving(find_cluster(str(gateways[0].folder)).api_socket, targets))
    for problem in problems:
        say(f"! {problem}")
    say(f"ready after {time.monotonic() - began:.1f} s")


async def _serving(socket: Path, targets: int) -> list[str]:
    """Wait until every target serves its rows; returns what is still wrong when time is over."""
    end = time.monotonic() + SERVING_SECONDS
    problems = ["the gateway does not answer"]
    while time.monotonic() < end:
        try:
            async with connect_api(socket) as api:
                report = await api.one("status")
        except Unavailable as error:
            problems = [str(error)]
        except ReplicastError as error:
            return [str(error)]
        else:
            if _all_serve(report, targets):
                return []
            problems = report["problems"]
        await asyncio.sleep(POLL_SECONDS)
    return problems


def _all_serve(report: Mapping[str, Any], targets: int) -> bool:
    up = [each for each in report["targets"] if each["up"] and each["lease"]]
    ready = sum(each["rows_not_ready"] for each in up) == 0
    vdevs = all(vdev["state"] in SERVING_STATES for vdev in report["vdevs"])
    led = report["rows"]["without_leader"] == 0 and report["raft"]["quorum"]
    return bool(len(up) >= targets and ready and vdevs and led)
