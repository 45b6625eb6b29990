"""The `replicast` command: options that all commands share, and the list of commands."""

from __future__ import annotations

import click

from replicast import __version__
from replicast.cli import health, local, objects
from replicast.native import IMPLEMENTATION


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message=f"replicast %(version)s ({IMPLEMENTATION})")
@click.option(
    "--cluster",
    metavar="DIR_OR_FILE",
    help="Data folder or cluster.toml. Default: REPLICAST_CLUSTER, then "
    "~/.config/replicast/cluster.toml.",
)
def main(cluster: str | None) -> None:
    """Store files in a replicast cluster, and look after the cluster."""


for module in (objects, health, local):
    for command in module.COMMANDS:
        main.add_command(command)
