"""up, down; and the list of all commands that work on this host's files and processes."""

from __future__ import annotations

from pathlib import Path

import click

from replicast.cli.config_command import config
from replicast.cli.find import USER_FILE, find_cluster
from replicast.cli.formed import cluster
from replicast.cli.logs_command import logs
from replicast.cli.run import run_plain
from replicast.cli.s3_access import S3_FILE, s3_example
from replicast.cli.up import DEFAULTS, UpRequest, bring_down, bring_up
from replicast.errors import InvalidRequest
from replicast.formation import TRANSPORTS

FOLDER = click.Path(file_okay=False, path_type=Path)


def _default(name: str) -> str:
    return f"Default for a new cluster: {DEFAULTS[name]}."


@click.command()
@click.option("--data", type=FOLDER, required=True, help="Folder of the cluster's files.")
@click.option("--targets", type=int, help=f"Targets. {_default('targets')}")
@click.option("--vdevs", type=int, help=f"VDEVs of each target. {_default('vdevs')}")
@click.option("--gateways", type=int, help=f"Gateways. {_default('gateways')}")
@click.option(
    "--transport",
    type=click.Choice(TRANSPORTS),
    help=f"How payloads travel. {_default('transport')}",
)
@click.option("--port-base", type=int, help="First port; 10 a daemon. Default: free ports.")
@click.option("--host", help=f"Address that all listen on. {_default('host')}")
@click.option(
    "--capacity", metavar="SIZE", help="Of each VDEV, as 500GiB. Default: shares the file system."
)
@click.option("--copies", type=int, help=f"Copies of each chunk. {_default('copies')}")
@click.option("--min-copies", type=int, help=f"Fewest for a put. {_default('min_copies')}")
@click.option(
    "--tls", is_flag=True, default=None, help="S3 over HTTPS only, with a self-signed certificate."
)
@click.option(
    "--user-file/--no-user-file",
    default=True,
    help=f"Make this the cluster that commands use ({USER_FILE}), unless there is one.",
)
def up(
    data: Path,
    user_file: bool,
    targets: int | None,
    vdevs: int | None,
    gateways: int | None,
    transport: str | None,
    port_base: int | None,
    host: str | None,
    capacity: str | None,
    copies: int | None,
    min_copies: int | None,
    tls: bool | None,
) -> None:
    """Start a cluster on this host; make it first when there is none in --data.

    Harmless when it runs already. What was chosen when it was made stays.
    """
    folder = data.resolve()
    request = UpRequest(
        targets=targets,
        vdevs=vdevs,
        gateways=gateways,
        transport=transport,
        host=host,
        capacity=capacity,
        copies=copies,
        min_copies=min_copies,
        port_base=port_base,
        tls=tls,
    )

    def work() -> None:
        place = USER_FILE.expanduser() if user_file else None
        bring_up(folder, request, click.echo, user_file=place)
        click.echo(_how_to_use(folder))

    run_plain(work)


def _how_to_use(data: Path) -> str:
    place = find_cluster(str(data))
    if "api_socket" not in place.values:
        return f"to stop it: replicast down --data {data}"
    try:
        found = find_cluster(None).path == place.path
    except InvalidRequest:
        found = False
    prefix = "replicast" if found else f"replicast --cluster {data}"
    commands = [
        f"{prefix} bucket create photos",
        f"{prefix} put FILE photos/NAME      # get, cat, ls, stat, rm: see --help",
        f"{prefix} status",
        f"replicast down --data {data}",
    ]
    if (data / S3_FILE).exists():
        commands.append(s3_example(prefix))
    return "\n".join(["", *(f"    {command}" for command in commands)])


@click.command()
@click.option("--data", type=FOLDER, help="Folder of the cluster. Default: the one in use.")
@click.pass_context
def down(context: click.Context, data: Path | None) -> None:
    """Stop the daemons of this host's cluster; the data stays."""

    def work() -> None:
        bring_down(data.resolve() if data else data_folder(context), click.echo)

    run_plain(work)


def data_folder(context: click.Context) -> Path:
    """The data folder on this host of the cluster that the command line names."""
    return find_cluster(context.find_root().params.get("cluster")).path.parent


COMMANDS = (up, down, cluster, logs, config)
