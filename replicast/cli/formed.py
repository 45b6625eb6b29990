"""`replicast cluster init | token | join`: forming a cluster of several hosts by hand.

    one host:     replicast cluster init DIR --listen 10.0.0.1:7000 --targets 3 --gateways 1
                  prints one token a member, then waits until all have joined
    every host:   replicast cluster join TOKEN
                  takes its place, formats its VDEVs, starts its daemon

The founder is needed only while the cluster is being formed; stopped, it goes on with the same
command. The founder's host joins like every other.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path

import click

from replicast.addresses import address_text, canonical_host, family_of, parse_address
from replicast.cli.extensions import require_native
from replicast.cli.find import USER_FILE
from replicast.cli.layout import (
    Local,
    LocalDaemon,
    is_member,
    link_user_file,
    load_local,
    locked,
    save_local,
)
from replicast.cli.members import (
    METRICS_OFFSET,
    VdevPlan,
    check_copies,
    check_vdev_folder,
    endpoint_ports,
    make_gateway,
    make_target,
    parse_vdev_option,
    target_joiner,
)
from replicast.cli.ports import check_host, require_free
from replicast.cli.processes import wait_ready
from replicast.cli.run import run, run_plain
from replicast.errors import InvalidRequest
from replicast.formation import (
    CLUSTER_FILE,
    CLUSTER_KEY_FILE,
    ENDPOINTS,
    TRANSPORTS,
    Parameters,
    load_formation,
)
from replicast.founding import STATE_FILE, FormationCore
from replicast.hashing import HashAlgorithm
from replicast.joining import FOUNDER_KEY_FILE, Founder, Joiner, init_cluster, join_cluster
from replicast.keys import Role
from replicast.machine import Address
from replicast.tokens import Token, parse_token
from replicast.transport.sockets import route_to
from replicast.wire.formation_messages import JoinPending

FOLDER = click.Path(file_okay=False, path_type=Path)
HASH_NAMES = [each.name.lower().replace("_", "-") for each in HashAlgorithm]
ROLES = {"target": Role.TARGET, "gateway": Role.GATEWAY, "admin": Role.ADMIN}
DEFAULT_PORT_BASE = 7000
PORT_BASE_MAX = 65_535 - len(ENDPOINTS) + 1
READY_SECONDS = 60.0


@click.group()
def cluster() -> None:
    """Form a cluster of several hosts."""


@cluster.command("init")
@click.argument("directory", type=FOLDER)
@click.option(
    "--listen", default=f"0.0.0.0:{DEFAULT_PORT_BASE - 1}", show_default=True, metavar="HOST:PORT",
    help="Where joiners reach this host; the tokens name it.",
)  # fmt: skip
@click.option("--targets", default=3, show_default=True, help="How many targets will join.")
@click.option("--gateways", default=1, show_default=True, help="How many gateways.")
@click.option("--admins", default=1, show_default=True, help="How many operators' identities.")
@click.option("--transport", type=click.Choice(TRANSPORTS), default="unicast", show_default=True)
@click.option("--copies", default=3, show_default=True, help="Copies of each chunk.")
@click.option("--min-copies", default=2, show_default=True, help="Fewest for a put.")
@click.option(
    "--content-hash", type=click.Choice(HASH_NAMES), default=HASH_NAMES[0], show_default=True
)
def init(
    directory: Path,
    listen: str,
    targets: int,
    gateways: int,
    admins: int,
    transport: str,
    copies: int,
    min_copies: int,
    content_hash: str,
) -> None:
    """Make a cluster's keys in DIRECTORY, print its join tokens, wait for the members.

    Given again after an interruption it goes on; tokens that were lost: `cluster token`.
    """

    async def work() -> None:
        fresh = not (directory / STATE_FILE).exists()
        if fresh:
            parameters = Parameters(
                transport=transport,
                copies=copies,
                min_copies=min_copies,
                content_hash=content_hash,
            )
            expected = {Role.TARGET: targets, Role.GATEWAY: gateways, Role.ADMIN: admins}
            _check_expected(expected)
            check_copies(copies, min_copies, targets)
            _require_own(directory)
            init_cluster(
                directory,
                address=_reachable(_parse_listen(listen)),
                expected=expected,
                parameters=parameters,
            )
        founder = Founder(directory)
        if fresh:
            for role, count in founder.core.state.expected.items():
                for token in founder.make_tokens(role, count):
                    click.echo(f"{role.name.lower():<8} {token}")
        click.echo("each works once: replicast cluster join TOKEN. Waiting here ...", err=True)
        formation = await founder.run(_progress())
        click.echo(f"formed: cluster {formation.cluster_id.hex()}", err=True)

    run(work)


def _require_own(directory: Path) -> None:
    """Nothing but what an `init` that was cut short left there."""
    mine = (FOUNDER_KEY_FILE, CLUSTER_KEY_FILE)
    others = sorted(each.name for each in directory.iterdir()) if directory.exists() else []
    if any(name not in mine for name in others):
        raise InvalidRequest(f"{directory} is not empty and no cluster is being formed there")


def _check_expected(expected: dict[Role, int]) -> None:
    if expected[Role.TARGET] < 1 or min(expected.values()) < 0:
        raise InvalidRequest("--targets: at least 1; --gateways and --admins: at least 0")


def _progress() -> Callable[[FormationCore], None]:
    shown: list[tuple[int, int]] = []

    def show(core: FormationCore) -> None:
        if core.counts() not in shown[-1:]:
            shown.append(core.counts())
            joined, expected = core.counts()
            click.echo(f"{joined} of {expected} have joined", err=True)

    return show


@cluster.command("token")
@click.argument("directory", type=FOLDER)
@click.option("--role", type=click.Choice(list(ROLES)), default="target", show_default=True)
@click.option(
    "--count", type=click.IntRange(min=1), default=1, show_default=True, help="How many tokens."
)
def token(directory: Path, role: str, count: int) -> None:
    """Print more join tokens for the cluster that is being formed in DIRECTORY.

    While `cluster init` waits there, stop it (Ctrl-C) first and start it again afterwards.
    """

    async def work() -> None:
        try:
            founder = Founder(directory)
        except OSError as error:
            raise InvalidRequest(
                f"{error.strerror}: does `cluster init {directory}` run? Stop it, make the "
                "token, start it again"
            ) from None
        try:
            for line in founder.make_tokens(ROLES[role], count):
                click.echo(line)
        except ValueError as error:
            raise InvalidRequest(str(error)) from None
        finally:
            founder.close()

    run(work)


# -- join -------------------------------------------------------------------------------


@cluster.command("join")
@click.argument("token")
@click.option("--data", type=FOLDER, help="Folder of this member. Default: /var/lib/replicast, "
              "or ~/.local/share/replicast when not root.")  # fmt: skip
@click.option("--name", help="Name of this member. Default: the host's name.")
@click.option("--host-label", help="Failure domain: host. Default: the host's name.")
@click.option("--zone", default="default", show_default=True, help="Failure domain: zone.")
@click.option("--address", help="This host's address. Default: the one towards the founder.")
@click.option(
    "--port-base", type=click.IntRange(1, PORT_BASE_MAX), default=DEFAULT_PORT_BASE,
    show_default=True, help="First of 5 ports.",
)  # fmt: skip
@click.option(
    "--vdev", "vdevs", multiple=True, metavar="PATH[;capacity=SIZE]",
    help="An empty folder or disk, once for each. Default: DATA/v1.",
)  # fmt: skip
@click.option("--start/--no-start", default=True, help="Start the daemon (no: systemd will).")
@click.option("--user-file/--no-user-file", default=True, help=f"Write {USER_FILE} too.")
def join(
    token: str,
    data: Path | None,
    name: str | None,
    host_label: str | None,
    zone: str,
    address: str | None,
    port_base: int,
    vdevs: tuple[str, ...],
    start: bool,
    user_file: bool,
) -> None:
    """Make this host the member that TOKEN is for; waits until the cluster is formed."""

    def work() -> None:
        require_native()
        parsed = parse_token(token)
        host = socket.gethostname().split(".")[0]
        folder = (data or _default_data()).resolve()
        label, mine = host_label or host, address or _address_towards(parsed.founder)
        check_host(mine, "--address")
        with locked(folder):
            if is_member(folder):
                raise InvalidRequest(f"{folder}: has joined already; start it: replicast up")
            plans = [parse_vdev_option(text, Path.cwd()) for text in vdevs]
            place = Place(folder, name or label, label, zone, mine, port_base)
            _join(parsed, token, place, plans or [VdevPlan(folder / "v1")])
            if user_file:
                link_user_file(folder / CLUSTER_FILE, USER_FILE.expanduser())
            if start:
                _start(folder)

    run_plain(work)


class Place:
    """Where and as what a member joins."""

    def __init__(
        self, folder: Path, name: str, label: str, zone: str, address: str, port_base: int
    ) -> None:
        self.folder, self.name, self.label, self.zone = folder, name, label, zone
        self.address, self.ports = address, endpoint_ports(port_base)

    @property
    def metrics(self) -> Address:
        """Of the daemon."""
        return self.address, self.ports[METRICS_OFFSET]


def _join(parsed: Token, text: str, place: Place, vdevs: list[VdevPlan]) -> None:
    is_target = parsed.role == Role.TARGET
    joiner = Joiner(name=place.name, host=place.label, zone=place.zone)
    if is_target:
        for vdev in vdevs:
            check_vdev_folder(vdev)
        require_free(place.address, place.ports, "choose another --port-base")
        joiner = target_joiner(
            place.name, place.label, place.zone, len(vdevs), place.address, place.ports
        )
    shown: list[int] = []

    def progress(pending: JoinPending) -> None:
        if pending.joined not in shown:
            shown.append(pending.joined)
            click.echo(f"waiting: {pending.joined} of {pending.expected} have joined", err=True)

    formation = asyncio.run(join_cluster(text, place.folder, joiner, progress))
    click.echo(f"joined cluster {formation.cluster_id.hex()} as {place.name}", err=True)
    _settle(parsed.role, place, vdevs)


def _settle(role: Role, place: Place, vdevs: list[VdevPlan]) -> None:
    """What this host has to have once it is a member."""
    if role == Role.TARGET:
        make_target(place.folder, load_formation(place.folder).cluster_id, vdevs)
    elif role == Role.GATEWAY:
        make_gateway(place.folder, place.metrics)
    metrics = address_text(place.metrics)
    kinds = {Role.TARGET: "target", Role.GATEWAY: "gateway"}
    daemons = (LocalDaemon(place.name, kinds[role], metrics, "."),) if role in kinds else ()
    save_local(place.folder, Local(daemons, {}))


def _start(folder: Path) -> None:
    local = load_local(folder)
    daemons = local.all(folder)
    for daemon in daemons:
        daemon.start()
    wait_ready(daemons, READY_SECONDS)


def _default_data() -> Path:
    if os.getuid() == 0:
        return Path("/var/lib/replicast")
    return Path("~/.local/share/replicast").expanduser()


def _parse_listen(text: str) -> Address:
    try:
        return parse_address(text)
    except ValueError as error:
        raise InvalidRequest(f"--listen: {error}") from None


def _reachable(address: Address) -> Address:
    """Tokens need an address that others reach, not 0.0.0.0 or [::]."""
    host, port = address
    if host not in ("0.0.0.0", "::"):
        return address
    try:
        found = socket.getaddrinfo(socket.gethostname(), port, family_of(host), socket.SOCK_STREAM)
        return canonical_host(str(found[0][4][0])), port
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"--listen: cannot tell this host's address: {error}") from None


def _address_towards(founder: Address) -> str:
    host, port = founder
    found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0][4]
    return route_to((str(found[0]), port))
