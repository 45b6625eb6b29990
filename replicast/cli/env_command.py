"""env: variables for other programs, as lines for a shell."""

from __future__ import annotations

import shlex

import click

from replicast.cli.find import find_cluster
from replicast.cli.run import run
from replicast.cli.s3_access import load_s3_access


@click.command("env")
@click.option("--s3", is_flag=True, required=True, help="Endpoint and keys for S3 clients.")
@click.pass_context
def env(context: click.Context, s3: bool) -> None:
    """Print exports: eval "$(replicast env --s3)"."""
    del s3  # the only kind so far, and said all the same: others will come

    async def work() -> None:
        folder = find_cluster(context.find_root().params.get("cluster")).path.parent
        for name, value in load_s3_access(folder).environment().items():
            click.echo(f"export {name}={shlex.quote(value)}")

    run(work)


COMMANDS = (env,)
