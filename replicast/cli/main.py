"""The `replicast` command: options that all commands share, and the list of commands.

A command's module is imported when the command is used: `replicast --version` starts at once,
and a compiled module that is missing ends in one line, not in a traceback.
"""

from __future__ import annotations

import importlib
import sys

import click

from replicast import __version__
from replicast.cli.extensions import advice, missing_extension
from replicast.native import IMPLEMENTATION

MODULES = {
    "buckets": ("bucket",),
    "objects": ("put", "get", "cat", "ls", "stat", "rm"),
    "copies": ("cp", "mv"),
    "health": ("status", "flexhash", "verify", "repair"),
    "local": ("up", "down", "cluster", "logs", "config"),
    "restart": ("target",),
    "raft_command": ("raft",),
    "user_command": ("user",),
    "env_command": ("env",),
    "cert_command": ("cert",),
    "sim": ("sim",),
}
WHERE = {command: module for module, commands in MODULES.items() for command in commands}


class Commands(click.Group):
    """A group that imports the module of a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(WHERE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in WHERE:
            return None
        try:
            module = importlib.import_module(f"replicast.cli.{WHERE[cmd_name]}")
        except ImportError as error:
            name = missing_extension(error)
            if name is None:
                raise
            click.echo(f"replicast: {advice(name, error)}", err=True)
            sys.exit(1)
        commands: dict[str, click.Command] = {each.name: each for each in module.COMMANDS}
        return commands[cmd_name]


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message=f"replicast %(version)s ({IMPLEMENTATION})")
@click.option(
    "--cluster",
    metavar="DIR_OR_FILE",
    help="Data folder or cluster.toml. Default: REPLICAST_CLUSTER, then "
    "~/.config/replicast/cluster.toml.",
)
def main(cluster: str | None) -> None:
    """Store files in a replicast cluster, and look after the cluster."""
